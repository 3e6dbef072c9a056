/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether somebody still wants what this thread is doing. Whoever hands work to a thread says how
 * to ask; loops that may run long ask now and then, however deep below they are, and end early with
 * any answer: nobody will read it.
 */
#pragma once

typedef struct CancelWatch {
        int (*cancelled)(void *ctx); /* NULL: nobody cancels */
        void *ctx;
} CancelWatch;

/* For this thread; returns what was set before, to be set again at the end of the work. */
CancelWatch cancel_watch(CancelWatch w);
int cancel_requested(void);
