/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call is one heap node from start to end. The caller's thread packs the whole frame into it and
 * posts it to the loop; there it joins the list of pending calls, which is in the order of stream
 * ids, and the list of calls with bytes still to send. One timer serves the earliest deadline.
 *
 * A call whose deadline passed while its frame was half sent stays in the send list as a node
 * without a callback: the frame must be finished or the connection would be out of step. Its late
 * answer meets no pending call and is dropped.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "api/google/rpc/status.pb-c.h"
#include "api/ttrpc/request.pb-c.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/mem.h"
#include "rpc/message.h"
#include "ttrpc/client.h"
#include "ttrpc/frame.h"

#define NAMESPACE_KEY "containerd-namespace-ttrpc"

enum { READ_CHUNK = 4096, READS_PER_TURN = 64 };

struct TtrpcClient {
        int refs;
        Loop *loop;
        int fd; /* -1 once closed */
        LoopSource *io, *timer;
        uint32_t events, last_stream;
        TtrpcReader reader;
        List pending, unsent;
        size_t n_pending;
        TtrpcCloseFn on_close;
        void *ctx;
};

typedef struct Pending {
        List in_pending, in_unsent;
        TtrpcClient *client;
        uint32_t stream;
        uint64_t deadline_ns;
        TtrpcReplyFn fn; /* NULL: answered */
        void *ctx;
        size_t n, sent;
        uint8_t *frame;
        Err early; /* why it is not sent at all */
} Pending;

int ttrpc_dial(const char *address, int *ret_fd, Err *err)
{
        const char *path = str_starts(address, "unix://") ? address + 7 : address;
        struct sockaddr_un sun = {.sun_family = AF_UNIX};
        int fd CLEANUP(cleanup_fd) = -1;

        if (path[0] != '/')
                return err_set(err, INVALID_ARGUMENT, "unsupported address \"%s\"", address);
        if (strlen(path) >= sizeof(sun.sun_path))
                return err_set(err, INVALID_ARGUMENT, "socket path too long: %s", path);
        memcpy(sun.sun_path, path, strlen(path) + 1);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return err_sys(err, errno, "socket");
        /* A unix socket connects at once; EAGAIN says that the listener's backlog is full. */
        if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0)
                return err_set(err, UNAVAILABLE, "dial unix %s: %s", path, strerror(errno));
        *ret_fd = TAKE_FD(fd);
        return 0;
}

static void pending_free(Pending *p)
{
        list_remove(&p->in_pending);
        list_remove(&p->in_unsent);
        free(p->frame);
        ttrpc_client_unref(p->client);
        free(p);
}

/* Ends a call towards its caller; the node itself stays while its frame is half sent. */
static void pending_answer(Pending *p, int r, const void *bytes, size_t n, const Err *err)
{
        TtrpcReplyFn fn = p->fn;
        void *ctx = p->ctx;

        if (list_linked(&p->in_pending))
                p->client->n_pending--;
        list_remove(&p->in_pending);
        p->fn = NULL;
        if (!list_linked(&p->in_unsent) || p->sent == 0)
                pending_free(p);
        if (fn)
                fn(ctx, r, bytes, n, err);
}

static void connection_close(TtrpcClient *c)
{
        Err err;

        if (c->fd < 0)
                return;
        c->io = loop_remove(c->io);
        c->timer = loop_remove(c->timer);
        fd_close(TAKE_FD(c->fd));
        ttrpc_reader_done(&c->reader);
        err_set(&err, UNAVAILABLE, "ttrpc: closed");
        while (!list_empty(&c->unsent)) {
                Pending *p = LIST_FIRST(&c->unsent, Pending, in_unsent);

                list_remove(&p->in_unsent);
                if (!p->fn)
                        pending_free(p);
        }
        while (!list_empty(&c->pending))
                pending_answer(LIST_FIRST(&c->pending, Pending, in_pending), -UNAVAILABLE, NULL, 0,
                               &err);
        ttrpc_client_unref(c);
}

static void connection_lost(TtrpcClient *c)
{
        if (c->fd < 0)
                return;
        ttrpc_client_ref(c);
        connection_close(c);
        if (c->on_close) /* unless one of the callbacks has closed it */
                c->on_close(c->ctx);
        ttrpc_client_unref(c);
}

void ttrpc_client_close(TtrpcClient *c)
{
        c->on_close = NULL;
        connection_close(c);
}

static Pending *pending_find(TtrpcClient *c, uint32_t stream)
{
        LIST_FOREACH (p, &c->pending, Pending, in_pending)
                if (p->stream == stream)
                        return p;
        return NULL;
}

static void answer_with(Pending *p, const TtrpcFrame *f)
{
        Arena arena;
        ProtobufCMessage *m = NULL;
        Err err = {};
        int r;

        arena_init(&arena, LIMIT_PB_ARENA_BASE + (size_t)f->length * LIMIT_PB_ARENA_FACTOR);
        if (!f->data && f->length > 0)
                r = err_set(&err, RESOURCE_EXHAUSTED,
                            "message length %u exceed maximum message size of %d", f->length,
                            LIMIT_TTRPC_MESSAGE);
        else
                r = message_unpack(&arena, &ttrpc__response__descriptor,
                                   f->data ? f->data : (const void *)"", f->length, &m, &err);
        if (r < 0) {
                pending_answer(p, r, NULL, 0, &err);
        } else {
                const Ttrpc__Response *rsp = (const Ttrpc__Response *)m;

                if (rsp->status && rsp->status->code != OK) {
                        int code = rsp->status->code;

                        r = err_set(&err, code > 0 && code <= ERR_CODE_LAST ? code : UNKNOWN, "%s",
                                    rsp->status->message);
                        pending_answer(p, r, NULL, 0, &err);
                } else {
                        pending_answer(p, 0, rsp->payload.data, rsp->payload.len, NULL);
                }
        }
        arena_done(&arena);
}

static void take_frame(TtrpcClient *c, const TtrpcFrame *f)
{
        Pending *p = pending_find(c, f->stream);
        Err err;

        if (!p)
                return;
        if (f->type == TTRPC_RESPONSE) {
                answer_with(p, f);
        } else if (f->type == TTRPC_DATA) {
                err_set(&err, INTERNAL, "ttrpc: unexpected data frame for a unary call");
                pending_answer(p, -INTERNAL, NULL, 0, &err);
        }
}

static void update_events(TtrpcClient *c)
{
        uint32_t events = EPOLLIN | (list_empty(&c->unsent) ? 0 : EPOLLOUT);

        if (c->fd >= 0 && events != c->events && loop_set_events(c->io, events) == 0)
                c->events = events;
}

/* 0, or -1 when the connection is to be given up. */
static int flush(TtrpcClient *c)
{
        while (!list_empty(&c->unsent)) {
                Pending *p = LIST_FIRST(&c->unsent, Pending, in_unsent);
                ssize_t n = send(c->fd, p->frame + p->sent, p->n - p->sent,
                                 MSG_NOSIGNAL | MSG_DONTWAIT);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        break;
                if (n < 0)
                        return -1;
                p->sent += (size_t)n;
                if (p->sent < p->n)
                        break;
                list_remove(&p->in_unsent);
                free(TAKE(p->frame));
                if (!p->fn)
                        pending_free(p);
        }
        update_events(c);
        return 0;
}

static int read_frames(TtrpcClient *c)
{
        uint8_t buf[READ_CHUNK];

        for (int turn = 0; turn < READS_PER_TURN && c->fd >= 0; turn++) {
                ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);
                const uint8_t *p = buf;

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        return 0;
                if (n <= 0)
                        return -1;
                while (n > 0 && c->fd >= 0) {
                        TtrpcFrame f;
                        size_t used;
                        int r = ttrpc_reader_feed(&c->reader, p, (size_t)n, &used, &f);

                        if (r < 0)
                                return -1;
                        p += used;
                        n -= (ssize_t)used;
                        if (r > 0)
                                take_frame(c, &f);
                }
        }
        return 0;
}

static void on_io(void *ctx, int fd, uint32_t events)
{
        TtrpcClient *c = ctx;
        int r = 0;

        ttrpc_client_ref(c);
        if (events & EPOLLOUT)
                r = flush(c);
        if (r == 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
                r = read_frames(c);
        if (r < 0)
                connection_lost(c);
        ttrpc_client_unref(c);
}

static void arm_timer(TtrpcClient *c)
{
        uint64_t first = 0;

        LIST_FOREACH (p, &c->pending, Pending, in_pending)
                if (p->deadline_ns && (!first || p->deadline_ns < first))
                        first = p->deadline_ns;
        if (c->timer)
                loop_timer_set(c->timer, first);
}

static void on_timer(void *ctx)
{
        TtrpcClient *c = ctx;
        uint64_t now = time_mono_ns();
        Err err;

        ttrpc_client_ref(c);
        err_set(&err, DEADLINE_EXCEEDED, "context deadline exceeded");
        for (int again = 1; again;) {
                again = 0;
                LIST_FOREACH (p, &c->pending, Pending, in_pending) {
                        if (!p->deadline_ns || p->deadline_ns > now)
                                continue;
                        pending_answer(p, -DEADLINE_EXCEEDED, NULL, 0, &err);
                        again = 1; /* the callback may have changed the list */
                        break;
                }
        }
        update_events(c);
        arm_timer(c);
        ttrpc_client_unref(c);
}

int ttrpc_client_new(Loop *loop, int fd, TtrpcCloseFn on_close, void *ctx, TtrpcClient **ret,
                     Err *err)
{
        TtrpcClient *c = mem_new(TtrpcClient);
        int r;

        c->refs = 2; /* the caller's, and the open connection's */
        c->loop = loop;
        c->fd = fd;
        c->on_close = on_close;
        c->ctx = ctx;
        c->events = EPOLLIN;
        list_init(&c->pending);
        list_init(&c->unsent);
        r = loop_add_fd(loop, fd, EPOLLIN, on_io, c, &c->io, err);
        if (r < 0) {
                fd_close(fd);
                free(c);
                return r;
        }
        c->timer = loop_add_timer(loop, 0, on_timer, c);
        *ret = c;
        return 0;
}

TtrpcClient *ttrpc_client_ref(TtrpcClient *c)
{
        __atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
        return c;
}

TtrpcClient *ttrpc_client_unref(TtrpcClient *c)
{
        if (c && __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) == 0) {
                assert(c->fd < 0);
                free(c);
        }
        return NULL;
}

/* On the loop's thread: the call joins the connection. */
static void pending_start(void *ctx)
{
        Pending *p = ctx;
        TtrpcClient *c = p->client;
        Err err;

        if (p->early.code) {
                err = p->early;
                pending_answer(p, -err.code, NULL, 0, &err);
                return;
        }
        if (c->fd < 0 || c->last_stream >= UINT32_MAX - 2) {
                err_set(&err, UNAVAILABLE, "ttrpc: closed");
                pending_answer(p, -UNAVAILABLE, NULL, 0, &err);
                return;
        }
        if (c->n_pending >= LIMIT_SHIM_CALLS) {
                err_set(&err, RESOURCE_EXHAUSTED, "ttrpc: more than %d calls in flight",
                        LIMIT_SHIM_CALLS);
                pending_answer(p, -RESOURCE_EXHAUSTED, NULL, 0, &err);
                return;
        }
        c->n_pending++;
        c->last_stream += c->last_stream ? 2 : 1;
        p->stream = c->last_stream;
        ttrpc_header_put(p->frame, (uint32_t)(p->n - TTRPC_HEADER), p->stream, TTRPC_REQUEST, 0);
        list_append(&c->pending, &p->in_pending);
        list_append(&c->unsent, &p->in_unsent);
        if (p->deadline_ns)
                arm_timer(c);
        if (flush(c) < 0)
                connection_lost(c);
}

static void pack(Pending *p, const TtrpcCall *call)
{
        Ttrpc__Request req = TTRPC__REQUEST__INIT;
        Ttrpc__KeyValue ns = TTRPC__KEY_VALUE__INIT, *metadata[] = {&ns};
        void *packed = NULL;
        size_t n;

        req.service = call->service;
        req.method = call->method;
        req.timeout_nano = (int64_t)call->timeout_ms * (int64_t)NS_PER_MS;
        if (call->req) {
                req.payload.data = packed = message_pack(NULL, call->req, &req.payload.len);
        } else {
                req.payload.data = (uint8_t *)(uintptr_t)call->bytes;
                req.payload.len = call->n_bytes;
        }
        if (call->ns) {
                ns.key = NAMESPACE_KEY;
                ns.value = call->ns;
                req.metadata = metadata;
                req.n_metadata = 1;
        }
        n = protobuf_c_message_get_packed_size(&req.base);
        if (n > LIMIT_TTRPC_MESSAGE) {
                err_set(&p->early, RESOURCE_EXHAUSTED,
                        "message length %zu exceed maximum message size of %d", n,
                        LIMIT_TTRPC_MESSAGE);
        } else {
                p->frame = mem_alloc(TTRPC_HEADER + n);
                p->n = TTRPC_HEADER + n;
                protobuf_c_message_pack(&req.base, p->frame + TTRPC_HEADER);
        }
        free(packed);
}

void ttrpc_client_call(TtrpcClient *c, const TtrpcCall *call, TtrpcReplyFn fn, void *ctx)
{
        Pending *p = mem_new(Pending);

        p->client = ttrpc_client_ref(c);
        p->fn = fn;
        p->ctx = ctx;
        if (call->timeout_ms > 0)
                p->deadline_ns = time_mono_ns() + (uint64_t)call->timeout_ms * NS_PER_MS;
        pack(p, call);
        loop_post(c->loop, pending_start, p);
}
