/* SPDX-License-Identifier: Apache-2.0 */
/* The start action: which shim serves a container, and making it. */
#pragma once

#include "base/arena.h"
#include "shim/bootstrap.h"

enum { SHIM_LISTEN_FD = 3, SOCKET_DIR_MAX = 42 };

/* Group annotation, sandbox annotation, or the container's id. The strings live in the arena. */
const char *shim_group(Arena *a, const char *config_json, size_t n, const char *id);
/* "DIR/<sha256 of ADDRESS/NS/GROUP>"; dir NULL is the default. INVALID_ARGUMENT for a dir that is
 * too long. */
int shim_socket_path(Arena *a, const char *dir, const char *grpc_address, const char *ns,
                     const char *group, const char **ret, Err *err);
/* Binds and listens: *ret_fd, or -1 when another shim answers there already. Folder 0700, socket
 * 0600. */
int shim_socket_listen(const char *path, int *ret_fd, Err *err);

/* All of stdin, at most LIMIT_BOOTSTRAP. */
int shim_read_stdin(Arena *a, char **ret, size_t *ret_n, Err *err);
/* Reads stdin, writes the answer to stdout. Exit code. */
int shim_start(const ShimFlags *flags);
