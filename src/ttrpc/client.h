/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ttrpc client over the loop. One connection carries many calls; each ends exactly once, in its
 * callback on the loop's thread: with the answer, with the server's error, with DEADLINE_EXCEEDED
 * "context deadline exceeded", or, when the connection is lost or closed, with UNAVAILABLE "ttrpc:
 * closed".
 *
 * Refcounted: the connection holds a reference while it is open, every owner one more. Calls may be
 * made from any thread; everything else runs on the loop's.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include "base/arena.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/loop.h"

typedef struct TtrpcClient TtrpcClient;

/* r as a return value: 0, and bytes are the encoded response (borrowed); or -code, and err says
 * why. */
typedef void (*TtrpcReplyFn)(void *ctx, int r, const void *bytes, size_t n, const Err *err);
/* The connection is gone; all pending calls have been answered before. Once, on the loop's thread,
 * and not after ttrpc_client_close(). */
typedef void (*TtrpcCloseFn)(void *ctx);

/* "unix:///run/x.sock", or the bare path; connects at once or fails: UNAVAILABLE. Non-blocking and
 * close-on-exec. An address without "unix://" and without a leading slash is refused with
 * INVALID_ARGUMENT. */
int ttrpc_dial(const char *address, int *ret_fd, Err *err);

/* Takes the connected fd, also on failure. Loop's thread. */
int ttrpc_client_new(Loop *loop, int fd, TtrpcCloseFn on_close, void *ctx, TtrpcClient **ret,
                     Err *err);
TtrpcClient *ttrpc_client_ref(TtrpcClient *c);
TtrpcClient *ttrpc_client_unref(TtrpcClient *c); /* any thread; takes NULL, returns NULL */
/* Ends the connection; pending calls are answered, on_close is not called. Loop's thread; may be
 * repeated. */
void ttrpc_client_close(TtrpcClient *c);
DEFINE_CLEANUP(TtrpcClient *, ttrpc_client_unref)

typedef struct TtrpcCall {
        const char *service, *method; /* "containerd.task.v3.Task", "State" */
        const char *ns;               /* sent as containerd-namespace-ttrpc; NULL for none */
        const void *req;   /* a protobuf-c message, packed before the function returns; or NULL, and
                              ... */
        const void *bytes; /* ... the encoded request, copied before the function returns */
        size_t n_bytes;
        int timeout_ms; /* also sent to the server; 0 for none */
} TtrpcCall;

/* Any thread. fn is never called before this returns. */
void ttrpc_client_call(TtrpcClient *c, const TtrpcCall *call, TtrpcReplyFn fn, void *ctx);
