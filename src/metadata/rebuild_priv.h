/* SPDX-License-Identifier: Apache-2.0 */
/* Between rebuild.c (the new database), rebuild_blobs.c (what blobs say) and rebuild_records.c
 * (what is left of the old database). */
#pragma once

#include "base/clock.h"
#include "base/vec.h"
#include "metadata/rebuild.h"
#include "metadata/records_priv.h"
#include "spec/descriptor.h"

typedef enum DocKind { DOC_OTHER, DOC_INDEX, DOC_MANIFEST, DOC_CONFIG } DocKind;

/* A blob whose digest is right. */
typedef struct Doc {
        const char *digest;
        int64_t size;
        Time time;
        DocKind kind;
        const char *type;     /* its media type, "" when nobody says */
        Descriptor *children; /* manifest: config, then layers */
        size_t n_children;
        int owned;  /* a record of the old database names it */
        int inside; /* another one is made of it */
        int named;  /* it, or what it lists, has an image */
} Doc;

typedef struct OldRecord {
        DbVal key, value; /* in the arena */
        Record r;
        int drop;
} OldRecord;

typedef struct Rebuild {
        const RebuildOptions *o;
        Arena *arena;
        RebuildResult *res;
        VEC(Doc) docs;      /* in order of digests */
        VEC(OldRecord) old; /* in order of keys */
        int adopt;          /* blobs without a record are ours to name */
        VEC(const char *) bad, folders;
} Rebuild;

void rebuild_say(Rebuild *rb, const char *fmt, ...) PRINTF_LIKE(2, 3);

int rebuild_read_blobs(Rebuild *rb, Err *err);
Doc *rebuild_find_doc(Rebuild *rb, const char *digest); /* NULL: no such blob */

/* Reads what can be read and drops what refers to something that is not there. */
int rebuild_read_old(Rebuild *rb, Err *err);
/* Into an empty database, indexes included; one transaction after the other. */
int rebuild_write_old(Rebuild *rb, DbEnv *env, Err *err);
/* Folders of snapshots that none of the records names. */
void rebuild_find_folders(Rebuild *rb);
