/* SPDX-License-Identifier: Apache-2.0 */
#include "services/claimed_priv.h"

void claimed_finish(Call *c, int r)
{
        call_complete(c, r);
        call_unref(c);
}

void claimed_again(void *claimed)
{
        Claimed *e = claimed;
        int r;

        r = e->handler(e->call, e->req, e->rsp);
        if (r != RPC_PENDING)
                claimed_finish(e->call, r);
}

int claimed_run(Call *c, ClaimedHandler handler, const void *req, void *rsp)
{
        Claimed *e;

        if (!call_claim(c))
                return RPC_PENDING; /* cancelled: it ends by itself */
        e = arena_new(c->arena, Claimed);
        *e = (Claimed){call_ref(c), handler, req, rsp};
        c->state = e;
        claimed_again(e);
        return RPC_PENDING;
}
