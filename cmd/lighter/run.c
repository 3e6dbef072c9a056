// SPDX-License-Identifier: Apache-2.0
/*
 * run: a container, its task, and its standard input and output until it ends. A lease holds what
 * is being made; it ends as soon as the container's record holds it instead.
 */
#include "cmd/lighter/commands.h"
#include "cmd/lighter/lease.h"
#include "cmd/lighter/process.h"

/* ret_gone: the task has been deleted. */
static int run_task(Cli *cli, const Args *args, const NewContainer *c, int *ret_code, int *ret_gone,
                    Err *err)
{
        Session s CLEANUP(session_done) = SESSION_INIT;
        int r;

        s.cli = cli;
        s.id = c->record->id;
        s.terminal = c->terminal;
        r = session_io(&s, args, err);
        if (r == 0)
                r = task_create(&s, args, c, err);
        if (r == 0)
                r = session_start(&s, err);
        if (r < 0 || s.detach)
                return r;
        r = session_run(&s, ret_code, err);
        *ret_gone = r == 0 && !s.killed_by;
        return r;
}

/* A signal that ended us, such as that of a closed terminal, has left it running. */
static int end_task(Cli *cli, const char *id, Err *err)
{
        TaskTypes__Process *p;
        uint32_t code;
        int r;

        r = task_get(cli, id, NULL, &p, err);
        if (r == 0)
                r = task_kill_and_wait(cli, id, NULL, err);
        return r < 0 ? r : task_delete(cli, p, NULL, &code, err);
}

/* --rm: whatever became of it. */
static void remove_container(Cli *cli, const NewContainer *c, int task_gone)
{
        const char *id = c->record->id;
        Err err = {};
        int r = 0;

        client_no_timeout(cli->client);
        if (!task_gone)
                r = end_task(cli, id, &err);
        if (r == 0 || r == -NOT_FOUND)
                r = container_delete(cli, c->record, 0, &err);
        if (r < 0 && r != -NOT_FOUND)
                cli_warn("cannot remove container %s: %s", id, err.msg);
}

int cmd_run(Cli *cli, const Args *args, Err *err)
{
        Lease lease CLEANUP(lease_release) = {};
        NewContainer c;
        int code = 0, gone = 0, r;

        if (args_bool(args, "detach") && args_bool(args, "rm"))
                return err_set(err, INVALID_ARGUMENT,
                               "flags --detach and --rm cannot be specified together");
        if (args->n == 0 && !args_given(args, "config"))
                return err_set(err, INVALID_ARGUMENT, "image ref must be provided");
        r = cli_connect(cli, err);
        if (r == 0)
                r = lease_hold(cli, &lease, err);
        if (r == 0)
                r = container_create(cli, args, &c, err);
        if (r < 0)
                return r;
        lease_release(&lease);
        r = run_task(cli, args, &c, &code, &gone, err);
        if (args_bool(args, "rm")) {
                remove_container(cli, &c, gone);
        } else if (r < 0 && !args_bool(args, "detach")) {
                cli_warn("container %s is left; `lighter containers rm %s` removes it",
                         c.record->id, c.record->id);
        }
        return r < 0 ? r : code;
}
