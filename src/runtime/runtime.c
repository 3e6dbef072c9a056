/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime object and the table of tasks. A task in the table is READY or LOADING; creating and
 * deleting happen outside it, so that whoever finds a task may call its shim. */
#include "runtime/runtime_priv.h"

#include <stdlib.h>
#include <unistd.h>
#include "base/path.h"
#include "runtime/sandbox.h"

static const char *const place_names[PLACES] = {
        [PLACE_TASKS] = "io.containerd.runtime.v2.task",
        [PLACE_SANDBOXES] = "io.containerd.sandbox.controller.v1.shim",
};
static const mode_t place_modes[PLACES] = {[PLACE_TASKS] = 0711, [PLACE_SANDBOXES] = 0700};

enum { LAST_TURNS = 8 };
enum { SOCKET_DIR_MAX = 42 }; /* what shims accept: a socket's name is 65 bytes more */

/* What every shim finds in its environment besides ours. Later entries win in no program that uses
 * getenv(3), so ours are put first and inherited ones of the same name are left out. */
static char **make_env(const RuntimeOptions *o)
{
        VEC(char *) env = {};
        size_t own;

        VEC_PUSH(&env, mem_strdup("GOMAXPROCS=2"));
        VEC_PUSH(&env, mem_strdup("MAX_SHIM_VERSION=2"));
        VEC_PUSH(&env, mem_printf("TTRPC_ADDRESS=%s", o->ttrpc_address));
        VEC_PUSH(&env, mem_printf("GRPC_ADDRESS=%s", o->grpc_address));
        for (size_t i = 0; o->env && o->env[i]; i++)
                VEC_PUSH(&env, mem_strdup(o->env[i]));
        own = env.n;
        for (char **e = environ; *e; e++) {
                size_t n = strcspn(*e, "=") + 1;
                int ours = strncmp(*e, "NAMESPACE=", n) == 0;

                for (size_t i = 0; i < own && !ours; i++)
                        ours = strncmp(env.v[i], *e, n) == 0;
                if (!ours)
                        VEC_PUSH(&env, mem_strdup(*e));
        }
        VEC_PUSH(&env, NULL);
        return env.v;
}

static RuntimeTimeouts make_timeouts(const RuntimeTimeouts *t)
{
        return (RuntimeTimeouts){
                .load = t->load ? t->load : LIMIT_SHIM_LOAD_MS,
                .cleanup = t->cleanup ? t->cleanup : LIMIT_SHIM_CLEANUP_MS,
                .shutdown = t->shutdown ? t->shutdown : LIMIT_SHIM_SHUTDOWN_MS,
                .state = t->state ? t->state : LIMIT_TASK_STATE_MS,
        };
}

static int make_places(Runtime *rt, const RuntimeOptions *o, Err *err)
{
        int r = 0;

        for (int i = 0; r == 0 && i < PLACES; i++) {
                Place *p = &rt->places[i];

                p->root = mem_printf("%s/%s", o->root, place_names[i]);
                p->state = mem_printf("%s/%s", o->state, place_names[i]);
                r = path_mkdirs(p->state, place_modes[i], err);
                if (r >= 0)
                        r = path_mkdirs(p->root, place_modes[i], err);
        }
        return r;
}

int runtime_new(const RuntimeOptions *o, Loop *loop, Pool *pool, Exchange *ex, Runtime **ret,
                Err *err)
{
        char *default_dir CLEANUP(cleanup_free) = mem_printf("%s/s", o->state);
        const char *socket_dir = o->socket_dir;
        Runtime *rt = mem_new(Runtime);
        int r;

        if (str_empty(socket_dir))
                socket_dir = strlen(default_dir) <= SOCKET_DIR_MAX ? default_dir : NULL;
        rt->magic = RUNTIME_MAGIC;
        rt->loop = loop;
        rt->pool = pool;
        rt->ex = ex;
        rt->grpc_address = mem_strdup(o->grpc_address);
        rt->ttrpc_address = mem_strdup(o->ttrpc_address);
        rt->daemon_path = mem_strdup(o->daemon_path);
        rt->version = mem_strdup(o->version);
        rt->socket_dir = mem_strdup(socket_dir);
        rt->env = make_env(o);
        rt->runtime_name = o->runtime_name;
        rt->sandbox_known = o->sandbox_known;
        rt->records_ctx = o->records_ctx;
        rt->mounts = o->mounts;
        rt->timeouts = make_timeouts(&o->timeouts);
        lock_init(&rt->lock, LOCK_TASKS);
        lock_init(&rt->wait_lock, LOCK_SHIM);
        lock_init(&rt->probe_lock, LOCK_LEAF);
        for (int i = 0; i < LANES; i++)
                list_init(&rt->lanes[i].waiting);
        rt->lanes[LANE_BACKGROUND].max = LANE_BACKGROUND_JOBS;
        rt->lanes[LANE_START].max = LANE_START_JOBS;
        list_init(&rt->connected);

        r = make_places(rt, o, err);
        if (r < 0) {
                runtime_free(rt);
                return r;
        }
        *ret = rt;
        return 0;
}

int runtime_stopping(Runtime *rt)
{
        LOCKED(&rt->lock);
        return rt->stopping;
}

int runtime_refuse(Runtime *rt, Err *err)
{
        return runtime_stopping(rt) ? err_set(err, UNAVAILABLE, "lighterd is stopping: unavailable")
                                    : 0;
}

static int is_busy(Runtime *rt)
{
        LOCKED(&rt->lock);
        return rt->ops.n > 0 || rt->lanes[LANE_BACKGROUND].running > 0 ||
               rt->lanes[LANE_START].running > 0;
}

void runtime_stop(Runtime *rt)
{
        lock_take(&rt->lock);
        rt->stopping = 1;
        lock_drop(&rt->lock);
        LIST_FOREACH (t, &rt->connected, Task, node)
                task_disconnect(t);
        while (is_busy(rt))
                loop_once(rt->loop, 10);
}

Runtime *runtime_free(Runtime *rt)
{
        if (!rt)
                return NULL;
        assert(rt->magic == RUNTIME_MAGIC);
        /* what handlers of the last moment have posted, and its answers */
        for (int i = 0; i < LAST_TURNS; i++)
                loop_once(rt->loop, 0);
        MAP_FOREACH (slot, &rt->tasks) {
                Task *t = slot->value;

                t->state = TASK_GONE;
                task_unref(t);
        }
        map_done(&rt->tasks);
        map_done(&rt->ops);
        map_done(&rt->probes);
        for (char **e = rt->env; *e; e++)
                free(*e);
        free(rt->env);
        for (int i = 0; i < PLACES; i++) {
                free(rt->places[i].root);
                free(rt->places[i].state);
        }
        free(rt->grpc_address);
        free(rt->ttrpc_address);
        free(rt->daemon_path);
        free(rt->version);
        free(rt->socket_dir);
        lock_done(&rt->lock);
        lock_done(&rt->wait_lock);
        lock_done(&rt->probe_lock);
        rt->magic = 0;
        free(rt);
        return NULL;
}

size_t runtime_count(Runtime *rt)
{
        LOCKED(&rt->lock);
        return rt->tasks.n;
}

const RuntimeTimeouts *runtime_timeouts(const Runtime *rt)
{
        return &rt->timeouts;
}

void runtime_run(Runtime *rt, PoolFn fn, void *ctx)
{
        pool_submit(rt->pool, fn, ctx);
}

void runtime_post(Runtime *rt, void (*fn)(void *ctx), void *ctx)
{
        loop_post(rt->loop, fn, ctx);
}

static Task *find(Runtime *rt, const char *ns, const char *id, int any, PlaceId place)
{
        char *key CLEANUP(cleanup_free) = task_key(ns, id);
        Task *t;

        LOCKED(&rt->lock);
        t = map_find(&rt->tasks, key);
        return t && (any || t->place == place) ? task_ref(t) : NULL;
}

Task *runtime_find(Runtime *rt, const char *ns, const char *id)
{
        return find(rt, ns, id, 0, PLACE_TASKS);
}

Task *runtime_find_any(Runtime *rt, const char *ns, const char *id)
{
        return find(rt, ns, id, 1, PLACE_TASKS);
}

Task *sandbox_find(Runtime *rt, const char *ns, const char *id)
{
        return find(rt, ns, id, 0, PLACE_SANDBOXES);
}

static int by_key(const void *a, const void *b)
{
        const Task *const *x = a, *const *y = b;

        return strcmp((*x)->key, (*y)->key);
}

size_t runtime_list(Runtime *rt, const char *ns, Task ***ret)
{
        VEC(Task *) found = {};

        lock_take(&rt->lock);
        MAP_FOREACH (slot, &rt->tasks) {
                Task *t = slot->value;

                if (t->place == PLACE_TASKS && (!ns || str_eq(t->ns, ns)))
                        VEC_PUSH(&found, task_ref(t));
        }
        lock_drop(&rt->lock);
        if (found.n > 0)
                qsort(found.v, found.n, sizeof(Task *), by_key);
        *ret = found.v;
        return found.n;
}

void runtime_list_free(Task **tasks, size_t n)
{
        for (size_t i = 0; i < n; i++)
                task_unref(tasks[i]);
        free(tasks);
}

void task_put_in(Task *t, uint32_t pid)
{
        Runtime *rt = t->rt;
        Task *old;

        LOCKED(&rt->lock);
        t->pid = pid;
        t->state = TASK_READY;
        old = map_put(&rt->tasks, t->key, task_ref(t));
        assert(!old);
}

int task_take_out(Task *t)
{
        Runtime *rt = t->rt;

        lock_take(&rt->lock);
        if (map_find(&rt->tasks, t->key) != t) {
                lock_drop(&rt->lock);
                return 0;
        }
        map_remove(&rt->tasks, t->key);
        t->state = TASK_GONE;
        lock_drop(&rt->lock);
        task_unref(t);
        return 1;
}

int task_defer(Task *t, void (*fn)(void *ctx), void *ctx)
{
        LOCKED(&t->rt->lock);

        if (t->state != TASK_LOADING)
                return 0;
        VEC_PUSH(&t->deferred, (TaskDeferred){fn, ctx});
        return 1;
}

void task_run_deferred(Task *t)
{
        VEC(TaskDeferred) todo = {};

        lock_take(&t->rt->lock);
        assert(t->state != TASK_LOADING);
        todo.v = t->deferred.v;
        todo.n = t->deferred.n;
        t->deferred.v = NULL;
        t->deferred.n = t->deferred.cap = 0;
        lock_drop(&t->rt->lock);
        VEC_FOREACH (d, &todo)
                pool_submit(t->rt->pool, d->fn, d->ctx);
        VEC_DONE(&todo);
}
