/* SPDX-License-Identifier: Apache-2.0 */
/* One writev(2) at a time; see server_priv.h. */
#include "grpc/server_priv.h"

#include <errno.h>
#include <sys/socket.h>

enum { COPY_MAX = 1024, FRAME_MAX = 16 * 1024 + 64 };

/* For one more frame, however it is made up: pieces up to COPY_MAX are copied, so at most 16 are
 * pointed at, with something copied between. */
int batch_has_room(const Batch *b)
{
        return b->flat_used + FRAME_MAX <= BATCH_FLAT && b->n_iov + 40 <= BATCH_PIECES;
}

void batch_copy(Batch *b, const void *p, size_t n)
{
        uint8_t *to = b->flat + b->flat_used;
        struct iovec *last = b->n_iov > 0 ? &b->iov[b->n_iov - 1] : NULL;

        assert(b->flat_used + n <= BATCH_FLAT);
        memcpy(to, p, n);
        b->flat_used += n;
        b->bytes += n;
        if (last && (uint8_t *)last->iov_base + last->iov_len == to) {
                last->iov_len += n;
                return;
        }
        assert(b->n_iov < BATCH_PIECES);
        b->iov[b->n_iov++] = (struct iovec){to, n};
}

void batch_point(Batch *b, RpcBuf *buf, const void *p, size_t n)
{
        if (n <= COPY_MAX) {
                batch_copy(b, p, n);
                return;
        }
        assert(b->n_iov < BATCH_PIECES);
        buf->refs++;
        b->bufs[b->n_bufs++] = buf;
        b->iov[b->n_iov++] = (struct iovec){(void *)(uintptr_t)p, n};
        b->bytes += n;
}

void batch_reset(Batch *b)
{
        for (int i = 0; i < b->n_bufs; i++)
                rpc_buf_unref(b->bufs[i]);
        b->n_iov = b->first = b->n_bufs = b->full = 0;
        b->flat_used = b->bytes = 0;
}

Batch *batch_free(Batch *b)
{
        if (b) {
                batch_reset(b);
                free(b);
        }
        return NULL;
}

int batch_write(Batch *b, int fd)
{
        while (b->first < b->n_iov) {
                struct msghdr msg = {.msg_iov = b->iov + b->first,
                                     .msg_iovlen = (size_t)(b->n_iov - b->first)};
                ssize_t n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return errno == EAGAIN ? 0 : -1;
                b->bytes -= (size_t)n;
                while (n > 0) {
                        struct iovec *v = &b->iov[b->first];
                        size_t step = MIN((size_t)n, v->iov_len);

                        v->iov_base = (char *)v->iov_base + step;
                        v->iov_len -= step;
                        n -= (ssize_t)step;
                        if (v->iov_len == 0)
                                b->first++;
                }
        }
        batch_reset(b);
        return 1;
}
