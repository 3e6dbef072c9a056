/* SPDX-License-Identifier: Apache-2.0 */
/* Watching a container's cgroup for kills by the kernel for want of memory. */
#pragma once

#include "base/loop.h"

typedef void (*OomFn)(void *ctx);

typedef struct OomWatch {
        int v2;
        int event_fd; /* v1: eventfd; v2: inotify. -1: not watching */
        int state_fd; /* v1: memory.oom_control; v2: memory.events */
        uint64_t kills;
        LoopSource *source;
        OomFn fn;
        void *ctx;
} OomWatch;

void oom_init(OomWatch *w);
/* Takes both descriptors, as cgroup_oom_open() made them. Without a cgroup (-1) nothing is watched.
 */
int oom_start(OomWatch *w, Loop *loop, int v2, int event_fd, int state_fd, OomFn fn, void *ctx,
              Err *err);
/* Looks once more, before the cgroup goes. */
void oom_check(OomWatch *w);
void oom_stop(OomWatch *w);
