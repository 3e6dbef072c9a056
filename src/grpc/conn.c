/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection: bytes in, through nghttp2, to its streams; bytes out of nghttp2, one writev(2) per
 * turn. nghttp2's callbacks never free the connection; that happens in conn_event() and
 * conn_flush() only.
 *
 * An idle connection holds an nghttp2 session and no buffers: those are the server's, lent for one
 * turn.
 *
 * Against peers that only make work: PING, SETTINGS, window updates and empty frames are counted
 * until something useful happens (CVE-2019-9512 and its family), streams reset by them, or by us
 * for their faults, are metered (CVE-2023-44487), and calls count against the stream limit until
 * they have really ended.
 */
#include "grpc/server_priv.h"

#include <errno.h>
#include <sys/socket.h>
#include "base/clock.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"

enum { READS_PER_TURN = 4 };

static void conn_event(void *ctx, int fd, uint32_t events);

static int bucket_take(Bucket *b)
{
        uint64_t now = time_mono_ns(), gained;

        if (!b->at_ns) {
                b->at_ns = now;
                b->level = LIMIT_RESETS_BURST;
        }
        gained = (now - b->at_ns) / NS_PER_MS * LIMIT_RESETS_PER_SEC / 1000;
        if (gained > 0) {
                b->level = MIN(b->level + gained, (uint64_t)LIMIT_RESETS_BURST);
                b->at_ns = now;
        }
        if (b->level == 0)
                return 0;
        b->level--;
        return 1;
}

void conn_punish(Conn *c)
{
        if (c->punished)
                return;
        c->punished = 1;
        nghttp2_session_terminate_session(c->session, NGHTTP2_ENHANCE_YOUR_CALM);
}

static int is_idle_frame(const nghttp2_frame_hd *hd)
{
        switch (hd->type) {
        case NGHTTP2_HEADERS:
                return 0;
        case NGHTTP2_DATA:
                return hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM);
        default:
                return 1;
        }
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user_data)
{
        Conn *c = user_data;

        if (!is_idle_frame(hd)) {
                if (hd->type == NGHTTP2_DATA)
                        c->idle_frames = 0;
                return 0;
        }
        if (++c->idle_frames > LIMIT_CONTROL_FRAMES)
                conn_punish(c);
        return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
        Conn *c = user_data;
        Stream *s;

        if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
                return 0;
        s = stream_new(c, frame->hd.stream_id);
        nghttp2_session_set_stream_user_data(session, s->id, s);
        return 0;
}

static Stream *stream_of(nghttp2_session *session, int32_t id)
{
        return nghttp2_session_get_stream_user_data(session, id);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user_data)
{
        Stream *s = stream_of(session, frame->hd.stream_id);

        if (s)
                stream_header(s, (const char *)name, name_len, (const char *)value, value_len);
        return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
        Conn *c = user_data;
        Stream *s = stream_of(session, frame->hd.stream_id);

        switch (frame->hd.type) {
        case NGHTTP2_HEADERS:
                if (s && s->request && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
                        c->idle_frames = 0;
                        stream_begin(s);
                }
                break;
        case NGHTTP2_RST_STREAM:
                if (!bucket_take(&c->resets))
                        conn_punish(c);
                return 0;
        case NGHTTP2_PING:
                if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
                        return 0;
                c->pinged = 0;
                /* Streams begun before the client heard of the first GOAWAY have arrived by now. */
                if (c->going_away)
                        nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE,
                                              nghttp2_session_get_last_proc_stream_id(session),
                                              NGHTTP2_NO_ERROR, NULL, 0);
                return 0;
        }
        if (s && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
            (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA))
                stream_end(s);
        return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t n, void *user_data)
{
        Stream *s = stream_of(session, id);

        nghttp2_session_consume_connection(session, n);
        if (s)
                stream_data(s, data, n);
        return 0;
}

/* A client that is answered before it has said all it wanted is told to stop. */
static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
        Conn *c = user_data;
        Stream *s = stream_of(session, frame->hd.stream_id);

        if (frame->hd.type == NGHTTP2_HEADERS && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) && s &&
            !s->peer_ended)
                nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);

        if (frame->hd.type == NGHTTP2_RST_STREAM) {
                uint32_t code = frame->rst_stream.error_code;

                if (code != NGHTTP2_NO_ERROR && code != NGHTTP2_CANCEL && !bucket_take(&c->resets))
                        conn_punish(c);
        }
        return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user_data)
{
        Stream *s = stream_of(session, id);

        if (s)
                stream_free(s);
        return 0;
}

void conn_callbacks(nghttp2_session_callbacks *cb)
{
        nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
        nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
        nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
        nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
        nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
        nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
        nghttp2_session_callbacks_set_send_data_callback(cb, stream_send_data);
}

static void submit_preface(Conn *c)
{
        static const nghttp2_settings_entry settings[] = {
                {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, LIMIT_STREAMS},
                {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, LIMIT_STREAM_WINDOW},
                {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, LIMIT_HEADER_LIST},
                /* Priorities make nghttp2 keep closed streams; nobody uses them. */
                {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
        };

        nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings));
        nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, LIMIT_CONN_WINDOW);
}

int conn_new(GrpcServer *server, int fd, Err *err)
{
        Conn *c = mem_new(Conn);
        socklen_t len = sizeof(c->peer);
        int r;

        c->server = server;
        c->fd = fd;
        c->load = rpc_load_new();
        c->heard_ns = time_mono_ns();
        list_init(&c->streams);
        list_append(&server->conns, &c->link);
        server->n_conns++;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c->peer, &len) < 0 ||
            fd_set_nonblock(fd, 1) < 0) {
                r = err_sys(err, errno, "accepted socket");
        } else if (nghttp2_session_server_new2(&c->session, server->callbacks, c, server->option) !=
                   0) {
                r = err_set(err, RESOURCE_EXHAUSTED, "HTTP/2 session: out of memory");
        } else {
                r = loop_add_fd(server->loop, fd, EPOLLIN, conn_event, c, &c->source, err);
        }
        if (r < 0) {
                conn_free(c);
                return r;
        }
        submit_preface(c); /* goes out with the first answer */
        return 0;
}

void conn_free(Conn *c)
{
        GrpcServer *server = c->server;

        while (!list_empty(&c->streams))
                stream_free(LIST_FIRST(&c->streams, Stream, link));
        loop_remove(c->source);
        if (c->session)
                nghttp2_session_del(c->session);
        fd_close(c->fd);
        batch_free(c->blocked);
        rpc_load_unref(c->load);
        list_remove(&c->dirty);
        list_remove(&c->link);
        server->n_conns--;
        free(c);
        server_conn_gone(server);
}

void conn_mark_dirty(Conn *c)
{
        if (!list_linked(&c->dirty))
                list_append(&c->server->dirty, &c->dirty);
}

static void want_writable(Conn *c, int on)
{
        if (c->writing == on)
                return;
        c->writing = (uint8_t)on;
        loop_set_events(c->source, EPOLLIN | (on ? EPOLLOUT : 0));
}

/* Fills the batch. 0 when nghttp2 has nothing more, 1 when the batch is full, -1 for a dead
 * session. */
static int fill(Conn *c, Batch *b)
{
        while (batch_has_room(b)) {
                const uint8_t *p;
                ssize_t n = nghttp2_session_mem_send(c->session, &p);

                if (n < 0)
                        return -1;
                if (n > 0)
                        batch_copy(b, p, (size_t)n);
                else
                        return b->full;
        }
        return 1;
}

/* 1: all is sent; 0: the socket is full; -1: over. */
static int send_all(Conn *c)
{
        GrpcServer *server = c->server;
        int more = 1, sent;

        if (c->blocked) {
                sent = batch_write(c->blocked, c->fd);
                if (sent <= 0)
                        return sent;
                if (server->spare)
                        c->blocked = batch_free(c->blocked);
                else
                        server->spare = TAKE(c->blocked);
        }
        while (more && nghttp2_session_want_write(c->session)) {
                if (!server->spare)
                        server->spare = mem_new(Batch);
                server->spare->full = 0;
                more = fill(c, server->spare);
                sent = more < 0 ? -1 : batch_write(server->spare, c->fd);
                if (sent == 0)
                        c->blocked = TAKE(server->spare);
                if (sent < 0)
                        batch_reset(server->spare);
                if (sent <= 0)
                        return sent;
        }
        return 1;
}

static void resume_held(Conn *c)
{
        LIST_FOREACH (s, &c->streams, Stream, link)
                if (s->call)
                        rpc_call_resume(s->call);
}

void conn_flush(Conn *c)
{
        int sent = c->dead ? -1 : send_all(c);

        /* A peer that does not read what its own frames cause, or is being sent away. */
        if (sent == 0 && (c->punished || nghttp2_session_get_outbound_queue_size(c->session) >
                                                 LIMIT_STREAMS + LIMIT_CONTROL_FRAMES))
                sent = -1;
        if (sent == 1 &&
            (!nghttp2_session_want_read(c->session) && !nghttp2_session_want_write(c->session)))
                sent = -1;
        if (sent < 0) {
                conn_free(c);
                return;
        }
        want_writable(c, sent == 0);
        if (rpc_load_relieved(c->load))
                resume_held(c);
}

/* The session's last word where the fault is one of ours to name. */
static void session_failed(Conn *c, ssize_t code)
{
        if (code == NGHTTP2_ERR_FLOODED || code == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS) {
                conn_punish(c);
                send_all(c);
        }
        c->dead = 1;
}

static void conn_read(Conn *c)
{
        GrpcServer *server = c->server;

        server_active(server);
        for (int i = 0; i < READS_PER_TURN && !c->dead; i++) {
                ssize_t n = recv(c->fd, server->inbuf, INBUF_SIZE, MSG_DONTWAIT), used;

                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        return;
                if (n <= 0) {
                        c->dead = 1;
                        return;
                }
                c->heard_ns = time_mono_ns();
                rpc_registry_hold(server->registry);
                used = nghttp2_session_mem_recv(c->session, server->inbuf, (size_t)n);
                rpc_registry_release(server->registry);
                if (used < 0)
                        session_failed(c, used);
                if (n < INBUF_SIZE)
                        return;
        }
}

static void conn_event(void *ctx, int fd, uint32_t events)
{
        Conn *c = ctx;

        if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                conn_read(c);
        conn_flush(c);
}

void conn_ping(Conn *c)
{
        c->pinged = 1;
        nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, NULL);
        conn_flush(c);
}

void conn_go_away(Conn *c)
{
        c->going_away = 1;
        nghttp2_submit_shutdown_notice(c->session);
        nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, NULL);
        conn_flush(c);
}
