/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a process in a container runs as: the user string of an image or a command line, looked up in
 * the container's own /etc/passwd and /etc/group. Those files are foreign bytes below a foreign
 * root: opened inside it, read to a limit, bad lines skipped.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"

typedef struct UserIds {
        uint32_t uid, gid;
        uint32_t *additional_gids; /* arena; the primary gid first */
        size_t n_additional_gids;
} UserIds;

/* user: "", "N", "name", "N:M", "name:group" ...; "" is root. root_fd is a folder, or -1 where
 * nothing can be looked up. with_groups adds the groups that list the user. INVALID_ARGUMENT for a
 * bad string, NOT_FOUND for a name that is not there. */
int user_resolve(Arena *a, int root_fd, const char *user, int with_groups, UserIds *ret, Err *err);
