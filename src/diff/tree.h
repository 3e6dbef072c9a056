/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The folders of a tree that is being written, found by name without ever leaving it: links are
 * followed as if the tree were "/" (openat2, RESOLVE_IN_ROOT). Folders that were just used stay
 * open. One thread.
 */
#pragma once

#include <sys/types.h>
#include "base/err.h"
#include "base/limits.h"

enum { TREE_SLOTS = 256 };

typedef struct TreeDir {
        char *path; /* as the archive names it, cleaned; NULL: a free slot */
        int fd;
        ino_t ino;
        /* New files in it get owner 0:0 and exactly the mode asked for: no set-group-id bit, no
         * default ACL. */
        int plain;
} TreeDir;

typedef struct TreeOps {
        void *ctx;
        /* A folder was made that the archive implies but does not contain: give it the attributes
         * it has below. NULL: leave it as it is. */
        int (*implied)(void *ctx, int dir_fd, const char *path, Err *err);
} TreeOps;

typedef struct Tree {
        int root_fd;       /* the caller's */
        const char *label; /* how messages name the root */
        TreeOps ops;
        TreeDir slots[TREE_SLOTS];
} Tree;

void tree_init(Tree *t, int root_fd, const char *label, TreeOps ops);
void tree_done(Tree *t);
/* To be called after anything but a plain file was removed or replaced: open folders may no longer
 * be what their names say. */
void tree_forget(Tree *t);

/* The folder at path ("" is the root), borrowed until the next call. make: with what is missing on
 * the way. NOT_FOUND if it is missing; UNKNOWN "mkparent P: not a directory". */
int tree_dir(Tree *t, const char *path, int make, const TreeDir **ret, Err *err);

/* A name from an archive, cleaned lexically as Go's filepath.Clean does and without what would
 * climb out: "./a//b/../c" is "a/c", "../../x" is "x", "/" is "". buf holds LIMIT_TAR_NAME.
 * RESOURCE_EXHAUSTED past LIMIT_TAR_DEPTH. */
int tree_clean(const char *name, char *buf, Err *err);
/* Splits a cleaned name in place: "a/b" into "a" and "b". */
void tree_split(char *clean, const char **ret_parent, const char **ret_base);
