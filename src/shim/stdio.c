/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's fifo is opened for reading first, which never blocks, then looked at, and then opened
 * again for writing through /proc/self/fd, so that what was looked at is what is used. The reader
 * stays open: a client may go away and come back without the container being told that its output
 * is broken.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/proc.h"
#include "base/str.h"
#include "shim/logger.h"
#include "shim/stdio.h"

void stdio_spec_init(StdioSpec *s, const char *in, const char *out, const char *err, int terminal)
{
        *s = (StdioSpec){mem_strdup(in), mem_strdup(out), mem_strdup(err), terminal};
}

void stdio_spec_done(StdioSpec *s)
{
        free(s->in);
        free(s->out);
        free(s->err);
        *s = (StdioSpec){};
}

/* ---- op child ---- */

static int reopen(int fd, int flags)
{
        char path[64];

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return open(path, flags | O_CLOEXEC);
}

static int open_sink(const char *path, int *ret_dst, int *ret_keep, Err *err)
{
        int fd CLEANUP(cleanup_fd) = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return err_sys(err, errno, "open %s", path);
        if (!S_ISFIFO(st.st_mode) && !S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode))
                return err_set(err, INVALID_ARGUMENT, "%s is neither a fifo nor a file", path);
        *ret_dst =
                reopen(fd, O_WRONLY | O_NONBLOCK | O_NOCTTY | (S_ISREG(st.st_mode) ? O_APPEND : 0));
        if (*ret_dst < 0)
                return err_sys(err, errno, "open %s for writing", path);
        if (S_ISFIFO(st.st_mode))
                *ret_keep = TAKE_FD(fd);
        return 0;
}

static int open_source(const char *path, int *ret_src, int *ret_keep, Err *err)
{
        int fd CLEANUP(cleanup_fd) = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return err_sys(err, errno, "open %s", path);
        if (!S_ISFIFO(st.st_mode))
                return err_set(err, INVALID_ARGUMENT, "stdin %s is not a fifo", path);
        *ret_keep = reopen(fd, O_WRONLY | O_NONBLOCK);
        if (*ret_keep < 0)
                return err_sys(err, errno, "open %s for writing", path);
        *ret_src = TAKE_FD(fd);
        return 0;
}

static int open_file(const char *path, int *ret_dst, Err *err)
{
        char *dir CLEANUP(cleanup_free) = mem_strdup(path), *slash = strrchr(dir, '/');
        int r;

        if (slash && slash > dir) {
                *slash = 0;
                r = path_mkdirs(dir, 0755, err);
                if (r < 0)
                        return r;
        }
        *ret_dst = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644);
        return *ret_dst < 0 ? err_sys(err, errno, "open %s", path) : 0;
}

/* A pipe between shim and process; theirs is one of io.fds. */
static int make_pipe(const StdioWho *who, int *ret_read, int *ret_write, Err *err)
{
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return err_sys(err, errno, "pipe");
        if ((who->uid || who->gid) && fchown(fds[0], who->uid, who->gid) < 0) {
                fd_close(fds[0]);
                fd_close(fds[1]);
                return err_sys(err, errno, "giving the stdio pipe to %u:%u", who->uid, who->gid);
        }
        *ret_read = fds[0];
        *ret_write = fds[1];
        return 0;
}

typedef struct Uri {
        const char *scheme, *path, *query;
} Uri;

static int parse_uri(Arena *a, const char *text, Uri *ret, Err *err)
{
        const char *sep = strstr(text, "://");
        char *rest, *query;

        *ret = (Uri){.scheme = "fifo", .path = text, .query = ""};
        if (!sep)
                return 0;
        ret->scheme = arena_strndup(a, text, (size_t)(sep - text));
        rest = arena_strdup(a, sep + 3);
        query = strchr(rest, '?');
        if (query) {
                *query = 0;
                ret->query = query + 1;
        }
        ret->path = url_decode(a, rest);
        if (ret->path[0] != '/')
                return err_set(err, INVALID_ARGUMENT, "stdio path of %s is not absolute", text);
        return 0;
}

/* With a terminal there is one output, which the shim reads from the console. */
static int open_outputs(const StdioSpec *s, const StdioWho *who, Arena *a, StdioChild *c, Err *err)
{
        const char *paths[2] = {s->out, s->terminal ? "" : s->err};
        static const int src[2] = {SLOT_OUT_SRC, SLOT_ERR_SRC},
                         dst[2] = {SLOT_OUT_DST, SLOT_ERR_DST},
                         keep[2] = {SLOT_OUT_KEEP, SLOT_ERR_KEEP};
        Uri uri;
        int r = parse_uri(a, s->out, &uri, err);

        if (r < 0)
                return r;
        if (strncmp(uri.scheme, "binary", 6) == 0 &&
            (!uri.scheme[6] || str_eq(uri.scheme, "binary-v2")))
                return logger_start(a, uri.path, uri.query, str_eq(uri.scheme, "binary-v2"), who,
                                    s->terminal, c, err);
        if (!str_eq(uri.scheme, "fifo") && !str_eq(uri.scheme, "file"))
                return err_set(err, UNKNOWN, "unknown STDIO scheme %s", uri.scheme);
        for (int i = 0; i < 2; i++) {
                if (str_eq(uri.scheme, "file")) {
                        if (i == 1 && s->terminal)
                                break;
                        r = open_file(uri.path, &c->slots[dst[i]], err);
                } else if (!str_empty(paths[i])) {
                        r = open_sink(i == 0 ? uri.path : paths[i], &c->slots[dst[i]],
                                      &c->slots[keep[i]], err);
                } else {
                        continue;
                }
                if (r == 0 && !s->terminal)
                        r = make_pipe(who, &c->slots[src[i]], &c->io.fds[1 + i], err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int open_input(const StdioSpec *s, const StdioWho *who, StdioChild *c, Err *err)
{
        const char *path = str_starts(s->in, "fifo://") ? s->in + 7 : s->in;
        int r;

        if (str_empty(path))
                return 0;
        r = open_source(path, &c->slots[SLOT_IN_SRC], &c->slots[SLOT_IN_KEEP], err);
        if (r < 0 || s->terminal)
                return r;
        return make_pipe(who, &c->io.fds[0], &c->slots[SLOT_IN_DST], err);
}

static int open_console(Arena *a, StdioChild *c, Err *err)
{
        const char *tmp = getenv("XDG_RUNTIME_DIR");
        struct sockaddr_un sun = {.sun_family = AF_UNIX};

        c->console_dir = arena_printf(a, "%s/ptyXXXXXX", str_empty(tmp) ? "/tmp" : tmp);
        if (!mkdtemp(c->console_dir)) {
                c->console_dir = NULL;
                return err_sys(err, errno, "folder of the console socket");
        }
        c->console_path = arena_printf(a, "%s/pty.sock", c->console_dir);
        if (strlen(c->console_path) >= sizeof(sun.sun_path))
                return err_set(err, INVALID_ARGUMENT, "console socket path too long: %s",
                               c->console_path);
        memcpy(sun.sun_path, c->console_path, strlen(c->console_path) + 1);
        c->io.console = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (c->io.console < 0 || bind(c->io.console, (struct sockaddr *)&sun, sizeof(sun)) < 0 ||
            listen(c->io.console, 1) < 0)
                return err_sys(err, errno, "console socket");
        c->io.ret_console = &c->slots[SLOT_CONSOLE];
        if (c->slots[SLOT_OUT_DST] < 0) {
                /* Nobody listens, but a terminal that nobody reads would stop the process. */
                c->slots[SLOT_OUT_DST] = open("/dev/null", O_WRONLY | O_CLOEXEC);
                if (c->slots[SLOT_OUT_DST] < 0)
                        return err_sys(err, errno, "open /dev/null");
        }
        return 0;
}

int stdio_child_open(const StdioSpec *s, const StdioWho *who, Arena *a, StdioChild *ret, Err *err)
{
        int r;

        *ret = (StdioChild){.io = {.fds = {-1, -1, -1}, .console = -1}};
        for (int i = 0; i < STDIO_SLOTS; i++)
                ret->slots[i] = -1;
        r = open_outputs(s, who, a, ret, err);
        if (r == 0)
                r = open_input(s, who, ret, err);
        if (r == 0 && s->terminal)
                r = open_console(a, ret, err);
        if (r < 0) {
                stdio_child_done(ret);
                for (int i = 0; i < STDIO_SLOTS; i++)
                        fd_close(TAKE_FD(ret->slots[i]));
                if (ret->logger > 0)
                        kill(ret->logger, SIGTERM);
        }
        return r;
}

void stdio_child_done(StdioChild *c)
{
        for (int i = 0; i < 3; i++)
                fd_close(TAKE_FD(c->io.fds[i]));
        fd_close(TAKE_FD(c->io.console));
        if (c->console_path)
                unlink(c->console_path);
        if (c->console_dir)
                rmdir(c->console_dir);
        c->console_path = c->console_dir = NULL;
}

/* ---- shim ---- */

void proc_io_init(ProcIo *io)
{
        *io = (ProcIo){.in_keep = -1,
                       .out_keep = -1,
                       .err_keep = -1,
                       .console = -1,
                       .out_rest = -1,
                       .err_rest = -1};
}

static int is_fifo(int fd)
{
        struct stat st;

        return fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
}

static int start(Stream *s, Loop *loop, int src, int dst, StreamEndFn on_end, void *ctx, Err *err)
{
        return stream_start(s, loop, src, dst, is_fifo(src) && is_fifo(dst), on_end, ctx, err);
}

static int dup_fd(int fd)
{
        return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

static int start_copies(ProcIo *io, Loop *loop, int slots[STDIO_SLOTS], pid_t logger,
                        StreamEndFn on_end, void *ctx, Err *err)
{
        int r = 0;

        io->logger = logger;
        io->in_keep = TAKE_FD(slots[SLOT_IN_KEEP]);
        io->out_keep = TAKE_FD(slots[SLOT_OUT_KEEP]);
        io->err_keep = TAKE_FD(slots[SLOT_ERR_KEEP]);
        io->console = TAKE_FD(slots[SLOT_CONSOLE]);
        if (io->console >= 0) {
                r = start(&io->out, loop, dup_fd(io->console), TAKE_FD(slots[SLOT_OUT_DST]), on_end,
                          ctx, err);
                if (r == 0 && slots[SLOT_IN_SRC] >= 0)
                        r = start(&io->in, loop, TAKE_FD(slots[SLOT_IN_SRC]), dup_fd(io->console),
                                  NULL, NULL, err);
                return r;
        }
        if (slots[SLOT_IN_SRC] >= 0)
                r = start(&io->in, loop, TAKE_FD(slots[SLOT_IN_SRC]), TAKE_FD(slots[SLOT_IN_DST]),
                          NULL, NULL, err);
        if (logger > 0) {
                io->out_rest = TAKE_FD(slots[SLOT_OUT_SRC]);
                io->err_rest = TAKE_FD(slots[SLOT_ERR_SRC]);
                return r;
        }
        if (r == 0 && slots[SLOT_OUT_SRC] >= 0)
                r = start(&io->out, loop, TAKE_FD(slots[SLOT_OUT_SRC]),
                          TAKE_FD(slots[SLOT_OUT_DST]), on_end, ctx, err);
        if (r == 0 && slots[SLOT_ERR_SRC] >= 0)
                r = start(&io->err, loop, TAKE_FD(slots[SLOT_ERR_SRC]),
                          TAKE_FD(slots[SLOT_ERR_DST]), on_end, ctx, err);
        return r;
}

int proc_io_start(ProcIo *io, Loop *loop, int slots[STDIO_SLOTS], pid_t logger, StreamEndFn on_end,
                  void *ctx, Err *err)
{
        int r = start_copies(io, loop, slots, logger, on_end, ctx, err);

        if (r == 0 && io->input_over)
                proc_io_close_stdin(io);
        return r;
}

void proc_io_close_stdin(ProcIo *io)
{
        io->input_over = 1;
        fd_close(TAKE_FD(io->in_keep));
        stream_pump(&io->in);
}

int proc_io_busy(const ProcIo *io)
{
        return io->out.active || io->err.active;
}

void proc_io_pump(ProcIo *io)
{
        stream_pump(&io->out);
        stream_pump(&io->err);
}

int proc_io_resize(ProcIo *io, uint32_t width, uint32_t height, Err *err)
{
        struct winsize size = {.ws_col = (unsigned short)width, .ws_row = (unsigned short)height};

        if (io->console < 0)
                return 0;
        if (width > UINT16_MAX || height > UINT16_MAX)
                return err_set(err, INVALID_ARGUMENT, "terminal size %ux%u: invalid argument",
                               width, height);
        return ioctl(io->console, TIOCSWINSZ, &size) < 0
                       ? err_sys(err, errno, "resizing the terminal")
                       : 0;
}

void proc_io_done(ProcIo *io)
{
        stream_stop(&io->in);
        stream_stop(&io->out);
        stream_stop(&io->err);
        fd_close(TAKE_FD(io->in_keep));
        fd_close(TAKE_FD(io->out_keep));
        fd_close(TAKE_FD(io->err_keep));
        fd_close(TAKE_FD(io->console));
        fd_close(TAKE_FD(io->out_rest));
        fd_close(TAKE_FD(io->err_rest));
}
