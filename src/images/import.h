/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Image archives (an OCI layout as a tar, or what `docker save` writes), compressed or not. The
 * archive itself is read by lighter-unpack; here its members come out as blobs for somebody's
 * content store, and the two kinds of description become one index. Knows nothing of the daemon's
 * metadata: the command line uses it over gRPC.
 */
#pragma once

#include "base/arena.h"
#include "spec/manifest.h"

/* Where blobs go. Each returns 0 or -code; the first failure ends the import. */
typedef struct ImportSink {
        void *ctx;
        /* A member begins. ref: "tar-<name>", an ingest reference. */
        int (*begin)(void *ctx, const char *ref, uint64_t size, Err *err);
        int (*write)(void *ctx, const void *p, size_t n, Err *err);
        /* It is complete: commit under its digest, which import has computed. Existing is fine. */
        int (*commit)(void *ctx, const Digest *digest, uint64_t size, Err *err);
} ImportSink;

typedef struct ImportOptions {
        int archive_fd; /* file, pipe or terminal; stays the caller's */
        uint64_t deadline_ns;
        int (*cancelled)(void *ctx);
        void *cancel_ctx;
        const char *worker_path; /* NULL: lighter-unpack as installed */
} ImportOptions;

typedef struct ImportResult {
        Descriptor root; /* the index, in the sink's store */
        Index index;
        const char *index_json; /* what root describes */
        size_t n_index_json;
} ImportResult;

/* Reads the whole archive. INVALID_ARGUMENT "unrecognized image format" and the like. */
int image_import(const ImportOptions *o, const ImportSink *sink, Arena *a, ImportResult *ret,
                 Err *err);

typedef struct ImportNames {
        const char *base_name; /* prefix for references without a registry, "import-2026-01-31" */
        int only_base_name;    /* keep others only when they match it (--base-name was given) */
        int digests, skip_digest_for_named;
        const char *index_name; /* NULL: the index gets no record */
} ImportNames;

typedef struct ImportImage {
        const char *name;
        Descriptor target;
} ImportImage;

/* The image records that an import makes, in the archive's order. */
int import_images(Arena *a, const ImportResult *res, const ImportNames *names, ImportImage **ret,
                  size_t *ret_n, Err *err);
