/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks at everything that is kept and says what does not fit: records that do not decode, entries
 * that point nowhere, blobs and folders that are not there. Changes nothing. May be used while a
 * daemon works: what is wrong for a moment only is not told.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "db/db.h"

typedef struct CheckSnapshotter {
        const char *name, *root;
} CheckSnapshotter;

typedef struct CheckOptions {
        const char *db_dir;
        const char *content_root; /* NULL: the database alone */
        const CheckSnapshotter *snapshotters;
        size_t n_snapshotters;
        int digests; /* read every blob */
} CheckOptions;

typedef struct CheckFinding {
        const char *kind; /* "record", "index", "reference", "blob", "snapshot" */
        const char *text;
        int harmless; /* leftovers, which the daemon removes */
} CheckFinding;

typedef struct CheckResult {
        size_t records[DB_TABLE_LAST + 1];
        size_t blobs; /* different ones */
        DbStats stats;
        CheckFinding *findings;
        size_t n_findings, n_errors; /* errors: those that are not harmless */
} CheckResult;

/* 0 when it could look, whatever it found. As db_env_open() for a database that cannot be opened.
 * Everything lies in the arena. Blocks on disk. */
int check_run(const CheckOptions *o, Arena *a, CheckResult *ret, Err *err);
const char *check_record_name(DbTable table); /* "image" */
