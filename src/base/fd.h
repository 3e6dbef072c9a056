/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File descriptors and whole files. Descriptors are O_CLOEXEC from birth. Paths are relative to a
 * dirfd (AT_FDCWD allowed). Functions with an Err fill it with the path's name; those without
 * return 0 or -1 with errno.
 */
#pragma once

#include <sys/types.h>
#include "base/arena.h"
#include "base/err.h"

void fd_close(int fd); /* ignores -1, keeps errno */

static inline void cleanup_fd(int *fd)
{
        fd_close(*fd);
}

/* Loop over short counts and EINTR. fd_read_all: bytes read, short at end of file. */
ssize_t fd_read_all(int fd, void *buf, size_t n);
int fd_write_all(int fd, const void *buf, size_t n);
ssize_t fd_pread_all(int fd, void *buf, size_t n, off_t off);
int fd_set_nonblock(int fd, int on);
int fd_set_cloexec(int fd, int on);

/* Sends or receives bytes together with descriptors over a unix socket; see unix(7), SCM_RIGHTS.
 * fd_recv: *ret_fd is -1 when none came. */
ssize_t fd_send(int sock, const void *buf, size_t n, int fd);
ssize_t fd_recv(int sock, void *buf, size_t n, int *ret_fd);

/* The whole file, NUL-terminated, at most max bytes (RESOURCE_EXHAUSTED beyond). NOT_FOUND if
 * absent. Into the arena, or onto the heap when a is NULL. */
int file_read(Arena *a, int dirfd, const char *path, size_t max, char **ret, size_t *ret_len,
              Err *err);
/* Creates or truncates and writes; not durable. */
int file_write(int dirfd, const char *path, const void *data, size_t n, mode_t mode, Err *err);
/* Temporary file beside it, fsync, rename, fsync of the folder: all or nothing, also over a power
 * cut. */
int file_write_durable(int dirfd, const char *path, const void *data, size_t n, mode_t mode,
                       Err *err);
