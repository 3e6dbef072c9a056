/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of lighterd: containerd's flags and commands. */
#pragma once

#include "base/err.h"

typedef enum Command {
        COMMAND_RUN,
        COMMAND_CONFIG_DEFAULT,
        COMMAND_CONFIG_DUMP,
        COMMAND_PUBLISH,
        COMMAND_OCI_HOOK,
        COMMAND_BACKUP,
        COMMAND_CHECK,
        COMMAND_REPAIR,
        COMMAND_HELP,
        COMMAND_VERSION,
} Command;

typedef struct Flags {
        Command command;
        const char *config; /* NULL: the default path, which may be absent */
        const char *log_level, *address, *root, *state; /* NULL: as configured */
        char **args; /* what follows the command, NULL-terminated */
} Flags;

/* INVALID_ARGUMENT for what is no flag, NOT_FOUND for what is no command. Strings borrow from argv.
 */
int flags_parse(int argc, char **argv, Flags *ret, Err *err);
void flags_help(void);
