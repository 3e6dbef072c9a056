/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shim manager: bundles, shims, their connections, and the table of tasks. A task is in the
 * table from the moment its shim runs until it was deleted or its shim died; the shim outlives the
 * daemon, and runtime_start() finds it again.
 *
 * Threads. Everything here may be called from any thread unless it says otherwise, and nothing
 * waits for a shim: calls to shims are sent with a deadline and answered by a callback on the
 * loop's thread, so that a shim that does not answer holds neither a thread nor a lock. What must
 * block (mounts, running a shim's binary) runs on the pool, and of the background kind (recovery,
 * dead shims) only a few at a time.
 *
 * One change of a container at a time: create, delete and clean-up are operations, queued per
 * container.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include "base/list.h"
#include "base/loop.h"
#include "base/pool.h"
#include "cgroup/cgroup.h"
#include "events/exchange.h"
#include "ttrpc/client.h"
#include "api/containerd/task/v3/task.pb-c.h"

typedef struct Runtime Runtime;
typedef struct Task Task;

/* How long a shim has, in milliseconds; 0: what base/limits.h says. */
typedef struct RuntimeTimeouts {
        int load;     /* of an earlier daemon, to answer when it is found again: each call */
        int cleanup;  /* `SHIM delete`, and to undo what it has begun */
        int shutdown; /* to end */
        int state;    /* to say what a process does */
} RuntimeTimeouts;

/* Who mounts what shims cannot; both block and run on pool threads. NULL functions: nobody. */
typedef struct RuntimeMounts {
        /* Whether these are any that shims mostly cannot mount. */
        int (*wanted)(void *ctx, Types__Mount *const *rootfs, size_t n);
        /* Of a task that is about to be made: *rootfs may be replaced, in the arena. allow: what
         * its shim does itself. */
        int (*activate)(void *ctx, Arena *a, const char *ns, const char *id,
                        const char *const *allow, size_t n_allow, Types__Mount ***rootfs, size_t *n,
                        Err *err);
        /* The task is gone; mostly there is nothing of it. */
        void (*deactivate)(void *ctx, const char *ns, const char *id);
        void *ctx;
} RuntimeMounts;

/* Copied. Strings may be NULL only where it says so. */
typedef struct RuntimeOptions {
        /* Of the daemon; ours are io.containerd.runtime.v2.task and, for sandboxes,
         * io.containerd.sandbox.controller.v1.shim below each. */
        const char *root, *state;
        const char *grpc_address;  /* path of the socket, as shims are told */
        const char *ttrpc_address; /* where shims forward events */
        const char *daemon_path;   /* for -publish-binary */
        const char *version;       /* containerd's API level, as shims are told: "2.3.4" */
        const char
                *socket_dir; /* for shim sockets; NULL: "s" below state when that is short enough */
        const char *const *env; /* "K=V" added to a shim's environment; NULL-terminated or NULL */
        /* The runtime's name of a container's record, on the heap; NULL when there is none. For
         * bundles that do not say which shim made them. */
        char *(*runtime_name)(void *ctx, const char *ns, const char *id);
        /* Whether there is a record of this sandbox: then its shim is kept although nothing runs in
         * it. NULL: there is none. */
        int (*sandbox_known)(void *ctx, const char *ns, const char *id);
        void *records_ctx; /* of both */
        RuntimeMounts mounts;
        RuntimeTimeouts timeouts;
} RuntimeOptions;

int runtime_new(const RuntimeOptions *o, Loop *loop, Pool *pool, Exchange *ex, Runtime **ret,
                Err *err);
/* Finds the shims of an earlier daemon: their tasks are in the table when this returns, and become
 * usable one by one; see task_defer(). Before the first call is served. */
int runtime_start(Runtime *rt, Err *err);
/* Lets go of the shims, which go on. On the loop's thread, with the pool still there and the
 * servers gone: turns the loop until what was begun has ended, answered UNAVAILABLE. */
void runtime_stop(Runtime *rt);
/* After runtime_stop() and after the pool has ended. Takes NULL; returns NULL. */
Runtime *runtime_free(Runtime *rt);
/* Tasks and sandboxes of all namespaces. */
size_t runtime_count(Runtime *rt);
/* With nothing left to its default. */
const RuntimeTimeouts *runtime_timeouts(const Runtime *rt);
/* fn runs on a pool thread. */
void runtime_run(Runtime *rt, PoolFn fn, void *ctx);
/* fn runs on the loop's thread. */
void runtime_post(Runtime *rt, void (*fn)(void *ctx), void *ctx);

/* A reference, or NULL. A task that is being recovered is found as well. */
Task *runtime_find(Runtime *rt, const char *ns, const char *id);
/* References to all tasks of a namespace (NULL: of all) in order of their ids; the array is on the
 * heap. */
size_t runtime_list(Runtime *rt, const char *ns, Task ***ret);
void runtime_list_free(Task **tasks, size_t n);

Task *task_ref(Task *t);
Task *task_unref(Task *t); /* takes NULL; returns NULL */
DEFINE_CLEANUP(Task *, task_unref)
const char *task_id(const Task *t);
const char *task_ns(const Task *t);
uint32_t task_pid(const Task *t); /* of init */
const char *task_bundle(const Task *t);

/* 1 when the task is still being recovered: fn will run on a pool thread when that has ended, well
 * or badly (look it up again). 0 when it is usable now; fn will not run. */
int task_defer(Task *t, void (*fn)(void *ctx), void *ctx);

/*
 * What State and Stats of init would answer, read from what our own shim leaves behind; 1, or 0
 * when the shim has to be asked: it is not ours, or there is nothing to read. Pool threads. What
 * they give lives in the arena. mounts: of this process, for all tasks of one question.
 */
int task_look_state(const Task *t, Arena *a, const Task__StateResponse **ret);
int task_look_stats(const Task *t, Arena *a, const CgroupMounts *mounts,
                    Google__Protobuf__Any *ret);

/* Sends one call of the task service, v2 or v3 as the shim speaks; fn runs once, on the loop's
 * thread, never before this returns. timeout_ms 0: no deadline. Codes: the shim's own;
 * DEADLINE_EXCEEDED; UNAVAILABLE when the connection is gone. */
void task_call(Task *t, const char *method, const void *req, int timeout_ms, TtrpcReplyFn fn,
               void *ctx);

/* Unpacks a shim's answer into the arena. INTERNAL naming the method. */
int task_unpack(Arena *a, const char *method, const ProtobufCMessageDescriptor *desc,
                const void *bytes, size_t n, void *ret_message, Err *err);

/* A shim's error as it goes to clients: the text as it stands, with its class at the end. Returns
 * -code. */
int task_error(Err *dst, const Err *src);

/* The exit of a process. One call to the shim serves everybody who waits for it. */
typedef struct TaskExit {
        uint32_t status;
        int64_t sec; /* since 1970; TIME_YEAR1 when there is no time */
        int32_t nsec;
} TaskExit;
typedef void (*TaskWaitFn)(void *ctx, int r, const TaskExit *exit, const Err *err);
/* Memory of the waiting one's, zeroed. */
typedef struct TaskWaiter {
        List node;
        TaskWaitFn fn;
        void *ctx;
        int cancelled;
} TaskWaiter;
/* 1, and fn will run once, on the loop's thread, unless it is cancelled; 0 when it was cancelled
 * before. Ends with the exit status of the clean-up when the shim dies. */
int task_wait(Task *t, const char *exec_id, TaskWaiter *w, TaskWaitFn fn, void *ctx);
/* 1: it was waiting and does no more, fn will not run. 0: fn has run, runs or will run, or it had
 * not begun to wait and will not. */
int task_wait_cancel(Runtime *rt, TaskWaiter *w);
/* The process is deleted: who waits from now on means another one of the same name. */
void task_wait_forget(Task *t, const char *exec_id);

typedef struct TaskCreate {
        const char *ns, *id;
        const char *runtime; /* name, or absolute path of a shim */
        const void *spec;    /* config.json as it will stand in the bundle */
        size_t n_spec;
        const Google__Protobuf__Any *options; /* as `shim start` gets them; NULL: none */
        /* The sandbox whose shim it shall live in, NULL for none; where that shim is, if the client
         * knows ("ttrpc+unix://..."), and its task API. One below 3 cannot be joined: then the task
         * gets a shim of its own. */
        const char *sandbox, *sandbox_address;
        int sandbox_version;
        Task__CreateTaskRequest req; /* for the shim; id and bundle are filled in here */
        int (*cancelled)(void *ctx); /* whether nobody wants it any more; NULL: never */
        /* Between making the bundle and starting anything, on a pool thread: what goes into the
         * bundle, and into req. NULL: nothing. */
        int (*prepare)(void *ctx, const char *bundle, Err *err);
} TaskCreate;
typedef void (*TaskCreateFn)(void *ctx, int r, uint32_t pid, const Err *err);
/* Bundle, shim, Create. What `create` points at stays until fn has run (any thread).
 * ALREADY_EXISTS; CANCELLED. After a failure nothing is left. */
void task_create(Runtime *rt, TaskCreate *create, TaskCreateFn fn, void *ctx);

typedef void (*TaskDeleteFn)(void *ctx, int r, const Task__DeleteResponse *reply, const Err *err);
/* Deletes the task at its shim, ends the shim, removes the bundle. Errors of both are for clients
 * as they stand. NOT_FOUND; what the shim says, such as that the process still runs. fn runs once,
 * on any thread; reply lives until it returns. */
void task_delete(Runtime *rt, const char *ns, const char *id, TaskDeleteFn fn, void *ctx);
