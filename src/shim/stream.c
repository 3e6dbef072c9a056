/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both descriptors are non-blocking and edge-triggered: a turn goes on until one side would block,
 * and the edge of that side starts the next. Level-triggered would spin, since a hung-up pipe
 * cannot be masked while its sink is full.
 *
 * Between pipes, splice(2) moves pages and this process never sees the bytes. Terminals and files
 * take a buffer. What epoll refuses (regular files, /dev/null) never blocks.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/fd.h"
#include "shim/stream.h"

enum { TURNS = 64, SPLICE_MAX = 1024 * 1024 };

typedef enum Step { STEP_MORE, STEP_WAIT, STEP_END } Step;

static Step would_block(void)
{
        return errno == EAGAIN ? STEP_WAIT : errno == EINTR ? STEP_MORE : STEP_END;
}

static Step step_splice(Stream *s)
{
        ssize_t n =
                splice(s->src, NULL, s->dst, NULL, SPLICE_MAX, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);

        if (n < 0)
                return would_block();
        return n == 0 ? STEP_END : STEP_MORE;
}

static Step step_copy(Stream *s)
{
        ssize_t n;

        if (s->off == s->len) {
                n = read(s->src, s->buf, STREAM_BUFFER);
                if (n < 0)
                        return would_block();
                if (n == 0)
                        return STEP_END;
                s->off = 0;
                s->len = (unsigned)n;
        }
        n = write(s->dst, s->buf + s->off, s->len - s->off);
        if (n < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EIO || errno == EFBIG)) {
                /* A full disk must not stop the container: what has no room is lost. */
                s->off = s->len;
                return STEP_MORE;
        }
        if (n < 0)
                return would_block();
        s->off += (unsigned)n;
        return STEP_MORE;
}

void stream_stop(Stream *s)
{
        if (!s->active)
                return;
        s->active = 0;
        s->src_io = loop_remove(s->src_io);
        s->dst_io = loop_remove(s->dst_io);
        fd_close(TAKE_FD(s->src));
        fd_close(TAKE_FD(s->dst));
        free(TAKE(s->buf));
}

void stream_pump(Stream *s)
{
        Step step = STEP_MORE;

        if (!s->active)
                return;
        for (int i = 0; i < TURNS && step == STEP_MORE; i++)
                step = s->buf ? step_copy(s) : step_splice(s);
        if (step == STEP_MORE) {
                /* Others' turn; setting the events again makes a new edge. */
                loop_set_events(s->src_io, EPOLLIN | EPOLLET);
        } else if (step == STEP_END) {
                stream_stop(s);
                if (s->on_end)
                        s->on_end(s->ctx);
        }
}

static void on_ready(void *ctx, int fd, uint32_t events)
{
        stream_pump(ctx);
}

static int watch(Stream *s, int fd, uint32_t events, LoopSource **ret, Err *err)
{
        int r = loop_add_fd(s->loop, fd, events | EPOLLET, on_ready, s, ret, err);

        return r == -PERMISSION_DENIED ? 0 : r; /* EPERM: not for epoll */
}

int stream_start(Stream *s, Loop *loop, int src, int dst, int spliced, StreamEndFn on_end,
                 void *ctx, Err *err)
{
        int r;

        *s = (Stream){
                .loop = loop, .src = src, .dst = dst, .active = 1, .on_end = on_end, .ctx = ctx};
        fd_set_nonblock(src, 1);
        fd_set_nonblock(dst, 1);
        if (!spliced) {
                s->buf = malloc(STREAM_BUFFER);
                if (!s->buf) {
                        stream_stop(s);
                        return err_set(err, RESOURCE_EXHAUSTED, "no memory to copy stdio");
                }
        }
        r = watch(s, dst, EPOLLOUT, &s->dst_io, err);
        if (r == 0)
                r = watch(s, src, EPOLLIN, &s->src_io, err);
        if (r < 0)
                stream_stop(s);
        return r;
}
