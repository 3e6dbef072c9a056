/* SPDX-License-Identifier: Apache-2.0 */
/* Create: the rootfs is mounted, stdio opened and the runtime run in the op child; the shim gets
 * the descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "api/containerd/events/events.pb-c.h"
#include "api/containerd/task/v3/task.pb-c.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "cgroup/cgroup.h"
#include "mount/mount_pb.h"
#include "shim/bootstrap.h"
#include "shim/create.h"
#include "shim/look.h"
#include "shim/op.h"
#include "shim/removal.h"
#include "spec/identifier.h"

enum { SLOT_OOM_EVENT = STDIO_SLOTS, SLOT_OOM_STATE };

enum { FLAG_OOM_V2 = 2 };

_Static_assert((int)SLOT_OOM_STATE < (int)OP_FDS, "slots of an OpReply");

int spec_has_private_pid_ns(const json_t *spec)
{
        const json_t *linux_part = NULL, *namespaces = NULL, *ns;
        size_t i;
        Err err;

        if (json_get_obj(spec, "linux", &linux_part, &err) < 0 || !linux_part ||
            json_get_arr(linux_part, "namespaces", &namespaces, &err) < 0 || !namespaces)
                return 0;
        json_array_foreach(namespaces, i, ns)
        {
                const char *type = NULL, *path = NULL;

                if (json_is_object(ns) && json_get_str(ns, "type", &type, &err) == 0 &&
                    str_eq(type, "pid"))
                        return json_get_str(ns, "path", &path, &err) == 0 && str_empty(path);
        }
        return 0;
}

/* What cannot be read counts as not private: then init's end also ends the rest by hand. */
static int private_pid_ns(Arena *a, const char *bundle)
{
        json_t *spec CLEANUP(json_decrefp) = NULL;
        char *text;
        size_t n;
        Err err;

        if (file_read(a, AT_FDCWD, arena_printf(a, "%s/config.json", bundle), LIMIT_DOCUMENT, &text,
                      &n, &err) < 0 ||
            json_read(text, n, LIMIT_DOCUMENT, "config.json", &spec, &err) < 0)
                return 0;
        return spec_has_private_pid_ns(spec);
}

static int write_bundle_files(const char *bundle, const Runc__Options *o, Err *err)
{
        char *json CLEANUP(cleanup_free) = runc_options_json(o);
        int dir CLEANUP(cleanup_fd) = open(bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
        int r;

        if (dir < 0)
                return err_sys(err, errno, "bundle %s", bundle);
        r = file_write(dir, "options.json", json, strlen(json), 0600, err);
        if (r == 0)
                r = file_write(dir, "runtime", o->binary_name, strlen(o->binary_name), 0600, err);
        return r;
}

static int mount_rootfs(Arena *a, const Task__CreateTaskRequest *req, Err *err)
{
        const char *rootfs = arena_printf(a, "%s/rootfs", req->bundle);
        MountList mounts = mounts_from_pb(a, req->rootfs, req->n_rootfs);

        if (mounts.n == 0)
                return 0;
        if (mkdir(rootfs, 0711) < 0 && errno != EEXIST)
                return err_sys(err, errno, "mkdir %s", rootfs);
        if (mount_all(mounts.v, mounts.n, rootfs, err) < 0)
                return err_wrap(err, "failed to mount rootfs component");
        return 0;
}

/* What later needs the cgroup's name, and the watch on it. Missing groups are no failure: a
 * container may have none. */
static void look_at_cgroup(Arena *a, const char *bundle, pid_t pid, OpReply *reply)
{
        CgroupOom oom;
        CgroupSet set;
        char *text;
        Err err;

        if (cgroup_of_pid(a, pid, &text, &err) < 0)
                return;
        reply->data = text;
        reply->n_data = strlen(text) + 1;
        look_note_cgroup(bundle, text);
        if (cgroup_find(a, text, &set, &err) < 0)
                return;
        cgroup_enable_controllers(a, &set);
        if (cgroup_oom_open(a, &set, &oom, &err) < 0)
                return;
        reply->flags |= oom.v2 ? FLAG_OOM_V2 : 0;
        reply->fds[SLOT_OOM_EVENT] = oom.event_fd;
        reply->fds[SLOT_OOM_STATE] = oom.state_fd;
}

int init_run(const Container *c, Arena *a, const char *what, const char *const *verb,
             OpReply *reply, Err *err)
{
        const StdioWho who = {.id = c->id,
                              .ns = c->shim->ns,
                              .bundle = c->bundle,
                              .uid = c->io_uid,
                              .gid = c->io_gid};
        const char *pid_file = arena_printf(a, "%s/init.pid", c->bundle);
        const char *args[INIT_ARGS] = {};
        StdioChild io;
        int n = 0, r;

        for (; *verb; verb++)
                args[n++] = *verb;
        args[n++] = "--bundle";
        args[n++] = c->bundle;
        args[n++] = "--pid-file";
        args[n++] = pid_file;
        r = stdio_child_open(&c->init.stdio, &who, a, &io, err);
        if (r < 0)
                return err_wrap(err, "failed to create init process I/O");
        if (io.console_path) {
                args[n++] = "--console-socket";
                args[n++] = io.console_path;
        }
        if (c->oci.no_pivot)
                args[n++] = "--no-pivot";
        if (c->oci.no_new_keyring && !c->checkpoint)
                args[n++] = "--no-new-keyring";
        args[n++] = c->id;
        assert(n < INIT_ARGS);
        r = oci_run_io(&c->oci, a, what, args, &io.io, err);
        stdio_child_done(&io);
        if (r == 0)
                r = oci_read_pid(a, pid_file, &reply->pid, err);
        if (r < 0) {
                if (io.logger > 0)
                        kill(io.logger, SIGTERM);
                return r;
        }
        reply->logger = io.logger;
        memcpy(reply->fds, io.slots, sizeof(io.slots));
        if (private_pid_ns(a, c->bundle))
                reply->flags |= OP_PRIVATE_PID_NS;
        look_at_cgroup(a, c->bundle, reply->pid, reply);
        return 0;
}

static int create_run(Op *op, OpReply *reply, Err *err)
{
        Container *c = op->container;
        const Task__CreateTaskRequest *req = op->req;
        Runc__Options *options;
        Arena a;
        Err ignored;
        int r;

        arena_init(&a, SIZE_MAX);
        r = runc_options_read(&a, req->options, &options, err);
        if (r == 0)
                r = write_bundle_files(c->bundle, options, err);
        if (r == 0)
                r = mount_rootfs(&a, req, err);
        if (r < 0 || c->checkpoint)
                return r;
        r = init_run(c, &a, "OCI runtime create failed", (const char *const[]){"create", NULL},
                     reply, err);
        if (r < 0)
                rootfs_unmount(c->bundle, &a, &ignored);
        return r;
}

static void on_oom(void *ctx)
{
        Container *c = ctx;
        Events__TaskOOM ev = EVENTS__TASK_OOM__INIT;

        ev.container_id = c->id;
        event_publish(c->shim->publisher, "/tasks/oom", &ev);
}

static void on_output_end(void *ctx)
{
        deletions_go_on(ctx);
}

static void publish_create(const Container *c, const Task__CreateTaskRequest *req)
{
        Events__TaskCreate ev = EVENTS__TASK_CREATE__INIT;
        Events__TaskIO io = EVENTS__TASK_IO__INIT;

        io.stdin = req->stdin;
        io.stdout = req->stdout;
        io.stderr = req->stderr;
        io.terminal = req->terminal;
        ev.container_id = c->id;
        ev.bundle = c->bundle;
        ev.rootfs = req->rootfs;
        ev.n_rootfs = req->n_rootfs;
        ev.io = &io;
        ev.checkpoint = req->checkpoint;
        ev.pid = (uint32_t)c->init.pid;
        event_publish(c->shim->publisher, "/tasks/create", &ev);
}

int init_adopt(Container *c, OpReply *reply, Err *err)
{
        Process *p = &c->init;
        int r;

        r = proc_io_start(&p->io, c->shim->loop, reply->fds, reply->logger, on_output_end, p, err);
        if (r < 0)
                return r;
        c->private_pid_ns = !!(reply->flags & OP_PRIVATE_PID_NS);
        if (reply->n_data > 0)
                c->cgroup = mem_strdup(reply->data);
        exits_register(p, reply->pid);
        exits_logger(p);
        return 0;
}

void init_watch(Container *c, OpReply *reply)
{
        Err ignored;

        if (oom_start(&c->oom, c->shim->loop, !!(reply->flags & FLAG_OOM_V2),
                      op_take_fd(reply, SLOT_OOM_EVENT), op_take_fd(reply, SLOT_OOM_STATE), on_oom,
                      c, &ignored) < 0)
                log_warn("not watching for OOM", "id", c->id, "error", ignored.msg);
}

static int create_done(Op *op, int r, OpReply *reply, Err *err)
{
        Container *c = op->container;
        Process *p = &c->init;
        Task__CreateTaskResponse *rsp = op_response(op);

        if (r == 0 && !c->checkpoint)
                r = init_adopt(c, reply, err);
        if (r < 0) {
                container_gone(c);
                return r;
        }
        c->creating = 0;
        look_note(c);
        publish_create(c, op->req);
        if (!c->checkpoint)
                init_watch(c, reply);
        if (rsp)
                rsp->pid = (uint32_t)reply->pid;
        exits_release(p);
        return 0;
}

static const OpKind create_op = {
        .name = "create", .alone = 1, .makes = 1, .run = create_run, .done = create_done};

static int check(Shim *s, const Task__CreateTaskRequest *req, Err *err)
{
        int r = identifier_check(NULL, req->id, err);

        if (r < 0)
                return err_wrap(err, "container id");
        if (req->bundle[0] != '/')
                return err_set(err, INVALID_ARGUMENT,
                               "bundle path \"%s\" is not absolute: invalid argument", req->bundle);
        if (container_lookup(s, req->id))
                return err_set(err, ALREADY_EXISTS, "container %s: already exists", req->id);
        return 0;
}

int task_create(Call *call, const Task__CreateTaskRequest *req, Task__CreateTaskResponse *rsp)
{
        Shim *s = call->ctx;
        Runc__Options *options;
        Container *c;
        int r = check(s, req, call->err);

        if (r == 0)
                r = runc_options_read(call->arena, req->options, &options, call->err);
        if (r < 0)
                return r;
        c = container_new(s, req->id, req->bundle);
        c->creating = 1;
        c->init.held = 1;
        oci_init(&c->oci, options, s->ns, c->bundle);
        c->io_uid = options->io_uid;
        c->io_gid = options->io_gid;
        if (!str_empty(req->checkpoint)) {
                c->checkpoint = mem_strdup(req->checkpoint);
                c->parent_checkpoint = mem_strdup(req->parent_checkpoint);
                c->criu_work = mem_strdup(options->criu_work_path);
        }
        stdio_spec_init(&c->init.stdio, req->stdin, req->stdout, req->stderr, req->terminal);
        c->init.exit_event = event_reserve(s->publisher, c->id, "");
        c->delete_event = event_reserve(s->publisher, c->id, "");
        if (!c->init.exit_event || !c->delete_event) {
                container_gone(c);
                return err_set(call->err, RESOURCE_EXHAUSTED, "no memory for a container");
        }
        return op_submit(&create_op, c, &c->init, call, req);
}
