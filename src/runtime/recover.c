/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After a restart. runtime_start() reads only the names of the bundles and puts a task for each
 * into the table, LOADING and with its operation entered; so nothing is missing from then on, and
 * whoever asks for one that is not ready waits for that one alone. Then, for all at once:
 *
 *         load      pool, a few at a time: what the bundle says of its shim
 *         Connect   loop, 5 s: is it there, which API
 *         Pids      loop, 5 s: does it still have the task; its Create may have been cut off, and
 *                   our shim answers when that is through
 *         Connect   again, if the task had no process at the first one
 *
 * A shim that is gone is cleaned up after as any dead one; one whose address was never recorded is
 * ended before. One without a process is a leak (its
 * Delete or Create was cut off by the daemon's end) and is deleted. One that is there but does not
 * answer, say because it is stopped, is kept: its container runs, and it will answer or die later.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/path.h"
#include "runtime/bundle.h"
#include "runtime/orphan.h"
#include "runtime/runtime_priv.h"
#include "runtime/sandbox.h"
#include "runtime/shim.h"
#include "runtime/shimlog.h"
#include "spec/identifier.h"

typedef struct LoadOp {
        Op op;
        Work work;
        Task *task;
        Bootstrap bootstrap;
        Arena arena;
        uint32_t pid;
        int asked_again;
        int known; /* a sandbox with a record: it may be empty */
        TaskExit exit;
} LoadOp;

static void load_ask(LoadOp *o);

static void load_end(void *arg)
{
        LoadOp *o = arg;

        task_wait_end(o->task, &o->exit);
        task_unref(o->task);
        arena_done(&o->arena);
        free(o);
}

/* The task is not one any more. */
static void load_clean(Work *w)
{
        LoadOp *o = CONTAINER_OF(w, LoadOp, work);
        Loop *loop = o->op.rt->loop;
        Task *t = o->task;
        uint32_t pid;

        if (!runtime_stopping(t->rt)) {
                pid = dead_clean(t, &o->exit);
                dead_drop_bundle(t);
                task_take_out(t);
                dead_publish(t, pid, &o->exit);
        } else {
                task_take_out(t);
        }
        task_run_deferred(t);
        op_leave(&o->op);
        loop_post(loop, load_end, o);
}

static void load_drop(void *arg)
{
        LoadOp *o = arg;

        task_disconnect(o->task);
        lane_submit(o->op.rt, LANE_BACKGROUND, &o->work, load_clean);
}

static void leak_shutdown_replied(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        load_drop(ctx);
}

static void leak_delete_replied(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        Task__ShutdownRequest req = TASK__SHUTDOWN_REQUEST__INIT;
        LoadOp *o = ctx;

        if (o->task->joined) { /* the shim is the sandbox's */
                load_drop(o);
                return;
        }
        req.id = o->task->id;
        task_call(o->task, "Shutdown", &req, o->op.rt->timeouts.shutdown, leak_shutdown_replied, o);
}

static void load_ready(LoadOp *o)
{
        Task *t = o->task;

        lock_take(&t->rt->lock);
        t->pid = o->pid;
        t->state = TASK_READY;
        lock_drop(&t->rt->lock);
        task_run_deferred(t);
        op_leave(&o->op);
        if (!t->connected) /* it went just now, when nobody minded yet */
                task_died(t);
        task_unref(t);
        arena_done(&o->arena);
        free(o);
}

static void pids_replied(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        Task__DeleteRequest req = TASK__DELETE_REQUEST__INIT;
        const Task__PidsResponse *rsp;
        LoadOp *o = ctx;
        Err bad = {};

        if (r == 0)
                r = task_unpack(&o->arena, "Pids", &task__pids_response__descriptor, bytes, n, &rsp,
                                &bad);
        if (!o->known && (r == -NOT_FOUND || (r == 0 && rsp->n_processes == 0))) {
                log_info("cleaning leaked shim process", "id", o->task->id, "namespace",
                         o->task->ns);
                req.id = o->task->id;
                task_call(o->task, "Delete", &req, o->op.rt->timeouts.cleanup, leak_delete_replied,
                          o);
                return;
        }
        if (r == 0 && o->pid == 0 && !o->asked_again) {
                o->asked_again = 1;
                load_ask(o);
                return;
        }
        load_ready(o);
}

static void connect_replied(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        Task__PidsRequest pids = TASK__PIDS_REQUEST__INIT;
        const Task__ConnectResponse *rsp;
        LoadOp *o = ctx;
        Task *t = o->task;
        Err bad = {};

        if (r == -UNIMPLEMENTED && t->api == 3) {
                t->api = 2;
                load_ask(o);
                return;
        }
        if (r == -DEADLINE_EXCEEDED) {
                log_warn("shim does not answer, keeping its task", "id", t->id, "namespace", t->ns);
                load_ready(o);
                return;
        }
        if (r == 0 && task_unpack(&o->arena, "Connect", &task__connect_response__descriptor, bytes,
                                  n, &rsp, &bad) == 0) {
                o->pid = rsp->task_pid;
                pids.id = t->id;
                task_call(t, "Pids", &pids, o->op.rt->timeouts.load, pids_replied, o);
                return;
        }
        log_warn("failed to load shim", "error", bad.code ? bad.msg : err->msg, "id", t->id,
                 "namespace", t->ns);
        load_drop(o);
}

static void load_ask(LoadOp *o)
{
        Task__ConnectRequest req = TASK__CONNECT_REQUEST__INIT;

        req.id = o->task->id;
        task_call(o->task, "Connect", &req, o->op.rt->timeouts.load, connect_replied, o);
}

static void load_connect(void *arg)
{
        LoadOp *o = arg;
        Err err = {};

        if (runtime_stopping(o->op.rt)) {
                load_drop(o);
                return;
        }
        if (task_connect(o->task, &o->bootstrap, &err) < 0) {
                log_warn("failed to load shim", "error", err.msg, "id", o->task->id, "namespace",
                         o->task->ns);
                load_drop(o);
                return;
        }
        load_ask(o);
}

/* Which binary made this shim: its note, else what the container's record says. */
static void find_binary(Task *t)
{
        Runtime *rt = t->rt;
        char *name CLEANUP(cleanup_free) = NULL;
        Err ignored = {};

        if (shim_recall_binary(t->bundle, &t->binary, &ignored) == 0 || !rt->runtime_name)
                return;
        name = rt->runtime_name(rt->records_ctx, t->ns, t->id);
        if (name && shim_resolve(name, &t->binary, &ignored) < 0)
                t->binary = NULL;
}

static void load_work(Work *w)
{
        LoadOp *o = CONTAINER_OF(w, LoadOp, work);
        Runtime *rt = o->op.rt;
        Task *t = o->task;
        Err err = {};

        if (runtime_stopping(rt)) {
                load_clean(w);
                return;
        }
        find_binary(t);
        t->joined = sandbox_is_joined(t->bundle);
        o->known = t->place == PLACE_SANDBOXES && rt->sandbox_known &&
                   rt->sandbox_known(rt->records_ctx, t->ns, t->id);
        if (bootstrap_load(&o->arena, t->bundle, &o->bootstrap, &err) < 0) {
                log_warn("failed to load shim", "error", err.msg, "id", t->id, "namespace", t->ns);
                orphans_end(t->bundle, t->id);
                load_clean(w);
                return;
        }
        t->log = shim_log_new(t->bundle);
        loop_post(rt->loop, load_connect, o);
}

static void load_submit(void *arg)
{
        LoadOp *o = arg;

        lane_submit(o->op.rt, LANE_BACKGROUND, &o->work, load_work);
}

/* Not before the loop runs: clients are listened to first. */
static void load_begin(Op *op)
{
        loop_post(op->rt->loop, load_submit, CONTAINER_OF(op, LoadOp, op));
}

static void add_loading(Runtime *rt, PlaceId place, const char *ns, const char *id)
{
        LoadOp *o = mem_new(LoadOp);
        Err ignored = {};

        arena_init(&o->arena, LIMIT_PB_ARENA_BASE);
        o->task = task_new(rt, place, ns, id, TASK_LOADING);
        lock_take(&rt->lock);
        map_put(&rt->tasks, o->task->key, task_ref(o->task));
        lock_drop(&rt->lock);
        op_enter(rt, &o->op, ns, id, load_begin, 0, &ignored);
}

typedef void (*EachFn)(Runtime *rt, PlaceId place, const char *dir, const char *ns, const char *id);

/* Calls fn for each DIR/NS/ID, ID being a name that nobody hides. */
static int each(Runtime *rt, PlaceId place, const char *dir, EachFn fn, Err *err)
{
        DIR *outer = opendir(dir);
        struct dirent *d, *e;
        Err ignored = {};

        if (!outer)
                return err_sys(err, errno, "open %s", dir);
        while ((d = readdir(outer))) {
                char *path CLEANUP(cleanup_free) = mem_printf("%s/%s", dir, d->d_name);
                DIR *inner;

                if (identifier_check(NULL, d->d_name, &ignored) < 0)
                        continue;
                inner = opendir(path);
                if (!inner)
                        continue;
                while ((e = readdir(inner))) {
                        if (str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
                                continue;
                        fn(rt, place, path, d->d_name, e->d_name);
                }
                closedir(inner);
        }
        closedir(outer);
        return 0;
}

/* An interrupted removal goes on; an empty folder is no bundle yet. */
static void found_bundle(Runtime *rt, PlaceId place, const char *dir, const char *ns,
                         const char *id)
{
        Task *there CLEANUP(task_unrefp) = runtime_find_any(rt, ns, id);
        char *path CLEANUP(cleanup_free) = mem_printf("%s/%s", dir, id);
        Err ignored = {};

        if (id[0] == '.') {
                path_remove_tree(AT_FDCWD, path, &ignored);
                return;
        }
        if (identifier_check(NULL, id, &ignored) < 0 || rmdir(path) == 0)
                return;
        if (there) {
                log_warn("a task and a sandbox of one id, ignoring the latter", "id", id,
                         "namespace", ns);
                return;
        }
        add_loading(rt, place, ns, id);
}

static void found_work(Runtime *rt, PlaceId place, const char *dir, const char *ns, const char *id)
{
        Task *t CLEANUP(task_unrefp) = runtime_find_any(rt, ns, id);
        char *path CLEANUP(cleanup_free) = mem_printf("%s/%s", dir, id);
        Err err = {};

        if ((!t || t->place != place) && path_remove_tree(AT_FDCWD, path, &err) < 0)
                log_warn("failed to remove working directory", "error", err.msg, "path", path);
}

int runtime_start(Runtime *rt, Err *err)
{
        int r = 0;

        for (int i = 0; r == 0 && i < PLACES; i++)
                r = each(rt, (PlaceId)i, rt->places[i].state, found_bundle, err);
        for (int i = 0; r == 0 && i < PLACES; i++)
                r = each(rt, (PlaceId)i, rt->places[i].root, found_work, err);
        return r;
}
