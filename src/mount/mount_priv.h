/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "mount/mount.h"

/* A lowerdir list that is too long for one page of options, made relative to the folder they share.
 * *ret_dir is that folder, or NULL when nothing is to be gained; *ret_data is the new option text.
 */
void overlay_pack(Arena *a, const char *data, const char **ret_dir, char **ret_data);

/* Attaches a free loop device to the file: *ret_fd holds it (it lets go of the file when the last
 * user is gone), path gets its name. */
int loop_attach(const char *file, int readonly, char path[32], int *ret_fd, Err *err);

