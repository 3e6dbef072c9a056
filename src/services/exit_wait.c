/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call that may take for ever, so one that a client can take back: it is claimed only when there
 * is an answer.
 *
 * Two sides hold a waiter: whoever answers it, and the cancellation, which comes only as long as
 * nobody has claimed the call. Neither may free it under the other; the call's arena, which goes
 * with a cancelled call, is no place for it.
 */
#include "services/exit_wait_priv.h"

#include "base/mem.h"

typedef struct Waiting {
        int refs;
        TaskWaiter waiter;
        Runtime *runtime;
        const ExitWaitKind *kind;
        Call *call;
        char *ns, *id, *exec_id;
} Waiting;

static void waiting_unref(Waiting *w, int n)
{
        if (__atomic_sub_fetch(&w->refs, n, __ATOMIC_ACQ_REL) > 0)
                return;
        call_unref(w->call);
        free(w->ns);
        free(w->id);
        free(w->exec_id);
        free(w);
}

static void wait_end(Waiting *w, int r, const TaskExit *exit, const Err *err)
{
        Call *c = w->call;

        if (!call_claim(c)) {
                waiting_unref(w, 1); /* the other one is the cancellation's */
                return;
        }
        if (r < 0)
                w->kind->failed(c, w->id, err);
        else
                r = w->kind->exited(c, w->ns, w->id, exit);
        call_complete(c, r);
        waiting_unref(w, 2);
}

static void waited(void *ctx, int r, const TaskExit *exit, const Err *err)
{
        wait_end(ctx, r, exit, err);
}

static void wait_cancelled(Call *c)
{
        Waiting *w = c->state;

        waiting_unref(w, task_wait_cancel(w->runtime, &w->waiter) ? 2 : 1);
}

static void wait_begin(void *arg)
{
        Waiting *w = arg;
        Task *t CLEANUP(task_unrefp) = w->kind->find(w->runtime, w->ns, w->id);
        Err err = {};

        if (!t) {
                wait_end(w, w->kind->missing(w->id, &err), NULL, &err);
                return;
        }
        if (task_defer(t, wait_begin, w))
                return;
        if (!task_wait(t, w->exec_id, &w->waiter, waited, w))
                waiting_unref(w, 1);
}

int exit_wait(Call *c, Runtime *rt, const ExitWaitKind *kind, const char *ns, const char *id,
              const char *exec_id)
{
        Waiting *w = mem_new(Waiting);

        w->refs = 2;
        w->runtime = rt;
        w->kind = kind;
        w->call = call_ref(c);
        w->ns = mem_strdup(ns);
        w->id = mem_strdup(id);
        w->exec_id = mem_strdup(exec_id);
        c->state = w;
        call_on_cancel(c, wait_cancelled);
        wait_begin(w);
        return RPC_PENDING;
}
