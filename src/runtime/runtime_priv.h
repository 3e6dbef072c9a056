/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the runtime: the table, a task, operations, the parts of a shim. */
#pragma once

#include "base/limits.h"
#include "base/lock.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/vec.h"
#include "runtime/bootstrap.h"
#include "runtime/runtime.h"

enum { TASK_MAGIC = 0x7a5c0de, RUNTIME_MAGIC = 0x2f1a77e };
enum { STATUS_UNKNOWN = 255 }; /* of an exit that nobody has seen */
enum {
        /* of the pool's threads at once, so that shims whose binaries hang leave some for
           everything else */
        LANE_BACKGROUND_JOBS = 4, /* dead shims, recovery */
        LANE_START_JOBS = 8,      /* starting shims */
        OPS_PER_CONTAINER = 64,
};

/*
 * One step of changing a container. At most one operation per container is entered; the next one's
 * fn runs on a pool thread when it is its turn. It goes on over replies and threads until
 * op_leave().
 */
typedef struct Op {
        List node;
        void (*fn)(struct Op *op);
        Runtime *rt;
        char *key; /* "ns/id" */
} Op;

typedef struct OpQueue {
        List waiting;
        int n_waiting;
} OpQueue;

/* Where bundles lie: sandboxes have folders of their own, and ids in common with tasks. */
typedef enum PlaceId { PLACE_TASKS, PLACE_SANDBOXES, PLACES } PlaceId;

typedef struct Place {
        char *root, *state; /* below the daemon's */
} Place;

typedef enum LaneId { LANE_BACKGROUND, LANE_START, LANES } LaneId;

/* Work that runs a shim's binary: queued where only some of the pool's threads may be at a time. */
typedef struct Work {
        List node;
        void (*fn)(struct Work *);
        Runtime *rt;
        LaneId lane;
} Work;

typedef struct Lane {
        List waiting;
        int running, max;
} Lane;

struct Runtime {
        unsigned magic;
        Loop *loop;
        Pool *pool;
        Exchange *ex;

        Place places[PLACES];
        char *grpc_address, *ttrpc_address, *daemon_path, *version, *socket_dir;
        char **env; /* of shims, complete; NULL-terminated */
        char *(*runtime_name)(void *ctx, const char *ns, const char *id);
        int (*sandbox_known)(void *ctx, const char *ns, const char *id);
        void *records_ctx;
        RuntimeMounts mounts;
        RuntimeTimeouts timeouts; /* none is 0 */

        Lock lock; /* LOCK_TASKS: down to the next line */
        Map tasks; /* "ns/id" -> Task, one reference each */
        Map ops;   /* "ns/id" -> OpQueue, while one is entered */
        Lane lanes[LANES];
        int stopping;

        List connected; /* loop's thread: every task with a connection */

        Lock wait_lock; /* LOCK_SHIM: the groups of all tasks and their waiters */

        Lock probe_lock; /* LOCK_LEAF: what binaries answered */
        Map probes;
};

typedef enum TaskState {
        TASK_NEW,     /* being created: not in the table */
        TASK_LOADING, /* in the table; its shim is being looked for */
        TASK_READY,
        TASK_GONE, /* out of the table */
} TaskState;

typedef struct TaskDeferred {
        void (*fn)(void *ctx);
        void *ctx;
} TaskDeferred;

/* A task, or a sandbox: what a shim was started for. */
struct Task {
        unsigned magic;
        int refs;
        PlaceId place;
        int joined; /* it lives in a sandbox's shim; constant once in the table */
        Runtime *rt;
        char *ns, *id, *key;
        char *bundle;
        char *binary; /* of the shim */

        TaskState state;            /* rt->lock */
        VEC(TaskDeferred) deferred; /* rt->lock */
        uint32_t pid;               /* set before it is READY */

        TtrpcClient *client; /* constant from connecting to the end; closed by the loop */
        int api;             /* 2 or 3; loop's thread, constant once READY */
        char *address;       /* of the shim; as client */
        int looks;           /* see task_look_state(); as client */
        List node;           /* in rt->connected */
        int connected;       /* loop's thread; then the connection holds a reference */
        struct ShimLog *log; /* loop's thread */
        int ended;           /* loop's thread; then exit is how its processes ended */
        TaskExit exit;
        List groups; /* rt->wait_lock */
};

/* The daemon is ending: nothing is begun, cleaned up or published any more. What is half done stays
 * as it is for the next daemon, as if this one had been killed. */
int runtime_stopping(Runtime *rt);
int runtime_refuse(Runtime *rt, Err *err); /* UNAVAILABLE when stopping, else 0 */

char *task_key(const char *ns, const char *id);
Task *task_new(Runtime *rt, PlaceId place, const char *ns, const char *id, TaskState state);
/* What has this id, task or sandbox: a reference, or NULL. */
Task *runtime_find_any(Runtime *rt, const char *ns, const char *id);
/* Into and out of the table. task_take_out: 1 if it was there. */
void task_put_in(Task *t, uint32_t pid);
int task_take_out(Task *t);
void task_run_deferred(Task *t); /* after it has left TASK_LOADING */

/* Connects and watches for the end of the connection. Loop's thread. */
int task_connect(Task *t, const Bootstrap *b, Err *err);
void task_disconnect(Task *t); /* loop's thread; may be repeated */
/* Answers everybody who still waits: the process is over whatever the shim knew. Loop's thread. */
void task_wait_end(Task *t, const TaskExit *exit);

/* task_call() for another service of the shim. */
void task_call_service(Task *t, const char *service, const char *method, const void *req,
                       int timeout_ms, TtrpcReplyFn fn, void *ctx);

/* fails only past OPS_PER_CONTAINER, when limited: RESOURCE_EXHAUSTED */
int op_enter(Runtime *rt, Op *op, const char *ns, const char *id, void (*fn)(Op *), int limited,
             Err *err);
void op_leave(Op *op); /* frees key */
void lane_submit(Runtime *rt, LaneId lane, Work *w, void (*fn)(Work *));

/* The connection has ended by itself: cleans up after the dead shim in the background. */
void task_died(Task *t);
/* Runs `SHIM delete` and says how the task ended: 255 now and pid 0 if that failed. Pool thread,
 * operation entered. */
uint32_t dead_clean(Task *t, TaskExit *ret);
/* Publishes the exit and the delete of a task whose shim could not. */
void dead_publish(Task *t, uint32_t pid, const TaskExit *exit);
void dead_drop_bundle(Task *t);
/* What prepare() has mounted for it, if anything. Pool thread. */
void launch_unmount(Runtime *rt, PlaceId place, const char *ns, const char *id);

/*
 * Bringing up a shim for a task or a sandbox, in steps, under the container's operation; see
 * launch.c.
 */
typedef struct Launch Launch;

typedef struct LaunchKind {
        PlaceId place;
        const char *exists; /* "task %s: already exists" */
        /* What is wrong with a shim that does not start. */
        void (*wrap)(Launch *l);
        /* The shim to join instead of starting one; 0 when there is none, 1 with l->bootstrap, or
         * -code. Pool thread. */
        int (*join)(Launch *l);
        /* With the bundle there, before its shim is asked for anything. Pool thread. NULL: nothing
         * to do. */
        int (*prepare)(Launch *l);
        int (*cancelled)(Launch *l); /* whether nobody wants it any more */
        /* The shim is there: asks it to create. Ends in launch_ready() or launch_undo(). Loop's
         * thread, as the next. */
        void (*connected)(Launch *l);
        /* Asks it to forget. Ends in launch_drop(). */
        void (*undo)(Launch *l);
        /* The operation is left: l->task is in the table, or l->err says why not. Frees what is not
         * ours with launch_done(). Any thread. */
        void (*ended)(Launch *l);
} LaunchKind;

struct Launch {
        Op op;
        Work work;
        const LaunchKind *kind;
        const char *ns, *id, *runtime;
        const void *spec;
        size_t n_spec;
        const Google__Protobuf__Any *options;
        const char *sandbox; /* whose shim join() may give; NULL: none */

        Task *task;
        Bootstrap bootstrap;
        Arena arena;
        Err err;
        int lost; /* the shim no longer answers */
};

/* The fields above `task` are filled; they, and what they point at, stay until ended(). */
void launch_begin(Launch *l, Runtime *rt);
void launch_ready(Launch *l, uint32_t pid);
void launch_undo(Launch *l);    /* l->err says why */
void launch_drop(void *launch); /* as a callback of the loop */
/* 1 and l->err when nobody wants it any more. */
int launch_cancelled(Launch *l);
void launch_done(Launch *l);
