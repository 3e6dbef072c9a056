/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between a transport (HTTP/2, ttrpc) and the dispatcher. A transport has one thread of its own;
 * all functions here are for that thread, except rpc_buf_*, which belong to whoever holds the
 * buffer.
 *
 *         rpc_call_begin()     the headers are there; unknown methods are refused
 *         rpc_call_message()   each whole message, when rpc_call_takes_message() says so
 *         rpc_call_end()       the peer has closed its side
 *         ops->ready()         from any thread: something is to be sent, or the next may come
 *         rpc_call_collect()   takes it, on the transport's thread
 *         rpc_call_sent()      so many bytes are on their way: streams go on
 *         rpc_call_resume()    the peer reads again: what was held back goes on
 *         rpc_call_detach()    the peer is gone, the deadline has passed, or all is sent
 *
 * Answers that a peer does not read wait in memory. Past LIMIT_CONN_OUTBOX its further calls are
 * not begun, and its streams not written to, until half of that is gone.
 *
 * With a registry that runs handlers straight away, message, end, sent and detach run them inside,
 * and ready() comes before these return.
 */
#pragma once

#include "base/list.h"
#include "rpc/service.h"

/* A message on its way out. `head` has room for the transport's own frame header. */
typedef struct RpcBuf {
        struct RpcBuf *next;
        uint8_t *data;
        size_t len;
        void *heap;           /* freed with the buffer, unless data lies behind the struct */
        int refs;             /* the transport's to count: 1 when collected; rpc_buf_unref() */
        struct RpcLoad *load; /* charged with len until the buffer is gone; may be NULL */
        uint8_t head_len;
        uint8_t head[15];
} RpcBuf;

RpcBuf *rpc_buf_new(size_t len);            /* data behind the struct */
RpcBuf *rpc_buf_take(void *heap, size_t n); /* data is the caller's heap memory */
RpcBuf *rpc_buf_unref(RpcBuf *b);           /* takes NULL, returns NULL */
void rpc_buf_free_list(RpcBuf *b);

/* How many calls of one peer live, detached ones that still run included. Shared, freed by the
 * last. */
typedef struct RpcLoad RpcLoad;

RpcLoad *rpc_load_new(void);
RpcLoad *rpc_load_unref(RpcLoad *l);
int rpc_load_calls(const RpcLoad *l);
/* 1 when calls of this peer have been held back because it reads too little (LIMIT_CONN_OUTBOX),
 * and it has read since: the transport asks now and then, and resumes each call it has. */
int rpc_load_relieved(RpcLoad *l);
void rpc_call_resume(Call *c);

typedef struct RpcTransportOps {
        /* Called with the call's lock held, from any thread: queue the call and wake the
         * transport's thread, no more. Comes with a reference, for the transport to drop after
         * rpc_call_collect(). Not called again before that, and never once rpc_call_detach() has
         * returned. rpc_call_link() is a node to queue it by. */
        void (*ready)(void *transport, Call *c);
        /* What goes before the text of a message that cannot be decoded: "grpc: error unmarshalling
         * request". */
        const char *decode_what;
} RpcTransportOps;

typedef struct RpcBegin {
        const char *service, *method;
        const char *ns, *lease; /* copied; NULL when absent */
        uint64_t deadline_ns;
        struct ucred peer;
        const RpcTransportOps *ops;
        void *transport;
        void *data;      /* rpc_call_data() */
        size_t max_send; /* largest message the peer takes; 0 for none */
        RpcLoad *load;   /* may be NULL */
} RpcBegin;

/* UNIMPLEMENTED "unknown service S" or "unknown method M for service S". The caller owns the
 * reference. */
int rpc_call_begin(RpcRegistry *r, const RpcBegin *b, Call **ret, Err *err);
/* Between the two no batch of calls is begun: several are likely to come. */
void rpc_registry_hold(const RpcRegistry *r);
void rpc_registry_release(const RpcRegistry *r);
/* Takes the heap memory (NULL for an empty message). Only when rpc_call_takes_message(). */
void rpc_call_message(Call *c, void *bytes, size_t n);
int rpc_call_takes_message(Call *c);
/* After the last message. */
void rpc_call_end(Call *c);

typedef struct RpcOutput {
        RpcBuf *bufs;   /* in order; the caller's now */
        int finished;   /* after bufs the call is over */
        int code;       /* 0, or the status of a finished call ... */
        const Err *err; /* ... and its text, as long as the caller holds the call */
        int takes_message;
} RpcOutput;

void rpc_call_collect(Call *c, RpcOutput *ret);
void rpc_call_sent(Call *c, size_t bytes);
/* Cancels what still runs, with this code; drops what is queued. The reference stays the caller's.
 */
void rpc_call_detach(Call *c, int code);

void *rpc_call_data(Call *c); /* NULL once detached */
List *rpc_call_link(Call *c);
Call *rpc_call_of_link(List *link);

/*
 * A call without a transport, for tests and for callers in the same process: arena, err and ns are
 * set up, nothing is dispatched. Drop with call_unref().
 */
Call *rpc_call_local(const char *ns, void *ctx);
