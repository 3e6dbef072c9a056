/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream is one request: headers become a call, DATA becomes messages, what the call has to say
 * becomes the answer (answer.c).
 *
 * Receiving. One message is put together while the call is busy with the one before; its bytes are
 * consumed as they come, or it could never be larger than the window. Once it is whole and the call
 * does not take it, further bytes are stashed and not consumed: the window closes, the client
 * waits. The connection's own window is always consumed at once, lest a stalled stream hold up the
 * others; instead a connection may hold LIMIT_CONN_INBOX in all, and the stream that goes beyond
 * fails.
 */
#include "grpc/server_priv.h"

#include <stdio.h>
#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "grpc/header.h"

static void queue_ready(void *transport, Call *c)
{
        ReadyQueue *q = transport;
        int first;

        lock_take(&q->lock);
        first = list_empty(&q->calls);
        list_append(&q->calls, rpc_call_link(c));
        q->refs += first;
        lock_drop(&q->lock);
        if (first)
                loop_post(q->loop, server_ready, q);
}

const RpcTransportOps grpc_transport_ops = {
        .ready = queue_ready,
        .decode_what = "grpc: error unmarshalling request",
};

Stream *stream_new(Conn *c, int32_t id)
{
        Stream *s = mem_new(Stream);

        s->conn = c;
        s->id = id;
        s->request = mem_new(Request);
        s->reader.max = c->server->options.max_recv;
        s->out_tail = &s->out;
        list_append(&c->streams, &s->link);
        return s;
}

static void request_free(Request *r)
{
        if (!r)
                return;
        free(r->path);
        free(r->method);
        free(r->content_type);
        free(r->timeout);
        free(r->encoding);
        free(r->ns);
        free(r->lease);
        free(r);
}

/* What the stream holds of the peer's bytes, against the connection's account. */
static void account(Stream *s)
{
        size_t now = s->reader.cap + s->whole_len + s->stash.cap + s->delivered;

        s->conn->inbox += now - s->counted;
        s->counted = now;
}

static void drop_input(Stream *s)
{
        grpc_reader_done(&s->reader);
        free(TAKE(s->whole));
        s->whole_len = s->delivered = 0;
        s->whole_set = 0;
        str_done(&s->stash);
        account(s);
}

void stream_free(Stream *s)
{
        stream_out_done(s);
        drop_input(s);
        request_free(s->request);
        free(s->subtype);
        free(s->message);
        list_remove(&s->link);
        free(s);
}

static void keep_first(char **slot, const char *value, size_t n)
{
        if (!*slot)
                *slot = mem_strndup(value, n);
}

static int is_pseudo_once(char **slot, const char *value, size_t n)
{
        if (*slot)
                return 0;
        *slot = mem_strndup(value, n);
        return 1;
}

static int name_is(const char *name, size_t n, const char *want)
{
        return n == strlen(want) && memcmp(name, want, n) == 0;
}

/* Connection-level headers of HTTP/1 must not appear;
 * https://www.rfc-editor.org/rfc/rfc9113#section-8.2.2 */
static int is_connection_header(const char *name, size_t n)
{
        return name_is(name, n, "connection") || name_is(name, n, "keep-alive") ||
               name_is(name, n, "proxy-connection") || name_is(name, n, "transfer-encoding") ||
               name_is(name, n, "upgrade");
}

static void pseudo_header(Request *r, const char *name, size_t n, const char *value, size_t len)
{
        if (name_is(name, n, ":path"))
                r->malformed |= !is_pseudo_once(&r->path, value, len);
        else if (name_is(name, n, ":method"))
                r->malformed |= !is_pseudo_once(&r->method, value, len);
        else if (name_is(name, n, ":authority"))
                r->authorities++;
        else if (!name_is(name, n, ":scheme"))
                r->malformed = 1;
}

/*
 * nghttp2's own checks of HTTP are off: they refuse the :authority that older Kubernetes components
 * send, a bare path. So the few that matter are here.
 */
void stream_header(Stream *s, const char *name, size_t n, const char *value, size_t len)
{
        Request *r = s->request;

        if (!r)
                return; /* trailers of the client: nothing in them concerns us */
        r->size += n + len + 32;
        if (r->size > LIMIT_HEADER_LIST)
                return; /* only counted: stream_begin() tells the peer */

        if (!nghttp2_check_header_name((const uint8_t *)name, n) ||
            !nghttp2_check_header_value((const uint8_t *)value, len) ||
            is_connection_header(name, n)) {
                r->malformed = 1;
                return;
        }
        if (n > 0 && name[0] == ':')
                pseudo_header(r, name, n, value, len);
        else if (name_is(name, n, "content-type"))
                keep_first(&r->content_type, value, len);
        else if (name_is(name, n, "grpc-timeout"))
                keep_first(&r->timeout, value, len);
        else if (name_is(name, n, "grpc-encoding"))
                keep_first(&r->encoding, value, len);
        else if (name_is(name, n, "containerd-namespace"))
                keep_first(&r->ns, value, len);
        else if (name_is(name, n, "containerd-lease"))
                keep_first(&r->lease, value, len);
        else if (n > 4 && memcmp(name + n - 4, "-bin", 4) == 0)
                r->bad_value |= !grpc_is_base64(value, len);
}

static void deadline_passed(void *ctx)
{
        Stream *s = ctx;
        Conn *c = s->conn;

        s->over = 1;
        drop_input(s);
        if (s->call)
                rpc_call_detach(s->call, DEADLINE_EXCEEDED);
        stream_out_done(s);
        nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
        conn_flush(c);
}

/* "/service/method": the last slash divides, so that a service may not hide behind another. */
static int split_path(char *path, char **ret_service, char **ret_method, Err *err)
{
        char *slash = path[0] == '/' ? strrchr(path + 1, '/') : NULL;

        if (!slash)
                return err_set(err, UNIMPLEMENTED, "malformed method name: \"%s\"", path);
        *slash = 0;
        *ret_service = path + 1;
        *ret_method = slash + 1;
        return 0;
}

static int begin_call(Stream *s, const Request *q, uint64_t timeout_ns, Err *err)
{
        Conn *c = s->conn;
        uint64_t now = time_mono_ns();
        RpcBegin b = {
                .ns = q->ns,
                .lease = q->lease,
                .peer = c->peer,
                .ops = &grpc_transport_ops,
                .transport = c->server->queue,
                .data = s,
                .max_send = c->server->options.max_send,
                .load = c->load,
        };
        char *service = NULL, *method = NULL;
        int r;

        r = split_path(q->path, &service, &method, err);
        if (r < 0)
                return r;
        b.service = service;
        b.method = method;
        if (q->timeout && timeout_ns < UINT64_MAX - now)
                b.deadline_ns = now + timeout_ns;
        r = rpc_call_begin(c->server->registry, &b, &s->call, err);
        if (r < 0)
                return r;
        if (b.deadline_ns)
                s->deadline = loop_add_timer(c->server->loop, b.deadline_ns, deadline_passed, s);
        return 0;
}

/* What is wrong before the method is even looked at; NULL for nothing. */
static const char *check_request(const Request *q, uint64_t *ret_timeout, int *ret_http,
                                 int *ret_code)
{
        *ret_http = 400;
        *ret_code = INTERNAL;
        if (q->authorities > 1)
                return "num values of :authority must be 1 as per HTTP/2 spec";
        if (!q->content_type || !grpc_content_type_ok(q->content_type)) {
                *ret_http = 415;
                *ret_code = INVALID_ARGUMENT;
                return "invalid gRPC request content-type";
        }
        if (q->bad_value)
                return "malformed binary metadata";
        if (q->timeout && grpc_timeout_parse(q->timeout, ret_timeout) < 0)
                return "malformed grpc-timeout";
        if (!str_eq(q->method, "POST")) {
                *ret_http = 405;
                return "received a HEADERS frame with a :method that is not POST";
        }
        *ret_http = 200;
        if (q->encoding && !str_eq(q->encoding, "identity")) {
                *ret_code = UNIMPLEMENTED;
                return "grpc: Decompressor is not installed for grpc-encoding";
        }
        if (q->timeout && *ret_timeout == 0) {
                *ret_code = DEADLINE_EXCEEDED;
                return "context deadline exceeded";
        }
        return NULL;
}

static void refuse_size(Stream *s, size_t size)
{
        char text[96];

        snprintf(text, sizeof(text), "grpc: received header list larger than max (%zu vs. %d)",
                 size, LIMIT_HEADER_LIST);
        stream_fail(s, 431, RESOURCE_EXHAUSTED, text);
}

void stream_begin(Stream *s)
{
        Conn *c = s->conn;
        Request *q = TAKE(s->request);
        uint64_t timeout_ns = 0;
        const char *wrong;
        int http, code;
        Err err;

        if (q->size > LIMIT_HEADER_LIST) {
                refuse_size(s, q->size);
                request_free(q);
                return;
        }
        if (q->malformed || !q->path || !q->method) {
                s->over = 1;
                nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, s->id,
                                          NGHTTP2_PROTOCOL_ERROR);
                request_free(q);
                return;
        }
        if (rpc_load_calls(c->load) >= LIMIT_STREAMS) {
                s->over = 1;
                nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, s->id,
                                          NGHTTP2_REFUSED_STREAM);
                request_free(q);
                return;
        }

        wrong = check_request(q, &timeout_ns, &http, &code);
        if (!wrong || http == 200) {
                const char *sub = q->content_type + strlen("application/grpc");

                s->subtype = *sub ? mem_strdup(sub) : NULL;
        }
        if (wrong) {
                Str text CLEANUP(str_done) = {};
                const char *value = code == UNIMPLEMENTED      ? q->encoding
                                    : http == 415              ? q->content_type
                                    : strstr(wrong, "timeout") ? q->timeout
                                    : http == 405              ? q->method
                                                               : NULL;

                str_add(&text, wrong);
                if (value && code != DEADLINE_EXCEEDED)
                        str_addf(&text, ": \"%s\"", value);
                stream_fail(s, http, code, str_get(&text));
        } else if (begin_call(s, q, timeout_ns, &err) < 0) {
                stream_fail(s, 200, err.code, err.msg);
        }
        request_free(q);
}

static void fail_input(Stream *s, int code, const char *message)
{
        drop_input(s);
        stream_fail(s, 200, code, message);
}

static void deliver(Stream *s)
{
        if (!s->whole_set)
                return;
        if (s->delivered_any && !(s->call->method->streams & RPC_CLIENT_STREAMS)) {
                fail_input(s, INTERNAL, "method takes a single message");
                return;
        }
        if (!rpc_call_takes_message(s->call))
                return;
        s->delivered_any = 1;
        s->delivered = s->whole_len;
        s->whole_set = 0;
        s->whole_len = 0;
        rpc_call_message(s->call, TAKE(s->whole), s->delivered);
}

/* Bytes into messages, as far as they go; the return value is what is left. */
static size_t take_bytes(Stream *s, const uint8_t *p, size_t n)
{
        Err err;

        while (n > 0 && !s->whole_set) {
                size_t used;
                int done;

                if (grpc_reader_feed(&s->reader, p, n, &used, &done, &err) < 0) {
                        fail_input(s, err.code, err.msg);
                        return 0;
                }
                nghttp2_session_consume_stream(s->conn->session, s->id, used);
                p += used;
                n -= used;
                if (!done)
                        continue;
                s->whole = grpc_reader_take(&s->reader, &s->whole_len);
                s->whole_set = 1;
                deliver(s);
                if (s->over)
                        return 0;
        }
        return n;
}

static void tell_end(Stream *s)
{
        if (!s->peer_ended || s->end_told || s->over || s->whole_set || s->stash.len > 0)
                return;
        if (grpc_reader_busy(&s->reader)) {
                fail_input(s, INTERNAL, "unexpected EOF");
                return;
        }
        s->end_told = 1;
        rpc_call_end(s->call);
}

static void check_account(Stream *s)
{
        account(s);
        if (!s->over && s->conn->inbox > LIMIT_CONN_INBOX)
                fail_input(s, RESOURCE_EXHAUSTED,
                           "connection holds too many unfinished messages: resource exhausted");
}

void stream_data(Stream *s, const uint8_t *p, size_t n)
{
        size_t left;

        if (s->over || !s->call)
                return;
        left = s->stash.len > 0 ? n : take_bytes(s, p, n);
        if (left > 0)
                str_add_n(&s->stash, p + (n - left), left);
        check_account(s);
}

void stream_end(Stream *s)
{
        s->peer_ended = 1;
        if (s->call)
                tell_end(s);
}

/* The call takes messages again. */
static void resume_input(Stream *s)
{
        deliver(s);
        if (!s->over && !s->whole_set && s->stash.len > 0) {
                size_t len = s->stash.len;
                uint8_t *bytes CLEANUP(cleanup_free) = (uint8_t *)str_steal(&s->stash);
                size_t left = take_bytes(s, bytes, len);

                if (left > 0)
                        str_add_n(&s->stash, bytes + (len - left), left);
        }
        if (!s->over)
                tell_end(s);
        check_account(s);
}

void stream_collect(Stream *s)
{
        RpcOutput out;

        rpc_call_collect(s->call, &out);
        stream_answer(s, &out);
        if (s->over) {
                drop_input(s);
                return;
        }
        if (out.takes_message) {
                s->delivered = 0;
                resume_input(s);
        }
}
