/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations: one change of a container at a time, without a thread that waits for its turn. An
 * operation is entered at once or queued; its function runs on a pool thread, and what it begins
 * may go on in callbacks until op_leave() lets the next one in. That is a lock held across RPC,
 * mount and exec, on purpose.
 *
 * What runs a shim's binary, which may hang until its time is over, goes by lanes: each gets only
 * some of the pool's threads, so that neither a hundred dying shims nor binaries that never answer
 * keep the API from answering.
 */
#include "runtime/runtime_priv.h"

char *task_key(const char *ns, const char *id)
{
        return mem_printf("%s/%s", ns, id);
}

static void op_run(void *arg)
{
        Op *op = arg;

        op->fn(op);
}

int op_enter(Runtime *rt, Op *op, const char *ns, const char *id, void (*fn)(Op *), int limited,
             Err *err)
{
        char *key CLEANUP(cleanup_free) = task_key(ns, id);
        OpQueue *q;
        int now;

        lock_take(&rt->lock);
        q = map_find(&rt->ops, key);
        now = q == NULL;
        if (q && limited && q->n_waiting >= OPS_PER_CONTAINER) {
                lock_drop(&rt->lock);
                return err_set(err, RESOURCE_EXHAUSTED,
                               "%d operations wait for container %s already: resource exhausted",
                               OPS_PER_CONTAINER, id);
        }
        op->rt = rt;
        op->fn = fn;
        op->key = TAKE(key);
        if (now) {
                q = mem_new(OpQueue);
                list_init(&q->waiting);
                map_put(&rt->ops, op->key, q);
        } else {
                list_append(&q->waiting, &op->node);
                q->n_waiting++;
        }
        lock_drop(&rt->lock);
        if (now)
                pool_submit(rt->pool, op_run, op);
        return 0;
}

void op_leave(Op *op)
{
        Runtime *rt = op->rt;
        OpQueue *q;
        Op *next;

        lock_take(&rt->lock);
        q = map_find(&rt->ops, op->key);
        assert(q);
        next = LIST_FIRST(&q->waiting, Op, node);
        if (next) {
                list_remove(&next->node);
                q->n_waiting--;
        } else {
                map_remove(&rt->ops, op->key);
                free(q);
        }
        lock_drop(&rt->lock);
        free(op->key);
        op->key = NULL;
        if (next)
                pool_submit(rt->pool, op_run, next);
}

static void lane_run(void *arg)
{
        Work *w = arg;

        while (w) {
                Runtime *rt = w->rt;
                Lane *lane = &rt->lanes[w->lane];

                w->fn(w);
                lock_take(&rt->lock);
                w = LIST_FIRST(&lane->waiting, Work, node);
                if (w)
                        list_remove(&w->node);
                else
                        lane->running--;
                lock_drop(&rt->lock);
        }
}

void lane_submit(Runtime *rt, LaneId id, Work *w, void (*fn)(Work *))
{
        Lane *lane = &rt->lanes[id];
        int now;

        w->rt = rt;
        w->fn = fn;
        w->lane = id;
        lock_take(&rt->lock);
        now = lane->running < lane->max;
        if (now)
                lane->running++;
        else
                list_append(&lane->waiting, &w->node);
        lock_drop(&rt->lock);
        if (now)
                pool_submit(rt->pool, lane_run, w);
}
