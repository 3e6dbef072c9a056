// SPDX-License-Identifier: Apache-2.0
/*
 * density: how much memory a running container costs outside of itself, which is its shim. What the
 * kernel says of the parents of the containers' processes, in KiB.
 */
#include <fcntl.h>
#include <stdlib.h>
#include "base/fd.h"
#include "cmd/stress/stress.h"

enum { DENSITY_MAX = 100000 };

typedef struct Density {
        long long pss, rss;
} Density;

static const char *const long_args[] = {"sleep", "7200", NULL};

static int parent_of(Arena *a, pid_t pid, pid_t *ret, Err *err)
{
        char path[40], *text, *rest;
        size_t n;
        int r;

        snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        r = file_read(a, AT_FDCWD, path, 4096, &text, &n, err);
        if (r < 0)
                return r;
        rest = strrchr(text, ')'); /* the name before it may hold anything */
        if (!rest || sscanf(rest, ") %*c %d", ret) != 1)
                return err_set(err, INTERNAL, "%s: cannot be read", path);
        return 0;
}

static int add_memory(Arena *a, pid_t pid, Density *d, Err *err)
{
        char path[48], *text, *line;
        long long kib;
        size_t n;
        int r;

        snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
        r = file_read(a, AT_FDCWD, path, 16384, &text, &n, err);
        if (r < 0)
                return r;
        while ((line = strsep(&text, "\n"))) {
                if (sscanf(line, "Rss: %lld kB", &kib) == 1)
                        d->rss += kib;
                else if (sscanf(line, "Pss: %lld kB", &kib) == 1)
                        d->pss += kib;
        }
        return 0;
}

/* ---- containers ---- */

static void gone(Job *j)
{
}

static void came_up(Job *j)
{
        if (!j->failed) {
                j->stress->pid = j->pid;
                return;
        }
        j->stress->failures++;
        j->next = gone;
        job_steps(j, steps_wreck);
}

static void went_down(Job *j)
{
        if (!j->failed)
                return;
        j->stress->failures++;
        j->next = gone;
        job_steps(j, steps_wreck);
}

static Job *density_job(Stress *s, unsigned i, void (*next)(Job *j), const Step *steps)
{
        char id[40];
        Job *j;

        snprintf(id, sizeof(id), "density-%u", i);
        j = job_new(s, id, next);
        j->args = long_args;
        j->round = i;
        job_steps(j, steps);
        return j;
}

/* One after the other, as they come in daily life; those that are up are measured. */
static int bring_up(Stress *s, unsigned count, pid_t *pids, unsigned *ret_n, Err *err)
{
        unsigned n;
        int r = 0;

        for (n = 0; r == 0 && n < count && !s->stopping && s->failures == 0;) {
                s->pid = 0;
                density_job(s, n, came_up, steps_up);
                r = jobs_run(s, err);
                if (s->pid > 0)
                        pids[n++] = (pid_t)s->pid;
        }
        *ret_n = n;
        return r;
}

static int measure(Stress *s, const pid_t *pids, unsigned n, Density *ret, Err *err)
{
        *ret = (Density){};
        for (unsigned i = 0; i < n; i++) {
                pid_t shim = 0;
                int r = parent_of(&s->cli.arena, pids[i], &shim, err);

                if (r == 0)
                        r = add_memory(&s->cli.arena, shim, ret, err);
                if (r < 0)
                        return err_wrap(err, "container density-%u", i);
        }
        return 0;
}

int cmd_density(Cli *cli, const Args *args, Err *err)
{
        Stress s CLEANUP(stress_done) = {.cli = *cli};
        int64_t count = args_int(args, "count");
        pid_t *pids CLEANUP(cleanup_free) = NULL;
        Err failed = {};
        Density d;
        unsigned n;
        int r;

        if (count < 1 || count > DENSITY_MAX)
                return err_set(err, INVALID_ARGUMENT,
                               "count cannot be less than one or more than %d", DENSITY_MAX);
        r = stress_init(&s, args, err);
        if (r < 0)
                return r;
        pids = mem_alloc(sizeof(*pids) * (size_t)count);
        r = bring_up(&s, (unsigned)count, pids, &n, err);
        if (r < 0)
                return r;
        r = measure(&s, pids, n, &d, &failed);
        for (unsigned i = 0; i < n; i++)
                density_job(&s, i, went_down, steps_down);
        if (jobs_run(&s, err) < 0)
                return -err->code;
        if (r < 0)
                return err_copy(err, &failed);
        if (n == 0)
                return err_set(err, UNKNOWN, "no container came up");
        printf("{\"pss\":%lld,\"rss\":%lld,\"pssPerContainer\":%lld,\"rssPerContainer\":%lld}\n",
               d.pss, d.rss, d.pss / n, d.rss / n);
        return s.failures > 0;
}
