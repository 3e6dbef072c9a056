/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Comparing two sets of mounts: what makes upper out of lower, as a layer. lighter-unpack walks the
 * trees, which it gets as detached read-only mounts, and writes tar or compressed tar into a pipe;
 * what comes out of it is handed on here. Blocks for the whole comparison: for pool threads.
 *
 * If upper is an overlay mount over what lower is, only the folder in which they differ is walked.
 */
#pragma once

#include "base/clock.h"
#include "mount/mount.h"
#include "spec/digest.h"
#include "worker/message.h"

typedef struct DiffCompared {
        Digest diff_id; /* of the uncompressed stream as the worker says, "" with FORMAT_RAW */
        uint64_t size;  /* bytes that were written */
} DiffCompared;

/* Where the layer goes; called in this order, on the caller's thread. */
typedef struct DiffSink {
        int (*begin)(void *ctx, Err *err); /* the mounts are there */
        int (*write)(void *ctx, const void *p, size_t n, Err *err);
        int (*finish)(void *ctx, const DiffCompared *what, Err *err);
        void *ctx;
} DiffSink;

typedef struct DiffCompare {
        const Mount *lower, *upper;
        size_t n_lower, n_upper; /* 0: an empty tree */
        WorkerFormat format;
        int bounded; /* files newer than bound get its time */
        Time bound;
        DiffSink sink;
        const char *tmp_root; /* as DiffApply has it */
        uint64_t deadline_ns;
        int (*cancelled)(void *ctx); /* NULL: never */
        void *ctx;
        const char *worker_path; /* NULL: lighter-unpack as installed */
        int whole;               /* never only the folder in which they differ; for tests */
} DiffCompare;

/* "" is gzip. UNIMPLEMENTED for what no layer is written as; *ret_type is static. */
int diff_format(const char *media_type, WorkerFormat *ret, const char **ret_type, Err *err);

/* Errors as containerd words them. Leaves nothing behind but what the sink has made of it. */
int diff_compare(const DiffCompare *c, Err *err);
