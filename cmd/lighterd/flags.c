/* SPDX-License-Identifier: Apache-2.0 */
/* As in containerd, flags come before the command, with one dash or two, and take their value after
 * "=" or a blank. */
#include "flags.h"

#include <stdio.h>
#include "config/config.h"

typedef struct Flag {
        const char *name;
        char letter;
        const char *value; /* how help shows the value; NULL for a switch */
        const char *help;
} Flag;

enum { FLAG_CONFIG, FLAG_LOG_LEVEL, FLAG_ADDRESS, FLAG_ROOT, FLAG_STATE, FLAG_VERSION, FLAG_HELP };

static const Flag flag_table[] = {
        [FLAG_CONFIG] = {"config", 'c', "FILE", "configuration file (" CONFIG_DEFAULT_PATH ")"},
        [FLAG_LOG_LEVEL] = {"log-level", 'l', "LEVEL",
                            "trace, debug, info, warn, error, fatal or panic"},
        [FLAG_ADDRESS] = {"address", 'a', "SOCKET", "socket for gRPC (" CONFIG_DEFAULT_ADDRESS ")"},
        [FLAG_ROOT] = {"root", 0, "DIR", "what is kept (" CONFIG_DEFAULT_ROOT ")"},
        [FLAG_STATE] = {"state", 0, "DIR", "what goes with a reboot (" CONFIG_DEFAULT_STATE ")"},
        [FLAG_VERSION] = {"version", 'v', NULL, "print the version"},
        [FLAG_HELP] = {"help", 'h', NULL, "print this"},
};

static const struct {
        const char *words[2];
        Command command;
        const char *help;
} command_table[] = {
        {{"config", "default"}, COMMAND_CONFIG_DEFAULT, "print the configuration built in"},
        {{"config", "dump"},
         COMMAND_CONFIG_DUMP,
         "print the configuration in effect, in its newest version"},
        {{"config", "migrate"}, COMMAND_CONFIG_DUMP, "the same"},
        {{"publish", NULL}, COMMAND_PUBLISH, "--namespace NS --topic T: send the event on stdin"},
        {{"oci-hook", NULL},
         COMMAND_OCI_HOOK,
         "PROGRAM ARG...: run a hook, with {{id}} and the like filled in"},
        {{"backup", NULL}, COMMAND_BACKUP, "DIR|FILE: copy the database, also of a running daemon"},
        {{"check", NULL}, COMMAND_CHECK, "[--digests] [--json]: look for what does not fit"},
        {{"repair", NULL},
         COMMAND_REPAIR,
         "[--dry-run] [--namespace NS] [--anew]: a new database from what is left"},
        {{"help", NULL}, COMMAND_HELP, "print this"},
};

void flags_help(void)
{
        printf("lighterd - container runtime\n\nUsage: lighterd [FLAGS] [COMMAND]\n\n"
               "Without a command the daemon runs in the foreground.\n\nCommands:\n");
        for (size_t i = 0; i < ARRAY_LEN(command_table); i++) {
                const char *second = command_table[i].words[1];

                printf("  %s%s%-*s %s\n", command_table[i].words[0], second ? " " : "",
                       (int)(22 - strlen(command_table[i].words[0])), second ? second : "",
                       command_table[i].help);
        }
        printf("\nFlags:\n");
        for (size_t i = 0; i < ARRAY_LEN(flag_table); i++) {
                const Flag *f = &flag_table[i];
                char letter[8] = "    ";

                if (f->letter)
                        snprintf(letter, sizeof(letter), "-%c, ", f->letter);
                printf("  %s--%s %-*s %s\n", letter, f->name, (int)(16 - strlen(f->name)),
                       f->value ? f->value : "", f->help);
        }
}

/* The flag whose name the argument begins with, and where its value starts if "=" follows. */
static const Flag *find_flag(const char *arg, const char **ret_value)
{
        const char *name = arg + (arg[1] == '-' ? 2 : 1);
        size_t n = strcspn(name, "=");

        *ret_value = name[n] ? name + n + 1 : NULL;
        for (size_t i = 0; i < ARRAY_LEN(flag_table); i++) {
                const Flag *f = &flag_table[i];

                if ((strlen(f->name) == n && strncmp(f->name, name, n) == 0) ||
                    (n == 1 && f->letter && f->letter == name[0]))
                        return f;
        }
        return NULL;
}

static void set_flag(Flags *flags, size_t which, const char *value)
{
        switch (which) {
        case FLAG_CONFIG:
                flags->config = value;
                break;
        case FLAG_LOG_LEVEL:
                flags->log_level = value;
                break;
        case FLAG_ADDRESS:
                flags->address = value;
                break;
        case FLAG_ROOT:
                flags->root = value;
                break;
        case FLAG_STATE:
                flags->state = value;
                break;
        case FLAG_VERSION:
                flags->command = COMMAND_VERSION;
                break;
        case FLAG_HELP:
                flags->command = COMMAND_HELP;
                break;
        }
}

static int find_command(int argc, char **argv, Flags *ret, Err *err)
{
        int known = 0;

        for (size_t i = 0; i < ARRAY_LEN(command_table); i++) {
                const char *const *words = command_table[i].words;

                if (str_eq(argv[0], words[0]) &&
                    (!words[1] || (argc > 1 && str_eq(argv[1], words[1])))) {
                        ret->command = command_table[i].command;
                        ret->args = argv + (words[1] ? 2 : 1);
                        return 0;
                }
                known |= str_eq(argv[0], words[0]);
        }
        if (known && argc == 1)
                return err_set(err, INVALID_ARGUMENT, "%s: a command is missing", argv[0]);
        return err_set(err, NOT_FOUND, "No help topic for '%s'", argv[known]);
}

int flags_parse(int argc, char **argv, Flags *ret, Err *err)
{
        int i;

        *ret = (Flags){.command = COMMAND_RUN};
        for (i = 1; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
                const char *value;
                const Flag *f = find_flag(argv[i], &value);

                if (!f)
                        return err_set(err, INVALID_ARGUMENT, "flag provided but not defined: %s",
                                       argv[i]);
                if (f->value && !value && ++i < argc)
                        value = argv[i];
                if (f->value && !value)
                        return err_set(err, INVALID_ARGUMENT, "flag needs an argument: --%s",
                                       f->name);
                set_flag(ret, (size_t)(f - flag_table), value);
        }
        return i < argc && ret->command == COMMAND_RUN ? find_command(argc - i, argv + i, ret, err)
                                                       : 0;
}
