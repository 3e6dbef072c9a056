/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls whose handlers end in a commit, one after the other on one pool thread: whatever has queued
 * up while the last batch was written to disk is the next, and all of it is answered at once. So a
 * crowd of writers costs two changes of thread, not several for each; and one who is alone waits
 * for nobody. A transport that is about to take in what may be many calls says so (hold), or the
 * first of them would be a batch of its own.
 */
#include "rpc/dispatch_priv.h"

/* Also what fails or has been cancelled, which fills no batch: those before it wait to be durable,
 * and other writers for their turn. */
enum { BATCH_CALLS = 256 };

struct RpcBatcher {
        const RpcBatchOps *ops;
        void *ctx;
        Lock lock; /* below */
        List queue;
        int running, held;
};

void rpc_registry_set_batch(RpcRegistry *r, const RpcBatchOps *ops, void *ctx)
{
        RpcBatcher *b = mem_new(RpcBatcher);

        assert(!r->batcher);
        b->ops = ops;
        b->ctx = ctx;
        lock_init(&b->lock, LOCK_LEAF);
        list_init(&b->queue);
        r->batcher = b;
}

RpcBatcher *batcher_free(RpcBatcher *b)
{
        if (!b)
                return NULL;
        assert(list_empty(&b->queue) && !b->running);
        lock_done(&b->lock);
        free(b);
        return NULL;
}

static CallImpl *next(RpcBatcher *b)
{
        CallImpl *c;

        LOCKED(&b->lock);
        c = LIST_FIRST(&b->queue, CallImpl, batch_link);
        if (c)
                list_remove(&c->batch_link);
        return c;
}

static void run_batch(RpcBatcher *b, List *done)
{
        Err err = {};
        void *batch = b->ops->begin(b->ctx, &err);
        CallImpl *c;
        int r;

        for (int n = 0; n < BATCH_CALLS && !b->ops->full(batch) && (c = next(b)); n++) {
                call_run_member(c);
                list_append(done, &c->batch_link);
        }
        r = b->ops->commit(batch);
        LIST_FOREACH (m, done, CallImpl, batch_link) {
                list_remove(&m->batch_link);
                if (r < 0 && m->batch_result == 0) {
                        err_copy(&m->err, &err);
                        m->batch_result = r;
                }
                call_finish_member(m);
        }
}

static void run_batches(void *arg)
{
        RpcBatcher *b = arg;
        List done;
        int more;

        list_init(&done);
        do {
                run_batch(b, &done);
                LOCKED(&b->lock);
                more = !list_empty(&b->queue);
                if (!more)
                        b->running = 0;
        } while (more);
}

/* Whether a job is to be started. */
static int start_locked(RpcBatcher *b)
{
        if (b->running || b->held || list_empty(&b->queue))
                return 0;
        b->running = 1;
        return 1;
}

void batcher_add(RpcBatcher *b, const RpcRegistry *r, CallImpl *c)
{
        int start;

        {
                LOCKED(&b->lock);
                list_append(&b->queue, &c->batch_link);
                start = start_locked(b);
        }
        if (start)
                r->run(r->run_ctx, run_batches, b);
}

void rpc_registry_hold(const RpcRegistry *r)
{
        RpcBatcher *b = r->batcher;

        if (!b)
                return;
        LOCKED(&b->lock);
        b->held++;
}

void rpc_registry_release(const RpcRegistry *r)
{
        RpcBatcher *b = r->batcher;
        int start;

        if (!b)
                return;
        {
                LOCKED(&b->lock);
                b->held--;
                start = start_locked(b);
        }
        if (start)
                r->run(r->run_ctx, run_batches, b);
}
