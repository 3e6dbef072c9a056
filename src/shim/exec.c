/* SPDX-License-Identifier: Apache-2.0 */
/* Further processes in a running container: added by Exec, made by Start. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "api/containerd/events/events.pb-c.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/mem.h"
#include "shim/exec.h"
#include "shim/op.h"
#include "spec/identifier.h"

int task_exec(Call *call, const Task__ExecProcessRequest *req, Google__Protobuf__Empty *rsp)
{
        Shim *s = call->ctx;
        Events__TaskExecAdded ev = EVENTS__TASK_EXEC_ADDED__INIT;
        Container *c;
        Process *p;
        int r = container_find(s, req->id, &c, call->err);

        if (r == 0 && exec_find(c, req->exec_id))
                r = err_set(call->err, ALREADY_EXISTS, "id %s: already exists", req->exec_id);
        if (r == 0)
                r = c->checkpoint ? err_set(call->err, UNKNOWN, "cannot exec in a created state")
                                  : state_check(0, c->init.state, ACT_EXEC, call->err);
        if (r < 0)
                return r;
        r = identifier_check(NULL, req->exec_id, call->err);
        if (r < 0)
                return err_wrap(call->err, "exec id");
        if (!req->spec || req->spec->value.len == 0)
                return err_set(call->err, INVALID_ARGUMENT,
                               "exec %s has no process spec: invalid argument", req->exec_id);
        if (req->spec->value.len > LIMIT_DOCUMENT || c->n_execs >= LIMIT_EXECS)
                return err_set(call->err, RESOURCE_EXHAUSTED,
                               "exec %s: more than %d processes, or a spec over %d bytes",
                               req->exec_id, LIMIT_EXECS, LIMIT_DOCUMENT);

        p = exec_new(c, req->exec_id);
        p->exit_event = event_reserve(s->publisher, c->id, p->exec_id);
        p->spec = mem_strndup((const char *)req->spec->value.data, req->spec->value.len);
        stdio_spec_init(&p->stdio, req->stdin, req->stdout, req->stderr, req->terminal);
        if (!p->exit_event) {
                exec_free(p);
                return err_set(call->err, RESOURCE_EXHAUSTED, "no memory for a process");
        }
        ev.container_id = c->id;
        ev.exec_id = p->exec_id;
        event_publish(s->publisher, "/tasks/exec-added", &ev);
        return 0;
}

/* ---- Start ---- */

static int start_begin(Op *op, Err *err)
{
        Process *p = op->process;
        Container *c = op->container;
        int r = state_check(1, p->held ? PROC_RUNNING : p->state, ACT_START, err);

        if (r < 0)
                return r;
        if (c->init.has_exit || c->init.state == PROC_STOPPED)
                return err_set(err, FAILED_PRECONDITION,
                               "container %s init process is not running: failed precondition",
                               c->id);
        p->held = op->holds = 1;
        return 0;
}

/* The spec with the terminal as the request has it, in a file that the runtime reads. */
static int write_spec(const Process *p, Arena *a, char **ret_path, Err *err)
{
        json_t *spec CLEANUP(json_decrefp) = NULL;
        const char *tmp = getenv("XDG_RUNTIME_DIR");
        char *text CLEANUP(cleanup_free) = NULL;
        char *path = arena_printf(a, "%s/runc-processXXXXXX", str_empty(tmp) ? "/tmp" : tmp);
        int fd CLEANUP(cleanup_fd) = -1;
        int r = json_read(p->spec, strlen(p->spec), LIMIT_DOCUMENT, "process spec", &spec, err);

        if (r < 0)
                return r;
        if (!json_is_object(spec))
                return err_set(err, INVALID_ARGUMENT,
                               "process spec is not an object: invalid argument");
        json_object_set_new(spec, "terminal", json_boolean(p->stdio.terminal));
        text = json_text(spec);
        fd = mkostemp(path, O_CLOEXEC);
        if (fd < 0)
                return err_sys(err, errno, "file for the process spec");
        if (fd_write_all(fd, text, strlen(text)) < 0) {
                r = err_sys(err, errno, "write %s", path);
                unlink(path);
                return r;
        }
        *ret_path = path;
        return 0;
}

static int start_run(Op *op, OpReply *reply, Err *err)
{
        const Process *p = op->process;
        const Container *c = op->container;
        const StdioWho who = {.id = c->id, .ns = c->shim->ns, .bundle = c->bundle};
        const char *args[16] = {"exec"};
        char *pid_file, *spec_file = NULL;
        StdioChild io;
        Arena a;
        int n = 1, r;

        arena_init(&a, SIZE_MAX);
        r = write_spec(p, &a, &spec_file, err);
        if (r < 0)
                return r;
        r = stdio_child_open(&p->stdio, &who, &a, &io, err);
        if (r < 0) {
                unlink(spec_file);
                return err_wrap(err, "failed to create exec process I/O");
        }
        pid_file = arena_printf(&a, "%s/%s.pid", c->bundle, p->exec_id);
        args[n++] = "--process";
        args[n++] = spec_file;
        if (io.console_path) {
                args[n++] = "--console-socket";
                args[n++] = io.console_path;
        }
        args[n++] = "--detach";
        args[n++] = "--pid-file";
        args[n++] = pid_file;
        args[n++] = c->id;
        r = oci_run_io(&c->oci, &a, "OCI runtime exec failed", args, &io.io, err);
        stdio_child_done(&io);
        unlink(spec_file);
        if (r == 0)
                r = oci_read_pid(&a, pid_file, &reply->pid, err);
        unlink(pid_file);
        if (r < 0) {
                if (io.logger > 0)
                        kill(io.logger, SIGTERM);
                return r;
        }
        reply->logger = io.logger;
        memcpy(reply->fds, io.slots, sizeof(io.slots));
        return 0;
}

static void on_output_end(void *ctx)
{
        deletions_go_on(ctx);
}

static int start_done(Op *op, int r, OpReply *reply, Err *err)
{
        Process *p = op->process;
        Container *c = op->container;
        Events__TaskExecStarted ev = EVENTS__TASK_EXEC_STARTED__INIT;
        Task__StartResponse *rsp = op_response(op);
        Err ignored;

        if (!p || c->gone)
                return r < 0 ? r : err_set(err, NOT_FOUND, "container not created: not found");
        if (r < 0) {
                if (op->holds) {
                        p->held = 0;
                        process_wake(p);
                }
                return r;
        }
        exits_register(p, reply->pid);
        process_set_state(p, PROC_RUNNING);
        /* It runs; without descriptors for its stdio it would be stopped by its own output, so it
         * must not go on. */
        if (proc_io_start(&p->io, c->shim->loop, reply->fds, reply->logger, on_output_end, p,
                          &ignored) < 0 &&
            !p->reaped)
                kill(p->pid, SIGKILL);
        exits_logger(p);
        ev.container_id = c->id;
        ev.exec_id = p->exec_id;
        ev.pid = (uint32_t)p->pid;
        event_publish(c->shim->publisher, "/tasks/exec-started", &ev);
        if (rsp)
                rsp->pid = (uint32_t)p->pid;
        exits_release(p);
        return 0;
}

static const OpKind exec_start_op = {
        .name = "exec", .makes = 1, .begin = start_begin, .run = start_run, .done = start_done};

int exec_start(Process *p, Call *call)
{
        return op_submit(&exec_start_op, p->container, p, call, NULL);
}
