/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a task, wished or not.
 *
 * task_delete: Delete at the shim; out of the table, which is what keeps the end of the connection
 * from being taken for a death; Shutdown; connection closed; bundle removed. A shim that has died,
 * or does not know the task any more, is cleaned up after as below.
 *
 * task_died: the connection ended by itself. In the background and under the container's operation:
 * `SHIM delete` kills what is left, the task leaves the table, exit and delete are published once,
 * who waits is answered.
 */
#include "base/clock.h"
#include "base/log.h"
#include "runtime/bundle.h"
#include "runtime/runtime_priv.h"
#include "runtime/shim.h"
#include "api/containerd/events/events.pb-c.h"

void dead_publish(Task *t, uint32_t pid, const TaskExit *exit)
{
        Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
        Events__TaskExit exited = EVENTS__TASK_EXIT__INIT;
        Events__TaskDelete deleted = EVENTS__TASK_DELETE__INIT;
        Err err = {};

        at.seconds = exit->sec;
        at.nanos = exit->nsec;
        exited.container_id = exited.id = t->id;
        exited.pid = deleted.pid = pid;
        exited.exit_status = deleted.exit_status = exit->status;
        exited.exited_at = deleted.exited_at = &at;
        deleted.container_id = t->id;
        if (exchange_publish_message(t->rt->ex, t->ns, "/tasks/exit", &exited, &err) < 0 ||
            exchange_publish_message(t->rt->ex, t->ns, "/tasks/delete", &deleted, &err) < 0)
                log_error("failed to publish the end of a task", "error", err.msg, "id", t->id,
                          "namespace", t->ns);
}

void dead_drop_bundle(Task *t)
{
        Err err = {};

        const Place *place = &t->rt->places[t->place];

        if (bundle_remove(place->root, place->state, t->ns, t->id, &err) < 0)
                log_warn("failed to remove bundle", "error", err.msg, "id", t->id, "namespace",
                         t->ns);
        launch_unmount(t->rt, t->place, t->ns, t->id);
}

uint32_t dead_clean(Task *t, TaskExit *ret)
{
        Time now = time_now();
        uint32_t pid = 0;
        Err err = {};

        if (!t->binary ||
            shim_delete(t->rt, t->binary, t->bundle, t->ns, t->id, &pid, ret, &err) < 0) {
                log_warn("failed to clean up after dead shim", "error",
                         t->binary ? err.msg : "its binary is not known", "id", t->id, "namespace",
                         t->ns);
                pid = 0;
                *ret = (TaskExit){STATUS_UNKNOWN, now.sec, now.nsec};
        }
        return pid;
}

/* --- a dead shim --- */

typedef struct DeadOp {
        Op op;
        Work work;
        Task *task;
        TaskExit exit;
} DeadOp;

static void dead_done(void *arg)
{
        DeadOp *o = arg;

        task_wait_end(o->task, &o->exit);
        task_unref(o->task);
        free(o);
}

static void dead_work(Work *w)
{
        DeadOp *o = CONTAINER_OF(w, DeadOp, work);
        Loop *loop = o->op.rt->loop;
        Task *t = o->task;
        uint32_t pid;

        o->exit.status = STATUS_UNKNOWN;
        if (!runtime_stopping(t->rt)) {
                pid = dead_clean(t, &o->exit);
                dead_drop_bundle(t);
                task_take_out(t);
                log_info("shim disconnected, cleaned up", "id", t->id, "namespace", t->ns);
                dead_publish(t, pid, &o->exit);
        }
        op_leave(&o->op);
        loop_post(loop, dead_done, o);
}

static void dead_begin(Op *op)
{
        DeadOp *o = CONTAINER_OF(op, DeadOp, op);
        Task *now = runtime_find_any(op->rt, o->task->ns, o->task->id);
        int still = now == o->task;

        task_unref(now);
        if (still) {
                lane_submit(op->rt, LANE_BACKGROUND, &o->work, dead_work);
                return;
        }
        op_leave(op); /* somebody deleted it meanwhile */
        task_unref(o->task);
        free(o);
}

void task_died(Task *t)
{
        Runtime *rt = t->rt;
        Err ignored = {};
        DeadOp *o;

        lock_take(&rt->lock);
        if (t->state != TASK_READY || rt->stopping) {
                lock_drop(&rt->lock);
                return;
        }
        lock_drop(&rt->lock);
        o = mem_new(DeadOp);
        o->task = task_ref(t);
        op_enter(rt, &o->op, t->ns, t->id, dead_begin, 0, &ignored);
}

/* --- Delete --- */

typedef struct DeleteOp {
        Op op;
        Work work;
        const char *ns, *id; /* inside the memory of this */
        TaskDeleteFn fn;
        void *ctx;
        Task *task;
        int lost;
        Task__DeleteResponse rsp;
        Google__Protobuf__Timestamp exited_at;
        Err err;
        char names[];
} DeleteOp;

static void delete_done(DeleteOp *o)
{
        op_leave(&o->op);
        o->fn(o->ctx, -o->err.code, &o->rsp, &o->err);
        task_unref(o->task);
        free(o);
}

static void delete_ended(void *arg)
{
        DeleteOp *o = arg;
        TaskExit exit = {o->rsp.exit_status, o->exited_at.seconds, o->exited_at.nanos};

        task_wait_end(o->task, &exit);
        delete_done(o);
}

static void delete_finish(Work *w)
{
        DeleteOp *o = CONTAINER_OF(w, DeleteOp, work);
        Task *t = o->task;
        TaskExit exit;

        if (o->lost && runtime_refuse(t->rt, &o->err) < 0) {
                loop_post(t->rt->loop, delete_ended, o);
                return;
        }
        if (o->lost) {
                o->rsp.pid = dead_clean(t, &exit);
                o->rsp.exit_status = exit.status;
                o->exited_at.seconds = exit.sec;
                o->exited_at.nanos = exit.nsec;
                dead_publish(t, o->rsp.pid, &exit);
        }
        dead_drop_bundle(t);
        loop_post(t->rt->loop, delete_ended, o);
}

static void delete_finish_now(void *arg)
{
        DeleteOp *o = arg;

        delete_finish(&o->work);
}

static void delete_disconnect(DeleteOp *o)
{
        task_disconnect(o->task);
        if (o->lost)
                lane_submit(o->op.rt, LANE_BACKGROUND, &o->work, delete_finish);
        else
                pool_submit(o->op.rt->pool, delete_finish_now, o);
}

static void shutdown_replied(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        delete_disconnect(ctx);
}

static void delete_replied(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        Task__ShutdownRequest req = TASK__SHUTDOWN_REQUEST__INIT;
        const Task__DeleteResponse *rsp;
        DeleteOp *o = ctx;
        Arena a CLEANUP(arena_done);

        arena_init(&a, LIMIT_PB_ARENA_BASE);
        if (r == 0)
                r = task_unpack(&a, "Delete", &task__delete_response__descriptor, bytes, n, &rsp,
                                &o->err);
        else if (r == -NOT_FOUND || r == -UNAVAILABLE)
                o->lost = 1;
        else
                task_error(&o->err, err);
        if (r < 0 && !o->lost) {
                err_wrap(&o->err, "failed to delete task");
                delete_done(o);
                return;
        }
        if (r == -UNAVAILABLE && runtime_refuse(o->op.rt, &o->err) < 0) {
                delete_done(o);
                return;
        }
        task_take_out(o->task);
        if (r == -UNAVAILABLE) {
                delete_disconnect(o);
                return;
        }
        if (r == 0) {
                o->rsp.pid = rsp->pid;
                o->rsp.exit_status = rsp->exit_status;
                o->exited_at.seconds = rsp->exited_at ? rsp->exited_at->seconds : TIME_YEAR1.sec;
                o->exited_at.nanos = rsp->exited_at ? rsp->exited_at->nanos : 0;
        }
        if (o->task->joined) { /* the shim is the sandbox's */
                delete_disconnect(o);
                return;
        }
        req.id = o->id;
        task_call(o->task, "Shutdown", &req, o->op.rt->timeouts.shutdown, shutdown_replied, o);
}

static void delete_begin(Op *op)
{
        Task__DeleteRequest req = TASK__DELETE_REQUEST__INIT;
        DeleteOp *o = CONTAINER_OF(op, DeleteOp, op);

        if (runtime_refuse(op->rt, &o->err) < 0) {
                delete_done(o);
                return;
        }
        o->task = runtime_find(op->rt, o->ns, o->id);
        if (!o->task) {
                err_set(&o->err, NOT_FOUND, "task %s not found: not found", o->id);
                delete_done(o);
                return;
        }
        req.id = o->id;
        task_call(o->task, "Delete", &req, LIMIT_SHIM_CALL_MS, delete_replied, o);
}

void task_delete(Runtime *rt, const char *ns, const char *id, TaskDeleteFn fn, void *ctx)
{
        size_t n_ns = strlen(ns) + 1, n_id = strlen(id) + 1;
        DeleteOp *o = mem_alloc(sizeof(*o) + n_ns + n_id);

        o->ns = memcpy(o->names, ns, n_ns);
        o->id = memcpy(o->names + n_ns, id, n_id);
        o->fn = fn;
        o->ctx = ctx;
        task__delete_response__init(&o->rsp);
        google__protobuf__timestamp__init(&o->exited_at);
        o->exited_at.seconds = TIME_YEAR1.sec;
        o->rsp.exited_at = &o->exited_at;
        if (op_enter(rt, &o->op, ns, id, delete_begin, 1, &o->err) < 0) {
                fn(ctx, -o->err.code, NULL, &o->err);
                free(o);
        }
}
