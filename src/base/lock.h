/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mutexes with a rank. The table below is every lock of the daemon, with what it guards; a thread
 * takes locks in rising rank only, and none is held across RPC, mount, fsync or exec. Whose turn it
 * is to write to the database, and to work on a container, are no locks but queues: db/group.c,
 * runtime/ops.c. Builds with LIGHTER_DEBUG_LOCKS keep a stack per thread and assert.
 */
#pragma once

#include <pthread.h>
#include "base/macros.h"

/*      name              rank  what it guards */
#define LOCK_TABLE(X)                                           \
        X(LOCK_INGEST, 10, "the table of open ingest writers")  \
        X(LOCK_BLOB, 15, "removal and commit of one blob")      \
        X(LOCK_TASKS, 30, "the task table and the shim table")  \
        X(LOCK_SHIM, 35, "one shim's connection and waiters")   \
        X(LOCK_EVENTS, 50, "subscribers of the exchange")       \
        X(LOCK_CALL, 55, "the state of one call")               \
        X(LOCK_DB_TURN, 90, "queues and state of the database") \
        X(LOCK_POOL, 95, "the queue of the pool")               \
        X(LOCK_LOOP, 96, "work posted to the loop")             \
        X(LOCK_LEAF, 99, "something small and final; nothing is taken inside")

enum LockId {
#define X(name, rank, guards) name,
        LOCK_TABLE(X)
#undef X
};

typedef struct Lock {
        pthread_mutex_t mutex;
        enum LockId id;
} Lock;

void lock_init(Lock *l, enum LockId id);
void lock_done(Lock *l);
void lock_take(Lock *l);
void lock_drop(Lock *l);
void lock_assert_held(const Lock *l); /* debug builds */
/* pthread_cond_timedwait on CLOCK_MONOTONIC; deadline 0 waits for ever. 0, or ETIMEDOUT. */
void cond_init(pthread_cond_t *c);
int lock_wait(Lock *l, pthread_cond_t *c, uint64_t deadline_mono_ns);

static inline void lock_dropp(Lock **l)
{
        if (*l)
                lock_drop(*l);
}

/* Held until the end of the scope: `LOCKED(&table->lock);` */
#define LOCKED(l)       LOCKED_AT(l, __LINE__)
#define LOCKED_AT(l, n) LOCKED_AT2(l, n)
#define LOCKED_AT2(l, n)                                                     \
        Lock *locked_##n __attribute__((cleanup(lock_dropp), unused)) = (l); \
        lock_take(locked_##n)
