/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Creating a task, in steps, under the container's operation:
 *
 *         start     pool   bundle, the shim's `start`
 *         connect   loop   connection, Create is sent
 *         replied   loop   into the table; or, on failure:
 *         undo      loop   Delete and Shutdown at the shim, as far as it answers; connection closed
 *         clean     pool   `SHIM delete` if it did not answer, bundle removed
 *         done             operation left, the caller told
 *
 * The task enters the table only when the shim has it, so nobody sees half of one.
 */
#include "base/log.h"
#include "runtime/bundle.h"
#include "runtime/orphan.h"
#include "runtime/runtime_priv.h"
#include "runtime/shim.h"
#include "runtime/shimlog.h"

typedef struct CreateOp {
        Op op;
        Work work;
        TaskCreate *what;
        TaskCreateFn fn;
        void *ctx;
        Task *task;
        Bootstrap bootstrap;
        Arena arena;
        Err err;
        int lost; /* the shim no longer answers */
} CreateOp;

static void done(CreateOp *o)
{
        TaskCreateFn fn = o->fn;
        void *ctx = o->ctx;
        uint32_t pid = o->task ? o->task->pid : 0;
        Err err = o->err;

        op_leave(&o->op);
        task_unref(o->task);
        arena_done(&o->arena);
        free(o);
        fn(ctx, -err.code, pid, &err);
}

static void clean(Work *w)
{
        CreateOp *o = CONTAINER_OF(w, CreateOp, work);
        Runtime *rt = o->op.rt;
        uint32_t pid;
        TaskExit exit;
        Err err = {};

        if (runtime_stopping(rt)) {
                done(o);
                return;
        }
        if (o->lost && shim_delete(rt, o->task->binary, o->task->bundle, o->what->ns, o->what->id,
                                   &pid, &exit, &err) < 0)
                log_warn("failed to clean up after shim", "error", err.msg, "id", o->what->id,
                         "namespace", o->what->ns);
        if (bundle_remove(rt->root, rt->state, o->what->ns, o->what->id, &err) < 0)
                log_warn("failed to remove bundle", "error", err.msg, "id", o->what->id,
                         "namespace", o->what->ns);
        done(o);
}

/* Lets go of connection and log. */
static void drop(void *arg)
{
        CreateOp *o = arg;

        task_disconnect(o->task);
        lane_submit(o->op.rt, LANE_BACKGROUND, &o->work, clean);
}

static void undo_shutdown_replied(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        CreateOp *o = ctx;

        /* an ended connection is how a shim obeys */
        o->lost |= r == -DEADLINE_EXCEEDED;
        drop(o);
}

static void undo_delete_replied(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        Task__ShutdownRequest req = TASK__SHUTDOWN_REQUEST__INIT;
        CreateOp *o = ctx;

        o->lost |= r == -DEADLINE_EXCEEDED || r == -UNAVAILABLE;
        req.id = o->what->id;
        task_call(o->task, "Shutdown", &req, o->op.rt->timeouts.shutdown, undo_shutdown_replied, o);
}

static void undo(CreateOp *o)
{
        Task__DeleteRequest req = TASK__DELETE_REQUEST__INIT;

        if (!o->task->client) {
                drop(o);
                return;
        }
        o->lost = 0;
        req.id = o->what->id;
        task_call(o->task, "Delete", &req, o->op.rt->timeouts.cleanup, undo_delete_replied, o);
}

static int cancelled(CreateOp *o)
{
        if (!o->what->cancelled || !o->what->cancelled(o->ctx))
                return 0;
        err_set(&o->err, CANCELLED, "context canceled");
        return 1;
}

static void replied(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        const Task__CreateTaskResponse *rsp;
        CreateOp *o = ctx;

        if (r == -UNIMPLEMENTED && o->task->api == 3) {
                /* a shim that promises v3 and serves v2 */
                o->task->api = o->bootstrap.version = 2;
                task_call(o->task, "Create", &o->what->req, LIMIT_SHIM_CALL_MS, replied, o);
                return;
        }
        if (r < 0)
                task_error(&o->err, err);
        else
                r = task_unpack(&o->arena, "Create", &task__create_task_response__descriptor, bytes,
                                n, &rsp, &o->err);
        if (r == 0 && cancelled(o))
                r = -o->err.code;
        if (r < 0) {
                err_wrap(&o->err, "failed to create shim task");
                undo(o);
                return;
        }
        task_put_in(o->task, rsp->pid);
        done(o);
}

static void connect_to_shim(void *arg)
{
        CreateOp *o = arg;

        if (runtime_refuse(o->op.rt, &o->err) < 0) {
                drop(o);
                return;
        }
        if (task_connect(o->task, &o->bootstrap, &o->err) < 0) {
                err_wrap(&o->err, "failed to start shim");
                undo(o);
                return;
        }
        o->what->req.id = o->what->id;
        o->what->req.bundle = o->task->bundle;
        task_call(o->task, "Create", &o->what->req, LIMIT_SHIM_CALL_MS, replied, o);
}

static int make_bundle(CreateOp *o)
{
        const TaskCreate *w = o->what;
        char *path CLEANUP(cleanup_free) = NULL;
        Runtime *rt = o->op.rt;
        int r;

        r = bundle_create(rt->root, rt->state, w->ns, w->id, w->spec, w->n_spec, &path, &o->err);
        if (r != -ALREADY_EXISTS)
                return r;
        /* No task has it and nobody else may change it now: an earlier removal went wrong. */
        r = bundle_remove(rt->root, rt->state, w->ns, w->id, &o->err);
        if (r < 0)
                return r;
        err_clear(&o->err);
        return bundle_create(rt->root, rt->state, w->ns, w->id, w->spec, w->n_spec, &path, &o->err);
}

static int run_shim(CreateOp *o)
{
        const TaskCreate *w = o->what;
        int r;

        /* before the shim opens its end, which blocks until there is a reader */
        o->task->log = shim_log_new(o->task->bundle);
        r = shim_start(o->op.rt, o->task->binary, o->task->bundle, w->ns, w->id, w->options,
                       &o->arena, &o->bootstrap, &o->err);
        if (r < 0) {
                orphans_end(o->task->bundle, w->id); /* what a helper that failed has made */
                return err_wrap(&o->err, "failed to start shim");
        }
        /* It runs, and until we are connected only `SHIM delete` ends what it has begun. */
        o->lost = 1;
        return shim_remember(o->task->bundle, o->task->binary, &o->bootstrap, &o->err);
}

static void start(Work *work)
{
        CreateOp *o = CONTAINER_OF(work, CreateOp, work);
        const TaskCreate *w = o->what;
        Op *op = &o->op;
        Task *there CLEANUP(task_unrefp) = runtime_find(op->rt, w->ns, w->id);

        if (runtime_refuse(op->rt, &o->err) < 0 || cancelled(o)) {
                done(o);
                return;
        }
        if (there) {
                err_set(&o->err, ALREADY_EXISTS, "task %s: already exists", w->id);
                done(o);
                return;
        }
        o->task = task_new(op->rt, w->ns, w->id, TASK_NEW);
        if (shim_resolve(w->runtime, &o->task->binary, &o->err) < 0) {
                err_wrap(&o->err, "failed to start shim: failed to resolve runtime path");
                done(o);
                return;
        }
        if (make_bundle(o) < 0) {
                done(o);
                return;
        }
        if (run_shim(o) < 0) {
                loop_post(op->rt->loop, drop, o);
                return;
        }
        loop_post(op->rt->loop, connect_to_shim, o);
}

static void begin(Op *op)
{
        CreateOp *o = CONTAINER_OF(op, CreateOp, op);

        lane_submit(op->rt, LANE_START, &o->work, start);
}

void task_create(Runtime *rt, TaskCreate *create, TaskCreateFn fn, void *ctx)
{
        CreateOp *o = mem_new(CreateOp);

        o->what = create;
        o->fn = fn;
        o->ctx = ctx;
        o->op.rt = rt;
        arena_init(&o->arena, LIMIT_PB_ARENA_BASE);
        if (op_enter(rt, &o->op, create->ns, create->id, begin, 1, &o->err) < 0) {
                Err err = o->err;

                arena_done(&o->arena);
                free(o);
                fn(ctx, -err.code, 0, &err);
        }
}
