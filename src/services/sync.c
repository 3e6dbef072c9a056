/* SPDX-License-Identifier: Apache-2.0 */
#include "services/sync_priv.h"

static void synced(void *arg)
{
        Call *c = arg;

        if (call_claim(c))
                call_complete(c, 0);
        call_unref(c);
}

int sync_then_answer(Call *c, Metadata *m)
{
        metadata_sync(m, synced, call_ref(c));
        return RPC_PENDING;
}
