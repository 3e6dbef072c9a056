/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes out on a stream. Messages wait in s->out as the handler's side made them; nghttp2 asks
 * for as many bytes as the windows allow (read_data), and is told to take them without copying
 * (send_data), so that they go from the encoder's buffer into writev(2). Trailers follow the last
 * byte in the same batch.
 *
 * An answer without a message is a single HEADERS frame, "trailers only".
 */
#include "grpc/server_priv.h"

#include <stdio.h>
#include "base/mem.h"
#include "grpc/header.h"

static nghttp2_nv header(const char *name, const char *value)
{
        return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                            strlen(value), NGHTTP2_NV_FLAG_NO_COPY_NAME};
}

static const char *content_type(const Stream *s, Str *buf)
{
        str_addf(buf, "application/grpc%s", s->subtype ? s->subtype : "");
        return str_get(buf);
}

/* Takes what waits; the rest of the call is of no interest. */
static void end_call(Stream *s, int code)
{
        s->deadline = loop_remove(s->deadline);
        if (!s->call)
                return;
        rpc_call_detach(s->call, code);
        s->call = call_unref(s->call);
}

void stream_out_done(Stream *s)
{
        end_call(s, CANCELLED);
        rpc_buf_free_list(TAKE(s->out));
        s->out_tail = &s->out;
        s->out_bytes = s->out_off = 0;
}

static void submit_trailers_only(Stream *s, const char *http)
{
        Str type CLEANUP(str_done) = {};
        char code[8];
        nghttp2_nv nva[4] = {header(":status", http),
                             header("content-type", content_type(s, &type))};
        size_t n = 2;

        snprintf(code, sizeof(code), "%d", s->code);
        nva[n++] = header("grpc-status", code);
        if (s->message)
                nva[n++] = header("grpc-message", s->message);
        s->submitted = 1;
        nghttp2_submit_response(s->conn->session, s->id, nva, n, NULL);
}

static void submit_trailers(Stream *s)
{
        char code[8];
        nghttp2_nv nva[2];
        size_t n = 1;

        snprintf(code, sizeof(code), "%d", s->code);
        nva[0] = header("grpc-status", code);
        if (s->message)
                nva[n++] = header("grpc-message", s->message);
        nghttp2_submit_trailer(s->conn->session, s->id, nva, n);
}

static ssize_t read_data(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
                         uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
        Stream *s = source->ptr;
        size_t n = MIN(s->out_bytes, length);

        if (n == 0 && !s->finished)
                return NGHTTP2_ERR_DEFERRED;
        if (n > 0)
                *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
        if (s->finished && n == s->out_bytes) {
                *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
                submit_trailers(s);
        }
        return (ssize_t)n;
}

/* The next piece of the first buffer, at most max bytes: its head, then its data. */
static size_t send_piece(Stream *s, Batch *batch, size_t max)
{
        RpcBuf *b = s->out;
        size_t n;

        if (s->out_off < b->head_len) {
                n = MIN(max, b->head_len - s->out_off);
                batch_copy(batch, b->head + s->out_off, n);
        } else {
                n = MIN(max, b->head_len + b->len - s->out_off);
                batch_point(batch, b, b->data + (s->out_off - b->head_len), n);
                if (s->call)
                        rpc_call_sent(s->call, n);
        }
        s->out_off += n;
        s->out_bytes -= n;
        if (s->out_off == b->head_len + b->len) {
                s->out = b->next;
                if (!s->out)
                        s->out_tail = &s->out;
                s->out_off = 0;
                rpc_buf_unref(b);
        }
        return n;
}

int stream_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *framehd,
                     size_t length, nghttp2_data_source *source, void *user_data)
{
        Conn *c = user_data;
        Stream *s = source->ptr;
        Batch *batch = c->server->spare;

        if (!batch_has_room(batch)) {
                batch->full = 1;
                return NGHTTP2_ERR_WOULDBLOCK;
        }
        assert(frame->data.padlen == 0); /* we ask for none */
        batch_copy(batch, framehd, 9);
        while (length > 0)
                length -= send_piece(s, batch, length);
        c->idle_frames = 0;
        return 0;
}

static void submit_messages(Stream *s)
{
        Str type CLEANUP(str_done) = {};
        nghttp2_data_provider provider = {.source.ptr = s, .read_callback = read_data};
        nghttp2_nv nva[2] = {header(":status", "200"),
                             header("content-type", content_type(s, &type))};

        s->submitted = 1;
        nghttp2_submit_response(s->conn->session, s->id, nva, ARRAY_LEN(nva), &provider);
}

static void finish(Stream *s, int code, const char *message)
{
        Str text CLEANUP(str_done) = {};

        s->finished = 1;
        s->code = code;
        if (code != OK && !str_empty(message)) {
                grpc_message_encode(&text, message);
                s->message = str_steal(&text);
        }
        end_call(s, CANCELLED);
}

void stream_fail(Stream *s, int http, int code, const char *message)
{
        char status[8];

        if (s->finished)
                return;
        finish(s, code, message);
        s->over = 1;
        snprintf(status, sizeof(status), "%d", http);
        if (s->submitted)
                nghttp2_session_resume_data(s->conn->session, s->id);
        else
                submit_trailers_only(s, status);
}

void stream_answer(Stream *s, const RpcOutput *out)
{
        for (RpcBuf *b = out->bufs, *next; b; b = next) {
                next = b->next;
                b->next = NULL;
                b->head[0] = 0;
                b->head[1] = (uint8_t)(b->len >> 24);
                b->head[2] = (uint8_t)(b->len >> 16);
                b->head[3] = (uint8_t)(b->len >> 8);
                b->head[4] = (uint8_t)b->len;
                b->head_len = 5;
                *s->out_tail = b;
                s->out_tail = &b->next;
                s->out_bytes += b->head_len + b->len;
        }
        if (out->finished) {
                finish(s, out->code, out->err->msg);
                s->over = 1;
        }
        if (s->submitted)
                nghttp2_session_resume_data(s->conn->session, s->id);
        else if (s->out)
                submit_messages(s);
        else if (s->finished)
                submit_trailers_only(s, "200");
}
