/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bringing up a shim, for a task or for a sandbox, in steps, under the container's operation:
 *
 *         start      pool   bundle; the shim's `start`, or the shim of a sandbox is joined
 *         connect    loop   connection; connected() asks the shim to create
 *         ready      loop   into the table; or, on failure:
 *         undo       loop   what undo() has to tell the shim; connection closed
 *         clean      pool   `SHIM delete` if it did not answer, bundle removed
 *         ended             operation left
 *
 * A task or sandbox enters the table only when the shim has it, so nobody sees half of one.
 */
#include "base/log.h"
#include "runtime/bundle.h"
#include "runtime/orphan.h"
#include "runtime/runtime_priv.h"
#include "runtime/sandbox.h"
#include "runtime/shim.h"
#include "runtime/shimlog.h"

static const Place *place_of(const Launch *l)
{
        return &l->op.rt->places[l->kind->place];
}

static void end(Launch *l)
{
        op_leave(&l->op);
        l->kind->ended(l);
}

void launch_done(Launch *l)
{
        task_unref(l->task);
        arena_done(&l->arena);
}

void launch_unmount(Runtime *rt, PlaceId place, const char *ns, const char *id)
{
        if (place == PLACE_TASKS && rt->mounts.deactivate)
                rt->mounts.deactivate(rt->mounts.ctx, ns, id);
}

static void clean(Work *w)
{
        Launch *l = CONTAINER_OF(w, Launch, work);
        Runtime *rt = l->op.rt;
        Task *t = l->task;
        uint32_t pid;
        TaskExit exit;
        Err err = {};

        if (runtime_stopping(rt)) {
                end(l);
                return;
        }
        if (l->lost && t->binary &&
            shim_delete(rt, t->binary, t->bundle, l->ns, l->id, &pid, &exit, &err) < 0)
                log_warn("failed to clean up after shim", "error", err.msg, "id", l->id,
                         "namespace", l->ns);
        if (bundle_remove(place_of(l)->root, place_of(l)->state, l->ns, l->id, &err) < 0)
                log_warn("failed to remove bundle", "error", err.msg, "id", l->id, "namespace",
                         l->ns);
        launch_unmount(rt, l->kind->place, l->ns, l->id);
        end(l);
}

void launch_drop(void *launch)
{
        Launch *l = launch;

        task_disconnect(l->task);
        lane_submit(l->op.rt, LANE_BACKGROUND, &l->work, clean);
}

void launch_undo(Launch *l)
{
        if (!l->task->client) {
                launch_drop(l);
                return;
        }
        l->lost = 0;
        l->kind->undo(l);
}

void launch_ready(Launch *l, uint32_t pid)
{
        task_put_in(l->task, pid);
        end(l);
}

int launch_cancelled(Launch *l)
{
        if (!l->kind->cancelled(l))
                return 0;
        err_set(&l->err, CANCELLED, "context canceled");
        return 1;
}

static void connect_to_shim(void *arg)
{
        Launch *l = arg;

        if (runtime_refuse(l->op.rt, &l->err) < 0) {
                launch_drop(l);
                return;
        }
        if (task_connect(l->task, &l->bootstrap, &l->err) < 0) {
                l->kind->wrap(l);
                launch_undo(l);
                return;
        }
        l->kind->connected(l);
}

static int make_bundle(Launch *l)
{
        const Place *p = place_of(l);
        char *path CLEANUP(cleanup_free) = NULL;
        int r;

        r = bundle_create(p->root, p->state, l->ns, l->id, l->spec, l->n_spec, &path, &l->err);
        if (r != -ALREADY_EXISTS)
                return r;
        /* Nothing has it and nobody else may change it now: an earlier removal went wrong. */
        r = bundle_remove(p->root, p->state, l->ns, l->id, &l->err);
        if (r < 0)
                return r;
        err_clear(&l->err);
        return bundle_create(p->root, p->state, l->ns, l->id, l->spec, l->n_spec, &path, &l->err);
}

static int run_shim(Launch *l)
{
        Task *t = l->task;
        int r;

        r = bundle_make_log(t->bundle, &l->err);
        if (r < 0)
                return r;
        /* before the shim opens its end, which blocks until there is a reader */
        t->log = shim_log_new(t->bundle);
        r = shim_start(l->op.rt, t->binary, t->bundle, l->ns, l->id, l->options, &l->arena,
                       &l->bootstrap, &l->err);
        if (r < 0) {
                orphans_end(t->bundle, l->id); /* what a helper that failed has made */
                l->kind->wrap(l);
                return r;
        }
        /* It runs, and until we are connected only `SHIM delete` ends what it has begun. */
        l->lost = 1;
        return shim_remember(t->bundle, t->binary, &l->bootstrap, &l->err);
}

static int join_shim(Launch *l)
{
        int r = sandbox_note_joined(l->task->bundle, l->sandbox, &l->err);

        return r < 0 ? r : bootstrap_save(l->task->bundle, &l->bootstrap, &l->err);
}

/* What runs, if anything does: 0 once l->task is made. */
static int check(Launch *l)
{
        Runtime *rt = l->op.rt;
        Task *there CLEANUP(task_unrefp) = runtime_find_any(rt, l->ns, l->id);
        Err ignored = {};
        int r;

        r = runtime_refuse(rt, &l->err);
        if (r < 0 || launch_cancelled(l))
                return -l->err.code;
        if (there)
                return err_set(&l->err, ALREADY_EXISTS, l->kind->exists, l->id);
        r = l->kind->join(l);
        if (r < 0)
                return r;
        l->task = task_new(rt, l->kind->place, l->ns, l->id, TASK_NEW);
        if (r == 1) {
                l->task->joined = 1;
                /* only needed to clean up after its shim */
                if (shim_resolve(l->runtime, &l->task->binary, &ignored) < 0)
                        l->task->binary = NULL;
                return 0;
        }
        r = shim_resolve(l->runtime, &l->task->binary, &l->err);
        if (r < 0) {
                err_wrap(&l->err, "failed to resolve runtime path");
                l->kind->wrap(l);
        }
        return r;
}

static void start(Work *work)
{
        Launch *l = CONTAINER_OF(work, Launch, work);
        int r;

        if (check(l) < 0 || make_bundle(l) < 0) {
                end(l);
                return;
        }
        r = l->kind->prepare ? l->kind->prepare(l) : 0;
        if (r == 0)
                r = l->task->joined ? join_shim(l) : run_shim(l);
        loop_post(l->op.rt->loop, r < 0 ? launch_drop : connect_to_shim, l);
}

static void begin(Op *op)
{
        Launch *l = CONTAINER_OF(op, Launch, op);

        lane_submit(op->rt, LANE_START, &l->work, start);
}

void launch_begin(Launch *l, Runtime *rt)
{
        arena_init(&l->arena, LIMIT_PB_ARENA_BASE);
        l->op.rt = rt;
        if (op_enter(rt, &l->op, l->ns, l->id, begin, 1, &l->err) < 0)
                l->kind->ended(l);
}
