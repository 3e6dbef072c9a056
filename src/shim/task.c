/* SPDX-License-Identifier: Apache-2.0 */
/* The task service: what is answered at once, and the table of all methods. Both versions are the
 * same on the wire. */
#include <unistd.h>
#include "api/containerd/task/v3/task.pb-c.h"
#include "api/containerd/v1/types/task.pb-c.h"
#include "rpc/message.h"
#include "shim/checkpoint.h"
#include "shim/control.h"
#include "shim/create.h"
#include "shim/exec.h"
#include "shim/op.h"

static int task_status(const Process *p)
{
        static const int by_state[] = {
                [PROC_CREATED] = TASK_TYPES__STATUS__CREATED,
                [PROC_RUNNING] = TASK_TYPES__STATUS__RUNNING,
                [PROC_PAUSED] = TASK_TYPES__STATUS__PAUSED,
                [PROC_STOPPED] = TASK_TYPES__STATUS__STOPPED,
                [PROC_DELETED] = TASK_TYPES__STATUS__STOPPED,
        };
        const Container *c = p->container;

        if (p->state == PROC_RUNNING && c->pausing)
                return TASK_TYPES__STATUS__PAUSING;
        if (p->state == PROC_RUNNING && c->init.state == PROC_PAUSED)
                return TASK_TYPES__STATUS__PAUSED;
        return by_state[p->state];
}

void process_describe(const Process *p, Google__Protobuf__Timestamp *exited_at,
                      Task__StateResponse *ret)
{
        int stopped = p->state == PROC_STOPPED;

        ret->id = p->container->id;
        ret->bundle = p->container->bundle;
        ret->pid = (uint32_t)p->pid;
        ret->status = (TaskTypes__Status)task_status(p);
        ret->stdin = p->stdio.in;
        ret->stdout = p->stdio.out;
        ret->stderr = p->stdio.err;
        ret->terminal = p->stdio.terminal;
        ret->exit_status = stopped ? (uint32_t)p->exit_status : 0;
        ret->exited_at = exited_at;
        ret->exited_at->seconds = stopped ? p->exited_at.sec : TIME_YEAR1.sec;
        ret->exited_at->nanos = stopped ? p->exited_at.nsec : 0;
        ret->exec_id = p->exec_id;
}

static int task_state(Call *call, const Task__StateRequest *req, Task__StateResponse *rsp)
{
        Process *p;
        int r = process_find(call->ctx, req->id, req->exec_id, &p, call->err);

        if (r < 0)
                return r;
        process_describe(p, message_make(call->arena, google__protobuf__timestamp), rsp);
        return 0;
}

static int task_start(Call *call, const Task__StartRequest *req, Task__StartResponse *rsp)
{
        Process *p;
        int r = process_find(call->ctx, req->id, req->exec_id, &p, call->err);

        if (r < 0)
                return r;
        return process_is_init(p) ? init_start(p, call) : exec_start(p, call);
}

static int task_delete(Call *call, const Task__DeleteRequest *req, Task__DeleteResponse *rsp)
{
        Process *p;
        int r = process_find(call->ctx, req->id, req->exec_id, &p, call->err);

        return r < 0 ? r : process_delete(p, call);
}

static int task_wait(Call *call, const Task__WaitRequest *req, Task__WaitResponse *rsp)
{
        Process *p;
        int r = process_find(call->ctx, req->id, req->exec_id, &p, call->err);

        return r < 0 ? r : process_wait(p, call, rsp);
}

static int task_close_io(Call *call, const Task__CloseIORequest *req, Google__Protobuf__Empty *rsp)
{
        Process *p;
        int r = process_find(call->ctx, req->id, req->exec_id, &p, call->err);

        if (r == 0 && req->stdin)
                proc_io_close_stdin(&p->io);
        return r;
}

static int task_resize_pty(Call *call, const Task__ResizePtyRequest *req,
                           Google__Protobuf__Empty *rsp)
{
        Process *p;
        int r = process_find(call->ctx, req->id, req->exec_id, &p, call->err);

        if (r == 0)
                r = state_check(!process_is_init(p), p->state, ACT_RESIZE, call->err);
        return r < 0 ? r : proc_io_resize(&p->io, req->width, req->height, call->err);
}

static int task_connect(Call *call, const Task__ConnectRequest *req, Task__ConnectResponse *rsp)
{
        Container *c;
        Err none;

        rsp->shim_pid = (uint32_t)getpid();
        if (container_find(call->ctx, req->id, &c, &none) == 0)
                rsp->task_pid = (uint32_t)c->init.pid;
        rsp->version = LIGHTER_VERSION;
        return 0;
}

static int task_shutdown(Call *call, const Task__ShutdownRequest *req, Google__Protobuf__Empty *rsp)
{
        Shim *s = call->ctx;

        if (list_empty(&s->containers))
                shim_quit(s);
        return 0;
}

static const RpcMethod methods[] = {
        RPC_UNARY_METHOD("State", task_state, task__state_request, task__state_response),
        RPC_WAIT_METHOD("Create", task_create, task__create_task_request,
                        task__create_task_response),
        RPC_WAIT_METHOD("Start", task_start, task__start_request, task__start_response),
        RPC_WAIT_METHOD("Delete", task_delete, task__delete_request, task__delete_response),
        RPC_WAIT_METHOD("Pids", task_pids, task__pids_request, task__pids_response),
        RPC_WAIT_METHOD("Pause", task_pause, task__pause_request, google__protobuf__empty),
        RPC_WAIT_METHOD("Resume", task_resume, task__resume_request, google__protobuf__empty),
        RPC_WAIT_METHOD("Checkpoint", task_checkpoint, task__checkpoint_task_request,
                        google__protobuf__empty),
        RPC_WAIT_METHOD("Kill", task_kill, task__kill_request, google__protobuf__empty),
        RPC_UNARY_METHOD("Exec", task_exec, task__exec_process_request, google__protobuf__empty),
        RPC_UNARY_METHOD("ResizePty", task_resize_pty, task__resize_pty_request,
                         google__protobuf__empty),
        RPC_UNARY_METHOD("CloseIO", task_close_io, task__close_iorequest, google__protobuf__empty),
        RPC_WAIT_METHOD("Update", task_update, task__update_task_request, google__protobuf__empty),
        RPC_WAIT_METHOD("Wait", task_wait, task__wait_request, task__wait_response),
        RPC_WAIT_METHOD("Stats", task_stats, task__stats_request, task__stats_response),
        RPC_UNARY_METHOD("Connect", task_connect, task__connect_request, task__connect_response),
        RPC_UNARY_METHOD("Shutdown", task_shutdown, task__shutdown_request,
                         google__protobuf__empty),
};

const RpcService task_service_v2 = RPC_SERVICE("containerd.task.v2.Task", methods);
const RpcService task_service_v3 = RPC_SERVICE("containerd.task.v3.Task", methods);
