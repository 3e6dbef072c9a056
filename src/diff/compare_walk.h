/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is different between two trees, name by name and in order: a folder comes before what lies
 * in it, its names sorted by their bytes. Runs in the worker; whoever owns the upper tree may be
 * changing it all the while, so no name is used twice without looking again and no link is
 * followed.
 *
 * With a hint only the names in it are looked at: it is overlayfs' topmost folder of upper, lower
 * being the folders below it. Both trees are still compared as they are mounted, so the answer is
 * the same.
 */
#pragma once

#include <sys/stat.h>
#include "base/err.h"

typedef enum ChangeKind {
        CHANGE_ADD,
        CHANGE_MODIFY,
        CHANGE_DELETE,
        CHANGE_NONE, /* reported only of files with several names: others of them may have changed
                      */
} ChangeKind;

typedef struct Change {
        ChangeKind kind;
        const char *path;      /* "a/b", borrowed */
        int dir_fd;            /* the folder in upper, -1 with DELETE */
        const char *name;      /* in it: the end of path */
        const struct stat *st; /* in upper; NULL with DELETE */
} Change;

typedef struct CompareWalk {
        int lower_fd, upper_fd; /* folders, the caller's; -1: empty */
        int hint_fd;            /* -1: none */
        /* Whether a folder of the hint hides what is below it, or stands for another one. */
        int (*opaque)(void *ctx, int hint_fd, int *ret, Err *err);
        void *opaque_ctx;
        int (*change)(void *ctx, const Change *c, Err *err);
        void *change_ctx;
} CompareWalk;

/* Changes the process' working directory. RESOURCE_EXHAUSTED for a path longer than LIMIT_TAR_NAME;
 * the class of errno; what the callbacks return. */
int compare_walk(const CompareWalk *w, Err *err);

enum { CAPABILITY_MAX = 64 };
/* The attribute security.capability of a name in a folder; its length, 0 when there is none, -code.
 * Changes the working directory. */
int capability_of(int dir_fd, const char *name, uint8_t buf[CAPABILITY_MAX], Err *err);
