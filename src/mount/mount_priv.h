/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "mount/mount.h"

/* A lowerdir list that is too long for one page of options, made relative to the folder they share.
 * *ret_dir is that folder, or NULL when nothing is to be gained; *ret_data is the new option text.
 */
void overlay_pack(Arena *a, const char *data, const char **ret_dir, char **ret_data);

/* One user namespace with these maps ("0:1000:65536,..."), as a descriptor: what an idmapped mount
 * refers to. INVALID_ARGUMENT names what cannot be read. */
int idmap_userns(Arena *a, const char *uidmap, const char *gidmap, int *ret_fd, Err *err);
/* A copy of what is mounted at path with its owners mapped, not yet attached: *ret_fd. */
int idmap_copy(const char *path, int recursive, int userns, int *ret_fd, Err *err);
/* An overlay whose lowerdirs are mapped, not yet attached: *ret_fd. data: its options. */
int idmap_overlay(Arena *a, const char *source, unsigned long flags, const char *data, int userns,
                  int *ret_fd, Err *err);
/* Attaches a detached mount. */
int idmap_attach(int fd, const char *target, Err *err);

/* fuse.TYPE and fuse3.TYPE are mounted by mount.fuse and mount.fuse3. */
int is_fuse(const char *type);
int fuse_mount(Arena *a, const Mount *m, const char *target, Err *err);

/* Where the lowerdirs begin among an overlay's options, or NULL. */
const char *overlay_find_lowerdir(const char *data);
/* The end of a list of lowerdirs, and of its first path. */
const char *overlay_option_end(const char *p);
const char *overlay_path_end(const char *p, const char *end);
