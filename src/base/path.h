/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folders and confined walks. Whoever walks a tree that somebody else may write uses
 * path_open_in_root() or path_open_beneath(), which are openat2(2) with RESOLVE_IN_ROOT or
 * RESOLVE_BENEATH, and never joined strings.
 */
#pragma once

#include <sys/types.h>
#include "base/arena.h"
#include "base/err.h"

/* mkdir -p; an existing folder is fine and keeps its mode. */
int path_mkdirs(const char *path, mode_t mode, Err *err);
/* Opens a folder O_PATH-less and O_DIRECTORY, making it when absent. Returns the fd or -code. */
int path_open_dir(int dirfd, const char *path, mode_t mode, Err *err);

/* flags as open(2), O_CLOEXEC added; mode only with O_CREAT. Return the fd, or -1 with errno.
 * in_root: symlinks and ".." are resolved as if root_fd were "/". beneath: leaving is EXDEV. */
int path_open_in_root(int root_fd, const char *path, int flags, mode_t mode);
int path_open_beneath(int root_fd, const char *path, int flags, mode_t mode);

/* rm -rf of one name below dirfd, or of a path; within it never follows symlinks and never crosses
 * a mount point, iterative depth. An absent name is success. */
int path_remove_tree(int dirfd, const char *name, Err *err);
/* Opens and fsyncs a folder. */
int path_sync_dir(int dirfd, const char *path, Err *err);

/* "a/b" from parts; no cleaning. */
char *path_join(Arena *a, const char *dir, const char *name);
/* The folder of the running executable, "/usr/bin"; cached, never NULL. */
const char *path_self_dir(void);
/* Where programs of ours lie that others of ours start, in order: beside the running one (a build
 * folder), in
 * ../libexec/lighter as seen from it, in /usr/libexec/lighter. NULL-terminated, cached. */
const char *const *path_helper_dirs(void);
/* Makes a relative path absolute with the working directory; cleans nothing else. */
char *path_absolute(Arena *a, const char *path);
