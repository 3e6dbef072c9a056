/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sandbox from CreateSandbox to ShutdownSandbox, each under the container's operation. What it
 * does in between is between the client and the shim.
 */
#include "runtime/sandbox.h"

#include <fcntl.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fd.h"
#include "runtime/runtime_priv.h"

#define SERVICE "containerd.runtime.sandbox.v1.Sandbox"

void sandbox_call(Task *sandbox, const char *method, const void *req, int timeout_ms,
                  TtrpcReplyFn fn, void *ctx)
{
        task_call_service(sandbox, SERVICE, method, req, timeout_ms, fn, ctx);
}

const char *sandbox_address(Arena *a, const Task *sandbox, uint32_t *ret_version)
{
        *ret_version = (uint32_t)sandbox->api;
        return sandbox->address ? arena_printf(a, "ttrpc+%s", sandbox->address) : "";
}

static char *note_path(const char *bundle)
{
        return mem_printf("%s/sandbox", bundle);
}

int sandbox_is_joined(const char *bundle)
{
        char *path CLEANUP(cleanup_free) = note_path(bundle);

        return access(path, F_OK) == 0;
}

int sandbox_note_joined(const char *bundle, const char *sandbox, Err *err)
{
        char *path CLEANUP(cleanup_free) = note_path(bundle);

        return file_write(AT_FDCWD, path, sandbox, strlen(sandbox), 0600, err);
}

/* --- Create --- */

typedef struct CreateOp {
        Launch launch;
        SandboxCreate *what;
        SandboxFn fn;
        void *ctx;
} CreateOp;

static CreateOp *op_of(Launch *l)
{
        return CONTAINER_OF(l, CreateOp, launch);
}

static void ended(Launch *l)
{
        CreateOp *o = op_of(l);
        SandboxFn fn = o->fn;
        void *ctx = o->ctx;
        Err err = l->err;

        launch_done(l);
        free(o);
        fn(ctx, -err.code, &err);
}

static void undone(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        Launch *l = ctx;

        l->lost = r < 0;
        launch_drop(l);
}

static void undo_replied(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        Task__ShutdownRequest req = TASK__SHUTDOWN_REQUEST__INIT;
        Launch *l = ctx;

        if (r != -UNIMPLEMENTED) {
                undone(l, r, bytes, n, err);
                return;
        }
        /* a shim that knows tasks only */
        req.id = l->id;
        task_call(l->task, "Shutdown", &req, l->op.rt->timeouts.shutdown, undone, l);
}

static void undo(Launch *l)
{
        ShimSandbox__ShutdownSandboxRequest req = SHIM_SANDBOX__SHUTDOWN_SANDBOX_REQUEST__INIT;

        req.sandbox_id = l->id;
        sandbox_call(l->task, "ShutdownSandbox", &req, l->op.rt->timeouts.cleanup, undo_replied, l);
}

static void created(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        CreateOp *o = ctx;
        Launch *l = &o->launch;

        if (r < 0) {
                task_error(&l->err, err);
                err_wrap(&l->err, "failed to create sandbox %s", l->id);
        } else if (launch_cancelled(l)) {
                r = -l->err.code;
        }
        if (r < 0)
                launch_undo(l);
        else
                launch_ready(l, 0);
}

static void connected(Launch *l)
{
        CreateOp *o = op_of(l);

        o->what->req.sandbox_id = l->id;
        o->what->req.bundle_path = l->task->bundle;
        sandbox_call(l->task, "CreateSandbox", &o->what->req, LIMIT_SHIM_CALL_MS, created, o);
}

static int join(Launch *l)
{
        return 0;
}

static void wrap(Launch *l)
{
        err_wrap(&l->err, "failed to start new shim for sandbox %s", l->id);
}

static int cancelled(Launch *l)
{
        CreateOp *o = op_of(l);

        return o->what->cancelled && o->what->cancelled(o->ctx);
}

static const LaunchKind sandbox_kind = {
        .place = PLACE_SANDBOXES,
        .exists = "sandbox %s already running: already exists",
        .wrap = wrap,
        .join = join,
        .cancelled = cancelled,
        .connected = connected,
        .undo = undo,
        .ended = ended,
};

void sandbox_create(Runtime *rt, SandboxCreate *create, SandboxFn fn, void *ctx)
{
        CreateOp *o = mem_new(CreateOp);

        o->what = create;
        o->fn = fn;
        o->ctx = ctx;
        o->launch.kind = &sandbox_kind;
        o->launch.ns = create->ns;
        o->launch.id = create->id;
        o->launch.runtime = create->runtime;
        o->launch.spec = create->spec;
        o->launch.n_spec = create->n_spec;
        o->launch.options = create->options;
        launch_begin(&o->launch, rt);
}

/* --- Shutdown --- */

typedef struct ShutdownOp {
        Op op;
        Work work;
        char *ns, *id;
        int force, lost;
        SandboxFn fn;
        void *ctx;
        Task *task;
        TaskExit exit;
        Err err;
} ShutdownOp;

static void shutdown_done(ShutdownOp *o)
{
        op_leave(&o->op);
        if (o->force)
                err_clear(&o->err);
        o->fn(o->ctx, -o->err.code, &o->err);
        task_unref(o->task);
        free(o->ns);
        free(o->id);
        free(o);
}

static void shutdown_ended(void *arg)
{
        ShutdownOp *o = arg;

        task_wait_end(o->task, &o->exit);
        shutdown_done(o);
}

static void shutdown_clean(Work *w)
{
        ShutdownOp *o = CONTAINER_OF(w, ShutdownOp, work);
        Time now = time_now();

        if (!runtime_stopping(o->op.rt)) {
                o->exit = (TaskExit){STATUS_UNKNOWN, now.sec, now.nsec};
                if (o->lost)
                        dead_clean(o->task, &o->exit);
                dead_drop_bundle(o->task);
        }
        loop_post(o->op.rt->loop, shutdown_ended, o);
}

static void shutdown_replied(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        ShutdownOp *o = ctx;

        if (r < 0) {
                task_error(&o->err, err);
                err_wrap(&o->err, "failed to shutdown sandbox");
        }
        if (r < 0 && (!o->force || runtime_stopping(o->op.rt))) {
                shutdown_done(o);
                return;
        }
        o->lost = r < 0;
        /* from here on the end of the connection is no death */
        task_take_out(o->task);
        task_disconnect(o->task);
        lane_submit(o->op.rt, LANE_BACKGROUND, &o->work, shutdown_clean);
}

static void shutdown_begin(Op *op)
{
        ShimSandbox__ShutdownSandboxRequest req = SHIM_SANDBOX__SHUTDOWN_SANDBOX_REQUEST__INIT;
        ShutdownOp *o = CONTAINER_OF(op, ShutdownOp, op);

        o->task = sandbox_find(op->rt, o->ns, o->id);
        if (runtime_refuse(op->rt, &o->err) < 0 || !o->task) {
                if (!o->err.code)
                        err_set(&o->err, NOT_FOUND, "sandbox %s: not found", o->id);
                shutdown_done(o);
                return;
        }
        req.sandbox_id = o->id;
        sandbox_call(o->task, "ShutdownSandbox", &req,
                     o->force ? op->rt->timeouts.cleanup : LIMIT_SHIM_CALL_MS, shutdown_replied, o);
}

void sandbox_shutdown(Runtime *rt, const char *ns, const char *id, int force, SandboxFn fn,
                      void *ctx)
{
        ShutdownOp *o = mem_new(ShutdownOp);

        o->ns = mem_strdup(ns);
        o->id = mem_strdup(id);
        o->force = force;
        o->fn = fn;
        o->ctx = ctx;
        if (op_enter(rt, &o->op, ns, id, shutdown_begin, !force, &o->err) < 0) {
                fn(ctx, -o->err.code, &o->err);
                free(o->ns);
                free(o->id);
                free(o);
        }
}
