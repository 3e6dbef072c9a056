/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/arena.h"
#include "base/err.h"

/* Takes everything off bundle/rootfs; nothing there is fine. Blocks; for op children and the delete
 * action. */
int rootfs_unmount(const char *bundle, Arena *a, Err *err);
