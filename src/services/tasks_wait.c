/* SPDX-License-Identifier: Apache-2.0 */
#include "services/exit_wait_priv.h"
#include "services/tasks_priv.h"

static int missing(const char *id, Err *err)
{
        return err_set(err, NOT_FOUND, "task %s not found", id);
}

static int exited(Call *c, const char *ns, const char *id, const TaskExit *exit)
{
        Tasks__WaitResponse *rsp = call_response(c);

        rsp->exit_status = exit->status;
        rsp->exited_at = tasks_time(c->arena, exit->sec, exit->nsec);
        return 0;
}

static void failed(Call *c, const char *id, const Err *err)
{
        task_error(c->err, err);
}

static const ExitWaitKind of_task = {
        .find = runtime_find, .missing = missing, .exited = exited, .failed = failed};

int tasks_wait(Call *c, const Tasks__WaitRequest *req, void *rsp)
{
        const TasksService *s = c->ctx;
        Task *t CLEANUP(task_unrefp) = NULL;
        const char *ns;
        int r;

        r = call_namespace(c, &ns);
        if (r < 0)
                return r;
        t = runtime_find(s->runtime, ns, req->container_id);
        if (!t)
                return tasks_not_found(c, ns, req->container_id);
        return exit_wait(c, s->runtime, &of_task, ns, req->container_id, req->exec_id);
}
