/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this folder know about a call.
 *
 * A call is worked on by one thread at a time: `running` is set while a job of it is queued or
 * runs. Everything below "lock" is guarded; the rest belongs to the thread that runs the call, and
 * after the end to the transport.
 */
#pragma once

#include <stdio.h>
#include "base/cancel.h"
#include "base/lock.h"
#include "base/map.h"
#include "base/mem.h"
#include "rpc/transport.h"

typedef struct RpcBatcher RpcBatcher;

struct RpcRegistry {
        Map services;
        RpcRunFn run;
        void *run_ctx;
        RpcBatcher *batcher; /* may be NULL */
};

struct RpcLoad {  /* all atomic */
        int refs; /* the peer's connection, its calls, and buffers that are charged */
        int calls;
        size_t unsent; /* bytes of answers */
        int held;      /* somebody has found it full, and waits to be resumed */
};

/* Who has the right to end the call. */
typedef enum Claim { CLAIM_NONE, CLAIM_HANDLER, CLAIM_CANCEL } Claim;

enum { CALL_MAGIC = 0x63616c6c };

typedef struct CallImpl {
        Call call; /* first: a Call * is a CallImpl * */
        unsigned magic;
        int refs; /* atomic */
        const RpcRegistry *registry;
        const char *service;
        Arena arena, step;
        Err err;
        uint64_t started_ns;
        size_t max_send;
        RpcLoad *load;
        const char *decode_what;
        void *data; /* the transport's */
        List link;  /* the transport's */
        List batch_link;
        int batch_result; /* until the batch is durable */
        void *rsp;
        RpcBuf *reply;                 /* instead of rsp */
        RpcBuf *queued, **queued_tail; /* by the running step */

        Lock lock;
        const RpcTransportOps *ops; /* NULL once detached */
        void *transport;
        RpcBuf *out, **out_tail; /* not yet collected */
        size_t unsent; /* bytes of out, and of what the transport has not reported as sent */
        void *in;      /* one message waiting for its step */
        size_t in_len;
        void (*on_cancel)(Call *c);
        int cancelled; /* atomic: 0, or the code; read without the lock by call_cancelled() */
        int result;    /* once finished */
        uint8_t claim;
        uint8_t running, pending, finished, notified;
        uint8_t in_set, had_message, eof; /* of the peer's side */
        /* streams */
        uint8_t opened, eof_done, want_write, ended;
} CallImpl;

static inline CallImpl *call_impl(const Call *c)
{
        CallImpl *impl = (CallImpl *)(uintptr_t)c;

        assert(impl->magic == CALL_MAGIC);
        return impl;
}

static inline int call_streams(const CallImpl *c, unsigned which)
{
        return (c->call.method->streams & which) != 0;
}

/* From now on the buffer counts against the load, until it is freed. */
void load_charge(RpcLoad *l, RpcBuf *b);
void load_discharge(RpcLoad *l, size_t n);
/* Whether the peer is to read first; the transport will resume its calls then. */
int load_full(RpcLoad *l);

int registry_find(const RpcRegistry *r, const char *service, const char *method,
                  const RpcService **ret_service, const RpcMethod **ret, void **ret_ctx, Err *err);

/* Tells the transport, once until it collects. */
void call_notify_locked(CallImpl *c);
/* Starts a job if there is work and none runs. Not with the lock held: a run function may run it
 * straight away. */
void call_kick(CallImpl *c);
/* The end: r as a handler returned it. Queues the answer, logs a failure, lets the arena go, tells
 * the transport. By the thread that has the right to. */
void call_finish(CallImpl *c, int r);
/* From now on this thread works for the call (base/cancel.h); what it worked for before. */
CancelWatch call_watch(CallImpl *c);
/* Unpacks the waiting message; 0 or -code. */
int call_decode(CallImpl *c, Arena *a, void *bytes, size_t n, ProtobufCMessage **ret);

/* A member of a batch: its handler, and later, with batch_result, its end and that of the job. */
void call_run_member(CallImpl *c);
void call_finish_member(CallImpl *c);

/* batch.c */
/* A job of the call as part of a batch, with its reference. */
void batcher_add(RpcBatcher *b, const RpcRegistry *r, CallImpl *c);
RpcBatcher *batcher_free(RpcBatcher *b); /* takes NULL, returns NULL */

/* streams (steps.c) */
int steps_waiting_locked(const CallImpl *c);
void steps_run(CallImpl *c);
