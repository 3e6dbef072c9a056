/* SPDX-License-Identifier: Apache-2.0 */
/* Debug builds keep, per thread, the locks it holds; taking one of a lower or equal rank is a bug
 * found at once. */
#include "base/lock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifdef LIGHTER_DEBUG_LOCKS
enum { HELD_MAX = 16 };

static const struct {
        const char *name;
        int rank;
} table[] = {
#define X(name, rank, guards) [name] = {#name, rank},
        LOCK_TABLE(X)
#undef X
};

static __thread const Lock *held[HELD_MAX];
static __thread int n_held;

static void note_take(const Lock *l)
{
        if (n_held > 0 && table[held[n_held - 1]->id].rank >= table[l->id].rank) {
                fprintf(stderr, "lock order: %s taken while %s is held\n", table[l->id].name,
                        table[held[n_held - 1]->id].name);
                abort();
        }
        assert(n_held < HELD_MAX);
        held[n_held++] = l;
}

static void note_drop(const Lock *l)
{
        for (int i = n_held - 1; i >= 0; i--) {
                if (held[i] != l)
                        continue;
                for (; i < n_held - 1; i++)
                        held[i] = held[i + 1];
                n_held--;
                return;
        }
        assert(!"a lock dropped that is not held");
}

void lock_assert_held(const Lock *l)
{
        for (int i = 0; i < n_held; i++)
                if (held[i] == l)
                        return;
        fprintf(stderr, "lock %s is not held\n", table[l->id].name);
        abort();
}
#else
static inline void note_take(const Lock *l)
{
}

static inline void note_drop(const Lock *l)
{
}

void lock_assert_held(const Lock *l)
{
}
#endif

void lock_init(Lock *l, enum LockId id)
{
        pthread_mutex_init(&l->mutex, NULL);
        l->id = id;
}

void lock_done(Lock *l)
{
        pthread_mutex_destroy(&l->mutex);
}

void lock_take(Lock *l)
{
        note_take(l);
        pthread_mutex_lock(&l->mutex);
}

void lock_drop(Lock *l)
{
        note_drop(l);
        pthread_mutex_unlock(&l->mutex);
}

void cond_init(pthread_cond_t *c)
{
        pthread_condattr_t attr;

        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(c, &attr);
        pthread_condattr_destroy(&attr);
}

int lock_wait(Lock *l, pthread_cond_t *c, uint64_t deadline_mono_ns)
{
        struct timespec ts = {
                .tv_sec = (time_t)(deadline_mono_ns / 1000000000),
                .tv_nsec = (long)(deadline_mono_ns % 1000000000),
        };

        lock_assert_held(l);
        if (deadline_mono_ns == 0)
                return pthread_cond_wait(c, &l->mutex);
        return pthread_cond_timedwait(c, &l->mutex, &ts);
}
