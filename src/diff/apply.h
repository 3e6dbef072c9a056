/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Applying a layer: the blob goes to lighter-unpack, which decompresses it, hashes it and writes
 * the files; what it may not do itself it asks for, and is given on that folder only. Blocks for
 * the whole layer: for pool threads.
 *
 * Where the files go: one overlay mount with an upperdir gets them straight into it, with overlay's
 * whiteouts; one bind mount into its source; anything else is mounted on a temporary folder first.
 */
#pragma once

#include "diff/processors.h"
#include "mount/mount.h"
#include "spec/descriptor.h"

typedef struct DiffApply {
        const char *media_type;
        int blob_fd; /* read from its position to the end; stays the caller's */
        const Mount *mounts;
        size_t n_mounts;
        int sync_fs;
        const ConfigProcessor *processors; /* programs for media types, tried first */
        size_t n_processors;
        const DiffPayload *payloads; /* for them */
        size_t n_payloads;
        const char *tmp_root; /* where temporary mount points are made, "<root>/tmpmounts" */
        uint64_t deadline_ns;
        int (*cancelled)(void *ctx); /* NULL: never */
        void *ctx;
        const char *worker_path; /* NULL: lighter-unpack as installed */
} DiffApply;

typedef struct DiffApplied {
        const char *media_type; /* static */
        Digest digest;          /* of the uncompressed stream */
        uint64_t size;
} DiffApplied;

/* Errors as containerd words them; UNKNOWN for a broken archive, RESOURCE_EXHAUSTED for one that
 * does not fit. What was written before a failure stays: whoever made the snapshot removes it. */
int diff_apply(const DiffApply *a, DiffApplied *ret, Err *err);

/* Takes down the temporary mounts that a killed process left below tmp_root; an absent one is fine.
 * At start, before anything is applied. */
int diff_cleanup(const char *tmp_root, Err *err);
