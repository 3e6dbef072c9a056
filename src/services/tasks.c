/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tasks. Most methods are one question to a shim: the request is turned into the shim's, sent with
 * a deadline, and the reply, on the loop's thread, is turned into the answer. No thread waits for a
 * shim, so one that has stopped costs its own callers their deadline and nobody else anything.
 * Create and Delete, Checkpoint, List and Metrics, and Wait are in files of their own.
 *
 * enter() claims the call before the handler begins: from then on it runs to its end, even if the
 * client has gone, and its arena is there until then. A task that is being recovered makes the
 * handler run again when that is over.
 */
#include "api/google/protobuf/empty.pb-c.h"
#include "base/clock.h"
#include "base/limits.h"
#include "metadata/containers.h"
#include "rpc/message.h"
#include "spec/identifier.h"
#include "services/tasks_priv.h"

int tasks_not_found(Call *c, const char *ns, const char *id)
{
        const TasksService *s = c->ctx;
        MetaTxn txn CLEANUP(meta_txn_end) = {};

        if (meta_begin_ro(s->metadata, &txn, c->arena, c->err) < 0)
                return -c->err->code;
        if (!containers_get(&txn, ns, id))
                return -c->err->code;
        return err_set(c->err, NOT_FOUND, "task %s not found", id);
}

/* ---- the beginning of a call ---- */

static ClaimedHandler handler_of(const RpcMethod *m);

static int enter(Call *c, const void *req, void *rsp)
{
        return claimed_run(c, handler_of(c->method), req, rsp);
}

int tasks_defer(Call *c, Task *t)
{
        return task_defer(t, claimed_again, c->state);
}

int tasks_find(Call *c, const char *id, Task **ret)
{
        const TasksService *s = c->ctx;
        Task *t CLEANUP(task_unrefp) = NULL;
        const char *ns;
        int r;

        r = call_namespace(c, &ns);
        if (r < 0)
                return r;
        t = runtime_find(s->runtime, ns, id);
        if (!t)
                return tasks_not_found(c, ns, id);
        if (tasks_defer(c, t))
                return RPC_PENDING;
        *ret = TAKE(t);
        return 0;
}

Google__Protobuf__Timestamp *tasks_time(Arena *a, int64_t sec, int32_t nsec)
{
        return time_to_pb(a, (Time){sec, nsec});
}

/* ---- one call to a shim ---- */

/* How a method's answer comes from the shim's. */
typedef struct Step {
        const char *method;
        int timeout_ms;                          /* 0: the configured one of State */
        const ProtobufCMessageDescriptor *reply; /* NULL: nothing to take over */
        void (*fill)(Call *c, const void *reply, void *rsp);
} Step;

/* In the call's arena. */
typedef struct Asked {
        Call *call;
        Task *task;
        const Step *step;
        const char *forget;
} Asked;

static void answered(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        Asked *a = ctx;
        Call *c = a->call;
        const Step *step = a->step;
        void *reply = NULL;

        if (r < 0)
                task_error(c->err, err);
        else if (step->reply)
                r = task_unpack(c->arena, step->method, step->reply, bytes, n, &reply, c->err);
        if (r == -UNAVAILABLE && str_eq(step->method, "State")) {
                /* the shim is gone, and with it the task */
                err_clear(c->err);
                r = err_set(c->err, NOT_FOUND, "task %s not found", task_id(a->task));
        }
        if (r == 0 && step->fill)
                step->fill(c, reply, call_response(c));
        if (r == 0 && a->forget)
                task_wait_forget(a->task, a->forget);
        task_unref(a->task);
        claimed_finish(c, r);
}

/* Takes over the reference. forget: the process that an answer of 0 has deleted. */
static int ask(Call *c, Task *t, const Step *step, const void *req, const char *forget)
{
        const TasksService *s = c->ctx;
        Asked *a = arena_new(c->arena, Asked);
        int ms = step->timeout_ms ? step->timeout_ms : runtime_timeouts(s->runtime)->state;

        *a = (Asked){c, t, step, forget};
        task_call(t, step->method, req, ms, answered, a);
        return RPC_PENDING;
}

static void fill_start(Call *c, const void *reply, void *rsp)
{
        ((Tasks__StartResponse *)rsp)->pid = ((const Task__StartResponse *)reply)->pid;
}

static int start(Call *c, const Tasks__StartRequest *req, void *rsp)
{
        static const Step step = {"Start", LIMIT_SHIM_CALL_MS, &task__start_response__descriptor,
                                  fill_start};
        Task__StartRequest to = TASK__START_REQUEST__INIT;
        Task *t = NULL;
        int r;

        r = tasks_find(c, req->container_id, &t);
        if (r != 0)
                return r;
        to.id = req->container_id;
        to.exec_id = req->exec_id;
        return ask(c, t, &step, &to, NULL);
}

static void fill_deleted(Call *c, const void *reply, void *rsp)
{
        const Task__DeleteResponse *from = reply;
        const Claimed *e = c->state;
        Tasks__DeleteResponse *to = rsp;

        to->id = ((const Tasks__DeleteProcessRequest *)e->req)->exec_id;
        to->pid = from->pid;
        to->exit_status = from->exit_status;
        to->exited_at = from->exited_at ? from->exited_at : tasks_time(c->arena, TIME_YEAR1.sec, 0);
}

static int delete_process(Call *c, const Tasks__DeleteProcessRequest *req, void *rsp)
{
        static const Step step = {"Delete", LIMIT_SHIM_CALL_MS, &task__delete_response__descriptor,
                                  fill_deleted};
        Task__DeleteRequest to = TASK__DELETE_REQUEST__INIT;
        Task *t = NULL;
        int r;

        if (str_empty(req->exec_id)) /* at the shim that would mean init */
                return err_set(c->err, INVALID_ARGUMENT, "exec id cannot be empty");
        r = tasks_find(c, req->container_id, &t);
        if (r != 0)
                return r;
        to.id = req->container_id;
        to.exec_id = req->exec_id;
        return ask(c, t, &step, &to, req->exec_id);
}

TaskTypes__Process *tasks_process(Arena *a, const Task__StateResponse *state)
{
        TaskTypes__Process *p = message_make(a, task_types__process);

        p->id = str_empty(state->exec_id) ? state->id : state->exec_id;
        p->pid = state->pid;
        p->status = state->status;
        p->stdin = state->stdin;
        p->stdout = state->stdout;
        p->stderr = state->stderr;
        p->terminal = state->terminal;
        p->exit_status = state->exit_status;
        p->exited_at = state->exited_at ? state->exited_at : tasks_time(a, TIME_YEAR1.sec, 0);
        return p;
}

static void fill_get(Call *c, const void *reply, void *rsp)
{
        ((Tasks__GetResponse *)rsp)->process = tasks_process(c->arena, reply);
}

static int get(Call *c, const Tasks__GetRequest *req, void *rsp)
{
        static const Step step = {"State", 0, &task__state_response__descriptor, fill_get};
        Task__StateRequest to = TASK__STATE_REQUEST__INIT;
        Task *t = NULL;
        int r;

        r = tasks_find(c, req->container_id, &t);
        if (r != 0)
                return r;
        to.id = req->container_id;
        to.exec_id = req->exec_id;
        return ask(c, t, &step, &to, NULL);
}

static int kill_process(Call *c, const Tasks__KillRequest *req, void *rsp)
{
        static const Step step = {"Kill", LIMIT_SHIM_CALL_MS};
        Task__KillRequest to = TASK__KILL_REQUEST__INIT;
        Task *t = NULL;
        int r;

        r = tasks_find(c, req->container_id, &t);
        if (r != 0)
                return r;
        to.id = req->container_id;
        to.exec_id = req->exec_id;
        to.signal = req->signal;
        to.all = req->all && str_empty(req->exec_id); /* an exec is one process */
        return ask(c, t, &step, &to, NULL);
}

static int exec(Call *c, const Tasks__ExecProcessRequest *req, void *rsp)
{
        static const Step step = {"Exec", LIMIT_SHIM_CALL_MS};
        Task__ExecProcessRequest to = TASK__EXEC_PROCESS_REQUEST__INIT;
        Task *t = NULL;
        int r;

        if (str_empty(req->exec_id))
                return err_set(c->err, INVALID_ARGUMENT, "exec id cannot be empty");
        r = identifier_check(NULL, req->exec_id, c->err);
        if (r < 0)
                return err_wrap(c->err, "invalid exec id");
        r = tasks_find(c, req->container_id, &t);
        if (r != 0)
                return r;
        to.id = req->container_id;
        to.exec_id = req->exec_id;
        to.terminal = req->terminal;
        to.stdin = req->stdin;
        to.stdout = req->stdout;
        to.stderr = req->stderr;
        to.spec = req->spec;
        return ask(c, t, &step, &to, NULL);
}

static int resize_pty(Call *c, const Tasks__ResizePtyRequest *req, void *rsp)
{
        static const Step step = {"ResizePty", LIMIT_SHIM_CALL_MS};
        Task__ResizePtyRequest to = TASK__RESIZE_PTY_REQUEST__INIT;
        Task *t = NULL;
        int r;

        r = tasks_find(c, req->container_id, &t);
        if (r != 0)
                return r;
        to.id = req->container_id;
        to.exec_id = req->exec_id;
        to.width = req->width;
        to.height = req->height;
        return ask(c, t, &step, &to, NULL);
}

static int close_io(Call *c, const Tasks__CloseIORequest *req, void *rsp)
{
        static const Step step = {"CloseIO", LIMIT_SHIM_CALL_MS};
        Task__CloseIORequest to = TASK__CLOSE_IOREQUEST__INIT;
        Task *t = NULL;
        int r;

        r = tasks_find(c, req->container_id, &t);
        if (r != 0)
                return r;
        if (!req->stdin) { /* there is nothing else to close */
                task_unref(t);
                return 0;
        }
        to.id = req->container_id;
        to.exec_id = req->exec_id;
        to.stdin = 1;
        return ask(c, t, &step, &to, NULL);
}

static int pause_task(Call *c, const Tasks__PauseTaskRequest *req, void *rsp)
{
        static const Step step = {"Pause", LIMIT_SHIM_CALL_MS};
        Task__PauseRequest to = TASK__PAUSE_REQUEST__INIT;
        Task *t = NULL;
        int r;

        r = tasks_find(c, req->container_id, &t);
        if (r != 0)
                return r;
        to.id = req->container_id;
        return ask(c, t, &step, &to, NULL);
}

static int resume_task(Call *c, const Tasks__ResumeTaskRequest *req, void *rsp)
{
        static const Step step = {"Resume", LIMIT_SHIM_CALL_MS};
        Task__ResumeRequest to = TASK__RESUME_REQUEST__INIT;
        Task *t = NULL;
        int r;

        r = tasks_find(c, req->container_id, &t);
        if (r != 0)
                return r;
        to.id = req->container_id;
        return ask(c, t, &step, &to, NULL);
}

static void fill_pids(Call *c, const void *reply, void *rsp)
{
        const Task__PidsResponse *from = reply;
        Tasks__ListPidsResponse *to = rsp;

        to->n_processes = from->n_processes;
        to->processes = from->processes;
}

static int list_pids(Call *c, const Tasks__ListPidsRequest *req, void *rsp)
{
        static const Step step = {"Pids", LIMIT_SHIM_CALL_MS, &task__pids_response__descriptor,
                                  fill_pids};
        Task__PidsRequest to = TASK__PIDS_REQUEST__INIT;
        Task *t = NULL;
        int r;

        r = tasks_find(c, req->container_id, &t);
        if (r != 0)
                return r;
        to.id = req->container_id;
        return ask(c, t, &step, &to, NULL);
}

static int update(Call *c, const Tasks__UpdateTaskRequest *req, void *rsp)
{
        static const Step step = {"Update", LIMIT_SHIM_CALL_MS};
        Task__UpdateTaskRequest to = TASK__UPDATE_TASK_REQUEST__INIT;
        Task *t = NULL;
        int r;

        r = tasks_find(c, req->container_id, &t);
        if (r != 0)
                return r;
        to.id = req->container_id;
        to.resources = req->resources;
        to.n_annotations = req->n_annotations;
        to.annotations = arena_array(c->arena, Task__UpdateTaskRequest__AnnotationsEntry *,
                                     req->n_annotations);
        for (size_t i = 0; i < req->n_annotations; i++) {
                to.annotations[i] =
                        message_make(c->arena, task__update_task_request__annotations_entry);
                to.annotations[i]->key = req->annotations[i]->key;
                to.annotations[i]->value = req->annotations[i]->value;
        }
        return ask(c, t, &step, &to, NULL);
}

/* ---- the table ---- */

#define ENTERED(name, req, rsp) RPC_WAIT_METHOD(name, enter, tasks__##req, rsp)

static const RpcMethod methods[] = {
        ENTERED("Create", create_task_request, tasks__create_task_response),
        ENTERED("Start", start_request, tasks__start_response),
        ENTERED("Delete", delete_task_request, tasks__delete_response),
        ENTERED("DeleteProcess", delete_process_request, tasks__delete_response),
        ENTERED("Get", get_request, tasks__get_response),
        ENTERED("List", list_tasks_request, tasks__list_tasks_response),
        ENTERED("Checkpoint", checkpoint_task_request, tasks__checkpoint_task_response),
        ENTERED("Kill", kill_request, google__protobuf__empty),
        ENTERED("Exec", exec_process_request, google__protobuf__empty),
        ENTERED("ResizePty", resize_pty_request, google__protobuf__empty),
        ENTERED("CloseIO", close_iorequest, google__protobuf__empty),
        ENTERED("Pause", pause_task_request, google__protobuf__empty),
        ENTERED("Resume", resume_task_request, google__protobuf__empty),
        ENTERED("ListPids", list_pids_request, tasks__list_pids_response),
        ENTERED("Update", update_task_request, google__protobuf__empty),
        ENTERED("Metrics", metrics_request, tasks__metrics_response),
        RPC_WAIT_METHOD("Wait", tasks_wait, tasks__wait_request, tasks__wait_response),
};
const RpcService tasks_service = RPC_SERVICE("containerd.services.tasks.v1.Tasks", methods);

#define HANDLER(fn) ((ClaimedHandler)(void (*)(void))(fn))

/* In the order of the methods. */
static const ClaimedHandler handlers[] = {
        HANDLER(tasks_create),     HANDLER(start),        HANDLER(tasks_delete),
        HANDLER(delete_process),   HANDLER(get),          HANDLER(tasks_list),
        HANDLER(tasks_checkpoint), HANDLER(kill_process), HANDLER(exec),
        HANDLER(resize_pty),       HANDLER(close_io),     HANDLER(pause_task),
        HANDLER(resume_task),      HANDLER(list_pids),    HANDLER(update),
        HANDLER(tasks_metrics),
};

static ClaimedHandler handler_of(const RpcMethod *m)
{
        size_t i = (size_t)(m - methods);

        assert(i < ARRAY_LEN(handlers));
        return handlers[i];
}
