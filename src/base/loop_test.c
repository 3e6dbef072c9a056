/* SPDX-License-Identifier: Apache-2.0 */
#include "base/loop.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fd.h"
#include "base/test.h"

typedef struct Seen {
        Loop *loop;
        LoopSource *source, *other;
        int n;
        unsigned value; /* wraps */
} Seen;

static void count_and_remove_both(void *ctx, int fd, uint32_t events)
{
        Seen *s = ctx;

        s->n++;
        s->source = loop_remove(s->source);
        s->other = loop_remove(s->other);
}

TEST(loop_source_removed_in_a_callback_stays_quiet)
{
        Seen s = {};
        int a[2], b[2];
        Err err;

        CHECK(loop_new(&s.loop, &err) == 0 && pipe(a) == 0 && pipe(b) == 0);
        CHECK(loop_add_fd(s.loop, a[0], EPOLLIN, count_and_remove_both, &s, &s.source, &err) == 0);
        CHECK(loop_add_fd(s.loop, b[0], EPOLLIN, count_and_remove_both, &s, &s.other, &err) == 0);
        CHECK(write(a[1], "x", 1) == 1 && write(b[1], "x", 1) == 1);
        loop_once(s.loop, 100);
        loop_once(s.loop, 0);
        CHECK_INT(s.n, 1);
        for (int i = 0; i < 2; i++) {
                close(a[i]);
                close(b[i]);
        }
        loop_free(s.loop);
}

static void note(void *ctx)
{
        Seen *s = ctx;

        s->value = s->value * 10 + ++s->n;
}

TEST(loop_timers_fire_in_order_and_once)
{
        Seen s = {};
        LoopSource *t[5];
        uint64_t now = time_mono_ns();
        Err err;

        CHECK(loop_new(&s.loop, &err) == 0);
        for (int i = 0; i < 5; i++)
                t[i] = loop_add_timer(s.loop, now + (uint64_t)(5 - i) * NS_PER_MS, note, &s);
        loop_timer_set(t[2], 0);
        while (time_mono_ns() < now + 20 * NS_PER_MS)
                loop_once(s.loop, 5);
        CHECK_INT(s.n, 4);
        for (int i = 0; i < 5; i++)
                loop_remove(t[i]);
        loop_free(s.loop);
}

static void *poster(void *arg)
{
        Seen *s = arg;

        for (int i = 0; i < 1000; i++)
                loop_post(s->loop, note, s);
        loop_quit(s->loop, 7);
        return NULL;
}

TEST(loop_post_wakes_and_keeps_order)
{
        Seen s = {};
        pthread_t th;
        Err err;

        CHECK(loop_new(&s.loop, &err) == 0);
        CHECK(pthread_create(&th, NULL, poster, &s) == 0);
        CHECK_INT(loop_run(s.loop, &err), 7);
        pthread_join(th, NULL);
        loop_free(s.loop); /* runs what was posted after the last turn */
        CHECK_INT(s.n, 1000);
}

static void on_signal(void *ctx, int signo)
{
        ((Seen *)ctx)->value = signo;
}

TEST(loop_reports_signals)
{
        LoopSource *sig;
        Seen s = {};
        Err err;

        CHECK(loop_new(&s.loop, &err) == 0);
        CHECK(loop_add_signal(s.loop, SIGUSR2, on_signal, &s, &sig, &err) == 0);
        kill(getpid(), SIGUSR2);
        loop_once(s.loop, 1000);
        CHECK_INT(s.value, SIGUSR2);
        loop_remove(sig);
        loop_free(s.loop);
}
