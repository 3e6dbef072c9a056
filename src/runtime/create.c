/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Creating a task. One of a sandbox may live in the sandbox's shim: then nothing is started, its
 * bundle says whose shim it is and where, and that shim is never told to end on its account.
 */
#include <fcntl.h>
#include "base/fd.h"
#include "base/path.h"
#include "rpc/message.h"
#include "runtime/info.h"
#include "runtime/runtime_priv.h"
#include "runtime/sandbox.h"

typedef struct CreateOp {
        Launch launch;
        TaskCreate *what;
        TaskCreateFn fn;
        void *ctx;
        Arena rootfs; /* mounts in the place of the caller's */
} CreateOp;

static CreateOp *op_of(Launch *l)
{
        return CONTAINER_OF(l, CreateOp, launch);
}

static void ended(Launch *l)
{
        CreateOp *o = op_of(l);
        TaskCreateFn fn = o->fn;
        void *ctx = o->ctx;
        uint32_t pid = l->task ? l->task->pid : 0;
        Err err = l->err;

        launch_done(l);
        arena_done(&o->rootfs);
        free(o);
        fn(ctx, -err.code, pid, &err);
}

static void undo_shutdown_replied(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        Launch *l = ctx;

        /* an ended connection is how a shim obeys */
        l->lost |= r == -DEADLINE_EXCEEDED;
        launch_drop(l);
}

static void undo_delete_replied(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        Task__ShutdownRequest req = TASK__SHUTDOWN_REQUEST__INIT;
        Launch *l = ctx;

        l->lost |= r == -DEADLINE_EXCEEDED || r == -UNAVAILABLE;
        if (l->task->joined) {
                launch_drop(l);
                return;
        }
        req.id = l->id;
        task_call(l->task, "Shutdown", &req, l->op.rt->timeouts.shutdown, undo_shutdown_replied, l);
}

static void undo(Launch *l)
{
        Task__DeleteRequest req = TASK__DELETE_REQUEST__INIT;

        req.id = l->id;
        task_call(l->task, "Delete", &req, l->op.rt->timeouts.cleanup, undo_delete_replied, l);
}

static void replied(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        const Task__CreateTaskResponse *rsp;
        CreateOp *o = ctx;
        Launch *l = &o->launch;

        if (r == -UNIMPLEMENTED && l->task->api == 3) {
                /* a shim that promises v3 and serves v2 */
                l->task->api = l->bootstrap.version = 2;
                task_call(l->task, "Create", &o->what->req, LIMIT_SHIM_CALL_MS, replied, o);
                return;
        }
        if (r < 0)
                task_error(&l->err, err);
        else
                r = task_unpack(&l->arena, "Create", &task__create_task_response__descriptor, bytes,
                                n, &rsp, &l->err);
        if (r == 0 && launch_cancelled(l))
                r = -l->err.code;
        if (r < 0) {
                err_wrap(&l->err, "failed to create shim task");
                launch_undo(l);
                return;
        }
        launch_ready(l, rsp->pid);
}

static void connected(Launch *l)
{
        CreateOp *o = op_of(l);

        o->what->req.id = l->id;
        o->what->req.bundle = l->task->bundle;
        task_call(l->task, "Create", &o->what->req, LIMIT_SHIM_CALL_MS, replied, o);
}

/* "ttrpc+unix:///run/x.sock" */
static int parse_address(const char *text, const char **ret, Err *err)
{
        static const char protocol[] = "ttrpc+";

        if (!str_starts(text, protocol))
                return err_set(err, UNIMPLEMENTED,
                               "task API address \"%s\": unsupported protocol: not implemented",
                               text);
        *ret = text + strlen(protocol);
        return 0;
}

static int join(Launch *l)
{
        const TaskCreate *w = op_of(l)->what;
        Task *sandbox CLEANUP(task_unrefp) = NULL;
        int r;

        if (!w->sandbox)
                return 0;
        if (!str_empty(w->sandbox_address)) {
                l->bootstrap.version = w->sandbox_version;
                r = parse_address(w->sandbox_address, &l->bootstrap.address, &l->err);
                return r < 0 ? r : w->sandbox_version >= 3;
        }
        sandbox = runtime_find_any(l->op.rt, w->ns, w->sandbox);
        if (!sandbox)
                return err_set(&l->err, UNKNOWN, "failed to start shim: can't find sandbox %s",
                               w->sandbox);
        r = bootstrap_load(&l->arena, sandbox->bundle, &l->bootstrap, &l->err);
        if (r < 0)
                return err_wrap(&l->err, "failed to start shim: sandbox %s", w->sandbox);
        return l->bootstrap.version >= 3;
}

/* The mounts that a shim of somebody else's takes as they are: it says so among its annotations, as
 * "type, type". One that says nothing takes none. */
static size_t allowed_mounts(CreateOp *o, const char ***ret)
{
        static const char key[] = "containerd.io/runtime-allow-mounts";
        const Launch *l = &o->launch;
        ProtobufCBinaryData bytes;
        ProtobufCMessage *m;
        size_t n = 0;
        Err ignored;

        *ret = NULL;
        if (str_eq(l->runtime, "io.containerd.runc.v2") ||
            runtime_info(l->runtime, l->options, &o->rootfs, &bytes, &ignored) < 0 ||
            message_unpack(&o->rootfs, &types__runtime_info__descriptor, bytes.data, bytes.len, &m,
                           &ignored) < 0)
                return 0;
        for (size_t i = 0; i < ((Types__RuntimeInfo *)m)->n_annotations; i++) {
                const Types__RuntimeInfo__AnnotationsEntry *e =
                        ((Types__RuntimeInfo *)m)->annotations[i];

                if (!str_eq(e->key, key))
                        continue;
                *ret = arena_array(&o->rootfs, const char *, strlen(e->value) + 1);
                for (const char *p = e->value; *(p += strspn(p, ", ")); p += strcspn(p, ", "))
                        (*ret)[n++] = arena_strndup(&o->rootfs, p, strcspn(p, ", "));
        }
        return n;
}

static int mount_rootfs(CreateOp *o)
{
        Task__CreateTaskRequest *req = &o->what->req;
        Launch *l = &o->launch;
        const RuntimeMounts *m = &l->op.rt->mounts;
        const char **allow;
        size_t n_allow;

        if (!m->wanted || !m->wanted(m->ctx, req->rootfs, req->n_rootfs))
                return 0;
        n_allow = allowed_mounts(o, &allow);
        return m->activate(m->ctx, &o->rootfs, l->ns, l->id, allow, n_allow, &req->rootfs,
                           &req->n_rootfs, &l->err);
}

static int prepare(Launch *l)
{
        TaskCreate *w = op_of(l)->what;
        int r = mount_rootfs(op_of(l));

        if (r < 0)
                return err_wrap(&l->err, "failed to mount rootfs component");
        return w->prepare ? w->prepare(op_of(l)->ctx, l->task->bundle, &l->err) : 0;
}

static void wrap(Launch *l)
{
        err_wrap(&l->err, "failed to start shim");
}

static int cancelled(Launch *l)
{
        CreateOp *o = op_of(l);

        return o->what->cancelled && o->what->cancelled(o->ctx);
}

static const LaunchKind task_kind = {
        .place = PLACE_TASKS,
        .exists = "task %s: already exists",
        .wrap = wrap,
        .join = join,
        .prepare = prepare,
        .cancelled = cancelled,
        .connected = connected,
        .undo = undo,
        .ended = ended,
};

void task_create(Runtime *rt, TaskCreate *create, TaskCreateFn fn, void *ctx)
{
        CreateOp *o = mem_new(CreateOp);

        arena_init(&o->rootfs, SIZE_MAX);
        o->what = create;
        o->fn = fn;
        o->ctx = ctx;
        o->launch.kind = &task_kind;
        o->launch.ns = create->ns;
        o->launch.id = create->id;
        o->launch.runtime = create->runtime;
        o->launch.spec = create->spec;
        o->launch.n_spec = create->n_spec;
        o->launch.options = create->options;
        o->launch.sandbox = create->sandbox;
        launch_begin(&o->launch, rt);
}
