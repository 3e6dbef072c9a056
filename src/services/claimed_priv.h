/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of kind wait that run to their end even if the client has gone: the call is claimed before
 * its handler begins, so whatever that stores stays valid until claimed_finish(), the arena
 * included, for its work has a deadline of its own.
 */
#pragma once

#include "rpc/service.h"

typedef int (*ClaimedHandler)(Call *c, const void *req, void *rsp);

typedef struct Claimed {
        Call *call;
        ClaimedHandler handler;
        const void *req;
        void *rsp;
} Claimed;

/* What the method's handler returns: RPC_PENDING. handler then runs, and returns RPC_PENDING too or
 * a result. Call.state is the Claimed, in the arena. */
int claimed_run(Call *c, ClaimedHandler handler, const void *req, void *rsp);
/* Runs the handler again: a callback, with the Claimed. */
void claimed_again(void *claimed);
/* Ends a call whose handler has returned RPC_PENDING. */
void claimed_finish(Call *c, int r);
