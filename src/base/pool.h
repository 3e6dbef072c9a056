/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounded pool of threads for handlers: plain blocking C that computes or waits for disk, never
 * for somebody's patience. Threads are made when needed and end after a while without work, so that
 * an idle daemon holds none.
 */
#pragma once

#include "base/err.h"

typedef struct Pool Pool;
typedef void (*PoolFn)(void *ctx);

Pool *pool_new(int max_threads);
/* Runs what is queued, joins the threads. Returns NULL. */
Pool *pool_free(Pool *p);
/* Any thread; never blocks. Jobs start in order of submission. */
void pool_submit(Pool *p, PoolFn fn, void *ctx);
