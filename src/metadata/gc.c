/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When to collect. containerd's rules: the first collection a while after the start; then after
 * deletions or many changes, at most so often that collections take the pause threshold's share of
 * time; at once when somebody asks for it. containerd ticks in that interval for ever and mostly
 * finds nothing to do; here the timer runs only when something is to be done, set to the tick that
 * would have found it.
 *
 * Counting happens on the writers' threads, in atomics; the schedule is the loop's, the work a pool
 * thread's.
 */
#include "metadata/gc.h"

#include "base/lock.h"
#include "base/log.h"
#include "metadata/gc_priv.h"
#include "metadata/metadata_priv.h"

#define FIRST_INTERVAL NS_PER_SEC
#define SHORTEST_RUN   (5 * NS_PER_MS) /* as which a shorter one counts */

typedef struct Waiter {
        GcDoneFn done;
        void *arg;
} Waiter;
typedef VEC(Waiter) Waiters;

struct Gc {
        GcParts parts;
        Loop *loop;
        Pool *pool;
        GcSchedule schedule;

        int refs; /* atomic: its owner's, and of what is on its way to the loop */
        int64_t deletions, mutations; /* atomic: since the last one began */
        int posted;                   /* atomic: the loop is to look at them */

        Lock lock; /* LOCK_LEAF */
        Waiters waiters;

        /* the loop's */
        LoopSource *timer;
        uint64_t next, last; /* when; 0: not set, and never */
        uint64_t interval, sum, runs;
        int running;
};

/* A collection under way, and who waits for it. */
typedef struct Run {
        Gc *gc;
        Waiters waiters;
        GcStats stats;
        int r;
} Run;

GcParts *gc_parts(Gc *gc)
{
        return &gc->parts;
}

void gc_add_collector(Gc *gc, const GcCollector *c, void *ctx)
{
        VEC_PUSH(&gc->parts.collectors, (GcAttached){c, ctx});
}

/* ---- one collection ---- */

int gc_collect(Gc *gc, GcStats *ret, Err *err)
{
        uint64_t started = time_mono_ns();
        GcRound round;
        int r;

        round_init(&round, gc);
        r = gc_mark(&round, err);
        round.stats.mark_ns = time_mono_ns() - started;
        if (r == 0)
                r = gc_sweep(&round, err);
        else
                metadata_touched_stop(gc->parts.meta);
        *ret = round.stats;
        round_done(&round);
        return r;
}

static void answer(Waiters *waiters, int r)
{
        VEC_FOREACH (w, waiters)
                w->done(w->arg, r);
        VEC_DONE(waiters);
}

static void unref(Gc *gc)
{
        if (__atomic_sub_fetch(&gc->refs, 1, __ATOMIC_ACQ_REL) > 0)
                return;
        VEC_DONE(&gc->parts.collectors);
        lock_done(&gc->lock);
        free(gc);
}

/* ---- schedule: on the loop ---- */

static void start(Gc *gc);

static void on_timer(void *ctx)
{
        Gc *gc = ctx;

        gc->next = 0;
        start(gc);
}

static void plan(Gc *gc, uint64_t at)
{
        if (gc->parts.stopped || (gc->next && gc->next <= at))
                return;
        gc->next = at;
        loop_timer_set(gc->timer, at);
}

static int due_at_once(const Gc *gc, int64_t deletions)
{
        return gc->schedule.deletion_threshold > 0 && deletions >= gc->schedule.deletion_threshold;
}

static int due_in_turn(const Gc *gc, int64_t deletions, int64_t mutations)
{
        return (gc->schedule.deletion_threshold == 0 && deletions > 0) ||
               (gc->schedule.mutation_threshold > 0 &&
                mutations >= gc->schedule.mutation_threshold);
}

static void look(Gc *gc)
{
        int64_t deletions = __atomic_load_n(&gc->deletions, __ATOMIC_RELAXED);
        int64_t mutations = __atomic_load_n(&gc->mutations, __ATOMIC_RELAXED);
        uint64_t now = time_mono_ns(), soon = now + (uint64_t)gc->schedule.schedule_delay;
        int asked;

        if (gc->running || gc->parts.stopped)
                return;
        lock_take(&gc->lock);
        asked = gc->waiters.n > 0;
        lock_drop(&gc->lock);
        if (asked || due_at_once(gc, deletions))
                plan(gc, soon);
        else if (due_in_turn(gc, deletions, mutations) && !gc->next)
                plan(gc, gc->last ? MAX(gc->last + gc->interval, now) : soon);
}

static void on_posted(void *ctx)
{
        Gc *gc = ctx;

        __atomic_store_n(&gc->posted, 0, __ATOMIC_SEQ_CST);
        look(gc);
        unref(gc);
}

static void poke(Gc *gc)
{
        if (__atomic_exchange_n(&gc->posted, 1, __ATOMIC_SEQ_CST))
                return;
        __atomic_add_fetch(&gc->refs, 1, __ATOMIC_RELAXED);
        loop_post(gc->loop, on_posted, gc);
}

static void note(void *ctx, int dirty)
{
        Gc *gc = ctx;
        int64_t deletions = __atomic_add_fetch(&gc->deletions, dirty, __ATOMIC_RELAXED);
        int64_t mutations = __atomic_add_fetch(&gc->mutations, 1, __ATOMIC_RELAXED);

        if (due_at_once(gc, deletions) || due_in_turn(gc, deletions, mutations))
                poke(gc);
}

static void set_interval(Gc *gc, const GcStats *stats)
{
        double average;

        gc->sum += stats->mark_ns + stats->sweep_ns;
        gc->runs++;
        average = MAX((double)gc->sum / (double)gc->runs, (double)SHORTEST_RUN);
        if (gc->schedule.pause_threshold > 0)
                gc->interval = (uint64_t)(average / gc->schedule.pause_threshold - average);
}

static void over(void *ctx)
{
        Run *run = ctx;
        Gc *gc = run->gc;

        gc->running = 0;
        gc->last = time_mono_ns();
        if (run->r == 0)
                set_interval(gc, &run->stats);
        else
                plan(gc, gc->last + gc->interval + NS_PER_SEC);
        look(gc);
        unref(gc);
        free(run);
}

/* ---- at work: on a pool thread ---- */

static void files_gone(void *arg)
{
        Run *run = arg;
        Gc *gc = run->gc;

        answer(&run->waiters, 0);
        loop_post(gc->loop, over, run);
}

static void work(void *arg)
{
        Run *run = arg;
        Gc *gc = run->gc;
        Err err = {};

        run->r = gc_collect(gc, &run->stats, &err);
        if (run->r == 0) {
                log_debug("garbage collected", "nodes", log_num((int64_t)run->stats.nodes),
                          "forgotten", log_num((int64_t)run->stats.forgotten));
                metadata_sync(gc->parts.meta, files_gone, run);
                return;
        }
        if (!__atomic_load_n(&gc->parts.stopped, __ATOMIC_ACQUIRE))
                log_warn("collection failed; it is tried again", "error", err.msg);
        answer(&run->waiters, run->r);
        loop_post(gc->loop, over, run);
}

static void start(Gc *gc)
{
        Run *run = mem_new(Run);

        run->gc = gc;
        __atomic_add_fetch(&gc->refs, 1, __ATOMIC_RELAXED); /* until it is over */
        gc->running = 1;
        __atomic_store_n(&gc->deletions, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&gc->mutations, 0, __ATOMIC_RELAXED);
        lock_take(&gc->lock);
        run->waiters = gc->waiters;
        gc->waiters = (Waiters){};
        lock_drop(&gc->lock);
        pool_submit(gc->pool, work, run);
}

void gc_schedule_and_wait(Gc *gc, GcDoneFn done, void *arg)
{
        lock_take(&gc->lock);
        if (__atomic_load_n(&gc->parts.stopped, __ATOMIC_ACQUIRE)) {
                lock_drop(&gc->lock);
                done(arg, -UNAVAILABLE);
                return;
        }
        VEC_PUSH(&gc->waiters, (Waiter){done, arg});
        lock_drop(&gc->lock);
        poke(gc);
}

/* ---- life ---- */

static void collect(void *ctx, GcDoneFn done, void *arg)
{
        gc_schedule_and_wait(ctx, done, arg);
}

Gc *gc_new(const GcOptions *o)
{
        Gc *gc = mem_new(Gc);
        const MetaCollection collection = {.note = note, .collect = collect, .ctx = gc};

        gc->refs = 1;
        gc->parts = (GcParts){
                .meta = o->meta, .blobs = o->blobs, .snapshots = o->snapshots, .walk_blobs = 1};
        gc->loop = o->loop;
        gc->pool = o->pool;
        gc->schedule = o->schedule;
        gc->interval = FIRST_INTERVAL;
        lock_init(&gc->lock, LOCK_LEAF);
        if (!gc->loop)
                return gc;
        gc->timer = loop_add_timer(gc->loop, 0, on_timer, gc);
        if (o->schedule.startup_delay > 0)
                plan(gc, time_mono_ns() + (uint64_t)o->schedule.startup_delay);
        metadata_set_collection(o->meta, &collection);
        return gc;
}

void gc_stop(Gc *gc)
{
        Waiters waiters;

        gc->timer = loop_remove(gc->timer);
        lock_take(&gc->lock);
        __atomic_store_n(&gc->parts.stopped, 1, __ATOMIC_RELEASE);
        waiters = gc->waiters;
        gc->waiters = (Waiters){};
        lock_drop(&gc->lock);
        answer(&waiters, -UNAVAILABLE);
}

Gc *gc_free(Gc *gc)
{
        if (!gc)
                return NULL;
        if (gc->loop) {
                metadata_set_collection(gc->parts.meta, NULL);
                gc->timer = loop_remove(gc->timer);
        }
        __atomic_store_n(&gc->parts.stopped, 1, __ATOMIC_RELEASE);
        assert(gc->waiters.n == 0);
        unref(gc);
        return NULL;
}
