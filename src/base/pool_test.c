/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pool.h"

#include <pthread.h>
#include <unistd.h>
#include "base/limits.h"
#include "base/test.h"

static int done, running, most;

static void job(void *arg)
{
        int now = __atomic_add_fetch(&running, 1, __ATOMIC_SEQ_CST);

        for (int seen = __atomic_load_n(&most, __ATOMIC_SEQ_CST);
             now > seen && !__atomic_compare_exchange_n(&most, &seen, now, 0, __ATOMIC_SEQ_CST,
                                                        __ATOMIC_SEQ_CST);)
                ;
        usleep(1000);
        __atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST);
        __atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
}

TEST(pool_runs_everything_within_its_bound)
{
        Pool *p = pool_new(4);

        done = most = 0;
        for (int i = 0; i < 200; i++)
                pool_submit(p, job, NULL);
        p = pool_free(p);
        CHECK_INT(done, 200);
        CHECK(most >= 2 && most <= 4);
}

static int order[100], n_order;

static void append(void *arg)
{
        order[n_order++] = (int)(intptr_t)arg;
}

TEST(pool_starts_in_order)
{
        Pool *p = pool_new(1);

        n_order = 0;
        for (int i = 0; i < 100; i++)
                pool_submit(p, append, (void *)(intptr_t)i);
        p = pool_free(p);
        for (int i = 0; i < 100; i++)
                CHECK_INT(order[i], i);
}

static pthread_barrier_t meeting;

static void meet(void *arg)
{
        pthread_barrier_wait(&meeting);
        __atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
}

/* Jobs that wait for each other: each needs a thread, whether those are new, idle or being woken.
 */
TEST(pool_gives_each_blocked_job_a_thread)
{
        Pool *p = pool_new(6);

        pthread_barrier_init(&meeting, NULL, 6);
        done = 0;
        for (int round = 1; round <= 50; round++) {
                for (int i = 0; i < 6; i++)
                        pool_submit(p, meet, NULL);
                for (int i = 0; __atomic_load_n(&done, __ATOMIC_SEQ_CST) < 6 * round; i++) {
                        CHECK(i < 20000);
                        usleep(1000);
                }
        }
        p = pool_free(p);
        pthread_barrier_destroy(&meeting);
}
