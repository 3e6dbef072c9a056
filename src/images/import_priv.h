/* SPDX-License-Identifier: Apache-2.0 */
/* The two halves of import: reading members out of the worker, and making sense of them. */
#pragma once

#include "base/map.h"
#include "base/vec.h"
#include "images/import.h"

enum {
        IMPORT_JSON_MAX = 20 * 1024 * 1024, /* index.json, manifest.json, as containerd has it */
        IMPORT_KEPT_MAX = 16 * 1024 * 1024, /* small JSON kept at hand: one of it is a config */
        IMPORT_ENTRIES = 100000,
};

typedef struct ImportBlob {
        const char *name;
        Digest digest;
        uint64_t size;
        int compressed;   /* begins as gzip or zstd does */
        const char *text; /* kept bytes, NULL for most */
} ImportBlob;

typedef struct ImportLink {
        const char *name, *to; /* both cleaned */
} ImportLink;

typedef struct ImportArchive {
        Arena *a;
        const ImportSink *sink;
        Map blobs; /* of ImportBlob, by cleaned name */
        VEC(ImportLink) links;
        size_t kept;
        const char *layout, *docker; /* oci-layout, manifest.json; NULL when absent */
        size_t n_layout, n_docker;
} ImportArchive;

/* Finds the root: the layout's index, or one made from Docker's manifest.json, which goes to the
 * sink. */
int import_resolve(ImportArchive *ar, ImportResult *ret, Err *err);
