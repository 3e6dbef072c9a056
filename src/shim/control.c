/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Start, Kill, Pause, Resume, Update, Pids, Stats. Each is an op: a check when its turn has come, a
 * command in the child, and what it means for the container's state afterwards.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include "api/containerd/events/events.pb-c.h"
#include "api/containerd/runc/v1/options.pb-c.h"
#include "api/containerd/v1/types/task.pb-c.h"
#include "base/json.h"
#include "base/mem.h"
#include "cgroup/cgroup.h"
#include "rpc/message.h"
#include "shim/checkpoint.h"
#include "shim/control.h"
#include "shim/op.h"

/* ---- Start ---- */

static int start_begin(Op *op, Err *err)
{
        int r = state_check(0, op->process->state, ACT_START, err);

        if (r == 0)
                op->process->held = op->holds = 1;
        return r;
}

static int start_run(Op *op, OpReply *reply, Err *err)
{
        Arena a;

        arena_init(&a, SIZE_MAX);
        return oci_run(&op->container->oci, &a, "OCI runtime start failed",
                       (const char *const[]){"start", op->container->id, NULL}, NULL, NULL, err);
}

static int start_done(Op *op, int r, OpReply *reply, Err *err)
{
        Process *p = op->process;
        Task__StartResponse *rsp = op_response(op);
        Events__TaskStart ev = EVENTS__TASK_START__INIT;

        if (r == 0) {
                process_set_state(p, PROC_RUNNING);
                ev.container_id = op->container->id;
                ev.pid = (uint32_t)p->pid;
                event_publish(op->container->shim->publisher, "/tasks/start", &ev);
                if (rsp)
                        rsp->pid = (uint32_t)p->pid;
        }
        if (op->holds)
                exits_release(p);
        return r;
}

static const OpKind start_op = {
        .name = "start", .alone = 1, .begin = start_begin, .run = start_run, .done = start_done};

int init_start(Process *p, Call *call)
{
        return op_submit(p->container->checkpoint ? &restore_op : &start_op, p->container, p, call,
                         NULL);
}

/* ---- Kill ---- */

static int contains_nocase(const char *text, const char *what)
{
        return strcasestr(text, what) != NULL;
}

int kill_error(Err *err)
{
        if (strstr(err->msg, "os: process already finished") ||
            strstr(err->msg, "container not running") ||
            contains_nocase(err->msg, "no such process"))
                return err_set(err, NOT_FOUND, "process already finished: not found");
        if (strstr(err->msg, "does not exist"))
                return err_set(err, NOT_FOUND, "no such container: not found");
        return err_wrap(err, "unknown error after kill");
}

static int kill_run(Op *op, OpReply *reply, Err *err)
{
        const Task__KillRequest *req = op->req;
        const char *args[5] = {"kill"};
        Arena a;
        int n = 1, r;

        arena_init(&a, SIZE_MAX);
        if (req->all)
                args[n++] = "--all";
        args[n++] = op->container->id;
        args[n++] = arena_printf(&a, "%u", req->signal);
        r = oci_run(&op->container->oci, &a, "OCI runtime kill failed", args, NULL, NULL, err);
        return r < 0 ? kill_error(err) : 0;
}

static const OpKind kill_op = {.name = "kill", .now = 1, .run = kill_run};

static int exec_kill(const Process *p, unsigned signo, Err *err)
{
        int r = state_check(1, p->state, ACT_KILL, err);

        if (r < 0)
                return r;
        /* Not reaped, so the pid is still this process. */
        if (p->reaped || (kill(p->pid, (int)signo) < 0 && errno == ESRCH))
                return err_set(err, NOT_FOUND, "process already finished: not found");
        return errno == EINVAL && signo > 64
                       ? err_set(err, INVALID_ARGUMENT, "signal %u: invalid argument", signo)
                       : 0;
}

int task_kill(Call *call, const Task__KillRequest *req, Google__Protobuf__Empty *rsp)
{
        Process *p;
        int r = process_find(call->ctx, req->id, req->exec_id, &p, call->err);

        if (r < 0)
                return r;
        if (req->signal > 64)
                return err_set(call->err, INVALID_ARGUMENT, "signal %u: invalid argument",
                               req->signal);
        if (!process_is_init(p))
                return exec_kill(p, req->signal, call->err);
        r = state_check(0, p->state, ACT_KILL, call->err);
        if (r < 0)
                return r;
        if (p->state == PROC_STOPPED)
                return req->all ? 0
                                : err_set(call->err, NOT_FOUND,
                                          "process already finished: not found");
        return op_submit(&kill_op, p->container, NULL, call, req);
}

/* ---- Pause, Resume ---- */

static int pause_begin(Op *op, Err *err)
{
        Container *c = op->container;
        int r = state_check(0, c->init.state, ACT_PAUSE, err);

        if (r == 0) {
                c->init.held = op->holds = 1;
                container_set_pausing(c, 1);
        }
        return r;
}

static int pause_run(Op *op, OpReply *reply, Err *err)
{
        Arena a;

        arena_init(&a, SIZE_MAX);
        return oci_run(&op->container->oci, &a, "OCI runtime pause failed",
                       (const char *const[]){"pause", op->container->id, NULL}, NULL, NULL, err);
}

static int pause_done(Op *op, int r, OpReply *reply, Err *err)
{
        Container *c = op->container;
        Events__TaskPaused ev = EVENTS__TASK_PAUSED__INIT;

        if (!op->holds)
                return r;
        container_set_pausing(c, 0);
        if (r == 0) {
                process_set_state(&c->init, PROC_PAUSED);
                ev.container_id = c->id;
                event_publish(c->shim->publisher, "/tasks/paused", &ev);
        }
        exits_release(&c->init);
        return r;
}

static const OpKind pause_op = {
        .name = "pause", .alone = 1, .begin = pause_begin, .run = pause_run, .done = pause_done};

static int resume_begin(Op *op, Err *err)
{
        Container *c = op->container;
        int r = state_check(0, c->init.state, ACT_RESUME, err);

        if (r == 0)
                c->init.held = op->holds = 1;
        return r;
}

static int resume_run(Op *op, OpReply *reply, Err *err)
{
        Arena a;

        arena_init(&a, SIZE_MAX);
        return oci_run(&op->container->oci, &a, "OCI runtime resume failed",
                       (const char *const[]){"resume", op->container->id, NULL}, NULL, NULL, err);
}

static int resume_done(Op *op, int r, OpReply *reply, Err *err)
{
        Container *c = op->container;
        Events__TaskResumed ev = EVENTS__TASK_RESUMED__INIT;

        if (!op->holds)
                return r;
        if (r == 0) {
                process_set_state(&c->init, PROC_RUNNING);
                ev.container_id = c->id;
                event_publish(c->shim->publisher, "/tasks/resumed", &ev);
        }
        exits_release(&c->init);
        return r;
}

static const OpKind resume_op = {.name = "resume",
                                 .alone = 1,
                                 .begin = resume_begin,
                                 .run = resume_run,
                                 .done = resume_done};

/* Finds the container, checks, and queues. */
static int submit(Call *call, const char *id, const OpKind *kind, const void *req)
{
        Container *c;
        int r = container_find(call->ctx, id, &c, call->err);

        return r < 0 ? r : op_submit(kind, c, NULL, call, req);
}

int task_pause(Call *call, const Task__PauseRequest *req, Google__Protobuf__Empty *rsp)
{
        return submit(call, req->id, &pause_op, req);
}

int task_resume(Call *call, const Task__ResumeRequest *req, Google__Protobuf__Empty *rsp)
{
        return submit(call, req->id, &resume_op, req);
}

/* ---- Update ---- */

static int update_begin(Op *op, Err *err)
{
        return state_check(0, op->container->init.state, ACT_UPDATE, err);
}

static int update_run(Op *op, OpReply *reply, Err *err)
{
        const Task__UpdateTaskRequest *req = op->req;
        const char *json;
        Arena a;

        arena_init(&a, SIZE_MAX);
        json = arena_strndup(&a, (const char *)req->resources->value.data,
                             req->resources->value.len);
        return oci_run(&op->container->oci, &a, "OCI runtime update failed",
                       (const char *const[]){"update", "--resources=-", op->container->id, NULL},
                       json, NULL, err);
}

static const OpKind update_op = {
        .name = "update", .alone = 1, .begin = update_begin, .run = update_run};

int task_update(Call *call, const Task__UpdateTaskRequest *req, Google__Protobuf__Empty *rsp)
{
        if (!req->resources || req->resources->value.len == 0)
                return err_set(call->err, INVALID_ARGUMENT,
                               "no resources to update: invalid argument");
        return submit(call, req->id, &update_op, req);
}

/* ---- Pids ---- */

static Google__Protobuf__Any *exec_details(Arena *a, const Process *p)
{
        Google__Protobuf__Any *any = message_make(a, google__protobuf__any);
        Runc__ProcessDetails details = RUNC__PROCESS_DETAILS__INIT;

        details.exec_id = p->exec_id;
        any->type_url = (char *)(uintptr_t)runc__process_details__descriptor.name;
        any->value.data = message_pack(a, &details, &any->value.len);
        return any;
}

static int pids_answer(Arena *a, const Container *c, const json_t *pids, Task__PidsResponse *rsp,
                       Err *err)
{
        const json_t *item;
        size_t i;

        if (!json_is_array(pids))
                return err_set(err, UNKNOWN, "the runtime's list of processes is no array");
        rsp->processes = arena_array(a, TaskTypes__ProcessInfo *, json_array_size(pids));
        json_array_foreach(pids, i, item)
        {
                TaskTypes__ProcessInfo *info = message_make(a, task_types__process_info);

                info->pid = (uint32_t)json_integer_value(item);
                LIST_FOREACH (p, &c->execs, Process, link)
                        if (p->pid == (pid_t)info->pid && !p->reaped)
                                info->info = exec_details(a, p);
                rsp->processes[rsp->n_processes++] = info;
        }
        return 0;
}

static int pids_run(Op *op, OpReply *reply, Err *err)
{
        Task__PidsResponse rsp = TASK__PIDS_RESPONSE__INIT;
        json_t *pids CLEANUP(json_decrefp) = NULL;
        char *text;
        Arena a;
        int r;

        arena_init(&a, SIZE_MAX);
        r = oci_run(&op->container->oci, &a, "OCI runtime ps failed",
                    (const char *const[]){"ps", "--format", "json", op->container->id, NULL}, NULL,
                    &text, err);
        if (r == 0)
                r = json_read(text, strlen(text), OP_DATA_MAX * 2, "list of processes", &pids, err);
        if (r == 0)
                r = pids_answer(&a, op->container, pids, &rsp, err);
        if (r == 0)
                reply->data = message_pack(&a, &rsp, &reply->n_data);
        return r;
}

/* The child has encoded the whole response. */
static int encoded_done(Op *op, int r, OpReply *reply, Err *err)
{
        if (r == 0 && op_response(op))
                call_reply_encoded(op->call, reply->data, reply->n_data);
        return r;
}

static const OpKind pids_op = {.name = "pids", .run = pids_run, .done = encoded_done};

/* Of a container that is being created it waits for the outcome: a daemon that has come back asks
 * whether there is a task to keep. */
int task_pids(Call *call, const Task__PidsRequest *req, Task__PidsResponse *rsp)
{
        Container *c = container_lookup(call->ctx, req->id);

        if (!c)
                return container_find(call->ctx, req->id, &c, call->err);
        if (c->init.state == PROC_STOPPED)
                return 0;
        return op_submit(&pids_op, c, NULL, call, NULL);
}

/* ---- Stats ---- */

static int stats_run(Op *op, OpReply *reply, Err *err)
{
        Task__StatsResponse rsp = TASK__STATS_RESPONSE__INIT;
        Google__Protobuf__Any stats = GOOGLE__PROTOBUF__ANY__INIT;
        CgroupSet set;
        Arena a;
        int r;

        arena_init(&a, SIZE_MAX);
        r = cgroup_find(&a, op->container->cgroup, &set, err);
        if (r == 0)
                r = cgroup_stats(&a, &set, &stats, err);
        if (r < 0)
                return r;
        rsp.stats = &stats;
        reply->data = message_pack(&a, &rsp, &reply->n_data);
        return 0;
}

static const OpKind stats_op = {.name = "stats", .now = 1, .run = stats_run, .done = encoded_done};

int task_stats(Call *call, const Task__StatsRequest *req, Task__StatsResponse *rsp)
{
        Container *c;
        int r = container_find(call->ctx, req->id, &c, call->err);

        if (r < 0)
                return r;
        if (!c->cgroup)
                return err_set(call->err, NOT_FOUND, "cgroup does not exist: not found");
        return op_submit(&stats_op, c, NULL, call, NULL);
}
