/* SPDX-License-Identifier: Apache-2.0 */
#include "services/sync_priv.h"

static void collected(void *arg, int r)
{
        Call *c = arg;

        if (call_claim(c))
                call_complete(c, r < 0 ? err_set(c->err, UNKNOWN, "gc failed") : 0);
        call_unref(c);
}

int sync_then_answer(Call *c, Metadata *m)
{
        metadata_collect(m, collected, call_ref(c));
        return RPC_PENDING;
}
