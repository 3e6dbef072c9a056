/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Create of a container with a checkpoint only mounts its rootfs and leaves it without a process;
 * Start restores that, and from then on it is a container as any other.
 *
 * criu writes its log into its work folder. One of our own goes when the runtime has ended, so the
 * log of a failure is kept in the bundle.
 */
#include "shim/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <unistd.h>
#include "api/containerd/events/events.pb-c.h"
#include "api/containerd/runc/v1/options.pb-c.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/path.h"
#include "rpc/message.h"
#include "shim/create.h"

#define CRIU_WORK "criu-work"

enum { NAMESPACES_MAX = 8, LOG_MAX = 1 << 20 };

/* ---- Checkpoint ---- */

static int checkpoint_begin(Op *op, Err *err)
{
        return state_check(0, op->container->init.state, ACT_CHECKPOINT, err);
}

static int read_options(Arena *a, const Google__Protobuf__Any *any, Runc__CheckpointOptions **ret,
                        Err *err)
{
        const char *slash, *name;
        ProtobufCMessage *m;
        int r;

        *ret = message_make(a, runc__checkpoint_options);
        if (!any || str_empty(any->type_url))
                return 0;
        slash = strrchr(any->type_url, '/');
        name = slash ? slash + 1 : any->type_url;
        if (!str_eq(name, runc__checkpoint_options__descriptor.name))
                return err_set(err, INVALID_ARGUMENT,
                               "checkpoint options of type \"%s\" are not understood, only %s: "
                               "invalid argument",
                               any->type_url, runc__checkpoint_options__descriptor.name);
        r = message_unpack(a, &runc__checkpoint_options__descriptor, any->value.data,
                           any->value.len, &m, err);
        if (r < 0)
                return err_wrap(err, "checkpoint options");
        *ret = (Runc__CheckpointOptions *)m;
        if ((*ret)->n_empty_namespaces > NAMESPACES_MAX)
                return err_set(err, INVALID_ARGUMENT,
                               "checkpoint options: %zu empty namespaces, at most %d: "
                               "invalid argument",
                               (*ret)->n_empty_namespaces, NAMESPACES_MAX);
        return 0;
}

static void keep_log(const char *bundle, const char *work, Arena *a)
{
        int from CLEANUP(cleanup_fd) =
                open(arena_printf(a, "%s/dump.log", work), O_RDONLY | O_CLOEXEC);
        int to CLEANUP(cleanup_fd) = -1;

        if (from < 0)
                return;
        to = open(arena_printf(a, "%s/criu-dump.log", bundle),
                  O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (to >= 0)
                (void)!sendfile(to, from, NULL, LOG_MAX);
}

/* Its parent is a link. */
static void remove_work(const char *bundle, Arena *a)
{
        int dir CLEANUP(cleanup_fd) =
                open(arena_printf(a, "%s/work", bundle), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        Err ignored;

        if (dir >= 0)
                path_remove_tree(dir, CRIU_WORK, &ignored);
}

static int checkpoint_run(Op *op, OpReply *reply, Err *err)
{
        const Task__CheckpointTaskRequest *req = op->req;
        const Container *c = op->container;
        const char *args[16 + 2 * NAMESPACES_MAX] = {"checkpoint", "--image-path", req->path};
        Runc__CheckpointOptions *o;
        const char *work;
        int n = 3, r;
        Arena a;

        arena_init(&a, SIZE_MAX);
        r = read_options(&a, req->options, &o, err);
        if (r < 0)
                return r;
        work = str_empty(o->work_path) ? arena_printf(&a, "%s/work/" CRIU_WORK, c->bundle)
                                       : o->work_path;
        args[n++] = "--work-path";
        args[n++] = work;
        if (o->open_tcp)
                args[n++] = "--tcp-established";
        if (o->external_unix_sockets)
                args[n++] = "--ext-unix-sk";
        if (o->terminal)
                args[n++] = "--shell-job";
        if (o->file_locks)
                args[n++] = "--file-locks";
        if (!str_empty(o->cgroups_mode)) {
                args[n++] = "--manage-cgroups-mode";
                args[n++] = o->cgroups_mode;
        }
        for (size_t i = 0; i < o->n_empty_namespaces; i++) {
                args[n++] = "--empty-ns";
                args[n++] = o->empty_namespaces[i];
        }
        if (!o->exit)
                args[n++] = "--leave-running";
        args[n++] = c->id;
        r = oci_run(&c->oci, &a, "OCI runtime checkpoint failed", args, NULL, NULL, err);
        if (r < 0) {
                Err why = *err;

                keep_log(c->bundle, work, &a);
                r = err_set(err, why.code, "%.*s path= %s/criu-dump.log",
                            (int)strcspn(why.msg, "\n"), why.msg, c->bundle);
        }
        if (str_empty(o->work_path))
                remove_work(c->bundle, &a);
        return r;
}

static const OpKind checkpoint_op = {
        .name = "checkpoint", .alone = 1, .begin = checkpoint_begin, .run = checkpoint_run};

int task_checkpoint(Call *call, const Task__CheckpointTaskRequest *req,
                    Google__Protobuf__Empty *rsp)
{
        Container *c;
        int r = container_find(call->ctx, req->id, &c, call->err);

        if (r == 0 && req->path[0] != '/')
                r = err_set(call->err, INVALID_ARGUMENT,
                            "checkpoint path \"%s\" is not absolute: invalid argument", req->path);
        return r < 0 ? r : op_submit(&checkpoint_op, c, NULL, call, req);
}

/* ---- restore ---- */

static int restore_begin(Op *op, Err *err)
{
        int r = state_check(0, op->process->state, ACT_START, err);

        if (r == 0)
                op->process->held = op->holds = 1;
        return r;
}

static int restore_run(Op *op, OpReply *reply, Err *err)
{
        const Container *c = op->container;
        const char *verb[12] = {"restore", "--image-path", c->checkpoint, "--work-path"};
        int n = 4;
        Arena a;

        arena_init(&a, SIZE_MAX);
        verb[n++] = str_empty(c->criu_work) ? arena_printf(&a, "%s/work", c->bundle) : c->criu_work;
        if (!str_empty(c->parent_checkpoint)) {
                verb[n++] = "--parent-path";
                verb[n++] = c->parent_checkpoint;
        }
        verb[n++] = "--detach";
        verb[n++] = "--no-subreaper";
        return init_run(c, &a, "OCI runtime restore failed", verb, reply, err);
}

static int restore_done(Op *op, int r, OpReply *reply, Err *err)
{
        Container *c = op->container;
        Process *p = op->process;
        Task__StartResponse *rsp = op_response(op);
        Events__TaskStart ev = EVENTS__TASK_START__INIT;

        if (r == 0)
                r = init_adopt(c, reply, err);
        if (r == 0) {
                free(TAKE(c->checkpoint));
                process_set_state(p, PROC_RUNNING);
                ev.container_id = c->id;
                ev.pid = (uint32_t)p->pid;
                event_publish(c->shim->publisher, "/tasks/start", &ev);
                init_watch(c, reply);
                if (rsp)
                        rsp->pid = (uint32_t)p->pid;
        }
        if (op->holds)
                exits_release(p);
        return r;
}

const OpKind restore_op = {.name = "restore",
                           .alone = 1,
                           .makes = 1,
                           .begin = restore_begin,
                           .run = restore_run,
                           .done = restore_done};
