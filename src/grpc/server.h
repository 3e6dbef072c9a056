/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gRPC server: HTTP/2 by nghttp2 over unix sockets, on a loop's thread; handlers run as the
 * registry's run function has it. All functions are for the loop's thread.
 */
#pragma once

#include <sys/types.h>
#include "base/loop.h"
#include "rpc/service.h"

typedef struct GrpcServer GrpcServer;

typedef struct GrpcServerOptions {
        size_t max_recv; /* messages; 0 for LIMIT_GRPC_MESSAGE */
        size_t max_send;
        int keepalive_ms; /* a silent connection is pinged after this, and closed after as much
                             again; 0: 2 h */
        void (*quiet)(void *ctx); /* nothing has come for a second or two; may be NULL */
        void *quiet_ctx;
} GrpcServerOptions;

/* The registry must outlive the server. options may be NULL. */
GrpcServer *grpc_server_new(Loop *l, RpcRegistry *r, const GrpcServerOptions *options);
/* Closes everything at once; calls that still run are cancelled and end unheard. Takes NULL,
 * returns NULL. */
GrpcServer *grpc_server_free(GrpcServer *s);

/* A listening socket, the server's from now on. */
int grpc_server_listen_fd(GrpcServer *s, int fd, Err *err);
/* A connected socket, the server's from now on. */
int grpc_server_adopt(GrpcServer *s, int fd, Err *err);

/* No new connections and no new calls (GOAWAY); done(ctx) once all connections are gone, at the
 * latest after LIMIT_GOAWAY_MS. */
void grpc_server_drain(GrpcServer *s, void (*done)(void *ctx), void *ctx);
int grpc_server_connections(const GrpcServer *s);
int grpc_server_calls(const GrpcServer *s); /* in flight */
