/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounting, as containerd's clients describe it: a type, a source and a list of fstab words. Used
 * by the daemon, by the shim's op children and by workers, so it needs nothing but base.
 *
 * All functions block. None changes the process' working directory for other threads: where a
 * relative walk is needed the calling thread gets a working directory of its own first
 * (unshare(CLONE_FS)).
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"

/* Borrowed strings: whoever fills it owns them, mostly a call's arena. */
typedef struct Mount {
        const char *type;
        const char *source;
        const char
                *target; /* a path below the mount point; NULL or "" for the mount point itself */
        const char *const *options;
        size_t n_options;
} Mount;

typedef struct MountList {
        Mount *v;
        size_t n;
} MountList;

/* What the option words mean to mount(2). */
typedef struct MountFlags {
        unsigned long flags; /* MS_* */
        int loop;            /* source is a file for a loop device */
        int direct_io;       /* of the loop device */
        const char *uidmap;  /* "0:1000:65536,...", NULL for none */
        const char *gidmap;
        char *data; /* what is left, joined by commas; "" for none */
} MountFlags;

/* Sorts option words. INVALID_ARGUMENT for X-containerd.* words, which somebody should have taken
 * out before. */
int mount_parse_options(Arena *a, const Mount *m, MountFlags *ret, Err *err);

/* Mounts one on target, which exists. INVALID_ARGUMENT for what cannot be understood, UNIMPLEMENTED
 * for what only a mount handler understands, else the class of errno. */
int mount_one(const Mount *m, const char *target, Err *err);
/* In order, all on target; what was mounted before a failure is taken off again. */
int mount_all(const Mount *mounts, size_t n, const char *target, Err *err);
/* The same mounts for reading only: every upperdir becomes the nearest lowerdir, "rw" becomes "ro".
 */
MountList mount_readonly(Arena *a, const Mount *mounts, size_t n);
/* The value of "name=value" among the options, or NULL. */
const char *mount_option(const Mount *m, const char *name);

/* Takes off everything that is mounted at target, in layers if need be; flags as umount2(2), for
 * example MNT_DETACH | UMOUNT_NOFOLLOW. Success if nothing is mounted there or target is absent. */
int unmount_all(const char *target, int flags, Err *err);
/* The same for target and everything mounted below it, deepest first. */
int unmount_recursive(const char *target, int flags, Err *err);
/* Detaches what is mounted at target but keeps it alive: *ret_handle is the last handle, -1 if
 * nothing was mounted. Closing it tears the file system down, which for overlay flushes a whole
 * disk: let a child inherit it and be the last one to close it. */
int unmount_detach(const char *target, int *ret_handle, Err *err);
/* 1 if path is the root of a mount, 0 if not or absent. */
int mount_is_point(const char *path);
