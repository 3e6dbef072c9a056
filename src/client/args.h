/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line's grammar, which is ctr's: a tree of commands, each with its flags; flags stand
 * before positional arguments and the first positional ends them; -flag and --flag are the same;
 * --flag=v or --flag v; repeated flags for lists. The same table feeds parsing, help, the man page
 * and shell completion.
 *
 * Tables are constant and outlive everything. Args borrows argv.
 */
#pragma once

#include "base/err.h"
#include "base/vec.h"

typedef struct Cli Cli; /* the program's own state; the parser does not look inside */
typedef struct Args Args;
typedef struct Command Command;

typedef enum FlagType {
        FLAG_END, /* closes an array of flags */
        FLAG_BOOL,
        FLAG_STRING,
        FLAG_LIST, /* may be repeated */
        FLAG_INT,
        FLAG_UINT,
        FLAG_FLOAT,
        FLAG_DURATION,
} FlagType;

typedef struct Flag {
        FlagType type;
        const char *name;
        const char *alias; /* one letter, or NULL */
        const char *help;
        const char *value; /* default, as the user would type it; NULL for none */
        const char *
                env; /* variables that give the default, comma-separated, first one wins; or NULL */
        const char *what; /* what the value is, for help and completion: "file", "dir", "container",
                             ... */
} Flag;

enum { COMMAND_FLAG_SETS = 10, COMMAND_DEPTH = 4 };

struct Command {
        const char *name;
        const char *aliases; /* comma-separated, or NULL */
        const char *args;    /* positional arguments as help shows them, or NULL */
        const char *help;    /* one line */
        const char *more;    /* paragraphs for help and man page, or NULL */
        const char
                *what; /* what the positional arguments name: "container", "image", ...; or NULL */
        const Flag *flags[COMMAND_FLAG_SETS]; /* NULL-terminated list of arrays */
        const Command *subs;                  /* ended by a command without name; NULL for a leaf */
        /* 0, a positive exit code, or -code with err */
        int (*run)(Cli *cli, const Args *args, Err *err);
        int hidden;
};

typedef struct ArgsValue {
        const Flag *flag;
        const char *text;
} ArgsValue;

struct Args {
        const Command *path[COMMAND_DEPTH]; /* from the root to the command found */
        size_t depth;
        VEC(ArgsValue) values;
        char **v; /* positional arguments */
        int n;
        int help;    /* help was asked for */
        int unknown; /* the failure is an unknown command */
};

/* INVALID_ARGUMENT with what is wrong and what was perhaps meant. On failure path and depth say how
 * far it came. Call args_done() in any case. */
int args_parse(const Command *root, int argc, char **argv, Args *ret, Err *err);
void args_done(Args *a);

static inline const Command *args_command(const Args *a)
{
        return a->path[a->depth - 1];
}

/* The value of a flag that the command, or one above it, has; the innermost wins. The last
 * occurrence, else the environment's, else the default. Values were checked while parsing. */
const char *args_str(const Args *a, const char *name); /* "" when there is none */
int args_bool(const Args *a, const char *name);
int64_t args_int(const Args *a, const char *name);
uint64_t args_uint(const Args *a, const char *name);
double args_float(const Args *a, const char *name);
int64_t args_duration(const Args *a, const char *name); /* ns */
/* Whether it stood on the command line. */
int args_given(const Args *a, const char *name);
/* The occurrences of a flag in order: *at starts at 0. NULL after the last. */
const char *args_next(const Args *a, const char *name, size_t *at);
/* Positional argument i, "" beyond the last. */
const char *args_arg(const Args *a, int i);

/* A sub-command by name or alias; NULL if there is none. */
const Command *command_find(const Command *c, const char *name);
/* The name nearest to what was typed among the sub-commands (or flags), NULL when nothing is near.
 */
const char *command_suggest(const Command *c, const char *typed);
/* Flags of a command in the order of its table: calls fn for each. */
void command_each_flag(const Command *c, void (*fn)(void *ctx, const Flag *f), void *ctx);
