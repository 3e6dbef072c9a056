/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker process, seen from its parent: started for one job, given its id map, spoken to in
 * messages, gone at the end whatever happened. A Worker belongs to one thread; all functions block,
 * for pool threads and command lines.
 *
 *         Worker *w CLEANUP(worker_endp) = NULL;
 *         r = worker_start(&options, &w, err);
 *         r = worker_send(w, &job, fds, 2, err);
 *         while ((r = worker_recv(w, &msg, fds, err)) == 0) ...
 */
#pragma once

#include "base/cleanup.h"
#include "worker/message.h"

typedef struct Worker Worker;

typedef enum WorkerIds {
        WORKER_IDS_SELF, /* only the caller's own ids, as 0: no privilege needed */
        WORKER_IDS_ALL,  /* every id as itself: for those who write files of others; root only */
} WorkerIds;

typedef struct WorkerOptions {
        const char *name; /* "lighter-unpack": beside the running binary, else in
                             /usr/libexec/lighter */
        const char *path; /* instead of looking for it; NULL mostly */
        WorkerIds ids;
        uint64_t deadline_ns;        /* CLOCK_MONOTONIC; 0: none */
        int (*cancelled)(void *ctx); /* asked a few times a second; NULL: never */
        void *ctx;
} WorkerOptions;

/* NOT_FOUND if there is no such program, FAILED_PRECONDITION where the kernel refuses the sandbox.
 */
int worker_start(const WorkerOptions *o, Worker **ret, Err *err);
/* Kills it if it still runs, reaps it, frees. Takes NULL, returns NULL. */
Worker *worker_end(Worker *w);
DEFINE_CLEANUP(Worker *, worker_end)

int worker_send(Worker *w, const WorkerMsg *m, const int *fds, size_t n_fds, Err *err);
/* The next message; FAILED comes back as its error, as if this function had failed with it. The
 * message borrows from the worker until the next call. When the worker died the error says how,
 * with the end of its stderr. CANCELLED, DEADLINE_EXCEEDED. */
int worker_recv(Worker *w, WorkerMsg *ret, int ret_fds[WORKER_FDS_MAX], Err *err);
/* Whether data_fd has something to read: waits like worker_recv(), but returns 1 when data_fd is
 * readable first, 0 when a message is waiting. */
int worker_wait(Worker *w, int data_fd, Err *err);
