/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unpacking an image: its layers, bottom up, become snapshots named by chain id. What a
 * snapshotter, a differ and a content store are is left to a table of functions, so that the daemon
 * drives it in process and the command line over gRPC.
 */
#pragma once

#include "base/arena.h"
#include "spec/image_config.h"
#include "spec/manifest.h"

typedef struct UnpackLabel {
        const char *key, *value;
} UnpackLabel;

typedef struct UnpackOps {
        void *ctx;
        /* 0, or NOT_FOUND. */
        int (*stat)(void *ctx, const char *key, Err *err);
        /* An active snapshot; parent "" for none. Keeps its mounts for apply(). ALREADY_EXISTS. */
        int (*prepare)(void *ctx, const char *key, const char *parent, const UnpackLabel *labels,
                       size_t n_labels, Err *err);
        /* Onto what prepare() made; ret is the digest of the uncompressed stream. */
        int (*apply)(void *ctx, const char *key, const Descriptor *layer, Digest *ret, Err *err);
        /* ALREADY_EXISTS: somebody else was faster. */
        int (*commit)(void *ctx, const char *name, const char *key, const UnpackLabel *labels,
                      size_t n_labels, Err *err);
        int (*remove)(void *ctx, const char *key, Err *err);
        /* Sets one label on a blob. */
        int (*label)(void *ctx, const Digest *blob, const char *key, const char *value, Err *err);
        /* Told before each layer, may be NULL; applied 0 when the snapshot was there already. */
        void (*progress)(void *ctx, size_t layer, int applied);
} UnpackOps;

/* All layers, then the labels that keep snapshots alive (gc.ref.snapshot.<snapshotter> on the
 * config blob). INVALID_ARGUMENT "number of layers and diffIDs don't match: X != Y";
 * FAILED_PRECONDITION for a wrong diff id. ret_chain is the top snapshot's name. */
int image_unpack(const UnpackOps *ops, const char *snapshotter, const Manifest *manifest,
                 const ImageConfig *config, Digest *ret_chain, Err *err);

/* "extract-<nanosec>-<4 random> <chain id>": the key of a snapshot being filled. */
const char *unpack_key(Arena *a, const Digest *chain);
