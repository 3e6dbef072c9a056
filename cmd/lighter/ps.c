// SPDX-License-Identifier: Apache-2.0
/* ps: containers and tasks in one view. One List of each, joined by id. */
#include "api/containerd/services/tasks/v1/tasks.pb-c.h"
#include "base/map.h"
#include "cmd/lighter/commands.h"
#include "cmd/lighter/process.h"
#include "spec/runtime_spec.h"

static const char *ago(Cli *cli, Time t)
{
        char buf[HUMAN_MAX];
        Time now = time_now();

        human_duration((now.sec - t.sec) * (int64_t)NS_PER_SEC + now.nsec - t.nsec, buf);
        return arena_printf(&cli->arena, "%s ago", buf);
}

static const char *status_text(Cli *cli, const TaskTypes__Process *p)
{
        if (!p)
                return "no task";
        switch (p->status) {
        case TASK_TYPES__STATUS__CREATED:
                return "created";
        case TASK_TYPES__STATUS__RUNNING:
                return "running";
        case TASK_TYPES__STATUS__STOPPED:
                if (!p->exited_at || p->exited_at->seconds <= 0)
                        return arena_printf(&cli->arena, "exited (%u)", p->exit_status);
                return arena_printf(&cli->arena, "exited (%u) %s", p->exit_status,
                                    ago(cli, time_of(p->exited_at)));
        case TASK_TYPES__STATUS__PAUSED:
        case TASK_TYPES__STATUS__PAUSING:
                return "paused";
        default:
                return "unknown";
        }
}

/* The command line, cut so that a row stays a row. */
static const char *command_text(Cli *cli, const Containers__Container *c)
{
        Str s CLEANUP(str_done) = {};
        RuntimeSpec spec;
        Err err = {};

        if (!c->spec || runtime_spec_parse(&cli->arena, (const char *)c->spec->value.data,
                                           c->spec->value.len, &spec, &err) < 0)
                return "-";
        for (size_t i = 0; i < spec.n_args; i++)
                str_addf(&s, "%s%s", i ? " " : "", spec.args[i]);
        if (s.len > 32) {
                size_t n = 29;

                while (n > 0 && (s.data[n] & 0xc0) == 0x80)
                        n--;
                str_truncate(&s, n);
                str_add(&s, "...");
        }
        for (char *at = s.data; at && *at; at++)
                if (*at == '\n' || *at == '\t')
                        *at = ' ';
        return s.len ? arena_strdup(&cli->arena, str_get(&s)) : "-";
}

static int runs(const TaskTypes__Process *p)
{
        return p && p->status != TASK_TYPES__STATUS__STOPPED;
}

int cmd_ps(Cli *cli, const Args *args, Err *err)
{
        Containers__ListContainersRequest creq = CONTAINERS__LIST_CONTAINERS_REQUEST__INIT;
        Tasks__ListTasksRequest treq = TASKS__LIST_TASKS_REQUEST__INIT;
        Table t CLEANUP(table_done) = TABLE(4, 8, 3, ' ');
        Map tasks CLEANUP(map_done) = {};
        Containers__ListContainersResponse *crsp;
        Tasks__ListTasksResponse *trsp;
        int r;

        r = cli_connect(cli, err);
        if (r == 0)
                r = client_call(cli->client, &cli->arena, SVC_CONTAINERS "List", &creq,
                                containers__list_containers_response, &crsp, err);
        if (r == 0)
                r = client_call(cli->client, &cli->arena, SVC_TASKS "List", &treq,
                                tasks__list_tasks_response, &trsp, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < trsp->n_tasks; i++)
                map_put(&tasks,
                        *trsp->tasks[i]->id ? trsp->tasks[i]->id : trsp->tasks[i]->container_id,
                        trsp->tasks[i]);
        t.escape = cli->out_tty;
        TABLE_ROW(&t, "CONTAINER", "IMAGE", "COMMAND", "CREATED", "STATUS", "PID");
        for (size_t i = 0; i < crsp->n_containers; i++) {
                const Containers__Container *c = crsp->containers[i];
                const TaskTypes__Process *p = map_find(&tasks, c->id);

                if (!runs(p) && !args_bool(args, "all"))
                        continue;
                if (args_bool(args, "quiet"))
                        cli_print(cli, c->id);
                else
                        TABLE_ROW(&t, c->id, *c->image ? c->image : "-", command_text(cli, c),
                                  ago(cli, time_of(c->created_at)), status_text(cli, p),
                                  runs(p) ? arena_printf(&cli->arena, "%u", p->pid) : "-");
        }
        if (!args_bool(args, "quiet"))
                cli_table(cli, &t);
        return 0;
}
