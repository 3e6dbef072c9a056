/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One task: its connection to the shim and who waits for its processes.
 *
 * Waiting: a group per process holds everybody who waits and one Wait call to the shim; a waiter
 * that goes away leaves its group, and no call is sent again for the next one. A group whose call
 * was cut off by the end of the connection stays until the clean-up knows how the processes ended.
 *
 * The table holds one reference, the connection one, a group one, and every user one.
 */
#include <stdio.h>
#include "base/clock.h"
#include "rpc/message.h"
#include "runtime/runtime_priv.h"
#include "runtime/sandbox.h"
#include "runtime/shimlog.h"

static const char *const services[] = {
        [2] = "containerd.task.v2.Task", [3] = "containerd.task.v3.Task"};

typedef struct WaitGroup {
        List node; /* in task->groups */
        Task *task;
        char *exec_id;
        List waiters;
        int forgotten; /* takes no more waiters */
        int cut_off;   /* its call ended with the connection */
} WaitGroup;

Task *task_new(Runtime *rt, PlaceId place, const char *ns, const char *id, TaskState state)
{
        Task *t = mem_new(Task);

        t->magic = TASK_MAGIC;
        t->refs = 1;
        t->rt = rt;
        t->place = place;
        t->ns = mem_strdup(ns);
        t->id = mem_strdup(id);
        t->key = task_key(ns, id);
        t->bundle = mem_printf("%s/%s/%s", rt->places[place].state, ns, id);
        t->state = state;
        t->api = 3;
        list_init(&t->groups);
        return t;
}

Task *task_ref(Task *t)
{
        assert(t->magic == TASK_MAGIC);
        __atomic_add_fetch(&t->refs, 1, __ATOMIC_RELAXED);
        return t;
}

Task *task_unref(Task *t)
{
        if (!t)
                return NULL;
        assert(t->magic == TASK_MAGIC);
        if (__atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL) > 0)
                return NULL;
        assert(!t->connected && !t->log && t->deferred.n == 0);
        ttrpc_client_unref(t->client);
        VEC_DONE(&t->deferred);
        free(t->ns);
        free(t->id);
        free(t->key);
        free(t->bundle);
        free(t->binary);
        free(t->address);
        t->magic = 0;
        free(t);
        return NULL;
}

const char *task_id(const Task *t)
{
        return t->id;
}

const char *task_ns(const Task *t)
{
        return t->ns;
}

uint32_t task_pid(const Task *t)
{
        return t->pid;
}

const char *task_bundle(const Task *t)
{
        return t->bundle;
}

static void connection_closed(void *ctx)
{
        Task *t = ctx;

        t->log = shim_log_close(t->log);
        t->connected = 0;
        list_remove(&t->node);
        task_died(t);
        task_unref(t);
}

int task_connect(Task *t, const Bootstrap *b, Err *err)
{
        int fd, r;

        assert(loop_is_mine(t->rt->loop) && !t->client);
        r = ttrpc_dial(b->address, &fd, err);
        if (r >= 0)
                r = ttrpc_client_new(t->rt->loop, fd, connection_closed, t, &t->client, err);
        if (r < 0)
                return err_wrap(err, "connect to shim of %s", t->id);
        t->api = b->version;
        t->address = mem_strdup(b->address);
        t->looks = b->looks;
        t->connected = 1;
        list_append(&t->rt->connected, &t->node);
        task_ref(t);
        shim_log_watch(t->log, t->rt->loop);
        return 0;
}

void task_disconnect(Task *t)
{
        assert(loop_is_mine(t->rt->loop));
        if (t->client)
                ttrpc_client_close(t->client);
        t->log = shim_log_close(t->log);
        if (t->connected) {
                t->connected = 0;
                list_remove(&t->node);
                task_unref(t);
        }
}

typedef struct Refusal {
        TtrpcReplyFn fn;
        void *ctx;
} Refusal;

static void refuse(void *arg)
{
        Refusal *refusal = arg;
        Err err = {};

        refusal->fn(refusal->ctx, err_set(&err, UNAVAILABLE, "ttrpc: closed"), NULL, 0, &err);
        free(refusal);
}

void task_call(Task *t, const char *method, const void *req, int timeout_ms, TtrpcReplyFn fn,
               void *ctx)
{
        task_call_service(t, services[t->api], method, req, timeout_ms, fn, ctx);
}

void task_call_service(Task *t, const char *service, const char *method, const void *req,
                       int timeout_ms, TtrpcReplyFn fn, void *ctx)
{
        TtrpcCall call = {
                .service = service,
                .method = method,
                .ns = t->ns,
                .req = req,
                .timeout_ms = timeout_ms,
        };

        assert(t->magic == TASK_MAGIC);
        if (!t->client) {
                /* found while it was being recovered, and that went badly */
                Refusal *refusal = mem_new(Refusal);

                *refusal = (Refusal){fn, ctx};
                loop_post(t->rt->loop, refuse, refusal);
                return;
        }
        ttrpc_client_call(t->client, &call, fn, ctx);
}

int task_unpack(Arena *a, const char *method, const ProtobufCMessageDescriptor *desc,
                const void *bytes, size_t n, void *ret_message, Err *err)
{
        ProtobufCMessage *m;
        Err why = {};

        if (message_unpack(a, desc, bytes, n, &m, &why) < 0)
                return err_set(err, INTERNAL, "shim's answer to %s: %s", method, why.msg);
        *(void **)ret_message = m;
        return 0;
}

int task_error(Err *dst, const Err *src)
{
        const char *class = err_class_text(src->code);
        char text[ERR_MSG_MAX];

        if (str_ends(src->msg, class))
                return err_copy(dst, src);
        snprintf(text, sizeof(text), "%s", src->msg);
        return err_set_at(dst, src->code, src->file, src->line, "%s: %s", text, class);
}

/* Answers the group's waiters one by one, and takes the group away. */
static void group_end(WaitGroup *g, int r, const TaskExit *exit, const Err *err)
{
        Runtime *rt = g->task->rt;
        TaskWaiter *w;

        assert(loop_is_mine(rt->loop));
        for (;;) {
                lock_take(&rt->wait_lock);
                w = LIST_FIRST(&g->waiters, TaskWaiter, node);
                if (w)
                        list_remove(&w->node);
                else
                        list_remove(&g->node);
                lock_drop(&rt->wait_lock);
                if (!w)
                        break;
                w->fn(w->ctx, r, exit, err);
        }
        task_unref(g->task);
        free(g->exec_id);
        free(g);
}

/* Runs after the connection's end, if that was why the call failed, has been noticed. */
static void group_cut_off(void *ctx)
{
        WaitGroup *g = ctx;
        Task *t = g->task;
        Err err = {};

        if (t->ended)
                group_end(g, 0, &t->exit, NULL);
        else if (!t->connected && !t->rt->stopping)
                g->cut_off = 1; /* task_wait_end() will come */
        else
                group_end(g,
                          err_set(&err, UNAVAILABLE, "shim of task %s is not there: unavailable",
                                  t->id),
                          NULL, &err);
}

static void wait_replied(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        const Task__WaitResponse *rsp = NULL;
        WaitGroup *g = ctx;
        TaskExit exit = {};
        Err bad = {};
        Arena a CLEANUP(arena_done);

        arena_init(&a, LIMIT_PB_ARENA_BASE);
        if (r == -UNAVAILABLE && !g->task->rt->stopping) {
                loop_post(g->task->rt->loop, group_cut_off, g);
                return;
        }
        if (r == 0)
                r = task_unpack(&a, "Wait", &task__wait_response__descriptor, bytes, n, &rsp, &bad);
        if (r < 0) {
                group_end(g, r, NULL, bad.code ? &bad : err);
                return;
        }
        exit.status = rsp->exit_status;
        exit.sec = rsp->exited_at ? rsp->exited_at->seconds : TIME_YEAR1.sec;
        exit.nsec = rsp->exited_at ? rsp->exited_at->nanos : 0;
        group_end(g, 0, &exit, NULL);
}

/* The answers of both services are the same on the wire. */
static void ask_to_wait(WaitGroup *g)
{
        Task__WaitRequest req = TASK__WAIT_REQUEST__INIT;
        ShimSandbox__WaitSandboxRequest of_sandbox = SHIM_SANDBOX__WAIT_SANDBOX_REQUEST__INIT;
        Task *t = g->task;

        of_sandbox.sandbox_id = req.id = t->id;
        req.exec_id = g->exec_id;
        if (t->place == PLACE_SANDBOXES)
                sandbox_call(t, "WaitSandbox", &of_sandbox, 0, wait_replied, g);
        else
                task_call(t, "Wait", &req, 0, wait_replied, g);
}

int task_wait(Task *t, const char *exec_id, TaskWaiter *w, TaskWaitFn fn, void *ctx)
{
        Runtime *rt = t->rt;
        WaitGroup *g = NULL;
        int is_new;

        w->fn = fn;
        w->ctx = ctx;
        lock_take(&rt->wait_lock);
        if (w->cancelled) {
                lock_drop(&rt->wait_lock);
                return 0;
        }
        LIST_FOREACH (i, &t->groups, WaitGroup, node)
                if (!i->forgotten && str_eq(i->exec_id, exec_id)) {
                        g = i;
                        break;
                }
        is_new = g == NULL;
        if (is_new) {
                g = mem_new(WaitGroup);
                g->task = task_ref(t);
                g->exec_id = mem_strdup(exec_id);
                list_init(&g->waiters);
                list_append(&t->groups, &g->node);
        }
        list_append(&g->waiters, &w->node);
        lock_drop(&rt->wait_lock);
        if (is_new)
                ask_to_wait(g);
        return 1;
}

int task_wait_cancel(Runtime *rt, TaskWaiter *w)
{
        LOCKED(&rt->wait_lock);

        w->cancelled = 1;
        if (!list_linked(&w->node))
                return 0;
        list_remove(&w->node);
        return 1;
}

void task_wait_forget(Task *t, const char *exec_id)
{
        LOCKED(&t->rt->wait_lock);

        LIST_FOREACH (g, &t->groups, WaitGroup, node)
                if (str_eq(g->exec_id, exec_id))
                        g->forgotten = 1;
}

void task_wait_end(Task *t, const TaskExit *exit)
{
        WaitGroup *found;

        assert(loop_is_mine(t->rt->loop));
        if (t->ended)
                return;
        t->ended = 1;
        t->exit = *exit;
        do {
                found = NULL;
                lock_take(&t->rt->wait_lock);
                LIST_FOREACH (g, &t->groups, WaitGroup, node)
                        if (g->cut_off) {
                                found = g;
                                break;
                        }
                lock_drop(&t->rt->wait_lock);
                if (found)
                        group_end(found, 0, exit, NULL);
        } while (found);
}
