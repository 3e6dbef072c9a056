/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands that work on what a daemon keeps instead of being one: backup, check, repair. Each
 * takes what follows its name; *ret_status is what the program exits with.
 */
#pragma once

#include "config/config.h"
#include "metadata/check.h"

int backup_command(Config *c, char **args, int *ret_status, Err *err);
int check_command(Config *c, char **args, int *ret_status, Err *err);
int repair_command(Config *c, char **args, int *ret_status, Err *err);

/* ---- for the commands ---- */

/* Where things lie below the root. */
typedef struct Places {
        const char *root, *state, *db, *content;
        CheckSnapshotter *snapshotters;
        size_t n_snapshotters;
} Places;

int places_find(Config *c, Arena *a, Places *ret, Err *err);
/* Whether the arg at **args is --NAME, or -NAME; with ret_value it takes "=V" or the next. */
int upkeep_flag(char ***args, const char *name, const char **ret_value);
/* INVALID_ARGUMENT, for what is none of the above. */
int upkeep_bad_arg(const char *command, const char *arg, Err *err);
/* Runs fn in a child process, because LMDB trusts its file and a broken one may kill whoever reads
 * it. *ret_status: what fn has returned, as exit(3) has it; 128 or more when the child died. */
int upkeep_in_child(int (*fn)(void *ctx), void *ctx, int *ret_status, Err *err);
#define UPKEEP_KILLED "the database cannot be read: it kills its reader"
/* FAILED_PRECONDITION where blobs or snapshots lie and the database that names them does not: a new
 * one would make all of it rubbish, which the daemon then clears away. */
int upkeep_refuse_lost(Config *c, Err *err);
