/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call: one RPC from its first byte to its last, whichever transport carries it. Handlers see
 * this and their messages, nothing of HTTP/2 or frames.
 *
 * A handler is one of three kinds, which the method table names:
 *
 *   unary   one pool thread, start to end. Fills rsp, returns 0 or -code.
 *   wait    as unary, but may return RPC_PENDING after it has stored the call somewhere; whoever
 *           ends it calls call_complete() from any thread. No thread is held in between.
 *   stream  steps (RpcStreamOps), each on a pool thread, never two of one call at once; no thread
 *           in between.
 *
 * Everything a handler allocates for its call comes from c->arena; requests are unpacked into it,
 * and it is gone after the reply. The arena is used by one thread at a time: the handler's while it
 * runs; after RPC_PENDING, the one that completes the call.
 *
 * Lifetime: refcounted. The transport holds a reference until the call has ended; whoever stores a
 * pending call takes one with call_ref().
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <sys/socket.h>
#include "base/arena.h"
#include "base/err.h"

enum { RPC_PENDING = 1, RPC_MORE = 2 };

typedef struct Call Call;
typedef struct RpcMethod RpcMethod;
typedef struct RpcTransport RpcTransport;

struct Call {
        Arena *arena;   /* as long as the call */
        Arena *step;    /* stream: the message of this step and its temporaries, emptied after it;
                           otherwise the same as arena */
        Err *err;       /* the call's own; handlers pass it down */
        const char *ns; /* header containerd-namespace; NULL when absent. See call_namespace() */
        const char *lease;    /* header containerd-lease; NULL when absent */
        uint64_t deadline_ns; /* CLOCK_MONOTONIC; 0: none */
        struct ucred peer;    /* of the connection, SO_PEERCRED */
        void *ctx;            /* what the service was registered with */
        void *state;          /* the handler's own, for wait and stream */
        const RpcMethod *method;
};

/* The namespace, checked: FAILED_PRECONDITION when absent, INVALID_ARGUMENT for an illegal one.
 * Reads only ns and err. */
int call_namespace(Call *c, const char **ret);

Call *call_ref(Call *c);
Call *call_unref(Call *c); /* takes NULL, returns NULL */

/* Whether the client is gone or the deadline has passed: long handlers look now and then. Any
 * thread. */
int call_cancelled(const Call *c);

/* wait: ends a pending call; r as a handler's return value (0: the response is filled; -code:
 * c->err is). Only by the one whose call_claim() gave 1. */
void call_complete(Call *c, int r);
/* Claims the right to complete; 1 once per call, 0 for everybody after that and after cancellation.
 * The one that got 1 fills rsp or err and must call call_complete(). */
int call_claim(Call *c);
/* The response message of a pending call. */
void *call_response(Call *c);
/* fn runs once, on a pool thread, if the call is cancelled or times out while pending; it takes the
 * call out of wherever it was stored, or finds that somebody else just has. Set before storing the
 * call. Not called after call_claim() has given 1, nor before the handler has returned RPC_PENDING.
 */
void call_on_cancel(Call *c, void (*fn)(Call *c));

/* Instead of filling rsp: an encoded response, copied or taken before return. For answers kept
 * ready. */
void call_reply_encoded(Call *c, const void *bytes, size_t n);
/* The same without a copy: heap memory, freed when sent. */
void call_reply_take(Call *c, void *bytes, size_t n);

/* stream: queues one message. Never blocks; the bytes wait for the peer's window, so send one chunk
 * per writable step. From a step only. RESOURCE_EXHAUSTED for a message larger than the peer takes.
 */
int call_send(Call *c, const ProtobufCMessage *msg);
int call_send_encoded(Call *c, const void *bytes, size_t n);
/* The same without a copy: heap memory, freed when sent, or at once on an error. */
int call_send_take(Call *c, void *bytes, size_t n);
/* stream: asks for a writable step as soon as there is room. Any thread; cheap when one is already
 * asked for. */
void call_wake(Call *c);

/*
 * The steps of a stream. Each returns
 *   RPC_MORE   go on: the transport calls again when there is something to do;
 *   0          finish the call with OK once everything queued is sent;
 *   -code      finish with c->err.
 * NULL steps are skipped as if they returned RPC_MORE; end, in a method with a client stream, as if
 * it returned 0.
 *
 *   open      once, before anything else.
 *   message   for each message of the client; while it runs at most one more is read from the wire.
 *             A method without a client stream gets exactly one.
 *   end       the client has closed its side.
 *   writable  there is room to send: once open, message and end are done if the method streams only
 *             to the client, after call_wake(), and again after each RPC_MORE of this step that
 *             sent something.
 *   close     last, if open has been run, also on cancellation: frees state. What was queued is
 *             still sent, and the client learns of the end only after it.
 *
 * What a step queued goes out when it returns.
 */
typedef struct RpcStreamOps {
        int (*open)(Call *c);
        int (*message)(Call *c, const void *req);
        int (*end)(Call *c);
        int (*writable)(Call *c);
        void (*close)(Call *c);
} RpcStreamOps;
