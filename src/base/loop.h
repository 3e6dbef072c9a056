/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop: epoll(7) over descriptors, timers and signals, in one thread.
 * Callbacks run on the loop's thread and must not block. Every function is for that thread only,
 * except loop_post() and loop_quit(). Sources are owned by whoever added them and are removed by
 * their owner; removing a source inside any callback is safe, its callback will not run again.
 */
#pragma once

#include <signal.h>
#include <sys/epoll.h>
#include <sys/types.h>
#include "base/err.h"

typedef struct Loop Loop;
typedef struct LoopSource LoopSource;

typedef void (*LoopFdFn)(void *ctx, int fd, uint32_t events);
typedef void (*LoopTimerFn)(void *ctx);
typedef void (*LoopSignalFn)(void *ctx, int signo);
typedef void (*LoopPostFn)(void *ctx);

int loop_new(Loop **ret, Err *err);
Loop *loop_free(Loop *l);        /* all sources must be gone; returns NULL */
int loop_run(Loop *l, Err *err); /* until loop_quit(); its exit code */
void loop_quit(Loop *l, int exit_code);
/* One turn: waits at most timeout_ms (-1 for ever). For tests and small tools. */
void loop_once(Loop *l, int timeout_ms);
int loop_is_mine(const Loop *l); /* whether the caller is the loop's thread */

/* events: EPOLLIN, EPOLLOUT, ... level-triggered. The fd stays the caller's. */
int loop_add_fd(Loop *l, int fd, uint32_t events, LoopFdFn fn, void *ctx, LoopSource **ret,
                Err *err);
int loop_set_events(LoopSource *s, uint32_t events);
/* A timer fires once at the given CLOCK_MONOTONIC nanosecond; loop_timer_set moves it, 0 stops it.
 */
LoopSource *loop_add_timer(Loop *l, uint64_t at_ns, LoopTimerFn fn, void *ctx);
void loop_timer_set(LoopSource *s, uint64_t at_ns);
/* Blocks the signal for this process (call before threads start) and delivers it here. */
int loop_add_signal(Loop *l, int signo, LoopSignalFn fn, void *ctx, LoopSource **ret, Err *err);
/* Takes NULL; returns NULL. */
LoopSource *loop_remove(LoopSource *s);

/* From any thread: run fn(ctx) on the loop's thread, in order of posting. */
void loop_post(Loop *l, LoopPostFn fn, void *ctx);
