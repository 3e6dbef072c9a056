/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries of a layer become files below a folder. Runs in the worker; what needs the initial
 * namespaces is asked of ExtractOps. One thread.
 *
 * An entry is what the archive says, except: a name never leads out of the folder; ".wh.NAME"
 * removes NAME, and
 * ".wh..wh..opq" what was in its folder before this layer.
 * https://github.com/opencontainers/image-spec/blob/main/layer.md
 */
#pragma once

#include "diff/tar.h"
#include "diff/tree.h"

typedef struct ExtractOps {
        void *ctx;
        /* Sets an extended attribute of the initial namespace; *ret_errno 0 or why not. */
        int (*xattr)(void *ctx, int fd, const char *name, const void *value, size_t n,
                     int *ret_errno, Err *err);
        /* A device node in a folder, owner and mode included. */
        int (*mknod)(void *ctx, int dir_fd, const char *name, const TarEntry *e, int *ret_errno,
                     Err *err);
        int (*implied)(void *ctx, int dir_fd, const char *path, Err *err); /* see TreeOps */
} ExtractOps;

typedef struct ExtractOptions {
        int root_fd;       /* the caller's */
        const char *label; /* how messages name the root */
        int overlay;       /* whiteouts as overlayfs has them, instead of removing */
        uint64_t max_bytes, max_entries;
        ExtractOps ops;
} ExtractOptions;

typedef struct Extract Extract;

Extract *extract_new(const ExtractOptions *o);
Extract *extract_free(Extract *x); /* takes NULL, returns NULL */
/* One entry; reads its data from t. UNKNOWN for what the archive does wrong, RESOURCE_EXHAUSTED
 * past the limits, else the class of errno. */
int extract_entry(Extract *x, const TarEntry *e, TarReader *t, Err *err);
/* Times of folders, which writing into them has changed. */
int extract_finish(Extract *x, Err *err);

/* All of it. */
int extract_archive(const ExtractOptions *o, TarReader *t, uint64_t *ret_entries, Err *err);
