/* SPDX-License-Identifier: Apache-2.0 */
/* Between check.c (the database) and check_disk.c (files). */
#pragma once

#include "base/vec.h"
#include "metadata/check.h"
#include "metadata/records_priv.h"

typedef struct Expected {
        const void *key;
        size_t n;
        const char *from; /* the record because of which it should be there */
} Expected;

typedef struct Namespace {
        uint32_t number;
        const char *name;
} Namespace;

typedef struct Blob {
        const char *digest;
        int64_t size;
} Blob;

typedef struct Folder {
        const char *snapshotter;
        uint64_t id;
        int optional; /* some snapshotters make none for such a one */
        const char *key;
} Folder;

typedef struct Check {
        const CheckOptions *o;
        Arena *arena;
        DbTxn txn;
        size_t records[DB_TABLE_LAST + 1], n_blobs;
        VEC(CheckFinding) findings;
        VEC(Namespace) namespaces;
        VEC(Expected) expected, leases, held; /* index keys; prefixes of leases' resources */
        VEC(Blob) blobs;
        VEC(Folder) folders;
} Check;

void check_found(Check *c, const char *kind, int harmless, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* Blobs and folders. An error only when it cannot look. */
int check_disk(Check *c, Err *err);
