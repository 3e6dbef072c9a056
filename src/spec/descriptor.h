/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors: the type, digest and size of a blob. Strings borrow from the arena or message they
 * were read from. https://github.com/opencontainers/image-spec/blob/main/descriptor.md
 */
#pragma once

#include "base/json.h"
#include "spec/digest.h"
#include "spec/platform.h"

typedef struct Annotation {
        const char *key, *value;
} Annotation;

typedef struct Descriptor {
        const char *media_type; /* "" for none */
        Digest digest;
        int64_t size;
        Annotation *annotations;
        size_t n_annotations;
        int has_platform;
        Platform platform; /* normalised */
} Descriptor;

#define MEDIA_OCI_INDEX       "application/vnd.oci.image.index.v1+json"
#define MEDIA_OCI_MANIFEST    "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_OCI_CONFIG      "application/vnd.oci.image.config.v1+json"
#define MEDIA_OCI_LAYER       "application/vnd.oci.image.layer.v1.tar"
#define MEDIA_DOCKER_INDEX    "application/vnd.docker.distribution.manifest.list.v2+json"
#define MEDIA_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define MEDIA_DOCKER_CONFIG   "application/vnd.docker.container.image.v1+json"
#define MEDIA_DOCKER_LAYER    "application/vnd.docker.image.rootfs.diff.tar"

int media_is_index(const char *type);
int media_is_manifest(const char *type);
int media_is_layer(const char *type); /* any compression, foreign ones too */
/* "gzip", "zstd", "" for plain, NULL for what is no layer. */
const char *media_layer_compression(const char *type);

/* Reads a descriptor object; digest, size >= 0 are required. INVALID_ARGUMENT. */
int descriptor_from_json(Arena *a, const json_t *j, Descriptor *ret, Err *err);
json_t *descriptor_to_json(const Descriptor *d);
/* NULL when absent. */
const char *descriptor_annotation(const Descriptor *d, const char *key);
/* An object of strings. INVALID_ARGUMENT; what names it in the message. */
int annotations_from_json(Arena *a, const json_t *obj, const char *what, Annotation **ret,
                          size_t *ret_n, Err *err);
