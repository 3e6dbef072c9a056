/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Op children: whatever may block or parse runs in a forked child as plain code, and its memory
 * dies with it. The child sends one message, result, bytes and descriptors, and exits.
 */
#pragma once

#include "rpc/call.h"
#include "shim/shim_priv.h"

enum { OP_FDS = 16, OP_DATA_MAX = 128 * 1024 };

typedef struct OpReply {
        pid_t pid;
        pid_t logger; /* of binary://; 0: none */
        unsigned flags;
        int fds[OP_FDS]; /* -1: none; what the receiver does not take is closed */
        void *data;      /* in the child: anything that lives; in the shim: valid during done() */
        size_t n_data;
} OpReply;

enum { OP_PRIVATE_PID_NS = 1 };

typedef struct OpKind {
        const char *name;
        int alone; /* no other op on the container at the same time */
        int makes; /* the child makes a process that will be ours */
        int now;   /* does not wait for its turn */
        /* In the shim, when its turn has come; NULL: nothing to check. */
        int (*begin)(Op *op, Err *err);
        /* In the child. */
        int (*run)(Op *op, OpReply *reply, Err *err);
        /* In the shim: r is what begin() or run() gave. Changes states, fills the response,
         * publishes; returns what the client gets. NULL: r as it is. */
        int (*done)(Op *op, int r, OpReply *reply, Err *err);
} OpKind;

struct Op {
        List link;
        const OpKind *kind;
        Container *container; /* a reference */
        Process *process;     /* what it is about; NULL: none */
        Call *call;           /* a reference; NULL: nobody waits */
        const void *req;      /* lives as long as the call */
        int claimed;          /* the call is ours to end */
        int holds;            /* begin() has set process->held */
        int sock;
        LoopSource *source;
};

/* Queues or starts it. RPC_PENDING; handlers return it. call may be NULL. */
int op_submit(const OpKind *kind, Container *c, Process *p, Call *call, const void *req);
/* The descriptor's new owner is the caller. */
int op_take_fd(OpReply *r, int slot);
/* The response message of the op's call, or NULL when it has none that is still there. */
void *op_response(Op *op);
/* Starts what may run now. */
void ops_schedule(Container *c);
/* Fails what waits for its turn, with NOT_FOUND: all, or what is about p. done() sees no process
 * then. */
void ops_cancel(Container *c, const Process *p);
