// SPDX-License-Identifier: Apache-2.0
/*
 * Three pumps with a buffer each; a pump polls its source while its buffer is empty and its
 * destination while it is not. fifo(7) decides the rest:
 *
 * - An output fifo is opened for reading before the shim opens it. Until a first writer has come,
 * poll(2) reports no hang-up, so a hang-up means that the last writer is gone. The shim keeps a
 * writer until the process is deleted.
 * - The input fifo cannot be opened for writing before there is a reader (ENXIO), so that is tried
 * again until the shim has come. If we closed it earlier the shim would see an end of file that was
 * none.
 * - Our own standard output is not made non-blocking, which would change it for whoever shares it;
 * writing at most PIPE_BUF bytes when poll(2) says so does not block.
 */
#include "client/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/path.h"

enum { PUMP_BUFFER = 32 * 1024, INPUT_RETRY_MS = 10 };

typedef struct Pump {
        char *path;               /* of the fifo; "" for none */
        int fifo;                 /* -1 when closed */
        int ours;                 /* our descriptor, never closed */
        int poll_fifo, poll_ours; /* index into the last stdio_poll(), -1 for none */
        size_t at, len;
        int broken; /* nobody takes our output */
        char buf[PUMP_BUFFER];
} Pump;

struct Stdio {
        Pump in, out, err;
        int connect;  /* input may be opened */
        int in_off;   /* no more input, whatever the reason */
        int in_ended; /* to be told once */
        int broke;    /* to be told once */
        int draining;
        size_t out_chunk, err_chunk;
};

static size_t chunk_for(int fd)
{
        struct stat st;

        return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? PUMP_BUFFER : PIPE_BUF;
}

static Stdio *stdio_new(const char *in, const char *out, const char *err_path)
{
        Stdio *s = mem_new(Stdio);

        s->in = (Pump){.path = mem_strdup(in), .fifo = -1, .ours = STDIN_FILENO};
        s->out = (Pump){.path = mem_strdup(out), .fifo = -1, .ours = STDOUT_FILENO};
        s->err = (Pump){.path = mem_strdup(err_path), .fifo = -1, .ours = STDERR_FILENO};
        s->in_off = !*in;
        s->out_chunk = chunk_for(STDOUT_FILENO);
        s->err_chunk = chunk_for(STDERR_FILENO);
        return s;
}

static int open_output(Pump *p, Err *err)
{
        struct stat st;

        if (!*p->path)
                return 0;
        p->fifo = open(p->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (p->fifo < 0)
                return err_sys(err, errno, "cannot open fifo %s", p->path);
        if (fstat(p->fifo, &st) < 0 || !S_ISFIFO(st.st_mode))
                return err_set(
                        err, FAILED_PRECONDITION,
                        "output goes to %s, which is no fifo: there is nothing to connect to",
                        p->path);
        return 0;
}

static int make_fifo(Arena *a, const char *dir, const char *name, const char *suffix,
                     const char **ret, Err *err)
{
        *ret = arena_printf(a, "%s/%s-%s", dir, name, suffix);
        if (mkfifo(*ret, 0700) < 0)
                return err_sys(err, errno, "cannot make fifo %s", *ret);
        return 0;
}

static void stdio_closep(Stdio **s)
{
        stdio_close(*s);
}

static void arena_donep(Arena *a)
{
        arena_done(a);
}

int stdio_make(const char *dir, const char *name, int terminal, Stdio **ret, Err *err)
{
        Stdio *s CLEANUP(stdio_closep) = NULL;
        const char *in = "", *out = "", *err_path = "";
        Arena a CLEANUP(arena_donep);
        char random[13];
        char *own;
        int r;

        arena_init(&a, SIZE_MAX);
        random_name(random, sizeof(random) - 1);
        own = arena_printf(&a, "%s/%s", dir, random);
        r = path_mkdirs(dir, 0700, err);
        if (r < 0)
                return err_wrap(err, "cannot make the folder for fifos");
        if (mkdir(own, 0700) < 0)
                return err_sys(err, errno, "cannot make folder %s", own);
        r = make_fifo(&a, own, name, "stdin", &in, err);
        if (r == 0)
                r = make_fifo(&a, own, name, "stdout", &out, err);
        if (r == 0 && !terminal)
                r = make_fifo(&a, own, name, "stderr", &err_path, err);
        if (r < 0)
                return r;
        s = stdio_new(in, out, err_path);
        r = open_output(&s->out, err);
        if (r == 0)
                r = open_output(&s->err, err);
        if (r < 0) {
                stdio_remove(in, out, err_path);
                return r;
        }
        *ret = TAKE(s);
        return 0;
}

int stdio_attach(const char *in, const char *out, const char *err_path, Stdio **ret, Err *err)
{
        Stdio *s CLEANUP(stdio_closep) = stdio_new(in, out, err_path);
        int r;

        r = open_output(&s->out, err);
        if (r == 0)
                r = open_output(&s->err, err);
        if (r < 0)
                return r;
        s->connect = 1;
        *ret = TAKE(s);
        return 0;
}

static void pump_close(Pump *p)
{
        fd_close(p->fifo);
        p->fifo = -1;
}

Stdio *stdio_close(Stdio *s)
{
        Pump *pumps[3];

        if (!s)
                return NULL;
        pumps[0] = &s->in;
        pumps[1] = &s->out;
        pumps[2] = &s->err;
        for (size_t i = 0; i < ARRAY_LEN(pumps); i++) {
                pump_close(pumps[i]);
                free(pumps[i]->path);
        }
        free(s);
        return NULL;
}

void stdio_remove(const char *in, const char *out, const char *err_path)
{
        const char *const paths[] = {in, out, err_path};

        for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
                char *dir CLEANUP(cleanup_free) = NULL;
                struct stat st;
                char *slash;

                if (paths[i][0] != '/' || lstat(paths[i], &st) < 0 || !S_ISFIFO(st.st_mode))
                        continue;
                unlink(paths[i]);
                dir = mem_strdup(paths[i]);
                slash = strrchr(dir, '/');
                *slash = '\0';
                rmdir(dir); /* fails while there is something in it, as it should */
        }
}

const char *stdio_in(const Stdio *s)
{
        return s->in.path;
}

const char *stdio_out(const Stdio *s)
{
        return s->out.path;
}

const char *stdio_err(const Stdio *s)
{
        return s->err.path;
}

void stdio_connect(Stdio *s)
{
        s->connect = 1;
}

static int add_poll(struct pollfd *fds, size_t *n, int fd, short events)
{
        fds[*n] = (struct pollfd){.fd = fd, .events = events};
        return (int)(*n)++;
}

static void output_poll(Pump *p, struct pollfd *fds, size_t *n)
{
        p->poll_fifo = p->poll_ours = -1;
        if (p->at < p->len)
                p->poll_ours = add_poll(fds, n, p->ours, POLLOUT);
        else if (p->fifo >= 0)
                p->poll_fifo = add_poll(fds, n, p->fifo, POLLIN);
}

static void input_poll(Stdio *s, struct pollfd *fds, size_t *n, int *timeout_ms)
{
        Pump *p = &s->in;

        p->poll_fifo = p->poll_ours = -1;
        if (s->in_off || !s->connect)
                return;
        if (p->fifo < 0) {
                *timeout_ms = *timeout_ms < 0 ? INPUT_RETRY_MS : MIN(*timeout_ms, INPUT_RETRY_MS);
                return;
        }
        if (p->at < p->len)
                p->poll_fifo = add_poll(fds, n, p->fifo, POLLOUT);
        else
                p->poll_ours = add_poll(fds, n, p->ours, POLLIN);
}

size_t stdio_poll(Stdio *s, struct pollfd *fds, int *timeout_ms)
{
        size_t n = 0;

        input_poll(s, fds, &n, timeout_ms);
        output_poll(&s->out, fds, &n);
        output_poll(&s->err, fds, &n);
        if (s->draining && s->out.at == s->out.len && s->err.at == s->err.len)
                *timeout_ms = 0;
        return n;
}

static short revents(const struct pollfd *fds, size_t n, int index)
{
        return index >= 0 && (size_t)index < n ? fds[index].revents : 0;
}

static void output_read(Stdio *s, Pump *p, short ev)
{
        ssize_t n;

        if (p->fifo < 0 || p->at < p->len || (!ev && !s->draining))
                return;
        n = read(p->fifo, p->buf, sizeof(p->buf));
        if (n < 0 && (errno == EINTR || (errno == EAGAIN && !s->draining)))
                return;
        if (n <= 0) {
                pump_close(p);
                return;
        }
        p->at = 0;
        p->len = p->broken ? 0 : (size_t)n;
}

static void output_write(Stdio *s, Pump *p, short ev, size_t chunk)
{
        ssize_t n;

        if (!ev || p->at == p->len)
                return;
        n = write(p->ours, p->buf + p->at, MIN(chunk, p->len - p->at));
        if (n >= 0) {
                p->at += (size_t)n;
                return;
        }
        if (errno == EINTR || errno == EAGAIN)
                return;
        /* the reader of our output is gone, or the disk is full: the process goes on, its output
         * does not */
        p->broken = s->broke = 1;
        p->at = p->len = 0;
}

static void input_off(Stdio *s, int ended)
{
        pump_close(&s->in);
        s->in_off = 1;
        s->in_ended = ended;
}

static void input_step(Stdio *s, const struct pollfd *fds, size_t n_fds)
{
        Pump *p = &s->in;
        ssize_t n;

        if (s->in_off || !s->connect)
                return;
        if (p->fifo < 0) {
                p->fifo = open(p->path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
                if (p->fifo < 0 && errno != ENXIO && errno != EINTR)
                        input_off(s, 0);
                return;
        }
        if (revents(fds, n_fds, p->poll_ours)) {
                n = read(p->ours, p->buf, sizeof(p->buf));
                if (n > 0) {
                        p->at = 0;
                        p->len = (size_t)n;
                } else if (n == 0 || errno == EBADF) {
                        input_off(s, 1);
                } else if (errno != EINTR && errno != EAGAIN) {
                        input_off(s, 0); /* EIO: a terminal that is somebody else's now */
                }
        } else if (revents(fds, n_fds, p->poll_fifo)) {
                n = write(p->fifo, p->buf + p->at, p->len - p->at);
                if (n >= 0)
                        p->at += (size_t)n;
                else if (errno != EINTR && errno != EAGAIN)
                        input_off(s, 0);
        }
}

void stdio_step(Stdio *s, const struct pollfd *fds, size_t n)
{
        input_step(s, fds, n);
        output_write(s, &s->out, revents(fds, n, s->out.poll_ours), s->out_chunk);
        output_write(s, &s->err, revents(fds, n, s->err.poll_ours), s->err_chunk);
        output_read(s, &s->out, revents(fds, n, s->out.poll_fifo));
        output_read(s, &s->err, revents(fds, n, s->err.poll_fifo));
}

int stdio_input_ended(Stdio *s)
{
        int ended = s->in_ended;

        s->in_ended = 0;
        return ended;
}

int stdio_output_ended(const Stdio *s)
{
        return s->out.fifo < 0 && s->err.fifo < 0 && s->out.at == s->out.len &&
               s->err.at == s->err.len;
}

int stdio_output_broken(Stdio *s)
{
        int broke = s->broke;

        s->broke = 0;
        return broke;
}

void stdio_drain(Stdio *s)
{
        s->draining = 1;
        s->in_off = 1;
}
