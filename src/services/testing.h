/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: calls through the registry as a transport makes them, with handlers on the calling
 * thread. */
#pragma once

#include "api/containerd/types/types.pb-c.h"
#include "events/exchange.h"
#include "metadata/metadata.h"
#include "rpc/service.h"

typedef struct Bench {
        DbEnv *db;
        Exchange *ex;
        Metadata *meta;
        RpcRegistry *registry;
        Subscription *events; /* all of them, since the bench was opened */
        Arena arena;          /* answers lie here */
        const char *ns, *lease;
        ProtobufCMessage **answers; /* of the last call */
        size_t n_answers;
        Err err; /* of the last call */
} Bench;

/* A database in a folder of the test, an exchange, and the service with the metadata as its
 * context. 0 or -1, said why. */
int bench_open(Bench *b, const RpcService *service);
void bench_done(Bench *b);
/* Returns 0, or -code with b->err; a call that does not finish is -DEADLINE_EXCEEDED. */
int bench_call(Bench *b, const RpcService *service, const char *method, const void *req);
/* The answer to the last call. */
void *bench_answer(Bench *b);
/* The next event, NULL when there is none. */
Types__Envelope *bench_event(Bench *b);
