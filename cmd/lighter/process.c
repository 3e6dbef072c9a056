// SPDX-License-Identifier: Apache-2.0
/*
 * The loop watches three things: our signals (a signalfd), the connection (for the answer of Wait),
 * and the pumps of client/stdio.h. When the process has ended, Delete is sent at once and the pumps
 * go on until it is answered: the shim answers when it has passed everything on, or has waited long
 * enough for somebody who keeps the output open.
 *
 * Without a terminal every signal that can be caught goes to the process, as with ctr. With one the
 * terminal sends its keys as they are, and signals from elsewhere end us, not the process.
 */
#include "cmd/lighter/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include "api/containerd/runc/v1/options.pb-c.h"
#include "api/containerd/services/tasks/v1/tasks.pb-c.h"
#include "api/containerd/types/types.pb-c.h"
#include "api/google/protobuf/empty.pb-c.h"
#include "base/fd.h"
#include "client/term.h"
#include "rpc/message.h"

const char *task_status_text(int status)
{
        static const char *const names[] = {"UNKNOWN", "CREATED", "RUNNING",
                                            "STOPPED", "PAUSED",  "PAUSING"};

        return status >= 0 && status < (int)ARRAY_LEN(names) ? names[status] : "UNKNOWN";
}

int task_get(Cli *cli, const char *id, const char *exec_id, TaskTypes__Process **ret, Err *err)
{
        Tasks__GetRequest req = TASKS__GET_REQUEST__INIT;
        Tasks__GetResponse *rsp;
        int r;

        req.container_id = id;
        req.exec_id = exec_id ? exec_id : "";
        r = client_call(cli->client, &cli->arena, SVC_TASKS "Get", &req, tasks__get_response, &rsp,
                        err);
        if (r == 0 && !rsp->process)
                r = err_set(err, INTERNAL, "the daemon sent no process of \"%s\"", id);
        if (r < 0)
                return r;
        *ret = rsp->process;
        (*ret)->container_id = id; /* containerd leaves it empty */
        return 0;
}

int task_kill(Cli *cli, const char *id, const char *exec_id, int signo, int all, Err *err)
{
        Tasks__KillRequest req = TASKS__KILL_REQUEST__INIT;

        req.container_id = id;
        req.exec_id = exec_id ? exec_id : "";
        req.signal = (uint32_t)signo;
        req.all = all;
        return client_call_empty(cli->client, SVC_TASKS "Kill", &req, err);
}

int task_kill_and_wait(Cli *cli, const char *id, const char *exec_id, Err *err)
{
        Tasks__WaitRequest req = TASKS__WAIT_REQUEST__INIT;
        GrpcCall *wait CLEANUP(grpc_call_freep) = NULL;
        Tasks__WaitResponse *rsp;
        int r;

        req.container_id = id;
        req.exec_id = exec_id ? exec_id : "";
        wait = client_begin(cli->client, SVC_TASKS "Wait", &req, tasks__wait_response);
        r = task_kill(cli, id, exec_id, SIGKILL, !exec_id, err);
        if (r == -NOT_FOUND || r == -FAILED_PRECONDITION) {
                err_clear(err); /* it was faster */
                return 0;
        }
        return r < 0 ? r : grpc_call_finish(wait, &cli->arena, (void **)&rsp, err);
}

static GrpcCall *begin_delete(Cli *cli, const char *id, const char *exec_id)
{
        Tasks__DeleteProcessRequest exec = TASKS__DELETE_PROCESS_REQUEST__INIT;
        Tasks__DeleteTaskRequest task = TASKS__DELETE_TASK_REQUEST__INIT;

        exec.container_id = task.container_id = id;
        exec.exec_id = exec_id;
        if (str_empty(exec_id))
                return client_begin(cli->client, SVC_TASKS "Delete", &task, tasks__delete_response);
        return client_begin(cli->client, SVC_TASKS "DeleteProcess", &exec, tasks__delete_response);
}

int task_delete(Cli *cli, const TaskTypes__Process *p, const char *exec_id, uint32_t *ret_code,
                Err *err)
{
        GrpcCall *call CLEANUP(grpc_call_freep) = begin_delete(cli, p->container_id, exec_id);
        Tasks__DeleteResponse *rsp;
        int r;

        r = grpc_call_finish(call, &cli->arena, (void **)&rsp, err);
        if (r < 0)
                return r;
        stdio_remove(p->stdin, p->stdout, p->stderr);
        *ret_code = rsp->exit_status;
        return 0;
}

int session_io(Session *s, const Args *args, Err *err)
{
        const char *uri = args_str(args, "log-uri");
        int r;

        s->detach = args_bool(args, "detach");
        if (s->terminal && !s->detach) {
                r = term_check(err);
                if (r < 0)
                        return r;
        }
        if (*uri) {
                if (s->terminal)
                        return err_set(err, INVALID_ARGUMENT,
                                       "a terminal (-t) and --log-uri do not go together");
                s->out = s->err = uri;
                return 0;
        }
        if (str_empty(s->exec_id) && args_bool(args, "null-io")) {
                if (s->terminal)
                        return err_set(err, INVALID_ARGUMENT,
                                       "a terminal (-t) and --null-io do not go together");
                return 0;
        }
        r = stdio_make(args_str(args, "fifo-dir"), *s->exec_id ? s->exec_id : s->id, s->terminal,
                       &s->stdio, err);
        if (r < 0)
                return r;
        s->in = stdio_in(s->stdio);
        s->out = stdio_out(s->stdio);
        s->err = stdio_err(s->stdio);
        return 0;
}

/* From here on signals wait in the descriptor. */
static int watch_signals(Session *s, Err *err)
{
        static const int ours[] = {SIGURG, SIGSEGV, SIGBUS,  SIGABRT,
                                   SIGFPE, SIGILL,  SIGTRAP, SIGSYS};
        sigset_t set;

        sigfillset(&set);
        for (size_t i = 0; i < ARRAY_LEN(ours); i++)
                sigdelset(&set, ours[i]);
        signal(SIGPIPE, SIG_IGN);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return err_sys(err, errno, "cannot block signals");
        s->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
        if (s->signal_fd < 0)
                return err_sys(err, errno, "cannot watch signals");
        return 0;
}

static void begin_wait(Session *s)
{
        Tasks__WaitRequest req = TASKS__WAIT_REQUEST__INIT;

        req.container_id = s->id;
        req.exec_id = s->exec_id;
        s->wait = client_begin(s->cli->client, SVC_TASKS "Wait", &req, tasks__wait_response);
}

/* Nobody waits for the answer: the next one replaces it. */
static void resize(Session *s)
{
        Tasks__ResizePtyRequest req = TASKS__RESIZE_PTY_REQUEST__INIT;

        if (!s->terminal || term_size(&req.width, &req.height) < 0)
                return;
        req.container_id = s->id;
        req.exec_id = s->exec_id;
        grpc_call_free(s->resize);
        s->resize =
                client_begin(s->cli->client, SVC_TASKS "ResizePty", &req, google__protobuf__empty);
}

int session_start(Session *s, Err *err)
{
        Tasks__StartRequest req = TASKS__START_REQUEST__INIT;
        Tasks__StartResponse *rsp;
        int r;

        if (s->stdio)
                stdio_connect(s->stdio);
        if (!s->detach) {
                begin_wait(s);
                r = watch_signals(s, err);
                if (r < 0)
                        return r;
        }
        if (!*s->exec_id)
                resize(s); /* so that the program finds its size when it starts; an exec has no
                              terminal yet */
        req.container_id = s->id;
        req.exec_id = s->exec_id;
        r = client_call(s->cli->client, &s->cli->arena, SVC_TASKS "Start", &req,
                        tasks__start_response, &rsp, err);
        if (r < 0)
                return r;
        s->created = 0;
        s->started = 1;
        s->pid = rsp->pid;
        resize(s);
        s->forward = !s->terminal;
        return s->terminal && !s->detach ? term_raw(err) : 0;
}

int session_attach(Session *s, const TaskTypes__Process *p, Err *err)
{
        int r;

        s->terminal = p->terminal;
        if (s->terminal) {
                r = term_check(err);
                if (r < 0)
                        return r;
        }
        s->started = s->attached = 1;
        s->pid = p->pid;
        if (strstr(p->stdout, "://"))
                return err_set(err, FAILED_PRECONDITION,
                               "output of \"%s\" goes to %s: there is nothing to attach to", s->id,
                               p->stdout);
        r = stdio_attach(p->stdin, p->stdout, p->stderr, &s->stdio, err);
        if (r < 0)
                return r;
        s->in = stdio_in(s->stdio);
        s->out = stdio_out(s->stdio);
        s->err = stdio_err(s->stdio);
        begin_wait(s);
        r = watch_signals(s, err);
        if (r < 0)
                return r;
        resize(s);
        s->forward = !s->terminal;
        return s->terminal ? term_raw(err) : 0;
}

static void on_signal(Session *s, int signo)
{
        Err ignored = {};

        if (signo == SIGWINCH && s->terminal) {
                resize(s);
        } else if (s->terminal) {
                if (signo == SIGTERM || signo == SIGHUP || signo == SIGINT || signo == SIGQUIT)
                        s->killed_by = signo;
        } else if (s->forward && signo != SIGTTIN && signo != SIGTTOU && signo != SIGCHLD) {
                /* NOT_FOUND and FAILED_PRECONDITION: it has ended, Wait will say so */
                s->forward = task_kill(s->cli, s->id, s->exec_id, signo, 0, &ignored) != -NOT_FOUND;
        }
}

static void take_signals(Session *s)
{
        struct signalfd_siginfo si;

        while (read(s->signal_fd, &si, sizeof(si)) == sizeof(si))
                on_signal(s, (int)si.ssi_signo);
}

/* The shim holds a writer of the input fifo itself; it lets go when told to. */
static void close_input(Session *s)
{
        Tasks__CloseIORequest req = TASKS__CLOSE_IOREQUEST__INIT;

        req.container_id = s->id;
        req.exec_id = s->exec_id;
        req.stdin = 1;
        s->close_io =
                client_begin(s->cli->client, SVC_TASKS "CloseIO", &req, google__protobuf__empty);
}

/* Whether a process neither ignores nor catches SIGPIPE; see proc(5), status. */
static int dies_of_sigpipe(uint32_t pid)
{
        char path[40], *text CLEANUP(cleanup_free) = NULL;
        static const char *const masks[] = {"\nSigIgn:\t", "\nSigCgt:\t"};
        Err ignored = {};
        size_t n;

        snprintf(path, sizeof(path), "/proc/%u/status", pid);
        if (file_read(NULL, AT_FDCWD, path, 64 * 1024, &text, &n, &ignored) < 0)
                return 0;
        for (size_t i = 0; i < ARRAY_LEN(masks); i++) {
                const char *at = strstr(text, masks[i]);

                if (!at ||
                    (strtoull(at + strlen(masks[i]), NULL, 16) & UINT64_C(1) << (SIGPIPE - 1)))
                        return 0;
        }
        return 1;
}

/* Nobody reads our output any more. Had the process written there itself, SIGPIPE would have met
 * it: so that happens now. The first process of a container is immune to signals it does not
 * handle, but not to SIGKILL. */
static void on_broken_output(Session *s)
{
        Err ignored = {};

        if (s->attached)
                s->killed_by = SIGPIPE;
        else if (s->forward)
                (void)task_kill(s->cli, s->id, s->exec_id,
                                dies_of_sigpipe(s->pid) ? SIGKILL : SIGPIPE, 0, &ignored);
}

/* One turn of the loop. */
static int turn(Session *s, Err *err)
{
        struct pollfd fds[STDIO_POLLFDS + 2];
        GrpcClient *grpc = client_grpc(s->cli->client);
        int timeout = grpc_client_poll_ms(grpc);
        size_t n = s->stdio ? stdio_poll(s->stdio, fds, &timeout) : 0;

        fds[n] = (struct pollfd){.fd = s->signal_fd, .events = POLLIN};
        fds[n + 1] =
                (struct pollfd){.fd = grpc_client_fd(grpc), .events = grpc_client_events(grpc)};
        if (poll(fds, n + 2, timeout) < 0)
                return errno == EINTR ? 0 : err_sys(err, errno, "poll");
        if (s->stdio)
                stdio_step(s->stdio, fds, n);
        grpc_client_step(grpc);
        if (fds[n].revents)
                take_signals(s);
        if (s->stdio && stdio_input_ended(s->stdio))
                close_input(s);
        if (s->stdio && stdio_output_broken(s->stdio))
                on_broken_output(s);
        return 0;
}

/* Runs the loop until the call is answered. */
static int turn_until(Session *s, GrpcCall *call, Err *err)
{
        int r = 0;

        while (r == 0 && !s->killed_by && !grpc_call_ready(call))
                r = turn(s, err);
        return r;
}

static int finish_output(Session *s, Err *err)
{
        int r = 0;

        if (!s->stdio)
                return 0;
        stdio_drain(s->stdio);
        while (r == 0 && !s->killed_by && !stdio_output_ended(s->stdio))
                r = turn(s, err);
        return r;
}

int session_run(Session *s, int *ret_code, Err *err)
{
        Tasks__WaitResponse *waited;
        Tasks__DeleteResponse *deleted;
        int r;

        r = turn_until(s, s->wait, err);
        if (r == 0 && s->killed_by) {
                *ret_code = 128 + s->killed_by;
                return 0;
        }
        if (r == 0)
                r = grpc_call_finish(s->wait, &s->cli->arena, (void **)&waited, err);
        if (r < 0)
                return r;
        *ret_code = (int)waited->exit_status;
        s->forward = 0;
        client_no_timeout(s->cli->client);
        s->del = begin_delete(s->cli, s->id, s->exec_id);
        r = turn_until(s, s->del, err);
        if (r == 0 && !s->killed_by)
                r = grpc_call_finish(s->del, &s->cli->arena, (void **)&deleted, err);
        if (r == -NOT_FOUND)
                r = 0; /* somebody else was faster: the exit code is known */
        if (r == 0)
                r = finish_output(s, err);
        stdio_remove(s->in, s->out, s->err);
        return r;
}

void session_done(Session *s)
{
        Err ignored = {};

        term_restore();
        grpc_call_free(s->wait);
        grpc_call_free(s->del);
        grpc_call_free(s->close_io);
        grpc_call_free(s->resize);
        if (s->created) {
                GrpcCall *call = begin_delete(s->cli, s->id, s->exec_id);
                void *rsp;

                (void)grpc_call_finish(call, &s->cli->arena, &rsp, &ignored);
                grpc_call_free(call);
        }
        if (s->stdio && !s->started)
                stdio_remove(s->in, s->out, s->err);
        stdio_close(s->stdio);
        fd_close(s->signal_fd);
}

static int write_pid_file(const char *path, uint32_t pid, Err *err)
{
        char *tmp CLEANUP(cleanup_free) = mem_printf("%s.%d", path, (int)getpid());
        char text[16];
        int r;

        snprintf(text, sizeof(text), "%u", pid);
        r = file_write(AT_FDCWD, tmp, text, strlen(text), 0666, err);
        if (r < 0)
                return err_wrap(err, "cannot write the pid file");
        if (rename(tmp, path) < 0) {
                r = err_sys(err, errno, "cannot write pid file %s", path);
                unlink(tmp);
        }
        return r;
}

/* no_pivot_root is an option of the task, and those replace the ones of the container: so they are
 * taken over. */
static int task_options(Session *s, const Args *args, const Containers__Container *c,
                        Google__Protobuf__Any **ret, Err *err)
{
        Google__Protobuf__Any *any = arena_new(&s->cli->arena, Google__Protobuf__Any);
        Runc__Options *options = message_make(&s->cli->arena, runc__options);
        int r;

        if (!args_bool(args, "no-pivot"))
                return 0;
        if (c->runtime && c->runtime->options) {
                if (!str_ends(c->runtime->options->type_url, "containerd.runc.v1.Options"))
                        return err_set(err, INVALID_ARGUMENT,
                                       "--no-pivot is not known to runtime %s", c->runtime->name);
                r = message_unpack(&s->cli->arena, &runc__options__descriptor,
                                   c->runtime->options->value.data, c->runtime->options->value.len,
                                   (ProtobufCMessage **)&options, err);
                if (r < 0)
                        return err_wrap(err, "options of container \"%s\"", s->id);
        }
        options->no_pivot_root = 1;
        google__protobuf__any__init(any);
        any->type_url = (char *)(uintptr_t) "containerd.runc.v1.Options";
        any->value.data = message_pack(&s->cli->arena, options, &any->value.len);
        *ret = any;
        return 0;
}

int task_create(Session *s, const Args *args, const NewContainer *c, Err *err)
{
        Tasks__CreateTaskRequest req = TASKS__CREATE_TASK_REQUEST__INIT;
        Tasks__CreateTaskResponse *rsp;
        int r;

        req.container_id = s->id;
        req.rootfs = c->mounts;
        req.n_rootfs = c->n_mounts;
        req.stdin = s->in;
        req.stdout = s->out;
        req.stderr = s->err;
        req.terminal = s->terminal;
        r = task_options(s, args, c->record, &req.options, err);
        if (r < 0)
                return r;
        r = client_call(s->cli->client, &s->cli->arena, SVC_TASKS "Create", &req,
                        tasks__create_task_response, &rsp, err);
        if (r < 0)
                return r;
        s->created = 1;
        return args_given(args, "pid-file")
                       ? write_pid_file(args_str(args, "pid-file"), rsp->pid, err)
                       : 0;
}
