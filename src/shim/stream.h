/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying one direction of a process' stdio. Never more than the pipes hold is in flight: a client
 * that does not read stops the container's writes, as a terminal would. Nothing is allocated while
 * it runs.
 */
#pragma once

#include "base/loop.h"

enum { STREAM_BUFFER = 4096 };

typedef void (*StreamEndFn)(void *ctx);

typedef struct Stream {
        Loop *loop;
        int src, dst;
        LoopSource *src_io, *dst_io;
        char *buf; /* NULL: splice(2) moves the pages */
        unsigned off, len;
        int active;
        StreamEndFn on_end;
        void *ctx;
} Stream;

/* Takes both descriptors, also on failure; they are closed when the source ends, the sink breaks,
 * or by stop. spliced: both ends are pipes. RESOURCE_EXHAUSTED. on_end may be NULL; it runs from
 * the loop. */
int stream_start(Stream *s, Loop *loop, int src, int dst, int spliced, StreamEndFn on_end,
                 void *ctx, Err *err);
/* Copies what is there now. */
void stream_pump(Stream *s);
/* Without on_end. */
void stream_stop(Stream *s);
