/* SPDX-License-Identifier: Apache-2.0 */
/* Loop devices over files. All block; errors are the class of errno. */
#pragma once

#include "base/err.h"

enum { LOOP_READONLY = 1, LOOP_DIRECT_IO = 2, LOOP_PATH_MAX = 32 };

/* Attaches a free loop device to the file: *ret_fd holds it (it lets go of the file when the last
 * user is gone), path gets its name. UNAVAILABLE when there is no free one. */
int loop_attach(const char *file, unsigned flags, char path[LOOP_PATH_MAX], int *ret_fd, Err *err);
/* Whether the device lets go of its file when nobody has it open or mounted any more. A device
 * without a file has nothing to let go of. */
int loop_set_autoclear(int fd, int on, Err *err);
