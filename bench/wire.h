/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client side of gRPC as bytes: for load generators, which must cost less than what they
 * measure. Messages are the caller's bytes, answers are counted and not decoded; a turn is one
 * recv(2), one send(2) and, where more than one connection is served, one poll(2). Any failure ends
 * the program with a message.
 */
#pragma once

#include "base/macros.h"

typedef struct Wire Wire;
typedef struct WireCall WireCall;

/* Caller's memory, zeroed but for the callbacks; may be started again once it has ended. */
struct WireCall {
        void (*on_message)(WireCall *call); /* another answer has come; may be NULL */
        void (*on_end)(WireCall *call);     /* all has been said, with grpc-status 0; may be NULL */
        void *ctx;
        int failing_is_fine; /* then status tells */

        /* to be read */
        Wire *wire;
        int status;
        uint64_t began_ns, ended_ns;
        size_t messages, bytes; /* received in this call */

        /* private */
        int32_t id;
        int ended, eof, deferred;
        uint8_t *out;
        size_t out_len, out_off, out_cap;
        uint8_t head[5];
        size_t head_len, body_left;
};

NORETURN void wire_die(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* ns may be NULL. */
Wire *wire_open(const char *path, const char *ns);
Wire *wire_try(const char *path, const char *ns); /* NULL when nobody listens there */
void wire_set_lease(Wire *w, const char *lease);  /* for calls begun from now on; NULL for none */
void wire_close(Wire *w);
/* Begins a call; it goes out with the next turn. */
void wire_start(Wire *w, WireCall *call, const char *method);
/* A message of the call: copied. */
void wire_add(WireCall *call, const void *message, size_t n);
/* No more messages from us. */
void wire_end(WireCall *call);
/* Sends what waits, blocks until something has come on any of them, and calls back. */
void wires_turn(Wire **wires, size_t n);
/* Calls that have not ended. */
size_t wire_busy(const Wire *w);
/* Request and answer, the answer's bytes counted; waits for it. */
void wire_unary(Wire *w, WireCall *call, const char *method, const void *message, size_t n);
