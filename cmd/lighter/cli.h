/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every command has at hand: the connection (made when a command asks for it), an arena that
 * lives as long as the program, and output that is buffered, written at the end, and safe for a
 * terminal.
 */
#pragma once

#include "api/google/protobuf/timestamp.pb-c.h"
#include "base/clock.h"
#include "base/json.h"
#include "client/args.h"
#include "client/conn.h"
#include "client/human.h"
#include "client/tabwriter.h"

struct Cli {
        const Args *args;
        Arena arena;
        Client *client; /* NULL until cli_connect() */
        int out_tty;    /* stdout is a terminal: what others named is escaped */
};

/* Connects to the daemon that flags and environment name; at once when it already has. */
int cli_connect(Cli *cli, Err *err);
/* The snapshotter of --snapshotter, "" for the daemon's default. */
const char *cli_snapshotter(const Args *args);

/* Prints a line that ends in a newline, escaping text on a terminal. */
void cli_print(const Cli *cli, const char *text);
void cli_printf(const Cli *cli, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The same without the newline, and at once: for what takes time. */
void cli_part(const Cli *cli, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A warning on stderr: `lighter: warning: ...`. */
void cli_warn(const char *fmt, ...) PRINTF_LIKE(1, 2);
void cli_table(const Cli *cli, Table *t);
void cli_json(const Cli *cli, json_t *j); /* takes the reference; four blanks, as ctr */
void cli_raw(const void *p, size_t n);    /* bytes as they are */
/* Everything printed so far goes out. UNKNOWN when stdout fails. */
int cli_flush(Err *err);

/* INVALID_ARGUMENT "what must be provided; see ..." */
int cli_need_args(const Args *args, int n, const char *what, Err *err);

/* Protobuf maps are arrays of {key, value}; every FooEntry of strings has this shape. */
typedef struct LabelEntry {
        ProtobufCMessage base;
        const char *key, *value;
} LabelEntry;
#define LABELS(msg, field) (LabelEntry *const *)(void *)(msg)->field, (msg)->n_##field

/* "k=v,k=v", by key when sorted; "-" when there are none and none is "-". */
const char *labels_text(Arena *a, LabelEntry *const *labels, size_t n, int sorted,
                        const char *none);
json_t *labels_json(LabelEntry *const *labels, size_t n);
/* "k=v" and "k" (value "") as entries of the map whose entry message has this descriptor. */
void *labels_parse(Arena *a, const ProtobufCMessageDescriptor *entry, char *const *texts, size_t n);
/* "labels.k" for each, for an update mask. */
const char **labels_paths(Arena *a, char *const *texts, size_t n);

static inline Time time_of(const Google__Protobuf__Timestamp *t)
{
        return t ? (Time){.sec = t->seconds, .nsec = t->nanos} : TIME_YEAR1;
}
/* The values of a repeated flag as an array, NULL-terminated, in the arena. */
const char **flag_list(Arena *a, const Args *args, const char *name, size_t *ret_n);
