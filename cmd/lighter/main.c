// SPDX-License-Identifier: Apache-2.0
/*
 * lighter, the command line. main() finds the command in the table, runs it and turns what comes
 * back into an exit code: 0, the process's own code for run, exec, start and attach, 1 for an
 * error, 3 for an unknown command (ctr's).
 */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "cmd/lighter/cli.h"
#include "cmd/lighter/commands.h"
#include "cmd/lighter/help.h"

static int report(const Err *err)
{
        Str s CLEANUP(str_done) = {};

        fflush(stdout);
        text_escape(&s, err->msg);
        fprintf(stderr, "lighter: %s\n", str_get(&s));
        return 1;
}

/* What somebody has named and is not there, the list beside the command may show. */
static void point_to_list(const Args *args, Err *err)
{
        const Command *group = args->depth > 2 ? args->path[args->depth - 2] : NULL;
        size_t n = strlen(err->msg);

        if (err->code == NOT_FOUND && group && args_command(args)->what &&
            command_find(group, "ls"))
                snprintf(err->msg + n, sizeof(err->msg) - n,
                         "; `lighter %s ls` lists what there is", group->name);
}

static int show_help(const Args *args)
{
        Str s CLEANUP(str_done) = {};

        help_text(args, &s);
        cli_raw(str_get(&s), s.len);
        return 0;
}

int main(int argc, char **argv)
{
        Args args CLEANUP(args_done) = {};
        Cli cli = {.args = &args, .out_tty = isatty(STDOUT_FILENO)};
        Err err = {};
        int r;

        setlocale(LC_TIME, "");
        arena_init(&cli.arena, SIZE_MAX);
        r = args_parse(&lighter_command, argc, argv, &args, &err);
        if (r < 0)
                return report(&err) + (args.unknown ? 2 : 0);
        log_init(args_bool(&args, "debug") ? LOG_DEBUG : LOG_WARN, LOG_FORMAT_TEXT);
        if (args_bool(&args, "version"))
                printf("lighter %s\n", LIGHTER_VERSION);
        else if (args.help)
                r = show_help(&args);
        else
                r = args_command(&args)->run(&cli, &args, &err);
        client_free(cli.client);
        arena_done(&cli.arena);
        if (r < 0) {
                point_to_list(&args, &err);
                return report(&err);
        }
        return cli_flush(&err) < 0 ? report(&err) : r;
}
