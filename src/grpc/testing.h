/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of this folder share: a server with a test service on a loop of its own, handlers
 * on a pool. */
#pragma once

#include <pthread.h>
#include "base/loop.h"
#include "base/pool.h"
#include "base/test.h"
#include "grpc/client.h"
#include "grpc/server.h"

typedef struct Fixture {
        Loop *loop;
        Pool *pool;
        RpcRegistry *registry;
        GrpcServer *server;
        GrpcClient *client;
        pthread_t thread;
        Arena arena;
        Err err;
} Fixture;

void fixture_init(Fixture *f, const GrpcServerOptions *options);
void fixture_done(Fixture *f);
/* A new connection to the server; the caller's end. */
int fixture_connect(Fixture *f);
/* Runs fn on the loop's thread and waits for it. */
void fixture_on_loop(Fixture *f, void (*fn)(Fixture *f));
int fixture_connections(Fixture *f);

/* What the service has seen. */
int testing_waiting(void); /* pending Waits */
int testing_cancels(void); /* of Waits */
int testing_opens(void);   /* of streams ... */
int testing_closes(void);
int testing_bigs(void);                         /* calls of Big that were begun */
int testing_chunks(void);                       /* made by Count */
void testing_until(int (*get)(void), int want); /* for a second at most */
