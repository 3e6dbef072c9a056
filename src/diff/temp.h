/* SPDX-License-Identifier: Apache-2.0 */
/* Temporary mount points, and what kinds of mounts can do without one. */
#pragma once

#include "base/cleanup.h"
#include "mount/mount.h"

#define TEMP_PREFIX "containerd-mount"

/* Makes "<tmp_root>/containerd-mount<random>", heap. */
int temp_dir_make(const char *tmp_root, char **ret, Err *err);
/* Takes off what is mounted there and removes the folder, if it is empty. Takes NULL, returns NULL.
 */
char *temp_dir_remove(char *path);
DEFINE_CLEANUP(char *, temp_dir_remove)

int mount_has_option(const Mount *m, const char *word);
/* One folder that can be used where it is, as the whole mount and with its own ids. */
int mount_is_bind(const Mount *m);
int mount_is_whole(const Mount *m);
