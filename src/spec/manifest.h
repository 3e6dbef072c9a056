/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Image manifests and indexes, OCI's and Docker's (schema 2). One document is read at a time,
 * whole, within LIMIT_DOCUMENT and LIMIT_JSON_DEPTH. A document that is both (has layers and
 * manifests) is refused: such confusion has been used to show two clients different images.
 */
#pragma once

#include "spec/descriptor.h"

typedef struct Manifest {
        const char *media_type; /* of the document itself, "" if it says none */
        Descriptor config;
        Descriptor *layers;
        size_t n_layers;
        Annotation *annotations;
        size_t n_annotations;
} Manifest;

typedef struct Index {
        const char *media_type;
        Descriptor *manifests;
        size_t n_manifests;
        Annotation *annotations;
        size_t n_annotations;
} Index;

/* INVALID_ARGUMENT, also beyond LIMIT_DOCUMENT. */
int manifest_parse(Arena *a, const char *text, size_t n, Manifest *ret, Err *err);
int index_parse(Arena *a, const char *text, size_t n, Index *ret, Err *err);
/* The best entry for want, or NULL. Entries without a platform come last; attestations
 * (unknown/unknown) never. */
const Descriptor *index_choose(const Index *index, const Platform *want);
