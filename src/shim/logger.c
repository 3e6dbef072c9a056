/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program reads the pipes that the container writes; nothing is copied. The shim keeps a read
 * end as well, so that a program that dies stops the container's writes instead of breaking them,
 * and no write end, so that the program sees the end of file when the container is gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/limits.h"
#include "base/proc.h"
#include "base/vec.h"
#include "shim/logger.h"

static int hex(char c)
{
        return c >= '0' && c <= '9'   ? c - '0'
               : c >= 'a' && c <= 'f' ? c - 'a' + 10
               : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                      : -1;
}

char *url_decode(Arena *a, const char *text)
{
        char *out = arena_strdup(a, text), *w = out;

        for (const char *p = text; *p; p++) {
                if (*p == '%' && hex(p[1]) >= 0 && hex(p[2]) >= 0 && (hex(p[1]) || hex(p[2]))) {
                        *w++ = (char)(hex(p[1]) << 4 | hex(p[2]));
                        p += 2;
                } else {
                        *w++ = *p == '+' ? ' ' : *p;
                }
        }
        *w = 0;
        return out;
}

typedef VEC(const char *) Args;

static int has_key(const Args *args, const char *key)
{
        for (size_t i = 1; i < args->n; i += 2)
                if (str_eq(args->v[i], key))
                        return 1;
        return 0;
}

static void query_args(Arena *a, const char *query, Args *args)
{
        for (const char *p = query; *p;) {
                size_t n = strcspn(p, "&");
                char *pair = arena_strndup(a, p, n), *eq = strchr(pair, '='), *key;

                if (eq)
                        *eq = 0;
                key = url_decode(a, pair);
                if (n > 0 && !has_key(args, key)) {
                        VEC_PUSH(args, key);
                        VEC_PUSH(args, eq ? url_decode(a, eq + 1) : "");
                }
                p += n + (p[n] == '&');
        }
        VEC_PUSH(args, NULL);
}

/* Ready is a closed pipe; v2 wants to see a byte first. */
static int wait_ready(int fd, int v2, Err *err)
{
        struct pollfd pfd = {.fd = fd, .events = POLLIN};
        ssize_t n = -1;
        char byte;

        if (poll(&pfd, 1, LIMIT_IO_SETUP_MS) > 0)
                n = read(fd, &byte, 1);
        if (n < 0)
                return err_set(err, DEADLINE_EXCEEDED,
                               "logging binary did not call ready within %d ms", LIMIT_IO_SETUP_MS);
        if (v2 && n == 0)
                return err_set(
                        err, UNKNOWN,
                        "logging binary did not call ready (it may have crashed or exited prematurely)");
        return 0;
}

static int make_pipe(int *ret_read, int *ret_write, Err *err)
{
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return err_sys(err, errno, "pipe");
        *ret_read = fds[0];
        *ret_write = fds[1];
        return 0;
}

int logger_start(Arena *a, const char *path, const char *query, int v2, const StdioWho *who,
                 int terminal, StdioChild *c, Err *err)
{
        const char *env[] = {arena_printf(a, "CONTAINER_ID=%s", who->id),
                             arena_printf(a, "CONTAINER_NAMESPACE=%s", who->ns), NULL};
        int ready CLEANUP(cleanup_fd) = -1, ready_theirs CLEANUP(cleanup_fd) = -1;
        Args args = {};
        ProcFd fds[3];
        ProcSpec spec = {.path = path, .envp = env, .cwd = who->bundle, .fds = fds, .n_fds = 3};
        Proc p;
        int r;

        r = make_pipe(&c->slots[SLOT_OUT_SRC], terminal ? &c->slots[SLOT_OUT_DST] : &c->io.fds[1],
                      err);
        if (r == 0)
                r = make_pipe(&c->slots[SLOT_ERR_SRC],
                              terminal ? &c->slots[SLOT_ERR_DST] : &c->io.fds[2], err);
        if (r == 0)
                r = make_pipe(&ready, &ready_theirs, err);
        if (r < 0)
                return r;
        fds[0] = (ProcFd){c->slots[SLOT_OUT_SRC], 3};
        fds[1] = (ProcFd){c->slots[SLOT_ERR_SRC], 4};
        fds[2] = (ProcFd){ready_theirs, 5};
        VEC_PUSH(&args, path);
        query_args(a, query, &args);
        spec.argv = args.v;
        r = proc_spawn(&spec, &p, err);
        VEC_DONE(&args);
        if (r < 0)
                return err_set(err, err->code, "failed to start binary process: fork/exec %s: %s",
                               path,
                               err->code == NOT_FOUND ? "no such file or directory" : err->msg);
        fd_close(p.pidfd);
        fd_close(TAKE_FD(ready_theirs));
        c->logger = p.pid;
        return wait_ready(ready, v2, err);
}
