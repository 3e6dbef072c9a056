/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load generator. One thread, one connection, any number of jobs in flight: a job is a list of
 * steps, a step one call, and the loop takes each job on when its answer has come.
 */
#pragma once

#include "base/list.h"
#include "cmd/lighter/cli.h"
#include "cmd/lighter/unpack.h"

typedef struct Stress Stress;
typedef struct Job Job;

typedef struct Step {
        const char *what; /* for the log: "create task" */
        /* NULL: nothing to wait for, the next step follows at once. */
        GrpcCall *(*begin)(Job *j);
        int (*done)(Job *j, const void *rsp, Err *err); /* may be NULL */
} Step;

struct Job {
        List link;
        Stress *stress;
        Arena arena; /* of the list of steps that runs */
        char id[80], exec_id[32], lease[64];
        const char *const *args;
        const Step *at; /* ends at a step without a name */
        GrpcCall *call, *wait;
        struct Types__Mount **mounts;
        size_t n_mounts;
        uint32_t pid;
        int keep_going; /* failures are expected: what is there goes, whatever it is */
        int failed;
        /* The steps are done, or one has failed. Begins others or lets the job end. */
        void (*next)(Job *j);
        unsigned worker, round;
};

struct Stress {
        Cli cli;
        const char *snapshotter, *runtime, *image, *rootfs; /* image NULL: rootfs, or reverse */
        ImageConfig config;
        const char *chain; /* top snapshot of the image */
        List jobs;
        int signal_fd;
        int stopping; /* duration over, or a signal */
        uint64_t end; /* CLOCK_MONOTONIC; 0: no end but a signal */
        Err broken;   /* the connection is gone */

        uint32_t pid; /* of the task that came up last */
        /* counted */
        unsigned total, failures, exec_total, exec_failures;
};

/* job.c */
Job *job_new(Stress *s, const char *id, void (*next)(Job *j));
/* Begins a list of steps. */
void job_steps(Job *j, const Step *steps);
/* Serves all jobs until there are none. UNAVAILABLE when the connection broke, CANCELLED after a
 * second signal. */
int jobs_run(Stress *s, Err *err);

/* steps.c: one container from nothing to nothing; to its start; from there on; an exec in it; what
 * is left of either after a failure. */
extern const Step steps_cycle[], steps_up[], steps_down[], steps_exec[], steps_wreck[],
        steps_exec_wreck[];

/* clean.c: everything in the namespace goes. */
int clean_up(Stress *s, Err *err);

enum { STRESS_CONCURRENT_MAX = 4096 };

/* setup.c: connects, empties the namespace, finds image or folder. */
int stress_init(Stress *s, const Args *args, Err *err);
void stress_done(Stress *s);

/* The commands: 0, a positive exit code, or -code. */
int cmd_stress(Cli *cli, const Args *args, Err *err);
int cmd_density(Cli *cli, const Args *args, Err *err);
