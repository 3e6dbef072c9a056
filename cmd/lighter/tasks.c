// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include "api/containerd/services/tasks/v1/tasks.pb-c.h"
#include "client/any.h"
#include "cmd/lighter/commands.h"
#include "cmd/lighter/process.h"

int cmd_tasks_list(Cli *cli, const Args *args, Err *err)
{
        Tasks__ListTasksRequest req = TASKS__LIST_TASKS_REQUEST__INIT;
        Tasks__ListTasksResponse *rsp;
        Table t CLEANUP(table_done) = TABLE(4, 8, 4, ' ');
        int r;

        r = cli_connect(cli, err);
        if (r < 0)
                return r;
        r = client_call(cli->client, &cli->arena, SVC_TASKS "List", &req,
                        tasks__list_tasks_response, &rsp, err);
        if (r < 0)
                return r;
        t.escape = cli->out_tty;
        TABLE_ROW(&t, "TASK", "PID", "STATUS", "");
        for (size_t i = 0; i < rsp->n_tasks; i++) {
                const TaskTypes__Process *p = rsp->tasks[i];
                /* containerd fills id and leaves container_id empty here */
                const char *id = *p->id ? p->id : p->container_id;

                if (args_bool(args, "quiet")) {
                        cli_print(cli, id);
                        continue;
                }
                table_row(&t);
                table_cell(&t, id);
                table_cellf(&t, "%u", p->pid);
                table_cell(&t, task_status_text((int)p->status));
        }
        if (!args_bool(args, "quiet"))
                cli_table(cli, &t);
        return 0;
}

static const char *process_info(Cli *cli, const Google__Protobuf__Any *info)
{
        json_t *j;
        const char *exec_id;
        char *text;
        const char *ret = "-";

        if (!info)
                return ret;
        j = any_json(info->type_url, info->value);
        exec_id = json_string_value(json_object_get(j, "exec_id"));
        if (exec_id) {
                ret = arena_printf(&cli->arena, "exec_id:\"%s\"", exec_id);
        } else if (json_object_size(j) > 0) {
                text = json_text(j);
                ret = arena_strdup(&cli->arena, text);
                free(text);
        }
        json_decref(j);
        return ret;
}

int cmd_tasks_ps(Cli *cli, const Args *args, Err *err)
{
        Tasks__ListPidsRequest req = TASKS__LIST_PIDS_REQUEST__INIT;
        Tasks__ListPidsResponse *rsp;
        Table t CLEANUP(table_done) = TABLE(1, 8, 4, ' ');
        int r;

        r = cli_need_args(args, 1, "container id", err);
        if (r == 0)
                r = cli_connect(cli, err);
        if (r < 0)
                return r;
        req.container_id = args_arg(args, 0);
        r = client_call(cli->client, &cli->arena, SVC_TASKS "ListPids", &req,
                        tasks__list_pids_response, &rsp, err);
        if (r < 0)
                return r;
        t.escape = cli->out_tty;
        TABLE_ROW(&t, "PID", "INFO");
        for (size_t i = 0; i < rsp->n_processes; i++) {
                table_row(&t);
                table_cellf(&t, "%u", rsp->processes[i]->pid);
                table_cell(&t, process_info(cli, rsp->processes[i]->info));
        }
        cli_table(cli, &t);
        return 0;
}

/* The signal an image asks for is a label of the container. */
static int stop_signal(Cli *cli, const char *id, int *ret, Err *err)
{
        Containers__Container *c;
        int r;

        *ret = SIGTERM;
        r = container_get(cli, id, &c, err);
        for (size_t i = 0; r == 0 && i < c->n_labels; i++) {
                if (!str_eq(c->labels[i]->key, "io.containerd.image.config.stop-signal"))
                        continue;
                *ret = signal_parse(c->labels[i]->value);
                if (*ret == 0)
                        r = err_set(
                                err, INVALID_ARGUMENT,
                                "the container's stop signal \"%s\" is not known; choose one with --signal",
                                c->labels[i]->value);
        }
        return r;
}

int cmd_tasks_kill(Cli *cli, const Args *args, Err *err)
{
        const char *id = args_arg(args, 0);
        int signo, r;

        r = cli_need_args(args, 1, "container id", err);
        if (r < 0)
                return r;
        if (args_bool(args, "all") && args_given(args, "exec-id"))
                return err_set(err, INVALID_ARGUMENT, "specify an exec-id or all; not both");
        /* Debian's ctr 1.6 takes no signal as an argument, but people type `kill ID 9` */
        if (args->n > 1 && args_given(args, "signal"))
                return err_set(err, INVALID_ARGUMENT, "the signal is given twice");
        r = cli_connect(cli, err);
        if (r < 0)
                return r;
        if (args_given(args, "signal") || args->n > 1) {
                const char *text = args->n > 1 ? args->v[1] : args_str(args, "signal");

                signo = signal_parse(text);
                if (signo == 0)
                        return err_set(err, INVALID_ARGUMENT,
                                       "unknown signal \"%s\"; names are like SIGTERM or TERM",
                                       text);
        } else {
                r = stop_signal(cli, id, &signo, err);
                if (r < 0)
                        return r;
        }
        return task_kill(cli, id, args_str(args, "exec-id"), signo, args_bool(args, "all"), err);
}

int cmd_tasks_pause(Cli *cli, const Args *args, Err *err)
{
        Tasks__PauseTaskRequest req = TASKS__PAUSE_TASK_REQUEST__INIT;
        int r = cli_need_args(args, 1, "container id", err);

        req.container_id = args_arg(args, 0);
        if (r == 0)
                r = cli_connect(cli, err);
        return r < 0 ? r : client_call_empty(cli->client, SVC_TASKS "Pause", &req, err);
}

int cmd_tasks_resume(Cli *cli, const Args *args, Err *err)
{
        Tasks__ResumeTaskRequest req = TASKS__RESUME_TASK_REQUEST__INIT;
        int r = cli_need_args(args, 1, "container id", err);

        req.container_id = args_arg(args, 0);
        if (r == 0)
                r = cli_connect(cli, err);
        return r < 0 ? r : client_call_empty(cli->client, SVC_TASKS "Resume", &req, err);
}

static const char *lower(Arena *a, const char *s)
{
        char *out = arena_strdup(a, s);

        for (char *c = out; *c; c++)
                *c = (char)tolower((unsigned char)*c);
        return out;
}

static int delete_task(Cli *cli, const Args *args, const char *id, Err *err)
{
        const char *exec_id = args_given(args, "exec-id") ? args_str(args, "exec-id") : NULL;
        TaskTypes__Process *p;
        uint32_t code;
        int running, r;

        r = task_get(cli, id, exec_id, &p, err);
        if (r < 0)
                return r;
        running = p->status != TASK_TYPES__STATUS__STOPPED &&
                  p->status != TASK_TYPES__STATUS__CREATED;
        if (running && !args_bool(args, "force"))
                return err_set(
                        err, FAILED_PRECONDITION,
                        "task must be stopped before deletion: %s: failed precondition; `lighter tasks kill %s` "
                        "stops it, --force kills it first",
                        lower(&cli->arena, task_status_text((int)p->status)), id);
        if (running) {
                r = task_kill_and_wait(cli, id, exec_id, err);
                if (r < 0)
                        return r;
        }
        r = task_delete(cli, p, exec_id, &code, err);
        if (r == 0 && code != 0)
                cli_warn("task %s exit with non-zero exit code %u", id, code);
        return r;
}

int cmd_tasks_delete(Cli *cli, const Args *args, Err *err)
{
        int failed = 0, r;

        r = cli_need_args(args, 1, "container id", err);
        if (r == 0)
                r = cli_connect(cli, err);
        if (r < 0)
                return r;
        for (int i = 0; i < args->n; i++) {
                Err one = {};

                if (delete_task(cli, args, args->v[i], &one) == 0)
                        continue;
                if (failed < 0)
                        cli_warn("%s", err->msg);
                failed = err_copy(err, &one);
                err_wrap(err, "unable to delete %s", args->v[i]);
        }
        return failed;
}
