/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A shim's log lines are our stderr's. The fifo is held open for reading and writing, so that it
 * neither ends nor blocks when the shim opens it late or comes and goes. One bounded read a turn
 * keeps a chatty shim from taking the loop, and a stderr that does not drain loses lines instead of
 * stopping the daemon.
 */
#include "runtime/shimlog.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"

struct ShimLog {
        int fd;
        LoopSource *source;
};

static ssize_t copy(ShimLog *l)
{
        struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
        char buf[PIPE_BUF]; /* a pipe that polls writable takes this much without blocking */
        ssize_t n;

        n = read(l->fd, buf, sizeof(buf));
        if (n > 0 && poll(&out, 1, 0) == 1 && (out.revents & POLLOUT))
                while (write(STDERR_FILENO, buf, (size_t)n) < 0 && errno == EINTR)
                        ;
        return n;
}

static void readable(void *ctx, int fd, uint32_t events)
{
        ShimLog *l = ctx;

        if (copy(l) <= 0 && errno != EAGAIN && errno != EINTR)
                l->source = loop_remove(l->source);
}

ShimLog *shim_log_new(const char *bundle)
{
        char *path CLEANUP(cleanup_free) = mem_printf("%s/log", bundle);
        int fd CLEANUP(cleanup_fd) = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
        struct stat st;
        ShimLog *l;

        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode))
                return NULL;
        l = mem_new(ShimLog);
        l->fd = TAKE_FD(fd);
        return l;
}

void shim_log_watch(ShimLog *l, Loop *loop)
{
        Err ignored = {};

        if (l && !l->source)
                loop_add_fd(loop, l->fd, EPOLLIN, readable, l, &l->source, &ignored);
}

ShimLog *shim_log_close(ShimLog *l)
{
        if (!l)
                return NULL;
        for (int i = 0; i < 16 && copy(l) > 0; i++)
                ;
        loop_remove(l->source);
        fd_close(l->fd);
        free(l);
        return NULL;
}
