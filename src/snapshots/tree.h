/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walking, counting, syncing and copying folder trees that containers have written: no symlink is
 * followed, depth is bounded, the stack does not grow with it.
 */
#pragma once

#include <sys/stat.h>
#include "base/err.h"
#include "snapshots/snapshotter.h"

enum { TREE_DEPTH_MAX = 256 };

typedef enum TreeEvent {
        TREE_FILE,  /* anything but a folder */
        TREE_ENTER, /* a folder, before what is in it; fn may not look inside by itself */
        TREE_LEAVE, /* and after */
} TreeEvent;

typedef struct TreeEntry {
        TreeEvent event;
        int depth; /* 0 for what lies directly in the top folder */
        int dirfd; /* the folder it lies in */
        const char *name;
        const struct stat *st;
        const char *path; /* from the top folder */
} TreeEntry;

/* fn returns 0 to go on or -code. Everything below top (not top itself). RESOURCE_EXHAUSTED when
 * too deep. */
int tree_walk(int top, int (*fn)(void *ctx, const TreeEntry *e, Err *err), void *ctx, Err *err);

/* Blocks on disk and inodes of top and everything below, hard links once. */
int tree_usage(int top, SnapshotUsage *ret, Err *err);
/* Makes top and everything below durable: one by one when there are few (inodes as counted), else
 * the whole file system. */
int tree_sync(int top, int64_t inodes, Err *err);
/* Copies what is below from into to, with owners, modes, times, attributes and hard links, and
 * from's own onto to. */
int tree_copy(int from, int to, Err *err);
