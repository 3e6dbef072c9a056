/* SPDX-License-Identifier: Apache-2.0 */
/* When collections run, what a failing one leaves, and what others do meanwhile. */
#include "metadata/gc.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/fault.h"
#include "base/test.h"
#include "metadata/gc_testing.h"

/* ---- when ---- */

static int runs;

static int forget_none(void *ctx, const char *ns, const char *name, uint64_t id)
{
        return 0;
}

static int count_runs(void *ctx, void (*fn)(void *arg, const GcResource *r), void *arg, Err *err)
{
        __atomic_add_fetch(&runs, 1, __ATOMIC_RELAXED);
        return 0;
}

typedef struct Scheduled {
        GcFixture f;
        Loop *loop;
        Pool *pool;
} Scheduled;

static void scheduled_open(Scheduled *s, const GcSchedule *schedule)
{
        static const GcCollector counter = {"runs", count_runs, forget_none, NULL};
        GcOptions o;

        gc_fixture_open(&s->f);
        gc_free(s->f.gc);
        if (loop_new(&s->loop, &s->f.err) < 0)
                abort();
        s->pool = pool_new(2);
        o = (GcOptions){s->f.m, s->f.b, s->f.s, s->loop, s->pool, *schedule};
        s->f.gc = gc_new(&o);
        gc_add_collector(s->f.gc, &counter, NULL);
        runs = 0;
}

static void scheduled_done(Scheduled *s)
{
        if (s->f.gc)
                gc_stop(s->f.gc);
        pool_free(s->pool);
        s->f.gc = gc_free(s->f.gc);
        loop_free(s->loop);
        gc_fixture_done(&s->f);
}

static int ran(Scheduled *s, int n)
{
        uint64_t end = time_mono_ns() + 20 * NS_PER_SEC;

        while (__atomic_load_n(&runs, __ATOMIC_RELAXED) < n && time_mono_ns() < end)
                loop_once(s->loop, 20);
        for (int i = 0; i < 3; i++) /* it may run once too often */
                loop_once(s->loop, 10);
        return __atomic_load_n(&runs, __ATOMIC_RELAXED);
}

static void note_done(void *arg, int r)
{
        __atomic_store_n((int *)arg, r < 0 ? r : 1, __ATOMIC_RELEASE);
}

static void many_leases(Scheduled *s, const char *name, int n)
{
        for (int i = 0; i < n; i++)
                if (gc_make(&s->f, NULL, arena_printf(&s->f.a, "lease %s%d", name, i)) < 0)
                        abort();
}

TEST(it_runs_at_start_after_deletions_and_after_many_changes)
{
        const GcSchedule schedule = {.pause_threshold = 0.5,
                                     .mutation_threshold = 5,
                                     .startup_delay = (int64_t)NS_PER_MS};
        Scheduled s CLEANUP(scheduled_done) = {};
        int done = 0;

        scheduled_open(&s, &schedule);
        CHECK_INT(ran(&s, 1), 1);
        many_leases(&s, "few", 4);
        CHECK_INT(ran(&s, 0), 1);
        many_leases(&s, "many", 1);
        CHECK_INT(ran(&s, 2), 2);
        CHECK_INT(gc_make(&s.f, NULL, "unlease few1"), 0);
        CHECK_INT(ran(&s, 3), 3);
        gc_schedule_and_wait(s.f.gc, note_done, &done);
        CHECK_INT(ran(&s, 4), 4);
        while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE))
                loop_once(s.loop, 10);
        CHECK_INT(done, 1);
}

TEST(nothing_starts_it_but_who_waits)
{
        const GcSchedule schedule = {.deletion_threshold = 3};
        Scheduled s CLEANUP(scheduled_done) = {};
        int done = 0;

        scheduled_open(&s, &schedule);
        many_leases(&s, "l", 10);
        CHECK_INT(gc_script(&s.f, "unlease l1; unlease l2"), 0);
        CHECK_INT(ran(&s, 0), 0);
        CHECK_INT(gc_make(&s.f, NULL, "unlease l3"), 0);
        CHECK_INT(ran(&s, 1), 1);
        metadata_collect(s.f.m, note_done, &done);
        CHECK_INT(ran(&s, 2), 2);
        while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE))
                loop_once(s.loop, 10);
        CHECK_INT(done, 1);
}

TEST(who_waits_when_it_stops_is_told)
{
        const GcSchedule schedule = {.schedule_delay = 3600 * (int64_t)NS_PER_SEC};
        Scheduled s CLEANUP(scheduled_done) = {};
        int before = 0, after = 0;

        scheduled_open(&s, &schedule);
        gc_schedule_and_wait(s.f.gc, note_done, &before);
        CHECK_INT(ran(&s, 0), 0);
        gc_stop(s.f.gc);
        CHECK_INT(before, -UNAVAILABLE);
        gc_schedule_and_wait(s.f.gc, note_done, &after);
        CHECK_INT(after, -UNAVAILABLE);
}

/* ---- whatever fails ---- */

TEST(a_collection_that_fails_loses_nothing)
{
        static const char script[] =
                "blob a; blob b gc.ref.content=$a; image i $b; blob c; blob d; layer s -; "
                "layer t s; layer u -; snap v u; container x v; image old $c gc.expire=@-1h; "
                "lease l gc.expire=@-1h; hold l content $d; hold l snapshots/native t";
        static const char want[] = "blob:a blob:b image:i snap:u snap:v";

        for (int nth = 1, fired = 1; fired; nth++) {
                GcFixture f CLEANUP(gc_fixture_done) = {};
                const char *got;
                int r;

                gc_fixture_open(&f);
                CHECK_INT(gc_script(&f, script), 0);
                fault_arm(nth);
                r = gc_fixture_collect(&f);
                fired = fault_fired;
                fault_arm(0);
                CHECK(r == 0 || f.err.msg[0]);
                got = gc_left(&f);
                for (const char *w = "blob:a\0blob:b\0image:i\0snap:u\0snap:v\0"; *w;
                     w += strlen(w) + 1)
                        if (!strstr(got, w))
                                test_fail(__FILE__, __LINE__, "step %d: %s is gone: %s", nth, w,
                                          got);
                CHECK_INT(gc_fixture_collect(&f), 0);
                CHECK_STR(gc_left(&f), want);
                CHECK(gc_file_there(&f, "a") && gc_file_there(&f, "b"));
                CHECK(!gc_file_there(&f, "c") && !gc_file_there(&f, "d"));
        }
}

/* ---- churn ---- */

enum { CHURNERS = 4, ROUNDS = 80 };

typedef struct Churner {
        GcFixture f; /* shares the stores, has its own arena and error */
        int n, failed;
        uint32_t seed;
        char why[300];
} Churner;

static uint32_t chance(Churner *c, uint32_t n)
{
        c->seed = c->seed * 1664525 + 1013904223;
        return (c->seed >> 8) % n;
}

static void churn_line(Churner *c, const char *lease, const char *line)
{
        if (!c->failed && gc_make(&c->f, lease, line) < 0) {
                c->failed = 1;
                snprintf(c->why, sizeof(c->why), "%.80s: %.200s", line, c->f.err.msg);
        }
}

static int has(Churner *c, const char *text)
{
        Content__Info *info;

        return blobs_info(c->f.b, "n", &c->f.a, gc_digest(&c->f.a, text), &info, &c->f.err) == 0;
}

/* Makes things under a lease, ties them to an image, lets the lease go; what was tied must be
 * there. All churners share contents, so that one writes what another's is just collected. */
static void churn_once(Churner *c, int i)
{
        char *lease = arena_printf(&c->f.a, "l%d-%d", c->n, i);
        char *part = arena_printf(&c->f.a, "p%u", chance(c, 20));
        char *top = arena_printf(&c->f.a, "t%d-%d", c->n, i);
        char *image = arena_printf(&c->f.a, "i%d", c->n);
        int r;

        churn_line(c, NULL, arena_printf(&c->f.a, "lease %s", lease));
        if (c->failed)
                return;
        r = gc_make(&c->f, lease, arena_printf(&c->f.a, "blob %s", part));
        if (r < 0 && r != -ALREADY_EXISTS && r != -UNAVAILABLE) {
                c->failed = 1;
                snprintf(c->why, sizeof(c->why), "part: %.200s", c->f.err.msg);
        }
        if (r == -UNAVAILABLE) { /* another has the ref */
                churn_line(c, NULL, arena_printf(&c->f.a, "unlease %s", lease));
                return;
        }
        churn_line(c, lease, arena_printf(&c->f.a, "blob %s gc.ref.content.0=$%s", top, part));
        churn_line(c, lease, arena_printf(&c->f.a, "layer s%s -", top));
        churn_line(c, lease,
                   arena_printf(&c->f.a, "layer u%s s%s gc.ref.content.x=$%s", top, top, part));
        churn_line(
                c, NULL,
                arena_printf(&c->f.a, "image %s $%s gc.ref.snapshot.native=u%s", image, top, top));
        churn_line(c, NULL, arena_printf(&c->f.a, "unlease %s", lease));
        if (!c->failed && (!has(c, part) || !has(c, top))) {
                c->failed = 1;
                snprintf(c->why, sizeof(c->why), "%s or %s is gone", part, top);
        }
        if (i + 1 < ROUNDS)
                churn_line(c, NULL, arena_printf(&c->f.a, "unimage %s", image));
}

static void *churn(void *arg)
{
        Churner *c = arg;

        for (int i = 0; i < ROUNDS && !c->failed; i++)
                churn_once(c, i);
        return NULL;
}

typedef struct Collecting {
        GcFixture f;
        int stop, failed, runs;
} Collecting;

static void *collect_on(void *arg)
{
        Collecting *g = arg;

        while (!__atomic_load_n(&g->stop, __ATOMIC_ACQUIRE) && !g->failed) {
                g->failed = gc_fixture_collect(&g->f) < 0;
                g->runs++;
        }
        return NULL;
}

static int count_file(void *ctx, const Digest *d, Err *err)
{
        ++*(int *)ctx;
        return 0;
}

TEST(churn_under_collection)
{
        GcFixture f CLEANUP(gc_fixture_done) = {};
        Churner churners[CHURNERS] = {};
        pthread_t threads[CHURNERS], collector;
        Collecting g = {};
        int files = 0;
        const char *got;

        gc_fixture_open(&f);
        CHECK_INT(gc_make(&f, NULL, "lease l"), 0);
        g.f = f;
        arena_init(&g.f.a, 0);
        pthread_create(&collector, NULL, collect_on, &g);
        for (int i = 0; i < CHURNERS; i++) {
                churners[i].f = f;
                arena_init(&churners[i].f.a, 0);
                churners[i].n = i;
                churners[i].seed = (uint32_t)i * 7 + 1;
                pthread_create(&threads[i], NULL, churn, &churners[i]);
        }
        for (int i = 0; i < CHURNERS; i++) {
                pthread_join(threads[i], NULL);
                arena_done(&churners[i].f.a);
        }
        __atomic_store_n(&g.stop, 1, __ATOMIC_RELEASE);
        pthread_join(collector, NULL);
        if (g.failed)
                test_fail(__FILE__, __LINE__, "collection: %s", g.f.err.msg);
        arena_done(&g.f.a);
        for (int i = 0; i < CHURNERS; i++)
                if (churners[i].failed)
                        test_fail(__FILE__, __LINE__, "%s", churners[i].why);
        CHECK(g.runs > 1);
        CHECK_INT(gc_fixture_collect(&f), 0);
        got = gc_left(&f);
        for (int i = 0; i < CHURNERS; i++)
                CHECK(strstr(got, arena_printf(&f.a, "snap:ut%d-%d", i, ROUNDS - 1)) &&
                      strstr(got, arena_printf(&f.a, "image:i%d", i)));
        /* The last image of each, its content and part of it; parts may be the same. */
        CHECK_INT(content_walk(f.store, count_file, &files, &f.err), 0);
        CHECK(files > CHURNERS && files <= 2 * CHURNERS);
        for (int i = 0; i < CHURNERS; i++)
                CHECK_INT(gc_make(&f, NULL, arena_printf(&f.a, "unimage i%d", i)), 0);
        CHECK_INT(gc_fixture_collect(&f), 0);
        CHECK_STR(gc_left(&f), "lease:l");
        files = 0;
        CHECK_INT(content_walk(f.store, count_file, &files, &f.err), 0);
        CHECK_INT(files, 0);
}
