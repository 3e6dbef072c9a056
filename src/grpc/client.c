/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nghttp2 as a client over one socket. All input and output happens in client_turn(), which
 * blocking functions repeat until what they wait for has come; so one call's answer is taken in
 * while another is waited for.
 *
 * Messages that have arrived and nobody has asked for are kept, their bytes not consumed: the
 * window bounds them. The first failure of the connection is kept too and ends every call.
 */
#include "grpc/client.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/str.h"
#include "grpc/header.h"
#include "grpc/reader.h"
#include "rpc/message.h"

enum {
        STREAM_WINDOW = 4 * 1024 * 1024, /* what a large list needs to come in one go */
        CONN_WINDOW = 16 * 1024 * 1024,
        SEND_AHEAD = 1024 * 1024, /* queued by grpc_call_send() before it blocks */
        READ_SIZE = 64 * 1024,
};

struct GrpcClient {
        int fd;
        nghttp2_session *session;
        List calls;
        char *ns, *lease;
        uint64_t timeout_ns;
        Str out; /* not yet written, from out_off on */
        size_t out_off;
        uint8_t *inbuf;
        Err failure; /* of the connection */
        int failed;
};

typedef struct Message {
        List link;
        void *bytes;
        size_t len;
        size_t held; /* bytes of it not yet consumed */
} Message;

struct GrpcCall {
        GrpcClient *client;
        List link;
        int32_t id; /* negative once the stream is none of ours */
        const ProtobufCMessageDescriptor *rsp_desc;
        uint64_t deadline_ns;

        Str out; /* framed messages, from out_off on */
        size_t out_off;
        int out_end, out_deferred, out_eof;

        GrpcReader reader;
        size_t held; /* bytes of the message in the making not yet consumed */
        List messages;
        char *http_status, *message;
        int status; /* grpc-status; -1 while unknown */
        int ended;
        Err err; /* why it ended, if not by a status */
};

static int fail(GrpcClient *c, int code, const char *what)
{
        if (!c->failed) {
                c->failed = 1;
                err_set(&c->failure, code, "%s", what);
        }
        return -c->failure.code;
}

/* --- nghttp2's callbacks --- */

static GrpcCall *call_of(nghttp2_session *session, int32_t id)
{
        return nghttp2_session_get_stream_user_data(session, id);
}

static void end_call(GrpcCall *call)
{
        call->ended = 1;
        call->id = -1;
}

static void abort_call(GrpcCall *call, int code, const char *what)
{
        if (call->ended)
                return;
        err_set(&call->err, code, "%s", what);
        if (call->id > 0) {
                nghttp2_session *session = call->client->session;

                nghttp2_session_set_stream_user_data(session, call->id, NULL);
                nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, call->id, NGHTTP2_CANCEL);
        }
        end_call(call);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user_data)
{
        GrpcCall *call = call_of(session, frame->hd.stream_id);
        const char *key = (const char *)name; /* nghttp2 ends both with a NUL */
        uint64_t status;

        if (!call)
                return 0;
        if (str_eq(key, "grpc-status")) {
                call->status =
                        str_to_u64((const char *)value, &status) == 0 && status <= ERR_CODE_LAST
                                ? (int)status
                                : UNKNOWN;
        } else if (str_eq(key, "grpc-message")) {
                free(call->message);
                call->message = mem_strndup((const char *)value, value_len);
                grpc_message_decode(call->message);
        } else if (str_eq(key, ":status")) {
                free(call->http_status);
                call->http_status = mem_strndup((const char *)value, value_len);
        }
        return 0;
}

/* The message that is asked for next may grow beyond the window; those behind it wait within. */
static void consume_held(GrpcCall *call)
{
        if (call->ended || !list_empty(&call->messages))
                return;
        nghttp2_session_consume_stream(call->client->session, call->id, call->held);
        call->held = 0;
}

static void add_message(GrpcCall *call)
{
        Message *m = mem_new(Message);

        m->bytes = grpc_reader_take(&call->reader, &m->len);
        m->held = call->held;
        call->held = 0;
        list_append(&call->messages, &m->link);
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *user_data)
{
        GrpcCall *call = call_of(session, id);

        nghttp2_session_consume_connection(session, n);
        while (call && n > 0) {
                size_t used;
                int done;
                Err err;

                if (grpc_reader_feed(&call->reader, p, n, &used, &done, &err) < 0) {
                        abort_call(call, err.code, err.msg);
                        return 0;
                }
                call->held += used;
                if (done)
                        add_message(call);
                else
                        consume_held(call);
                p += used;
                n -= used;
        }
        return 0;
}

/* The server has said all, or reset the stream. */
static void stream_over(GrpcCall *call, uint32_t code)
{
        if (call->status < 0) {
                if (call->http_status && !str_eq(call->http_status, "200"))
                        err_set(&call->err, UNKNOWN, "unexpected HTTP status %s",
                                call->http_status);
                else if (code == NGHTTP2_REFUSED_STREAM)
                        err_set(&call->err, UNAVAILABLE, "the server refuses more calls");
                else if (call->deadline_ns && time_mono_ns() >= call->deadline_ns)
                        err_set(&call->err, DEADLINE_EXCEEDED, "context deadline exceeded");
                else if (code == NGHTTP2_CANCEL)
                        err_set(&call->err, CANCELLED, "the server cancelled the call");
                else
                        err_set(&call->err, INTERNAL, "stream ended without a status: %s",
                                nghttp2_http2_strerror(code));
        } else if (grpc_reader_busy(&call->reader) && call->status == OK) {
                call->status = -1;
                err_set(&call->err, INTERNAL, "stream ended in the middle of a message");
        }
        end_call(call);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user_data)
{
        GrpcCall *call = call_of(session, id);

        if (call)
                stream_over(call, code);
        return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
        GrpcClient *c = user_data;
        GrpcCall *call = call_of(session, frame->hd.stream_id);

        if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR)
                fail(c, UNAVAILABLE, "the server closed the connection");
        if (!call || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM) ||
            (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
                return 0;
        /* What we had still to say is of no interest any more. */
        nghttp2_session_set_stream_user_data(session, call->id, NULL);
        if (!call->out_eof)
                nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, call->id, NGHTTP2_CANCEL);
        stream_over(call, NGHTTP2_NO_ERROR);
        return 0;
}

static ssize_t read_data(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
                         uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
        GrpcCall *call = source->ptr;
        size_t n = MIN(length, call->out.len - call->out_off);

        memcpy(buf, call->out.data + call->out_off, n);
        call->out_off += n;
        if (call->out_off == call->out.len) {
                str_truncate(&call->out, 0);
                call->out_off = 0;
                if (call->out_end) {
                        *flags |= NGHTTP2_DATA_FLAG_EOF;
                        call->out_eof = 1;
                } else if (n == 0) {
                        call->out_deferred = 1;
                        return NGHTTP2_ERR_DEFERRED;
                }
        }
        return (ssize_t)n;
}

/* --- connection --- */

static int session_new(GrpcClient *c)
{
        static const nghttp2_settings_entry settings[] = {
                {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
                {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, LIMIT_HEADER_LIST},
        };
        nghttp2_session_callbacks *cb;
        nghttp2_option *option;
        int r;

        if (nghttp2_session_callbacks_new(&cb) != 0)
                return -1;
        if (nghttp2_option_new(&option) != 0) {
                nghttp2_session_callbacks_del(cb);
                return -1;
        }
        nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
        nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
        nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
        nghttp2_option_set_no_auto_window_update(option, 1);
        nghttp2_option_set_peer_max_concurrent_streams(option, LIMIT_STREAMS);
        r = nghttp2_session_client_new2(&c->session, cb, c, option);
        nghttp2_session_callbacks_del(cb);
        nghttp2_option_del(option);
        if (r != 0)
                return -1;
        nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings));
        nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW);
        return 0;
}

int grpc_client_adopt(int fd, GrpcClient **ret, Err *err)
{
        GrpcClient *c = mem_new(GrpcClient);

        c->fd = fd;
        list_init(&c->calls);
        if (fd_set_nonblock(fd, 1) < 0 || session_new(c) < 0) {
                grpc_client_free(c);
                return err_set(err, RESOURCE_EXHAUSTED, "HTTP/2 session");
        }
        *ret = c;
        return 0;
}

int grpc_client_open(const char *path, GrpcClient **ret, Err *err)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        int fd CLEANUP(cleanup_fd) = -1;

        if (str_starts(path, "unix://"))
                path += strlen("unix://");
        if (strlen(path) >= sizeof(addr.sun_path))
                return err_set(err, INVALID_ARGUMENT, "address %s is too long", path);
        memcpy(addr.sun_path, path, strlen(path) + 1);

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return err_sys(err, errno, "socket");
        if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
                int code = errno == EACCES || errno == EPERM ? PERMISSION_DENIED : UNAVAILABLE;

                return err_set(err, code, "cannot connect to %s: %s", path, strerror(errno));
        }
        return grpc_client_adopt(TAKE_FD(fd), ret, err);
}

GrpcClient *grpc_client_free(GrpcClient *c)
{
        if (!c)
                return NULL;
        assert(list_empty(&c->calls));
        if (c->session)
                nghttp2_session_del(c->session);
        fd_close(c->fd);
        free(c->inbuf);
        str_done(&c->out);
        free(c->ns);
        free(c->lease);
        free(c);
        return NULL;
}

void grpc_client_set_namespace(GrpcClient *c, const char *ns)
{
        free(c->ns);
        c->ns = mem_strdup(ns);
}

void grpc_client_set_lease(GrpcClient *c, const char *lease)
{
        free(c->lease);
        c->lease = mem_strdup(lease);
}

void grpc_client_set_timeout(GrpcClient *c, uint64_t ms)
{
        c->timeout_ns = ms * NS_PER_MS;
}

int grpc_client_fd(const GrpcClient *c)
{
        return c->fd;
}

static int wants_write(const GrpcClient *c)
{
        return c->out.len > c->out_off || nghttp2_session_want_write(c->session);
}

short grpc_client_events(const GrpcClient *c)
{
        return (short)(c->failed ? 0 : POLLIN | (wants_write(c) ? POLLOUT : 0));
}

int grpc_client_poll_ms(const GrpcClient *c)
{
        uint64_t first = 0, now;

        LIST_FOREACH (call, &c->calls, GrpcCall, link)
                if (!call->ended && call->deadline_ns && (!first || call->deadline_ns < first))
                        first = call->deadline_ns;
        if (!first)
                return -1;
        now = time_mono_ns();
        return first <= now ? 0 : (int)MIN((first - now) / NS_PER_MS + 1, (uint64_t)INT32_MAX);
}

/* Until the socket is full or nothing is left. A peer that is gone is noticed by reading, after its
 * last words. */
static void write_some(GrpcClient *c)
{
        while (!c->failed) {
                ssize_t n;

                while (c->out.len - c->out_off < READ_SIZE) {
                        const uint8_t *p;

                        n = nghttp2_session_mem_send(c->session, &p);
                        if (n < 0)
                                fail(c, INTERNAL, nghttp2_strerror((int)n));
                        if (n <= 0)
                                break;
                        str_add_n(&c->out, p, (size_t)n);
                }
                if (c->out_off < c->out.len) {
                        n = send(c->fd, c->out.data + c->out_off, c->out.len - c->out_off,
                                 MSG_NOSIGNAL | MSG_DONTWAIT);
                        if (n < 0)
                                return;
                        c->out_off += (size_t)n;
                }
                if (c->out_off < c->out.len)
                        continue;
                str_truncate(&c->out, 0);
                c->out_off = 0;
                if (!nghttp2_session_want_write(c->session))
                        return;
        }
}

static void read_some(GrpcClient *c)
{
        if (!c->inbuf)
                c->inbuf = mem_alloc(READ_SIZE);
        while (!c->failed) {
                ssize_t n = recv(c->fd, c->inbuf, READ_SIZE, MSG_DONTWAIT);

                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        return;
                if (n <= 0) {
                        fail(c, UNAVAILABLE, "connection closed by the server");
                        return;
                }
                n = nghttp2_session_mem_recv(c->session, c->inbuf, (size_t)n);
                if (n < 0)
                        fail(c, UNAVAILABLE, nghttp2_strerror((int)n));
                if (n < READ_SIZE)
                        return;
        }
}

/* Ends what cannot go on: all when the connection has failed, else what has run out of time. */
static void end_overdue(GrpcClient *c)
{
        uint64_t now = 0;

        LIST_FOREACH (call, &c->calls, GrpcCall, link) {
                if (call->ended)
                        continue;
                if (c->failed)
                        abort_call(call, c->failure.code, c->failure.msg);
                if (!call->deadline_ns)
                        continue;
                if (!now)
                        now = time_mono_ns();
                if (now >= call->deadline_ns)
                        abort_call(call, DEADLINE_EXCEEDED, "context deadline exceeded");
        }
}

void grpc_client_step(GrpcClient *c)
{
        write_some(c);
        read_some(c);
        end_overdue(c);
        write_some(c);
}

static void step_blocking(GrpcClient *c)
{
        struct pollfd p = {.fd = c->fd};

        write_some(c);
        p.events = grpc_client_events(c);
        if (!c->failed)
                poll(&p, 1, grpc_client_poll_ms(c));
        grpc_client_step(c);
}

/* --- calls --- */

static nghttp2_nv header(const char *name, const char *value)
{
        return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                            strlen(value), NGHTTP2_NV_FLAG_NONE};
}

GrpcCall *grpc_call_new(GrpcClient *c, const char *method,
                        const ProtobufCMessageDescriptor *rsp_desc)
{
        GrpcCall *call = mem_new(GrpcCall);
        nghttp2_data_provider provider = {.source.ptr = call, .read_callback = read_data};
        char timeout[GRPC_TIMEOUT_MAX];
        nghttp2_nv nva[10] = {
                header(":method", "POST"),
                header(":scheme", "http"),
                header(":path", method),
                header(":authority", "localhost"),
                header("content-type", "application/grpc"),
                header("te", "trailers"),
                header("user-agent", "lighter/" LIGHTER_VERSION),
        };
        size_t n = 7;

        if (c->ns)
                nva[n++] = header("containerd-namespace", c->ns);
        if (c->lease)
                nva[n++] = header("containerd-lease", c->lease);
        if (c->timeout_ns) {
                call->deadline_ns = time_mono_ns() + c->timeout_ns;
                nva[n++] = header("grpc-timeout", grpc_timeout_format(c->timeout_ns, timeout));
        }
        call->client = c;
        call->rsp_desc = rsp_desc;
        call->status = -1;
        call->reader.max = LIMIT_GRPC_MESSAGE;
        list_init(&call->messages);
        list_append(&c->calls, &call->link);
        call->id = nghttp2_submit_request(c->session, NULL, nva, n, &provider, call);
        if (call->id < 0)
                abort_call(call, UNAVAILABLE, nghttp2_strerror(call->id));
        return call;
}

static void message_free(Message *m)
{
        list_remove(&m->link);
        free(m->bytes);
        free(m);
}

GrpcCall *grpc_call_free(GrpcCall *call)
{
        GrpcClient *c;

        if (!call)
                return NULL;
        c = call->client;
        if (!call->ended) {
                abort_call(call, CANCELLED, "cancelled");
                write_some(c);
        }
        LIST_FOREACH (m, &call->messages, Message, link)
                message_free(m);
        list_remove(&call->link);
        grpc_reader_done(&call->reader);
        str_done(&call->out);
        free(call->http_status);
        free(call->message);
        free(call);
        return NULL;
}

static int outcome(GrpcCall *call, Err *err)
{
        if (call->status < 0)
                return err_copy(err, &call->err);
        if (call->status == OK)
                return 0;
        return err_set(err, call->status, "%s",
                       str_empty(call->message) ? err_class_text(call->status) : call->message);
}

static void resume(GrpcCall *call)
{
        if (call->out_deferred && !call->ended) {
                call->out_deferred = 0;
                nghttp2_session_resume_data(call->client->session, call->id);
        }
}

static void queue_message(GrpcCall *call, const void *msg)
{
        size_t n = protobuf_c_message_get_packed_size(msg);
        uint8_t prefix[5] = {0, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8),
                             (uint8_t)n};

        str_add_n(&call->out, prefix, sizeof(prefix));
        str_reserve(&call->out, n);
        protobuf_c_message_pack(msg, (uint8_t *)call->out.data + call->out.len);
        call->out.len += n;
        resume(call);
}

int grpc_call_can_send(const GrpcCall *call)
{
        return call->ended || call->out.len - call->out_off < SEND_AHEAD;
}

int grpc_call_send(GrpcCall *call, const void *msg, Err *err)
{
        int r;

        assert(!call->out_end);
        while (!grpc_call_can_send(call))
                step_blocking(call->client);
        if (call->ended) {
                r = outcome(call, err);
                return r < 0 ? r : err_set(err, CANCELLED, "the call has ended");
        }
        queue_message(call, msg);
        write_some(call->client);
        return 0;
}

void grpc_call_end(GrpcCall *call)
{
        call->out_end = 1;
        resume(call);
        write_some(call->client);
}

GrpcCall *grpc_call_start(GrpcClient *c, const char *method, const void *req,
                          const ProtobufCMessageDescriptor *rsp_desc)
{
        GrpcCall *call = grpc_call_new(c, method, rsp_desc);

        if (!call->ended)
                queue_message(call, req);
        grpc_call_end(call);
        return call;
}

int grpc_call_ready(GrpcCall *call)
{
        end_overdue(call->client);
        return call->ended || !list_empty(&call->messages);
}

int grpc_call_recv(GrpcCall *call, Arena *a, void **ret_msg, Err *err)
{
        ProtobufCMessage *msg;
        Message *m;
        int r;

        while (!grpc_call_ready(call))
                step_blocking(call->client);
        m = LIST_FIRST(&call->messages, Message, link);
        if (!m)
                return outcome(call, err);

        r = message_unpack(a, call->rsp_desc, m->bytes, m->len, &msg, err);
        if (!call->ended)
                nghttp2_session_consume_stream(call->client->session, call->id, m->held);
        message_free(m);
        consume_held(call);
        if (r < 0)
                return err_wrap(err, "answer");
        *ret_msg = msg;
        return 1;
}

int grpc_call_finish(GrpcCall *call, Arena *a, void **ret_rsp, Err *err)
{
        void *rsp = NULL, *more;
        int r;

        r = grpc_call_recv(call, a, &rsp, err);
        if (r == 0)
                return err_set(err, INTERNAL, "the server answered without a message");
        if (r < 0)
                return r;
        r = grpc_call_recv(call, a, &more, err);
        if (r > 0)
                return err_set(err, INTERNAL, "the server answered with more than one message");
        if (r == 0)
                *ret_rsp = rsp;
        return r;
}

int grpc_unary(GrpcClient *c, const char *method, const void *req,
               const ProtobufCMessageDescriptor *rsp_desc, Arena *a, void **ret_rsp, Err *err)
{
        GrpcCall *call CLEANUP(grpc_call_freep) = grpc_call_start(c, method, req, rsp_desc);

        return grpc_call_finish(call, a, ret_rsp, err);
}
