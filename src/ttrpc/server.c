/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection reads frames, begins a call for each request and keeps it in its list until the
 * answer is queued. Answers come from rpc's dispatcher, from whichever thread ran the handler:
 * ready() puts the call into the server's list under a leaf lock and posts one collection to the
 * loop, where everything else happens.
 *
 * An answer is not copied: the frame header and the two fields around the payload go into the
 * buffer's head. While a peer does not read its answers, it is not read from either.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include "api/google/rpc/status.pb-c.h"
#include "api/ttrpc/request.pb-c.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/lock.h"
#include "base/mem.h"
#include "rpc/message.h"
#include "rpc/transport.h"
#include "ttrpc/frame.h"
#include "ttrpc/server.h"

#define NAMESPACE_KEY "containerd-namespace-ttrpc"

enum {
        READ_CHUNK = 4096,
        READS_PER_TURN = 16,
        OUTPUT_HIGH = 1024 * 1024, /* bytes waiting for a peer; past it, it is not read from */
        ACCEPT_PAUSE_MS = 100,
        RESPONSE_OVERHEAD = 16,
};

struct TtrpcServer {
        Loop *loop;
        RpcRegistry *registry;
        int fd;
        LoopSource *io, *accept_timer, *deadline_timer;
        List conns;
        size_t n_conns, n_posted;
        int freed;
        Lock lock; /* ready */
        List ready;
        int posted;
};

typedef struct Conn {
        List link;
        TtrpcServer *server;
        int fd;
        LoopSource *io;
        uint32_t events, last_stream;
        TtrpcReader reader;
        List calls;
        size_t n_calls;
        struct ucred peer;
        RpcBuf *out, **out_tail;
        size_t out_off, out_bytes; /* of the first buffer; of all */
} Conn;

/* What a call is to its connection. */
typedef struct Active {
        List link;
        Conn *conn;
        Call *call;
        uint32_t stream;
} Active;

static void conn_close(Conn *c);

/* ---- answers ---- */

static void conn_update_events(Conn *c)
{
        uint32_t events = (c->out_bytes < OUTPUT_HIGH ? EPOLLIN : 0) | (c->out ? EPOLLOUT : 0);

        if (events != c->events && loop_set_events(c->io, events) == 0)
                c->events = events;
}

/* 0, or -1 when the connection is broken. */
static int conn_flush(Conn *c)
{
        while (c->out) {
                RpcBuf *b = c->out;
                size_t in_head = MIN(c->out_off, (size_t)b->head_len),
                       in_data = c->out_off - in_head;
                struct iovec iov[2] = {
                        {.iov_base = b->head + in_head, .iov_len = b->head_len - in_head},
                        {.iov_base = b->data + in_data, .iov_len = b->len - in_data},
                };
                struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
                ssize_t n = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        break;
                if (n < 0)
                        return -1;
                c->out_off += (size_t)n;
                c->out_bytes -= (size_t)n;
                if (c->out_off < b->head_len + b->len)
                        continue;
                c->out_off = 0;
                c->out = b->next;
                if (!c->out)
                        c->out_tail = &c->out;
                rpc_buf_unref(b);
        }
        conn_update_events(c);
        return 0;
}

static void conn_queue(Conn *c, RpcBuf *b)
{
        b->next = NULL;
        *c->out_tail = b;
        c->out_tail = &b->next;
        c->out_bytes += b->head_len + b->len;
}

static void answer_error(Conn *c, uint32_t stream, const Err *err)
{
        Ttrpc__Response rsp = TTRPC__RESPONSE__INIT;
        RpcStatus__Status status = RPC_STATUS__STATUS__INIT;
        RpcBuf *b;

        status.code = err->code;
        status.message = err->msg;
        rsp.status = &status;
        b = rpc_buf_new(protobuf_c_message_get_packed_size(&rsp.base));
        protobuf_c_message_pack(&rsp.base, b->data);
        ttrpc_header_put(b->head, (uint32_t)b->len, stream, TTRPC_RESPONSE, 0);
        b->head_len = TTRPC_HEADER;
        conn_queue(c, b);
}

static size_t put_varint(uint8_t *p, size_t v)
{
        size_t n = 0;

        for (; v >= 0x80; v >>= 7)
                p[n++] = (uint8_t)(v | 0x80);
        p[n++] = (uint8_t)v;
        return n;
}

/* Wraps the message as Response.payload, field 2; an empty one is an empty Response. */
static void answer_message(Conn *c, uint32_t stream, RpcBuf *b)
{
        size_t n = 0;

        if (b->len > 0) {
                b->head[TTRPC_HEADER] = 2 << 3 | 2;
                n = 1 + put_varint(b->head + TTRPC_HEADER + 1, b->len);
        }
        ttrpc_header_put(b->head, (uint32_t)(n + b->len), stream, TTRPC_RESPONSE, 0);
        b->head_len = (uint8_t)(TTRPC_HEADER + n);
        conn_queue(c, b);
}

/* ---- calls ---- */

static void active_free(Active *a)
{
        list_remove(&a->link);
        a->conn->n_calls--;
        call_unref(a->call);
        free(a);
}

static void active_collect(Active *a)
{
        Conn *c = a->conn;
        RpcOutput out;
        RpcBuf *b;

        rpc_call_collect(a->call, &out);
        if (!out.finished) {
                rpc_buf_free_list(out.bufs);
                return;
        }
        if (out.code) {
                rpc_buf_free_list(out.bufs);
                answer_error(c, a->stream, out.err);
        } else {
                b = out.bufs ? out.bufs : rpc_buf_new(0);
                rpc_buf_free_list(b->next);
                answer_message(c, a->stream, b);
        }
        rpc_call_detach(a->call, CANCELLED);
        active_free(a);
}

static void server_collect(void *ctx)
{
        TtrpcServer *s = ctx;

        lock_take(&s->lock);
        s->n_posted--;
        s->posted = 0;
        while (!list_empty(&s->ready)) {
                Call *call = rpc_call_of_link(s->ready.next);
                Active *a = rpc_call_data(call);
                Conn *c = a->conn;

                list_remove(rpc_call_link(call));
                lock_drop(&s->lock);
                active_collect(a);
                call_unref(call);
                if (conn_flush(c) < 0)
                        conn_close(c);
                lock_take(&s->lock);
        }
        lock_drop(&s->lock);
        if (s->freed && s->n_posted == 0) {
                lock_done(&s->lock);
                free(s);
        }
}

static void on_ready(void *transport, Call *call)
{
        TtrpcServer *s = transport;
        int post;

        lock_take(&s->lock);
        list_append(&s->ready, rpc_call_link(call));
        post = !s->posted;
        s->posted = 1;
        if (post)
                s->n_posted++;
        lock_drop(&s->lock);
        if (post)
                loop_post(s->loop, server_collect, s);
}

static const RpcTransportOps transport_ops = {
        .ready = on_ready,
        .decode_what = "ttrpc: error unmarshalling payload",
};

/* Nothing more is heard of the call; what is ready is dropped. */
static void active_abandon(Active *a, int code)
{
        TtrpcServer *s = a->conn->server;
        int queued;

        rpc_call_detach(a->call, code);
        lock_take(&s->lock);
        queued = list_linked(rpc_call_link(a->call));
        list_remove(rpc_call_link(a->call));
        lock_drop(&s->lock);
        if (queued)
                call_unref(a->call);
        active_free(a);
}

static uint64_t call_deadline(const Call *call)
{
        return call->deadline_ns;
}

static void arm_deadline(TtrpcServer *s)
{
        uint64_t first = 0;

        LIST_FOREACH (c, &s->conns, Conn, link)
                LIST_FOREACH (a, &c->calls, Active, link)
                        if (call_deadline(a->call) && (!first || call_deadline(a->call) < first))
                                first = call_deadline(a->call);
        loop_timer_set(s->deadline_timer, first);
}

static void on_deadline(void *ctx)
{
        TtrpcServer *s = ctx;
        uint64_t now = time_mono_ns();
        Err err;

        err_set(&err, DEADLINE_EXCEEDED, "context deadline exceeded");
        LIST_FOREACH (c, &s->conns, Conn, link) {
                LIST_FOREACH (a, &c->calls, Active, link) {
                        if (!call_deadline(a->call) || call_deadline(a->call) > now)
                                continue;
                        answer_error(c, a->stream, &err);
                        active_abandon(a, DEADLINE_EXCEEDED);
                }
                if (conn_flush(c) < 0)
                        conn_close(c);
        }
        arm_deadline(s);
}

static const char *metadata_find(const Ttrpc__Request *req, const char *key)
{
        for (size_t i = 0; i < req->n_metadata; i++)
                if (str_eq(req->metadata[i]->key, key))
                        return req->metadata[i]->value;
        return NULL;
}

static int call_begin(Conn *c, const Ttrpc__Request *req, uint32_t stream, Err *err)
{
        TtrpcServer *s = c->server;
        Active *a = mem_new(Active);
        RpcBegin b = {
                .service = req->service,
                .method = req->method,
                .ns = metadata_find(req, NAMESPACE_KEY),
                .peer = c->peer,
                .ops = &transport_ops,
                .transport = s,
                .data = a,
                .max_send = LIMIT_TTRPC_MESSAGE - RESPONSE_OVERHEAD,
        };
        void *payload = NULL;
        Call *call;
        int r;

        if (req->timeout_nano > 0)
                b.deadline_ns = time_mono_ns() + (uint64_t)req->timeout_nano;
        r = rpc_call_begin(s->registry, &b, &a->call, err);
        if (r == 0 && a->call->method->kind == RPC_STREAM) {
                r = err_set(err, UNIMPLEMENTED, "method %s", req->method);
                rpc_call_detach(a->call, UNIMPLEMENTED);
                call_unref(a->call);
        } else if (r == -UNIMPLEMENTED) {
                if (str_starts(err->msg, "unknown service"))
                        err_set(err, UNIMPLEMENTED, "service %s", req->service);
                else
                        err_set(err, UNIMPLEMENTED, "method %s", req->method);
        }
        if (r < 0) {
                free(a);
                return r;
        }
        a->conn = c;
        a->stream = stream;
        list_append(&c->calls, &a->link);
        c->n_calls++;
        if (b.deadline_ns)
                arm_deadline(s);
        if (req->payload.len > 0) {
                payload = mem_alloc(req->payload.len);
                memcpy(payload, req->payload.data, req->payload.len);
        }
        /* The call may be over, and `a` gone, before the second. */
        call = call_ref(a->call);
        rpc_call_message(call, payload, req->payload.len);
        rpc_call_end(call);
        call_unref(call);
        return 0;
}

static int take_request(Conn *c, const TtrpcFrame *f, Err *err)
{
        Arena arena;
        ProtobufCMessage *m;
        int r;

        if (f->stream <= c->last_stream)
                return err_set(err, INVALID_ARGUMENT,
                               "StreamID cannot be re-used and must increment");
        c->last_stream = f->stream;
        if (c->n_calls >= LIMIT_SHIM_CALLS)
                return err_set(err, RESOURCE_EXHAUSTED, "more than %d calls on one connection",
                               LIMIT_SHIM_CALLS);
        arena_init(&arena, LIMIT_PB_ARENA_BASE + (size_t)f->length * LIMIT_PB_ARENA_FACTOR);
        r = message_unpack(&arena, &ttrpc__request__descriptor, f->data, f->length, &m, err);
        if (r < 0) {
                err_wrap(err, "unmarshal request error");
                err->code = INVALID_ARGUMENT;
                r = -INVALID_ARGUMENT;
        } else {
                r = call_begin(c, (const Ttrpc__Request *)m, f->stream, err);
        }
        arena_done(&arena);
        return r;
}

static int is_active(const Conn *c, uint32_t stream)
{
        LIST_FOREACH (a, &c->calls, Active, link)
                if (a->stream == stream)
                        return 1;
        return 0;
}

static void take_frame(Conn *c, const TtrpcFrame *f)
{
        Err err;
        int r = 0;

        if (f->length > LIMIT_TTRPC_MESSAGE)
                r = err_set(&err, RESOURCE_EXHAUSTED,
                            "message length %u exceed maximum message size of %d", f->length,
                            LIMIT_TTRPC_MESSAGE);
        else if (f->type != TTRPC_REQUEST && f->type != TTRPC_DATA)
                return;
        else if (f->stream % 2 == 0)
                r = err_set(&err, INVALID_ARGUMENT,
                            "StreamID must be odd for client initiated streams");
        else if (f->type == TTRPC_REQUEST)
                r = take_request(c, f, &err);
        else if (!is_active(c, f->stream))
                r = err_set(&err, INVALID_ARGUMENT, "StreamID is no longer active");
        if (r < 0)
                answer_error(c, f->stream, &err);
}

/* ---- connections ---- */

/* 0, or -1 at the end of the connection. */
static int conn_read(Conn *c)
{
        uint8_t buf[READ_CHUNK];

        for (int turn = 0; turn < READS_PER_TURN && c->out_bytes < OUTPUT_HIGH; turn++) {
                ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);
                const uint8_t *p = buf;

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        return 0;
                if (n <= 0)
                        return -1;
                while (n > 0) {
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

static void conn_close(Conn *c)
{
        TtrpcServer *s = c->server;

        while (!list_empty(&c->calls))
                active_abandon(LIST_FIRST(&c->calls, Active, link), CANCELLED);
        list_remove(&c->link);
        s->n_conns--;
        loop_remove(c->io);
        fd_close(c->fd);
        ttrpc_reader_done(&c->reader);
        rpc_buf_free_list(c->out);
        free(c);
}

static void on_conn(void *ctx, int fd, uint32_t events)
{
        Conn *c = ctx;
        int r = 0;

        /* Reset or gone both ways; a peer that only stopped writing shows as EPOLLIN and end of
         * file. */
        if (events & (EPOLLHUP | EPOLLERR))
                r = -1;
        if (r == 0 && (events & EPOLLIN))
                r = conn_read(c);
        if (r == 0)
                r = conn_flush(c);
        if (r < 0)
                conn_close(c);
}

static int peer_is_us(int fd, struct ucred *ret)
{
        socklen_t len = sizeof(*ret);

        return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ret, &len) == 0 && ret->uid == geteuid() &&
               ret->gid == getegid();
}

static void conn_open(TtrpcServer *s, int fd, const struct ucred *peer)
{
        Conn *c = mem_new(Conn);
        Err err;

        c->server = s;
        c->fd = fd;
        c->peer = *peer;
        c->events = EPOLLIN;
        c->out_tail = &c->out;
        list_init(&c->calls);
        if (loop_add_fd(s->loop, fd, EPOLLIN, on_conn, c, &c->io, &err) < 0) {
                fd_close(fd);
                free(c);
                return;
        }
        list_append(&s->conns, &c->link);
        s->n_conns++;
}

static void on_accept_pause(void *ctx)
{
        TtrpcServer *s = ctx;

        loop_set_events(s->io, EPOLLIN);
}

static void on_accept(void *ctx, int listen_fd, uint32_t events)
{
        TtrpcServer *s = ctx;
        struct ucred peer;
        int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
                /* The connection stays in the backlog; asking again at once would only burn the
                 * processor. */
                loop_set_events(s->io, 0);
                loop_timer_set(s->accept_timer, time_mono_ns() + ACCEPT_PAUSE_MS * NS_PER_MS);
        }
        if (fd < 0)
                return;
        if (s->n_conns >= LIMIT_CONNECTIONS || !peer_is_us(fd, &peer))
                fd_close(fd);
        else
                conn_open(s, fd, &peer);
}

TtrpcServer *ttrpc_server_new(Loop *loop, RpcRegistry *registry)
{
        TtrpcServer *s = mem_new(TtrpcServer);

        s->loop = loop;
        s->registry = registry;
        s->fd = -1;
        list_init(&s->conns);
        list_init(&s->ready);
        lock_init(&s->lock, LOCK_LEAF);
        s->deadline_timer = loop_add_timer(loop, 0, on_deadline, s);
        s->accept_timer = loop_add_timer(loop, 0, on_accept_pause, s);
        return s;
}

int ttrpc_server_listen(TtrpcServer *s, int fd, Err *err)
{
        assert(s->fd < 0);
        s->fd = fd;
        fd_set_nonblock(fd, 1);
        return loop_add_fd(s->loop, fd, EPOLLIN, on_accept, s, &s->io, err);
}

size_t ttrpc_server_connections(const TtrpcServer *s)
{
        return s->n_conns;
}

int ttrpc_server_flushed(const TtrpcServer *s)
{
        if (!list_empty(&s->ready))
                return 0;
        LIST_FOREACH (c, &s->conns, Conn, link)
                if (c->out)
                        return 0;
        return 1;
}

TtrpcServer *ttrpc_server_free(TtrpcServer *s)
{
        int posted;

        if (!s)
                return NULL;
        while (!list_empty(&s->conns))
                conn_close(LIST_FIRST(&s->conns, Conn, link));
        loop_remove(s->io);
        loop_remove(s->deadline_timer);
        loop_remove(s->accept_timer);
        fd_close(s->fd);
        s->fd = -1;
        /* A collection that is still posted frees the server when it runs. */
        lock_take(&s->lock);
        posted = s->n_posted > 0;
        s->freed = 1;
        lock_drop(&s->lock);
        if (!posted) {
                lock_done(&s->lock);
                free(s);
        }
        return NULL;
}
