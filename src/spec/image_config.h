/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image configuration: what a container of this image runs, and the digests of its uncompressed
 * layers. https://github.com/opencontainers/image-spec/blob/main/config.md
 */
#pragma once

#include "spec/descriptor.h"

typedef struct ImageConfig {
        Platform platform; /* normalised */
        Digest *diff_ids;
        size_t n_diff_ids;
        const char *user, *cwd, *stop_signal; /* "" for none */
        const char **env;                     /* NULL-terminated, never NULL */
        size_t n_env;
        const char **entrypoint;
        size_t n_entrypoint;
        const char **cmd;
        size_t n_cmd;
        Annotation *labels;
        size_t n_labels;
} ImageConfig;

/* Everything borrows from the arena. INVALID_ARGUMENT. */
int image_config_parse(Arena *a, const char *text, size_t n, ImageConfig *ret, Err *err);

/* The chain id of the first n layers: what a snapshot of them is called. n >= 1.
 * https://github.com/opencontainers/image-spec/blob/main/config.md#layer-chainid */
void chain_id(const Digest *diff_ids, size_t n, Digest *ret);
