/* SPDX-License-Identifier: Apache-2.0 */
/*
 * List and Metrics: one question to every shim of the namespace, all at once; the answer goes when
 * the last has answered or its two seconds are over. A task whose shim does not answer, or that
 * went meanwhile, is left out.
 *
 * Questions are sent and answers taken on the loop's thread, which therefore is the only one with
 * the call's arena after the handler has returned.
 */
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "db/filter.h"
#include "rpc/message.h"
#include "services/tasks_priv.h"

typedef struct Gather Gather;

typedef struct Question {
        Gather *gather;
        Task *task;
        void *result; /* NULL: left out */
} Question;

/* In the call's arena. */
struct Gather {
        Call *call;
        const char *method;
        const ProtobufCMessageDescriptor *reply;
        int timeout_ms;
        void *(*result)(Arena *a, Task *t, const void *reply);
        void (*fill)(void *rsp, void **results, size_t n);
        Question *questions;
        size_t n, left;
};

static void gather_end(Gather *g)
{
        void **results = arena_array(g->call->arena, void *, g->n);
        size_t n = 0;

        for (size_t i = 0; i < g->n; i++) {
                if (g->questions[i].result)
                        results[n++] = g->questions[i].result;
                task_unref(g->questions[i].task);
        }
        g->fill(call_response(g->call), results, n);
        tasks_finish(g->call, 0);
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

        g->left = g->n;
        for (size_t i = 0; i < g->n; i++) {
                req.id = task_id(g->questions[i].task);
                task_call(g->questions[i].task, g->method, &req, g->timeout_ms, gather_answered,
                          &g->questions[i]);
        }
}

/* Takes over the references. */
static int gather(Gather *g, Task **tasks, size_t n)
{
        const TasksService *s = g->call->ctx;

        g->questions = arena_array(g->call->arena, Question, n);
        g->n = n;
        for (size_t i = 0; i < n; i++)
                g->questions[i] = (Question){g, tasks[i], NULL};
        free(tasks);
        if (n == 0)
                return 0;
        runtime_post(s->runtime, gather_send, g);
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

static void *list_result(Arena *a, Task *t, const void *reply)
{
        return tasks_process(a, reply);
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
                .result = list_result,
                .fill = list_fill,
        };
        return gather(g, tasks, n);
}

static void *metrics_result(Arena *a, Task *t, const void *reply)
{
        const Task__StatsResponse *stats = reply;
        Types__Metric *m = message_make(a, types__metric);
        Time now = time_now();

        m->timestamp = tasks_time(a, now.sec, now.nsec);
        m->id = arena_strdup(a, task_id(t));
        m->data = stats->stats;
        return m;
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
                .result = metrics_result,
                .fill = metrics_fill,
        };
        return gather(g, tasks, kept);
}
