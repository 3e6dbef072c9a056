/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker gets two descriptors: 3, its end of the socket pair, and 2, a pipe. The pipe does not
 * block, so that a worker full of complaints does not wait for a parent that reads them only when
 * it has died. The parent's waiting is cut into slices, in between which it asks whether anybody
 * still wants the result.
 */
#include "worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/proc.h"

enum { SLICE_MS = 100, EXIT_MS = 2000, STDERR_TAIL = 400 };

struct Worker {
        Proc proc;
        int sock, stderr_fd;
        uint64_t deadline_ns;
        int (*cancelled)(void *ctx);
        void *ctx;
        char *name;
        uint8_t buf[WORKER_MSG_MAX];
};

static char *find_program(const WorkerOptions *o, Err *err)
{
        char *path;

        if (o->path)
                return mem_strdup(o->path);
        for (const char *const *dir = path_helper_dirs(); *dir; dir++) {
                path = mem_printf("%s/%s", *dir, o->name);
                if (access(path, X_OK) == 0)
                        return path;
                free(path);
        }
        err_set(err, NOT_FOUND, "%s is neither in %s nor in /usr/libexec/lighter: not found",
                o->name, path_self_dir());
        return NULL;
}

static int spawn(Worker *w, const char *path, Err *err)
{
        int pair[2], pipes[2], r;
        const char *argv[] = {w->name, NULL};
        /* Nothing of our environment is its business: LD_PRELOAD and the like end here. */
        const char *envp[] = {"PATH=/usr/bin:/bin", "LC_ALL=C", NULL};

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return err_sys(err, errno, "socketpair");
        w->sock = pair[0];
        if (pipe2(pipes, O_CLOEXEC | O_NONBLOCK) < 0) {
                r = err_sys(err, errno, "pipe");
                fd_close(pair[1]);
                return r;
        }
        w->stderr_fd = pipes[0];

        ProcFd fds[] = {{pair[1], 3}, {pipes[1], 2}};
        ProcSpec spec = {
                .path = path, .argv = argv, .envp = envp, .cwd = "/", .fds = fds, .n_fds = 2};

        r = proc_spawn(&spec, &w->proc, err);
        fd_close(pair[1]);
        fd_close(pipes[1]);
        return r < 0 ? err_wrap(err, "start %s", w->name) : 0;
}

static int write_proc(pid_t pid, const char *file, const char *text, Err *err)
{
        char path[64];
        int fd CLEANUP(cleanup_fd) = -1;

        snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, text, strlen(text)) < 0)
                return err_set(err, FAILED_PRECONDITION,
                               "sandbox of worker: %s: %s: failed precondition", file,
                               strerror(errno));
        return 0;
}

/* The child is ours and not reaped, so its pid is still its own. */
static int write_maps(Worker *w, WorkerIds ids, Err *err)
{
        char text[64];
        int r;

        if (ids == WORKER_IDS_ALL) {
                r = write_proc(w->proc.pid, "uid_map", "0 0 4294967295", err);
                return r < 0 ? r : write_proc(w->proc.pid, "gid_map", "0 0 4294967295", err);
        }
        snprintf(text, sizeof(text), "0 %u 1", geteuid());
        r = write_proc(w->proc.pid, "uid_map", text, err);
        if (r == 0)
                r = write_proc(w->proc.pid, "setgroups", "deny", err);
        snprintf(text, sizeof(text), "0 %u 1", getegid());
        return r < 0 ? r : write_proc(w->proc.pid, "gid_map", text, err);
}

int worker_start(const WorkerOptions *o, Worker **ret, Err *err)
{
        Worker *w CLEANUP(worker_endp) = mem_new(Worker);
        char *path CLEANUP(cleanup_free) = find_program(o, err);
        uint64_t start_limit = time_mono_ns() + LIMIT_WORKER_START_MS * NS_PER_MS;
        int fds[WORKER_FDS_MAX], r;
        WorkerMsg m;

        w->sock = w->stderr_fd = w->proc.pidfd = -1;
        if (!path)
                return -err->code;
        w->name = mem_strdup(o->name);
        w->cancelled = o->cancelled;
        w->ctx = o->ctx;
        w->deadline_ns = o->deadline_ns ? MIN(o->deadline_ns, start_limit) : start_limit;
        r = spawn(w, path, err);
        if (r < 0)
                return r;

        r = worker_recv(w, &m, fds, err);
        if (r < 0)
                return r;
        if (m.type != WORKER_MSG_HELLO)
                return err_set(err, INTERNAL, "%s did not say hello", w->name);
        r = write_maps(w, o->ids, err);
        if (r < 0)
                return r;
        w->deadline_ns = o->deadline_ns;
        *ret = TAKE(w);
        return 0;
}

Worker *worker_end(Worker *w)
{
        Err ignored = {};
        int status;

        if (!w)
                return NULL;
        fd_close(w->sock); /* it ends by itself on that; the signal is for one that does not */
        if (w->proc.pid > 0) {
                kill(w->proc.pid, SIGKILL);
                proc_wait(&w->proc, EXIT_MS, &status, &ignored);
        }
        fd_close(w->stderr_fd);
        free(w->name);
        free(w);
        return NULL;
}

/* Printable text only: it came from a process that read hostile bytes, and goes into logs. */
static void stderr_tail(Worker *w, char *buf)
{
        ssize_t n = 0, got;
        char all[4096];

        while (n < (ssize_t)sizeof(all) &&
               (got = read(w->stderr_fd, all + n, sizeof(all) - (size_t)n)) > 0)
                n += got;
        while (n > 0 && (all[n - 1] == '\n' || all[n - 1] == ' '))
                n--;

        size_t from = n > STDERR_TAIL ? (size_t)(n - STDERR_TAIL) : 0, len = (size_t)n - from;

        memcpy(buf, all + from, len);
        buf[len] = 0;
        for (size_t i = 0; i < len; i++)
                if ((unsigned char)buf[i] < ' ' || (unsigned char)buf[i] > '~')
                        buf[i] = ' ';
}

static int explain_death(Worker *w, Err *err)
{
        char tail[STDERR_TAIL + 1];
        int status = 0, r;
        Err ignored = {};

        r = proc_wait(&w->proc, EXIT_MS, &status, &ignored);
        w->proc.pid = 0;
        w->proc.pidfd = -1;
        stderr_tail(w, tail);
        if (r < 0)
                return err_set(err, INTERNAL, "%s closed its socket and went on: killed", w->name);
        if (WIFSIGNALED(status))
                return err_set(err, INTERNAL, "%s died of signal %d (%s)%s%s", w->name,
                               WTERMSIG(status),
                               WTERMSIG(status) == SIGSYS ? "a system call that it may not make"
                                                          : strsignal(WTERMSIG(status)),
                               tail[0] ? ": " : "", tail);
        return err_set(err, INTERNAL, "%s ended with status %d before its job was done%s%s",
                       w->name, WEXITSTATUS(status), tail[0] ? ": " : "", tail);
}

int worker_send(Worker *w, const WorkerMsg *m, const int *fds, size_t n_fds, Err *err)
{
        int r = worker_msg_send(w->sock, m, fds, n_fds, err);

        return r == -UNAVAILABLE ? explain_death(w, err) : r;
}

/* 1: data_fd is readable, 0: the socket is. */
int worker_wait(Worker *w, int data_fd, Err *err)
{
        for (;;) {
                struct pollfd p[2] = {{.fd = w->sock, .events = POLLIN},
                                      {.fd = data_fd, .events = POLLIN}};
                uint64_t now = time_mono_ns();
                int slice = SLICE_MS, n;

                if (w->cancelled && w->cancelled(w->ctx))
                        return err_set(err, CANCELLED, "context canceled");
                if (w->deadline_ns && now >= w->deadline_ns)
                        return err_set(err, DEADLINE_EXCEEDED, "context deadline exceeded");
                if (w->deadline_ns)
                        slice = (int)MIN((uint64_t)SLICE_MS,
                                         (w->deadline_ns - now) / NS_PER_MS + 1);
                n = poll(p, 2, slice);
                if (n < 0 && errno != EINTR)
                        return err_sys(err, errno, "poll");
                if (n > 0)
                        return p[1].revents != 0;
        }
}

int worker_recv(Worker *w, WorkerMsg *ret, int ret_fds[WORKER_FDS_MAX], Err *err)
{
        int r = worker_wait(w, -1, err);

        if (r < 0)
                return r;
        r = worker_msg_recv(w->sock, 0, w->buf, ret, ret_fds, err);
        if (r == -UNAVAILABLE)
                return explain_death(w, err);
        if (r < 0 || ret->type != WORKER_MSG_FAILED)
                return r;
        for (int i = 0; i < WORKER_FDS_MAX; i++)
                fd_close(ret_fds[i]);
        return err_set(err, (int)ret->failed.code, "%s", ret->failed.text);
}
