/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One queue, one lock. A thread is made when a job waits and none is idle; an idle one ends after
 * IDLE_MS.
 *
 * At most one idle thread is on its way to the queue. When it takes a job and leaves others, it
 * wakes the next before it works: jobs that block get a thread each, one wake-up after the other,
 * and many short ones are done by whoever is awake, which costs less than waking a thread for each.
 */
#include "base/pool.h"

#include <errno.h>
#include <signal.h>
#include "base/clock.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/mem.h"

enum { IDLE_MS = 5000, STACK_BYTES = 256 * 1024 };

typedef struct Job {
        List link;
        PoolFn fn;
        void *ctx;
} Job;

struct Pool {
        Lock lock;
        pthread_cond_t work, ended;
        List jobs;
        int max_threads, threads, idle, queued, stopping;
        int waking; /* a signal has been sent that nobody has answered yet */
};

Pool *pool_new(int max_threads)
{
        Pool *p = mem_new(Pool);

        lock_init(&p->lock, LOCK_POOL);
        cond_init(&p->work);
        cond_init(&p->ended);
        list_init(&p->jobs);
        p->max_threads = max_threads;
        return p;
}

static Job *next_job_locked(Pool *p)
{
        uint64_t give_up = time_mono_ns() + IDLE_MS * NS_PER_MS;
        Job *job;

        p->idle++;
        while (!(job = LIST_FIRST(&p->jobs, Job, link)) && !p->stopping) {
                int r = lock_wait(&p->lock, &p->work, give_up);

                p->waking = 0;
                if (r == ETIMEDOUT && list_empty(&p->jobs))
                        break;
        }
        p->idle--;
        if (job) {
                list_remove(&job->link);
                p->queued--;
        }
        return job;
}

/* Whether the caller is to signal, once it has dropped the lock. */
static int wake_locked(Pool *p)
{
        if (p->waking || p->idle == 0 || list_empty(&p->jobs))
                return 0;
        return p->waking = 1;
}

static void *thread_main(void *arg)
{
        Pool *p = arg;
        Job *job;
        int wake;

        lock_take(&p->lock);
        while ((job = next_job_locked(p))) {
                wake = wake_locked(p);
                lock_drop(&p->lock);
                if (wake)
                        pthread_cond_signal(&p->work);
                job->fn(job->ctx);
                free(job);
                lock_take(&p->lock);
        }
        p->threads--;
        pthread_cond_broadcast(&p->ended);
        lock_drop(&p->lock);
        return NULL;
}

/* Signals belong to the loop's thread. */
static int start_thread(Pool *p)
{
        sigset_t all, old;
        pthread_attr_t attr;
        pthread_t thread;
        int r;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        pthread_attr_init(&attr);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attr, STACK_BYTES);
        r = pthread_create(&thread, &attr, thread_main, p);
        pthread_attr_destroy(&attr);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        return r;
}

static int put_job(Pool *p, Job *job)
{
        LOCKED(&p->lock);
        assert(!p->stopping);
        list_append(&p->jobs, &job->link);
        p->queued++;
        if (p->queued > p->idle && p->threads < p->max_threads) {
                p->threads++;
                /* Without a new thread the job waits for a busy one; without any there would be no
                 * one to wait for. */
                if (start_thread(p) != 0) {
                        p->threads--;
                        assert(p->threads > 0);
                }
        }
        return wake_locked(p);
}

void pool_submit(Pool *p, PoolFn fn, void *ctx)
{
        Job *job = mem_new(Job);

        job->fn = fn;
        job->ctx = ctx;
        /* After the lock is dropped, or the woken thread would run into it. */
        if (put_job(p, job))
                pthread_cond_signal(&p->work);
}

Pool *pool_free(Pool *p)
{
        if (!p)
                return NULL;
        lock_take(&p->lock);
        p->stopping = 1;
        pthread_cond_broadcast(&p->work);
        while (p->threads > 0)
                lock_wait(&p->lock, &p->ended, 0);
        lock_drop(&p->lock);
        pthread_cond_destroy(&p->work);
        pthread_cond_destroy(&p->ended);
        lock_done(&p->lock);
        free(p);
        return NULL;
}
