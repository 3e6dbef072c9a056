/* SPDX-License-Identifier: Apache-2.0 */
/*
 * List and Metrics, for all tasks of the namespace at once. What our own shims leave to be read is
 * read here, by a few pool threads if there is much of it; every other shim is asked, all at the
 * same time, and the answer goes when the last has answered or its two seconds are over. A task
 * whose shim does not answer, or that went meanwhile, is left out.
 *
 * Questions are sent and answers taken on the loop's thread, and a part of what is read has an
 * arena of its own: so no arena is used by two threads.
 */
#include <stdatomic.h>
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "db/filter.h"
#include "rpc/message.h"
#include "services/tasks_priv.h"

enum { PARTS = 4, TASKS_PER_PART = 24 };

typedef struct Gather Gather;

typedef struct Question {
        Gather *gather;
        Task *task;
        void *result; /* NULL: not answered, and in the end left out */
} Question;

typedef struct Part {
        Gather *gather;
        Arena arena;
        size_t from, to;
} Part;

/* In the call's arena. */
struct Gather {
        Call *call;
        const char *method;
        const ProtobufCMessageDescriptor *reply;
        int timeout_ms;
        void *(*look)(Gather *g, Arena *a, const Task *t); /* NULL: the shim has to be asked */
        void *(*result)(Arena *a, const Task *t, const void *reply);
        void (*fill)(void *rsp, void **results, size_t n);
        CgroupMounts mounts;
        Question *questions;
        size_t n, left;
        Part parts[PARTS];
        size_t n_parts;
        atomic_size_t parts_left;
};

static void gather_end(Gather *g)
{
        void **results = arena_array(g->call->arena, void *, g->n);
        size_t n = 0, n_parts = g->n_parts;
        Arena read_into[PARTS]; /* g ends with the call */

        for (size_t i = 0; i < g->n; i++) {
                if (g->questions[i].result)
                        results[n++] = g->questions[i].result;
                task_unref(g->questions[i].task);
        }
        for (size_t i = 0; i < n_parts; i++)
                read_into[i] = g->parts[i].arena;
        g->fill(call_response(g->call), results, n);
        claimed_finish(g->call, 0);
        for (size_t i = 0; i < n_parts; i++)
                arena_done(&read_into[i]);
}

static void gather_answered(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        Question *q = ctx;
        Gather *g = q->gather;
        Arena *a = g->call->arena;
        void *reply;
        Err bad = {};

        if (r == 0)
                r = task_unpack(a, g->method, g->reply, bytes, n, &reply, &bad);
        if (r == 0)
                q->result = g->result(a, q->task, reply);
        else if (r != -NOT_FOUND && r != -UNAVAILABLE)
                log_warn("task is left out of a list", "error", bad.code ? bad.msg : err->msg, "id",
                         task_id(q->task), "method", g->method, "namespace", task_ns(q->task));
        if (--g->left == 0)
                gather_end(g);
}

static void gather_send(void *ctx)
{
        Task__StateRequest req =
                TASK__STATE_REQUEST__INIT; /* Stats' has the id in the same field */
        Gather *g = ctx;

        for (size_t i = 0; i < g->n; i++) {
                if (g->questions[i].result)
                        continue;
                req.id = task_id(g->questions[i].task);
                task_call(g->questions[i].task, g->method, &req, g->timeout_ms, gather_answered,
                          &g->questions[i]);
        }
}

/* What could not be read is asked for. */
static void gather_looked(Gather *g)
{
        const TasksService *s = g->call->ctx;

        for (size_t i = 0; i < g->n; i++)
                g->left += !g->questions[i].result;
        if (g->left > 0)
                runtime_post(s->runtime, gather_send, g);
        else
                gather_end(g);
}

static void gather_part(void *ctx)
{
        Part *part = ctx;
        Gather *g = part->gather;

        for (size_t i = part->from; i < part->to; i++)
                g->questions[i].result = g->look(g, &part->arena, g->questions[i].task);
        if (atomic_fetch_sub(&g->parts_left, 1) == 1)
                gather_looked(g);
}

/* Takes over the references. */
static int gather(Gather *g, Task **tasks, size_t n)
{
        const TasksService *s = g->call->ctx;
        size_t parts = MIN(n / TASKS_PER_PART + 1, (size_t)PARTS);

        g->questions = arena_array(g->call->arena, Question, n);
        g->n = n;
        for (size_t i = 0; i < n; i++)
                g->questions[i] = (Question){g, tasks[i], NULL};
        free(tasks);
        if (n == 0)
                return 0;
        for (size_t i = 0; i < parts; i++) {
                g->parts[i] = (Part){.gather = g, .from = n * i / parts, .to = n * (i + 1) / parts};
                arena_init(&g->parts[i].arena, SIZE_MAX);
        }
        g->n_parts = parts;
        atomic_init(&g->parts_left, parts);
        for (size_t i = 1; i < parts; i++)
                runtime_run(s->runtime, gather_part, &g->parts[i]);
        gather_part(&g->parts[0]);
        return RPC_PENDING;
}

/* The tasks of the namespace; RPC_PENDING while one is being recovered. */
static int find_all(Call *c, Task ***ret, size_t *ret_n)
{
        const TasksService *s = c->ctx;
        const char *ns;
        Task **tasks;
        size_t n;
        int r;

        r = call_namespace(c, &ns);
        if (r < 0)
                return r;
        n = runtime_list(s->runtime, ns, &tasks);
        for (size_t i = 0; i < n; i++)
                if (tasks_defer(c, tasks[i])) {
                        runtime_list_free(tasks, n);
                        return RPC_PENDING;
                }
        *ret = tasks;
        *ret_n = n;
        return 0;
}

static void *list_result(Arena *a, const Task *t, const void *reply)
{
        return tasks_process(a, reply);
}

static void *list_look(Gather *g, Arena *a, const Task *t)
{
        const Task__StateResponse *state;

        return task_look_state(t, a, &state) ? list_result(a, t, state) : NULL;
}

static void list_fill(void *rsp, void **results, size_t n)
{
        Tasks__ListTasksResponse *to = rsp;

        to->n_tasks = n;
        to->tasks = (TaskTypes__Process **)results;
}

/* The request's filter is a field that no version of containerd reads. */
int tasks_list(Call *c, const Tasks__ListTasksRequest *req, Tasks__ListTasksResponse *rsp)
{
        const TasksService *s = c->ctx;
        Gather *g = arena_new(c->arena, Gather);
        Task **tasks;
        size_t n;
        int r;

        r = find_all(c, &tasks, &n);
        if (r != 0)
                return r;
        *g = (Gather){
                .call = c,
                .method = "State",
                .reply = &task__state_response__descriptor,
                .timeout_ms = runtime_timeouts(s->runtime)->state,
                .look = list_look,
                .result = list_result,
                .fill = list_fill,
        };
        return gather(g, tasks, n);
}

static void *metrics_result(Arena *a, const Task *t, const void *reply)
{
        const Task__StatsResponse *stats = reply;
        Types__Metric *m = message_make(a, types__metric);
        Time now = time_now();

        m->timestamp = tasks_time(a, now.sec, now.nsec);
        m->id = arena_strdup(a, task_id(t));
        m->data = stats->stats;
        return m;
}

static void *metrics_look(Gather *g, Arena *a, const Task *t)
{
        Task__StatsResponse reply = TASK__STATS_RESPONSE__INIT;

        reply.stats = message_make(a, google__protobuf__any);
        return task_look_stats(t, a, &g->mounts, reply.stats) ? metrics_result(a, t, &reply) : NULL;
}

static void metrics_fill(void *rsp, void **results, size_t n)
{
        Tasks__MetricsResponse *to = rsp;

        to->n_metrics = n;
        to->metrics = (Types__Metric **)results;
}

static const char *metrics_field(void *ctx, const char *const *path, size_t n)
{
        const Task *t = ctx;

        if (n == 1 && str_eq(path[0], "id"))
                return task_id(t);
        if (n == 1 && str_eq(path[0], "namespace"))
                return task_ns(t);
        return NULL;
}

int tasks_metrics(Call *c, const Tasks__MetricsRequest *req, Tasks__MetricsResponse *rsp)
{
        Filter *filter CLEANUP(filter_freep) = NULL;
        Gather *g = arena_new(c->arena, Gather);
        size_t n, kept = 0;
        Err ignored = {};
        Task **tasks;
        int r;

        r = filter_parse((const char *const *)req->filters, req->n_filters, &filter, c->err);
        if (r == 0)
                r = find_all(c, &tasks, &n);
        if (r != 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                if (filter_match(filter, metrics_field, tasks[i]))
                        tasks[kept++] = tasks[i];
                else
                        task_unref(tasks[i]);
        }
        *g = (Gather){
                .call = c,
                .method = "Stats",
                .reply = &task__stats_response__descriptor,
                .timeout_ms = LIMIT_SHIM_STATS_MS,
                .look = metrics_look,
                .result = metrics_result,
                .fill = metrics_fill,
        };
        if (cgroup_mounts(c->arena, &g->mounts, &ignored) < 0)
                g->mounts.n = 0;
        return gather(g, tasks, kept);
}
