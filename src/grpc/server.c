/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listeners, the set of connections, and the way back from the handlers' threads: a call that has
 * something is put into the ready queue; the first to enter an empty queue posts to the loop, so
 * many answers cost one wake-up, and one writev(2) for each connection.
 */
#include "grpc/server_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include "base/clock.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"

enum { ACCEPTS_PER_TURN = 16, BACKLOG = 1024, QUIET_MS = 1000 };

static ReadyQueue *queue_new(GrpcServer *s)
{
        ReadyQueue *q = mem_new(ReadyQueue);

        lock_init(&q->lock, LOCK_LEAF);
        list_init(&q->calls);
        q->refs = 1;
        q->loop = s->loop;
        q->server = s;
        return q;
}

static void queue_unref(ReadyQueue *q)
{
        int refs;

        lock_take(&q->lock);
        refs = --q->refs;
        lock_drop(&q->lock);
        if (refs > 0)
                return;
        lock_done(&q->lock);
        free(q);
}

/* One call out of the queue, with its reference; NULL when there is none. */
static Call *queue_next(ReadyQueue *q)
{
        List *first;

        LOCKED(&q->lock);
        if (list_empty(&q->calls))
                return NULL;
        first = q->calls.next;
        list_remove(first);
        return rpc_call_of_link(first);
}

static void collect_ready(GrpcServer *s, ReadyQueue *q)
{
        Call *call;

        while ((call = queue_next(q))) {
                Stream *stream = rpc_call_data(call);

                if (stream) {
                        conn_mark_dirty(stream->conn);
                        stream_collect(stream);
                }
                call_unref(call);
        }
        while (!list_empty(&s->dirty)) {
                Conn *c = LIST_FIRST(&s->dirty, Conn, dirty);

                list_remove(&c->dirty);
                conn_flush(c);
        }
}

void server_ready(void *queue)
{
        ReadyQueue *q = queue;

        if (q->server)
                collect_ready(q->server, q);
        queue_unref(q);
}

/* A peer that has been silent is pinged, and closed if it stays so. */
static void sweep(void *ctx)
{
        GrpcServer *s = ctx;
        uint64_t patience = (uint64_t)s->options.keepalive_ms * NS_PER_MS, now = time_mono_ns();

        LIST_FOREACH (c, &s->conns, Conn, link) {
                if (now - c->heard_ns < patience)
                        continue;
                if (c->pinged)
                        conn_free(c);
                else
                        conn_ping(c);
        }
        if (s->n_conns > 0)
                loop_timer_set(s->sweep, now + patience);
}

/* Nothing has come for a while: what the last calls needed goes back to the kernel. */
static void quiet(void *ctx)
{
        GrpcServer *s = ctx;

        if (s->active) {
                s->active = 0;
                loop_timer_set(s->quiet, time_mono_ns() + QUIET_MS * NS_PER_MS);
                return;
        }
        s->active = -1;
        s->spare = batch_free(s->spare);
        free(TAKE(s->inbuf));
        mem_trim();
        if (s->options.quiet)
                s->options.quiet(s->options.quiet_ctx);
}

void server_active(GrpcServer *s)
{
        if (!s->inbuf)
                s->inbuf = mem_alloc(INBUF_SIZE);
        if (s->active < 0)
                loop_timer_set(s->quiet, time_mono_ns() + QUIET_MS * NS_PER_MS);
        s->active = 1;
}

GrpcServer *grpc_server_new(Loop *l, RpcRegistry *r, const GrpcServerOptions *options)
{
        GrpcServer *s = mem_new(GrpcServer);

        s->loop = l;
        s->registry = r;
        if (options)
                s->options = *options;
        if (!s->options.max_recv)
                s->options.max_recv = LIMIT_GRPC_MESSAGE;
        if (!s->options.max_send)
                s->options.max_send = LIMIT_GRPC_MESSAGE;
        if (!s->options.keepalive_ms)
                s->options.keepalive_ms = LIMIT_KEEPALIVE_MS;
        s->queue = queue_new(s);
        list_init(&s->conns);
        list_init(&s->dirty);
        s->active = -1;
        s->quiet = loop_add_timer(l, 0, quiet, s);
        s->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        s->sweep = loop_add_timer(l, 0, sweep, s);

        if (nghttp2_session_callbacks_new(&s->callbacks) != 0 ||
            nghttp2_option_new(&s->option) != 0)
                mem_alloc(SIZE_MAX); /* says so and aborts */
        conn_callbacks(s->callbacks);
        nghttp2_option_set_no_auto_window_update(s->option, 1);
        nghttp2_option_set_no_http_messaging(s->option, 1);
        nghttp2_option_set_no_closed_streams(s->option, 1);
        /* conn.c meters resets itself, with the code that says why; this is behind it. */
        nghttp2_option_set_stream_reset_rate_limit(s->option, LIMIT_RESETS_BURST * 2,
                                                   LIMIT_RESETS_PER_SEC * 2);
        return s;
}

static void listener_free(Listener *l)
{
        loop_remove(l->source);
        fd_close(l->fd);
        free(l);
}

static void close_listeners(GrpcServer *s)
{
        VEC_FOREACH (l, &s->listeners)
                listener_free(*l);
        VEC_DONE(&s->listeners);
}

GrpcServer *grpc_server_free(GrpcServer *s)
{
        Call *call;

        if (!s)
                return NULL;
        s->drained = NULL;
        close_listeners(s);
        while (!list_empty(&s->conns))
                conn_free(LIST_FIRST(&s->conns, Conn, link));
        while ((call = queue_next(s->queue)))
                call_unref(call);
        s->queue->server = NULL;
        queue_unref(s->queue);
        loop_remove(s->sweep);
        loop_remove(s->quiet);
        loop_remove(s->drain_timer);
        nghttp2_session_callbacks_del(s->callbacks);
        nghttp2_option_del(s->option);
        fd_close(s->reserve_fd);
        batch_free(s->spare);
        free(s->inbuf);
        free(s);
        return NULL;
}

int grpc_server_connections(const GrpcServer *s)
{
        return s->n_conns;
}

int grpc_server_calls(const GrpcServer *s)
{
        int n = 0;

        LIST_FOREACH (c, &s->conns, Conn, link)
                n += rpc_load_calls(c->load);
        return n;
}

int grpc_server_adopt(GrpcServer *s, int fd, Err *err)
{
        if (s->n_conns >= LIMIT_CONNECTIONS) {
                fd_close(fd);
                return err_set(err, RESOURCE_EXHAUSTED, "more than %d connections",
                               LIMIT_CONNECTIONS);
        }
        if (s->n_conns == 0)
                loop_timer_set(s->sweep,
                               time_mono_ns() + (uint64_t)s->options.keepalive_ms * NS_PER_MS);
        return conn_new(s, fd, err);
}

/* Without a descriptor to spare the pending connection would wake us for ever: take it and hang up.
 */
static void shed_connection(Listener *l)
{
        GrpcServer *s = l->server;

        fd_close(s->reserve_fd);
        fd_close(accept4(l->fd, NULL, NULL, SOCK_CLOEXEC));
        s->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void accept_event(void *ctx, int fd, uint32_t events)
{
        Listener *l = ctx;
        Err err;

        for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
                int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (conn < 0 && (errno == EMFILE || errno == ENFILE))
                        shed_connection(l);
                if (conn < 0)
                        return;
                grpc_server_adopt(l->server, conn, &err); /* or it is closed */
        }
}

int grpc_server_listen_fd(GrpcServer *s, int fd, Err *err)
{
        Listener *l = mem_new(Listener);
        int r;

        l->server = s;
        l->fd = fd;
        fd_set_nonblock(fd, 1);
        r = loop_add_fd(s->loop, fd, EPOLLIN, accept_event, l, &l->source, err);
        if (r < 0) {
                listener_free(l);
                return r;
        }
        VEC_PUSH(&s->listeners, l);
        return 0;
}

static void drain_over(GrpcServer *s)
{
        void (*drained)(void *) = s->drained;

        s->drained = NULL;
        s->drain_timer = loop_remove(s->drain_timer);
        if (drained)
                drained(s->drained_ctx);
}

void server_conn_gone(GrpcServer *s)
{
        if (s->draining && s->n_conns == 0 && s->drained)
                loop_timer_set(s->drain_timer, 1);
}

static void drain_timeout(void *ctx)
{
        GrpcServer *s = ctx;

        while (!list_empty(&s->conns))
                conn_free(LIST_FIRST(&s->conns, Conn, link));
        drain_over(s);
}

void grpc_server_drain(GrpcServer *s, void (*done)(void *ctx), void *ctx)
{
        assert(!s->draining);
        s->draining = 1;
        s->drained = done;
        s->drained_ctx = ctx;
        close_listeners(s);
        s->drain_timer = loop_add_timer(
                s->loop, time_mono_ns() + (uint64_t)LIMIT_GOAWAY_MS * NS_PER_MS, drain_timeout, s);
        LIST_FOREACH (c, &s->conns, Conn, link)
                conn_go_away(c);
        server_conn_gone(s);
}
