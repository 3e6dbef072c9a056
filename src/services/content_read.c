/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content.Read and Content.List: streams to the client. One message a step: what is not sent yet is
 * on disk (Read) or encoded once (List), so a slow reader costs one message.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "services/blocks.h"
#include "services/content_priv.h"

enum { READ_CHUNK = 1024 * 1024 };

/* ---- Read ---- */

typedef struct Reader {
        int fd;
        uint64_t start, end; /* in the blob; end is behind the last byte */
        uint64_t sent;
} Reader;

static int read_message(Call *c, const void *msg)
{
        const Content__ReadContentRequest *req = msg;
        int fd CLEANUP(cleanup_fd) = -1;
        uint64_t size, offset = req->offset < 0 ? 0 : (uint64_t)req->offset;
        MetaCaller who;
        Reader *rd;
        int r;

        if (c->state)
                return err_set(c->err, INTERNAL, "Read takes one message");
        r = content_caller(c, &who);
        if (r == 0)
                r = content_check_digest(c, req->digest);
        if (r == 0)
                r = blobs_open(c->ctx, who.ns, c->arena, req->digest, &fd, &size, c->err);
        if (r < 0)
                return r;
        if (offset > size)
                return err_set(c->err, OUT_OF_RANGE, "read past object length %llu bytes",
                               (unsigned long long)size);
        c->state = rd = mem_new(Reader);
        rd->fd = TAKE_FD(fd);
        rd->start = offset;
        rd->end = req->size > 0 && (uint64_t)req->size < size - offset
                          ? offset + (uint64_t)req->size
                          : size;
        posix_fadvise(rd->fd, (off_t)rd->start, (off_t)(rd->end - rd->start),
                      POSIX_FADV_SEQUENTIAL);
        return RPC_MORE;
}

static size_t put_varint(uint8_t *p, uint64_t v)
{
        size_t n = 0;

        for (; v >= 0x80; v >>= 7)
                p[n++] = (uint8_t)(v | 0x80);
        p[n++] = (uint8_t)v;
        return n;
}

/* Encodes by hand, so that the bytes are read to where they are sent from. */
static int read_writable(Call *c)
{
        Reader *rd = c->state;
        char *buf CLEANUP(cleanup_free) = NULL;
        uint8_t head[24];
        size_t n, n_head = 0;
        ssize_t got;
        int r;

        if (!rd)
                return err_set(c->err, INTERNAL, "Read needs a message");
        n = (size_t)MIN(rd->end - rd->start - rd->sent, (uint64_t)READ_CHUNK);
        if (n == 0)
                return 0;
        if (rd->sent > 0) {
                head[n_head++] = 1 << 3; /* offset, a varint */
                n_head += put_varint(head + n_head, rd->sent);
        }
        head[n_head++] = 2 << 3 | 2; /* data, bytes */
        n_head += put_varint(head + n_head, n);
        buf = malloc(n_head + n);
        if (!buf)
                return err_set(c->err, RESOURCE_EXHAUSTED, "no memory to read a blob");
        memcpy(buf, head, n_head);
        got = fd_pread_all(rd->fd, buf + n_head, n, (off_t)(rd->start + rd->sent));
        if (got < 0)
                return err_sys(c->err, errno, "read blob");
        if ((size_t)got < n)
                return err_set(c->err, DATA_LOSS, "blob is shorter than it was");
        rd->sent += n;
        r = call_send_take(c, TAKE(buf), n_head + n);
        if (r < 0)
                return r;
        return rd->start + rd->sent == rd->end ? 0 : RPC_MORE;
}

static void read_close(Call *c)
{
        Reader *rd = c->state;

        if (rd)
                fd_close(rd->fd);
        free(rd);
        c->state = NULL;
}

const RpcStreamOps content_read_ops = {
        .message = read_message,
        .writable = read_writable,
        .close = read_close,
};

/* ---- List ---- */

static int list_message(Call *c, const void *msg)
{
        const Content__ListContentRequest *req = msg;
        MetaCaller who;
        int r;

        if (c->state)
                return err_set(c->err, INTERNAL, "List takes one message");
        r = content_caller(c, &who);
        if (r < 0)
                return r;
        c->state = blocks_new(1);
        r = blobs_list(c->ctx, who.ns, c->arena, (const char *const *)req->filters, req->n_filters,
                       blocks_add, c->state, c->err);
        blocks_end(c->state);
        return r < 0 ? r : RPC_MORE;
}

const RpcStreamOps content_list_ops = {
        .message = list_message,
        .writable = blocks_writable,
        .close = blocks_close,
};
