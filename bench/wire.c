/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nghttp2 between a socket and the caller's calls. What is to be sent is gathered in one buffer, so
 * that any number of calls leave in one send(2); the windows are so large that nobody waits for
 * them.
 */
#include "wire.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"

enum {
        WINDOW = 1 << 30,
        BUF_SIZE = 512 * 1024,
        ROOM = 32 * 1024,
        WIRES_MAX = 64,
        SILENCE_MS = 20000
};

struct Wire {
        int fd;
        nghttp2_session *session;
        const char *ns, *lease;
        size_t busy;
        size_t out_len, out_off;
        uint8_t out[BUF_SIZE], in[BUF_SIZE];
};

void wire_die(const char *fmt, ...)
{
        va_list ap;

        fprintf(stderr, "bench-load: ");
        va_start(ap, fmt);
        vfprintf(stderr, fmt, ap);
        va_end(ap);
        fprintf(stderr, "\n");
        exit(1);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user_data)
{
        WireCall *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

        if (!call)
                return 0;
        if (name_len == 11 && memcmp(name, "grpc-status", 11) == 0)
                call->status = atoi((const char *)value);
        else if (name_len == 12 && memcmp(name, "grpc-message", 12) == 0 && *value &&
                 !call->failing_is_fine)
                wire_die("%s", (const char *)value);
        return 0;
}

/* Counts messages by their heads. */
static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *user_data)
{
        WireCall *call = nghttp2_session_get_stream_user_data(session, id);

        if (!call)
                return 0;
        call->bytes += n;
        while (n > 0) {
                size_t step;

                if (call->head_len < 5) {
                        call->head[call->head_len++] = *p++;
                        n--;
                        if (call->head_len < 5)
                                continue;
                        call->body_left = (size_t)call->head[1] << 24 | call->head[2] << 16 |
                                          call->head[3] << 8 | call->head[4];
                }
                step = MIN(n, call->body_left);
                p += step;
                n -= step;
                call->body_left -= step;
                if (call->body_left > 0)
                        continue;
                call->head_len = 0;
                call->messages++;
                if (call->on_message)
                        call->on_message(call);
        }
        return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user_data)
{
        WireCall *call = nghttp2_session_get_stream_user_data(session, id);
        Wire *w = user_data;

        if (!call)
                return 0;
        if (call->status != 0 && !call->failing_is_fine)
                wire_die("a call ended with status %d, HTTP/2 code %u", call->status, code);
        call->ended = 1;
        call->ended_ns = time_mono_ns();
        w->busy--;
        if (call->on_end)
                call->on_end(call);
        return 0;
}

Wire *wire_try(const char *path, const char *ns)
{
        static const nghttp2_settings_entry settings[] = {
                {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW},
        };
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        nghttp2_session_callbacks *cb;
        Wire *w = mem_new(Wire);

        snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
        w->ns = ns;
        w->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (w->fd < 0 || connect(w->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
                close(w->fd);
                free(w);
                return NULL;
        }
        nghttp2_session_callbacks_new(&cb);
        nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
        nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
        nghttp2_session_client_new(&w->session, cb, w);
        nghttp2_session_callbacks_del(cb);
        nghttp2_submit_settings(w->session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings));
        nghttp2_session_set_local_window_size(w->session, NGHTTP2_FLAG_NONE, 0, WINDOW);
        return w;
}

Wire *wire_open(const char *path, const char *ns)
{
        Wire *w = wire_try(path, ns);

        if (!w)
                wire_die("connect to %s: %s", path, strerror(errno));
        return w;
}

void wire_set_lease(Wire *w, const char *lease)
{
        w->lease = lease;
}

void wire_close(Wire *w)
{
        nghttp2_session_del(w->session);
        close(w->fd);
        free(w);
}

static ssize_t read_data(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
                         uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
        WireCall *call = source->ptr;
        size_t n = MIN(length, call->out_len - call->out_off);

        memcpy(buf, call->out + call->out_off, n);
        call->out_off += n;
        if (call->out_off == call->out_len) {
                call->out_off = call->out_len = 0;
                if (call->eof) {
                        *flags |= NGHTTP2_DATA_FLAG_EOF;
                } else if (n == 0) {
                        call->deferred = 1;
                        return NGHTTP2_ERR_DEFERRED;
                }
        }
        return (ssize_t)n;
}

static nghttp2_nv header(const char *name, const char *value)
{
        return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                            strlen(value),
                            NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

void wire_start(Wire *w, WireCall *call, const char *method)
{
        nghttp2_data_provider provider = {.source.ptr = call, .read_callback = read_data};
        nghttp2_nv nva[] = {
                header(":method", "POST"),
                header(":scheme", "http"),
                header(":path", method),
                header(":authority", "localhost"),
                header("content-type", "application/grpc"),
                header("te", "trailers"),
                {},
                {},
        };
        size_t n = 6;

        if (w->ns)
                nva[n++] = header("containerd-namespace", w->ns);
        if (w->lease)
                nva[n++] = header("containerd-lease", w->lease);
        call->wire = w;
        call->status = -1;
        call->messages = call->bytes = call->head_len = call->body_left = 0;
        call->out_len = call->out_off = 0;
        call->ended = call->eof = call->deferred = 0;
        call->began_ns = time_mono_ns();
        call->id = nghttp2_submit_request(w->session, NULL, nva, n, &provider, call);
        if (call->id < 0)
                wire_die("%s", nghttp2_strerror(call->id));
        w->busy++;
}

static void resume(WireCall *call)
{
        if (call->deferred)
                nghttp2_session_resume_data(call->wire->session, call->id);
        call->deferred = 0;
}

void wire_add(WireCall *call, const void *message, size_t n)
{
        uint8_t *p;

        if (call->out_len + n + 5 > call->out_cap) {
                call->out_cap = call->out_len + n + 5;
                call->out = mem_realloc(call->out, call->out_cap);
        }
        p = call->out + call->out_len;
        p[0] = 0;
        p[1] = (uint8_t)(n >> 24);
        p[2] = (uint8_t)(n >> 16);
        p[3] = (uint8_t)(n >> 8);
        p[4] = (uint8_t)n;
        memcpy(p + 5, message, n);
        call->out_len += n + 5;
        resume(call);
}

void wire_end(WireCall *call)
{
        call->eof = 1;
        resume(call);
}

/* 1: all is sent; 0: the socket is full. */
static int send_some(Wire *w)
{
        for (;;) {
                const uint8_t *p;
                ssize_t n = 1;

                while (w->out_len < BUF_SIZE - ROOM &&
                       (n = nghttp2_session_mem_send(w->session, &p)) > 0) {
                        memcpy(w->out + w->out_len, p, (size_t)n);
                        w->out_len += (size_t)n;
                }
                if (n < 0)
                        wire_die("%s", nghttp2_strerror((int)n));
                if (w->out_len == 0)
                        return 1;
                n = send(w->fd, w->out + w->out_off, w->out_len - w->out_off,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
                if (n < 0 && errno == EAGAIN)
                        return 0;
                if (n < 0)
                        wire_die("send: %s", strerror(errno));
                w->out_off += (size_t)n;
                if (w->out_off == w->out_len)
                        w->out_off = w->out_len = 0;
        }
}

static void receive(Wire *w, int flags)
{
        ssize_t n = recv(w->fd, w->in, BUF_SIZE, flags);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0)
                wire_die("the server closed the connection");
        n = nghttp2_session_mem_recv(w->session, w->in, (size_t)n);
        if (n < 0)
                wire_die("%s", nghttp2_strerror((int)n));
}

void wires_turn(Wire **wires, size_t n)
{
        struct pollfd p[WIRES_MAX];
        int all = 1;

        for (size_t i = 0; i < n; i++) {
                int sent = send_some(wires[i]);

                all &= sent;
                p[i] = (struct pollfd){.fd = wires[i]->fd,
                                       .events = (short)(POLLIN | (sent ? 0 : POLLOUT))};
        }
        if (n == 1 && all) {
                receive(wires[0], 0);
                return;
        }
        if (poll(p, n, SILENCE_MS) == 0)
                wire_die("nothing has come for %d s", SILENCE_MS / 1000);
        for (size_t i = 0; i < n; i++)
                if (p[i].revents & ~POLLOUT)
                        receive(wires[i], MSG_DONTWAIT);
}

size_t wire_busy(const Wire *w)
{
        return w->busy;
}

void wire_unary(Wire *w, WireCall *call, const char *method, const void *message, size_t n)
{
        wire_start(w, call, method);
        wire_add(call, message, n);
        wire_end(call);
        while (!call->ended)
                wires_turn(&w, 1);
}
