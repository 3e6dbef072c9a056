/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One description of each message serves both directions: fields() visits a message's members, and
 * the codec either writes them or reads and checks them. Integers are little-endian as the machine
 * has them; a string is its length, its bytes and a NUL, so that what is decoded can be borrowed as
 * a C string.
 */
#include "worker/message.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fd.h"
#include "base/limits.h"

enum { MAGIC = 0x4c575231 }; /* "1RWL" */

typedef struct Codec {
        uint8_t *out; /* encoding */
        const uint8_t *in;
        size_t pos, end;
        int failed;
} Codec;

static void raw(Codec *c, void *p, size_t n)
{
        if (c->failed || n > c->end - c->pos) {
                c->failed = 1;
                return;
        }
        if (c->out)
                memcpy(c->out + c->pos, p, n);
        else if (c->in)
                memcpy(p, c->in + c->pos, n);
        c->pos += n;
}

static void u32(Codec *c, uint32_t *v)
{
        raw(c, v, sizeof(*v));
}

static void u64(Codec *c, uint64_t *v)
{
        raw(c, v, sizeof(*v));
}

static void u32_max(Codec *c, uint32_t *v, uint32_t max)
{
        u32(c, v);
        c->failed |= *v > max;
}

/* Bytes of at most max, followed by a NUL that does not count. */
static void bytes(Codec *c, const uint8_t **p, uint32_t *n, uint32_t max)
{
        uint8_t nul = 0;

        u32_max(c, n, max);
        if (c->failed || *n > c->end - c->pos) {
                c->failed = 1;
                return;
        }
        if (c->out && *n)
                memcpy(c->out + c->pos, *p, *n);
        else if (!c->out)
                *p = c->in + c->pos;
        c->pos += *n;
        raw(c, &nul, 1);
        c->failed |= nul;
}

static void text(Codec *c, const char **s, uint32_t max)
{
        const uint8_t *p = (const uint8_t *)*s;
        uint32_t n = c->out && *s ? (uint32_t)strnlen(*s, (size_t)max + 1) : 0;

        bytes(c, &p, &n, max);
        if (c->failed || c->out)
                return;
        c->failed = memchr(p, 0, n) != NULL;
        *s = (const char *)p;
}

static void digest_text(Codec *c, const char **s)
{
        Err err = {};
        Digest d;

        text(c, s, DIGEST_TEXT_MAX);
        if (!c->failed && !c->out && **s)
                c->failed = digest_parse(*s, &d, &err) < 0;
}

static void fields(Codec *c, WorkerMsg *m)
{
        switch (m->type) {
        case WORKER_MSG_HELLO:
        case WORKER_MSG_OPAQUE:
                break;
        case WORKER_MSG_APPLY:
                u32_max(c, &m->apply.codec, WORKER_CODEC_LAST);
                u32_max(c, &m->apply.overlay, 1);
                u64(c, &m->apply.max_bytes);
                u64(c, &m->apply.max_entries);
                text(c, &m->apply.root, LIMIT_TAR_NAME);
                break;
        case WORKER_MSG_IMPORT:
                u64(c, &m->import.max_bytes);
                u64(c, &m->import.max_entries);
                break;
        case WORKER_MSG_COMPARE:
                u32_max(c, &m->compare.format, WORKER_FORMAT_LAST);
                u32_max(c, &m->compare.trees, WORKER_TREE_ALL);
                u32_max(c, &m->compare.bounded, 1);
                u64(c, &m->compare.sec);
                u32_max(c, &m->compare.nsec, NS_PER_SEC - 1);
                break;
        case WORKER_MSG_XATTR:
                text(c, &m->xattr.name, 255);
                bytes(c, &m->xattr.value, &m->xattr.n_value, LIMIT_TAR_XATTR);
                break;
        case WORKER_MSG_MKNOD:
                text(c, &m->mknod.name, 255);
                u32(c, &m->mknod.mode);
                u32(c, &m->mknod.major);
                u32(c, &m->mknod.minor);
                u32(c, &m->mknod.uid);
                u32(c, &m->mknod.gid);
                break;
        case WORKER_MSG_PARENT:
                text(c, &m->parent.path, LIMIT_TAR_NAME);
                break;
        case WORKER_MSG_REPLY:
                u32_max(c, &m->reply.errnum, 4095);
                break;
        case WORKER_MSG_ENTRY:
                u32_max(c, &m->entry.type, WORKER_ENTRY_LAST);
                u64(c, &m->entry.size);
                text(c, &m->entry.name, LIMIT_TAR_NAME);
                text(c, &m->entry.link, LIMIT_TAR_NAME);
                break;
        case WORKER_MSG_DONE:
                u64(c, &m->done.size);
                u64(c, &m->done.entries);
                u64(c, &m->done.sent);
                digest_text(c, &m->done.digest);
                break;
        case WORKER_MSG_FAILED:
                u32_max(c, &m->failed.code, ERR_CODE_LAST);
                c->failed |= m->failed.code == OK;
                text(c, &m->failed.text, ERR_MSG_MAX);
                break;
        case WORKER_MSG_NONE:
        default:
                c->failed = 1;
        }
}

int worker_msg_encode(const WorkerMsg *m, uint8_t *buf, size_t *ret_len, Err *err)
{
        Codec c = {.out = buf, .end = WORKER_MSG_MAX};
        WorkerMsg copy = *m;
        uint32_t magic = MAGIC, type = (uint32_t)m->type;

        u32(&c, &magic);
        u32(&c, &type);
        fields(&c, &copy);
        if (c.failed)
                return err_set(err, RESOURCE_EXHAUSTED, "message %d for a worker does not fit",
                               (int)m->type);
        *ret_len = c.pos;
        return 0;
}

int worker_msg_decode(const uint8_t *in, size_t n, WorkerMsg *ret, Err *err)
{
        Codec c = {.in = in, .end = n};
        WorkerMsg m = {};
        uint32_t magic = 0, type = 0;

        u32(&c, &magic);
        u32(&c, &type);
        if (!c.failed && magic == MAGIC && type <= WORKER_MSG_LAST) {
                m.type = (WorkerMsgType)type;
                fields(&c, &m);
        } else {
                c.failed = 1;
        }
        if (c.failed || c.pos != n)
                return err_set(err, INTERNAL, "malformed message from worker");
        *ret = m;
        return 0;
}

int worker_msg_send(int sock, const WorkerMsg *m, const int *fds, size_t n_fds, Err *err)
{
        uint8_t buf[WORKER_MSG_MAX];
        union {
                char space[CMSG_SPACE(sizeof(int) * WORKER_FDS_MAX)];
                struct cmsghdr align;
        } control = {};
        struct iovec iov = {.iov_base = buf};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        ssize_t n;
        int r;

        assert(n_fds <= WORKER_FDS_MAX);
        r = worker_msg_encode(m, buf, &iov.iov_len, err);
        if (r < 0)
                return r;
        if (n_fds) {
                struct cmsghdr *h = &control.align;

                msg.msg_control = &control;
                msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
                *h = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
                h->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                memcpy(CMSG_DATA(h), fds, sizeof(int) * n_fds);
        }
        do
                n = sendmsg(sock, &msg, MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
                return err_set(err, UNAVAILABLE, "the other end of the worker's socket is gone");
        return n < 0 ? err_sys(err, errno, "send to worker") : 0;
}

/* More descriptors than asked for are closed: nobody gets to fill our table. */
static void take_fds(struct msghdr *msg, int fds[WORKER_FDS_MAX])
{
        size_t n = 0;

        for (struct cmsghdr *h = CMSG_FIRSTHDR(msg); h; h = CMSG_NXTHDR(msg, h)) {
                size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

                if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
                        continue;
                for (size_t i = 0; i < count; i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
                        if (n < WORKER_FDS_MAX)
                                fds[n++] = fd;
                        else
                                fd_close(fd);
                }
        }
}

static void drop_fds(int fds[WORKER_FDS_MAX])
{
        for (int i = 0; i < WORKER_FDS_MAX; i++) {
                fd_close(fds[i]);
                fds[i] = -1;
        }
}

int worker_msg_recv(int sock, int timeout_ms, uint8_t *buf, WorkerMsg *ret,
                    int ret_fds[WORKER_FDS_MAX], Err *err)
{
        union {
                char space[CMSG_SPACE(sizeof(int) * WORKER_FDS_MAX)];
                struct cmsghdr align;
        } control = {};
        struct iovec iov = {.iov_base = buf, .iov_len = WORKER_MSG_MAX};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control};
        struct pollfd p = {.fd = sock, .events = POLLIN};
        ssize_t n;
        int r;

        for (int i = 0; i < WORKER_FDS_MAX; i++)
                ret_fds[i] = -1;
        r = poll(&p, 1, timeout_ms);
        if (r == 0 || (r < 0 && errno == EINTR))
                return err_set(err, DEADLINE_EXCEEDED, "no message from worker in time");
        if (r < 0)
                return err_sys(err, errno, "poll");
        msg.msg_controllen = sizeof(control);
        do
                n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n == 0 || (n < 0 && errno == ECONNRESET))
                return err_set(err, UNAVAILABLE, "the other end of the worker's socket is gone");
        if (n < 0)
                return err_sys(err, errno, "receive from worker");
        take_fds(&msg, ret_fds);
        if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
                r = err_set(err, INTERNAL, "malformed message from worker");
        else
                r = worker_msg_decode(buf, (size_t)n, ret, err);
        if (r < 0)
                drop_fds(ret_fds);
        return r;
}
