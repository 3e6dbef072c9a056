/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cancel.h"

#include <stddef.h>

static __thread CancelWatch watch;

CancelWatch cancel_watch(CancelWatch w)
{
        CancelWatch old = watch;

        watch = w;
        return old;
}

int cancel_requested(void)
{
        return watch.cancelled != NULL && watch.cancelled(watch.ctx);
}
