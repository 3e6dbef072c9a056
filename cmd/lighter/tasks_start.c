// SPDX-License-Identifier: Apache-2.0
/* tasks start: a task for a container that exists. */
#include "cmd/lighter/commands.h"
#include "cmd/lighter/process.h"

static int spec_terminal(const Containers__Container *c, int *ret, Err *err)
{
        json_t *spec CLEANUP(json_decrefp) = NULL;
        int r = container_spec(c, &spec, err);

        if (r == 0)
                *ret = json_is_true(json_object_get(json_object_get(spec, "process"), "terminal"));
        return r;
}

int cmd_tasks_start(Cli *cli, const Args *args, Err *err)
{
        Session s CLEANUP(session_done) = SESSION_INIT;
        NewContainer c = {};
        int code = 0, r;

        r = cli_need_args(args, 1, "container id", err);
        if (r == 0)
                r = cli_connect(cli, err);
        if (r == 0)
                r = container_get(cli, args_arg(args, 0), &c.record, err);
        if (r == 0)
                r = spec_terminal(c.record, &c.terminal, err);
        if (r == 0)
                r = container_mounts(cli, c.record, &c.mounts, &c.n_mounts, err);
        if (r < 0)
                return r;
        s.cli = cli;
        s.id = c.record->id;
        s.terminal = c.terminal;
        r = session_io(&s, args, err);
        if (r == 0)
                r = task_create(&s, args, &c, err);
        if (r == 0)
                r = session_start(&s, err);
        if (r == 0 && !s.detach)
                r = session_run(&s, &code, err);
        return r < 0 ? r : code;
}

int cmd_tasks_attach(Cli *cli, const Args *args, Err *err)
{
        Session s CLEANUP(session_done) = SESSION_INIT;
        TaskTypes__Process *p;
        int code = 0, r;

        r = cli_need_args(args, 1, "container id", err);
        if (r == 0)
                r = cli_connect(cli, err);
        if (r == 0)
                r = task_get(cli, args_arg(args, 0), NULL, &p, err);
        if (r < 0)
                return r;
        s.cli = cli;
        s.id = args_arg(args, 0);
        r = session_attach(&s, p, err);
        if (r == 0)
                r = session_run(&s, &code, err);
        return r < 0 ? r : code;
}
