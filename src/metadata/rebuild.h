/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A database made anew from what is left: from the records of the old one that can still be read,
 * and from the blobs, which tell what they are. The old database is only read; the new one lies in
 * a folder of its own, and the caller exchanges them. No daemon may be at work.
 */
#pragma once

#include "metadata/check.h"

typedef struct RebuildOptions {
        const char *old_db; /* NULL: nothing of it is used */
        const char *new_db; /* a folder that is made; NULL: nothing is written (a dry run) */
        const char *content_root;
        const CheckSnapshotter *snapshotters;
        size_t n_snapshotters;
        const char *ns;    /* gets the blobs that no record names */
        const char *lease; /* what holds them: its name */
        /* Tells how far it is; may be NULL. */
        void (*progress)(void *ctx, const char *text);
        void *ctx;
} RebuildOptions;

typedef struct RebuildResult {
        size_t kept, dropped; /* records of the old database */
        size_t blobs;         /* files whose digest is right */
        const char **bad;     /* those whose digest is not, "sha256/<hex>" */
        size_t n_bad;
        size_t adopted, indexes, manifests,
                configs;        /* blobs that no record named, among them ... */
        size_t images, unnamed; /* made for them; those whose name nobody knows */
        size_t ingests, namespaces;
        const char **folders; /* of snapshots that no record names: where they are */
        size_t n_folders;
} RebuildResult;

/* Strings lie in the arena. On failure new_db may be half made. Blocks: it reads every blob.
 * DATA_LOSS and NOT_FOUND for an old_db that cannot be opened. */
int rebuild_run(const RebuildOptions *o, Arena *a, RebuildResult *ret, Err *err);
