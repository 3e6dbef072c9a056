/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server, connection, stream: each owns the next. All of it belongs to the loop's thread; other
 * threads only reach the ReadyQueue.
 */
#pragma once

#include <nghttp2/nghttp2.h>
#include <sys/uio.h>
#include "base/list.h"
#include "base/lock.h"
#include "base/str.h"
#include "base/vec.h"
#include "grpc/reader.h"
#include "grpc/server.h"
#include "rpc/transport.h"

typedef struct Conn Conn;

/* Calls that have something for us. Outlives the server while a post for it is on its way. */
typedef struct ReadyQueue {
        Lock lock; /* calls, refs */
        List calls;
        int refs;
        Loop *loop;
        GrpcServer *server; /* NULL once it is gone */
} ReadyQueue;

typedef struct Listener {
        GrpcServer *server;
        int fd;
        LoopSource *source;
} Listener;

/*
 * Bytes for one writev(2): small things are copied into flat, large ones are pointed at. The server
 * has one at hand; a connection whose peer reads slowly keeps its own until it is written.
 */
enum { BATCH_FLAT = 32 * 1024, BATCH_PIECES = 128 };

typedef struct Batch {
        int n_iov, first;
        int n_bufs;
        size_t flat_used, bytes;
        int full; /* send_data had no room */
        struct iovec iov[BATCH_PIECES];
        RpcBuf *bufs[BATCH_PIECES];
        uint8_t flat[BATCH_FLAT];
} Batch;

int batch_has_room(const Batch *b);
void batch_copy(Batch *b, const void *p, size_t n);
void batch_point(Batch *b, RpcBuf *buf, const void *p, size_t n);
/* 1: all is written; 0: the socket is full; -1: the peer is gone. */
int batch_write(Batch *b, int fd);
void batch_reset(Batch *b);
Batch *batch_free(Batch *b);

struct GrpcServer {
        Loop *loop;
        RpcRegistry *registry;
        GrpcServerOptions options;
        ReadyQueue *queue;
        nghttp2_session_callbacks *callbacks;
        nghttp2_option *option;
        VEC(Listener *) listeners;
        List conns, dirty;
        int n_conns;
        int reserve_fd; /* given up to accept and drop a connection when descriptors run out */
        Batch *spare;
        uint8_t *inbuf;
        LoopSource *sweep, *drain_timer, *quiet;
        int active; /* since the quiet timer was set; -1 when it is not */
        void (*drained)(void *ctx);
        void *drained_ctx;
        int draining;
};

enum { INBUF_SIZE = 64 * 1024 };

/* A token bucket against peers that make work by resetting. */
typedef struct Bucket {
        uint64_t level, at_ns;
} Bucket;

struct Conn {
        GrpcServer *server;
        List link, dirty;
        int fd;
        LoopSource *source;
        struct ucred peer;
        nghttp2_session *session;
        List streams;
        RpcLoad *load;
        Batch *blocked; /* what did not fit into the socket */
        size_t inbox;   /* bytes of unfinished and waiting messages, all streams */
        uint64_t heard_ns;
        unsigned idle_frames; /* since something useful */
        Bucket resets;
        uint8_t writing; /* EPOLLOUT is asked for */
        uint8_t pinged, punished, going_away, dead;
};

/* What the headers of a request say, until it is a call. */
typedef struct Request {
        size_t size;
        char *path, *method, *content_type, *timeout, *encoding, *ns, *lease;
        int authorities;
        int bad_value; /* a -bin value that is no base64 */
        int malformed; /* HTTP/2 itself is violated */
} Request;

typedef struct Stream {
        Conn *conn;
        List link;
        int32_t id;
        Request *request; /* NULL after the headers */
        char *subtype;    /* what follows application/grpc; NULL for nothing */
        Call *call;       /* NULL before, and after it has ended */
        LoopSource *deadline;

        /* in */
        GrpcReader reader;
        void *whole; /* a message the call does not take yet */
        size_t whole_len;
        Str stash;        /* bytes after it: not consumed, so bounded by the window */
        size_t delivered; /* size of the message the call has not begun with */
        size_t counted;   /* our part of conn->inbox */
        uint8_t whole_set, delivered_any, peer_ended, end_told;

        /* out */
        RpcBuf *out, **out_tail;
        size_t out_bytes, out_off; /* heads included; what of the first buffer is gone */
        uint8_t submitted, finished, over;
        int code;      /* once finished */
        char *message; /* percent-encoded */
} Stream;

/* stream.c */
Stream *stream_new(Conn *c, int32_t id);
void stream_free(Stream *s);
void stream_header(Stream *s, const char *name, size_t name_len, const char *value,
                   size_t value_len);
void stream_begin(Stream *s);
void stream_data(Stream *s, const uint8_t *p, size_t n);
void stream_end(Stream *s);
/* The call has something. */
void stream_collect(Stream *s);
extern const RpcTransportOps grpc_transport_ops;

/* answer.c */
/* Ends the stream with a status; http is 200 but for requests that are no gRPC. */
void stream_fail(Stream *s, int http, int code, const char *message);
void stream_answer(Stream *s, const RpcOutput *out);
void stream_out_done(Stream *s);
int stream_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *framehd,
                     size_t length, nghttp2_data_source *source, void *user_data);

/* conn.c */
int conn_new(GrpcServer *s, int fd, Err *err);
void conn_free(Conn *c);
/* Sends what there is; may free the connection. */
void conn_flush(Conn *c);
/* Flush soon: at the end of the batch of ready calls. */
void conn_mark_dirty(Conn *c);
/* GOAWAY and the end, for misbehaviour. */
void conn_punish(Conn *c);
void conn_go_away(Conn *c);
void conn_ping(Conn *c);
void conn_callbacks(nghttp2_session_callbacks *cb);

/* server.c */
void server_conn_gone(GrpcServer *s);
/* Somebody is there: the buffers stay a while. */
void server_active(GrpcServer *s);
void server_ready(void *queue); /* posted to the loop: calls have something */
