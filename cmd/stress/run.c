// SPDX-License-Identifier: Apache-2.0
/*
 * The stress test itself: workers that run one short-lived container after the other, and with
 * --exec as many that run one exec after the other in a container of their own.
 */
#include "base/log.h"
#include "cmd/stress/stress.h"

static const char *const short_args[] = {"true", NULL};
static const char *const long_args[] = {"sleep", "2592000", NULL};

static void cycle_next(Job *j);
static void exec_next(Job *j);

static void wrecked(Job *j)
{
        j->next = cycle_next;
        j->failed = 0;
        cycle_next(j);
}

static void cycle_next(Job *j)
{
        Stress *s = j->stress;

        if (j->failed) {
                s->failures++;
                j->next = wrecked;
                job_steps(j, steps_wreck);
                return;
        }
        if (s->stopping)
                return;
        s->total++;
        snprintf(j->id, sizeof(j->id), "%u-%u", j->worker, ++j->round);
        job_steps(j, steps_cycle);
}

/* ---- execs ---- */

static void exec_gone(Job *j)
{
}

/* The container could not be taken down, or did not come up. */
static void exec_container_wreck(Job *j)
{
        if (!j->failed)
                return;
        *j->exec_id = '\0';
        j->next = exec_gone;
        job_steps(j, steps_wreck);
}

static void exec_wrecked(Job *j)
{
        j->next = exec_next;
        j->failed = 0;
        exec_next(j);
}

/* The container runs, or an exec in it has ended. */
static void exec_next(Job *j)
{
        Stress *s = j->stress;

        if (j->failed) {
                s->exec_failures++;
                j->next = exec_wrecked;
                job_steps(j, steps_exec_wreck);
                return;
        }
        if (s->stopping) {
                *j->exec_id = '\0';
                j->next = exec_container_wreck;
                job_steps(j, steps_down);
                return;
        }
        s->exec_total++;
        snprintf(j->exec_id, sizeof(j->exec_id), "%u-%u", j->worker, ++j->round);
        job_steps(j, steps_exec);
}

static void exec_container_up(Job *j)
{
        if (j->failed) {
                j->stress->exec_failures++;
                exec_container_wreck(j);
                return;
        }
        j->next = exec_next;
        exec_next(j);
}

/* ---- the run ---- */

static void begin_workers(Stress *s, unsigned concurrent, int execs)
{
        char id[40];

        for (unsigned i = 0; i < concurrent; i++) {
                Job *j = job_new(s, "", cycle_next);

                j->args = short_args;
                j->worker = i;
        }
        for (unsigned i = concurrent; execs && i < 2 * concurrent; i++) {
                Job *j;

                snprintf(id, sizeof(id), "exec-container-%u", i);
                j = job_new(s, id, exec_container_up);
                j->args = long_args;
                j->worker = i;
                job_steps(j, steps_up);
        }
}

static void report(const Stress *s, double seconds, int json)
{
        double each = s->total ? seconds / s->total : 0, rate = s->total / seconds;
        char text[160];

        snprintf(
                text, sizeof(text),
                "create/start/delete %u containers in %0.3f seconds (%0.3f c/sec) or (%0.3f sec/c)",
                s->total, seconds, rate, each);
        log_info(text, "failures", log_num(s->failures), "execs", log_num(s->exec_total),
                 "execFailures", log_num(s->exec_failures));
        if (json)
                printf("{\"total\":%u,\"failures\":%u,\"seconds\":%.9f,\"containersPerSecond\":%.9f,"
                       "\"secondsPerContainer\":%.9f,\"execTotal\":%u,\"execFailures\":%u}\n",
                       s->total, s->failures, seconds, rate, each, s->exec_total, s->exec_failures);
}

int cmd_stress(Cli *cli, const Args *args, Err *err)
{
        Stress s CLEANUP(stress_done) = {.cli = *cli};
        int64_t concurrent = args_int(args, "concurrent"),
                duration = args_duration(args, "duration");
        uint64_t start;
        int r;

        if (concurrent < 1 || concurrent > STRESS_CONCURRENT_MAX)
                return err_set(err, INVALID_ARGUMENT, "--concurrent must be from 1 to %d",
                               STRESS_CONCURRENT_MAX);
        r = stress_init(&s, args, err);
        if (r < 0)
                return r;
        log_info("starting stress test run...");
        start = time_mono_ns();
        s.end = start + (uint64_t)MAX(duration, INT64_C(1));
        begin_workers(&s, (unsigned)concurrent, args_bool(args, "exec"));
        r = jobs_run(&s, err);
        if (r < 0)
                return r;
        report(&s, (double)(time_mono_ns() - start) / (double)NS_PER_SEC, args_bool(args, "json"));
        return s.failures + s.exec_failures > 0;
}
