/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files. The durable write follows the order that survives a power cut: data, fsync, rename,
 * fsync of the folder. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/path.h"

int file_read(Arena *a, int dirfd, const char *path, size_t max, char **ret, size_t *ret_len,
              Err *err)
{
        int fd CLEANUP(cleanup_fd) = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
        char *heap CLEANUP(cleanup_free) = NULL;
        size_t cap = 4096, len = 0;
        struct stat st;

        if (fd < 0)
                return err_sys(err, errno, "open %s", path);
        if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0)
                cap = MIN((size_t)st.st_size, max) + 1;
        for (;;) {
                ssize_t n;

                heap = mem_realloc(heap, cap + 1);
                n = fd_read_all(fd, heap + len, cap - len);
                if (n < 0)
                        return err_sys(err, errno, "read %s", path);
                len += (size_t)n;
                if (len > max)
                        return err_set(err, RESOURCE_EXHAUSTED, "%s is larger than %zu bytes", path,
                                       max);
                if (len < cap)
                        break;
                cap *= 2;
        }
        heap[len] = 0;
        if (a) {
                *ret = arena_alloc(a, len + 1);
                memcpy(*ret, heap, len + 1);
        } else {
                *ret = TAKE(heap);
        }
        if (ret_len)
                *ret_len = len;
        return 0;
}

int file_write(int dirfd, const char *path, const void *data, size_t n, mode_t mode, Err *err)
{
        int fd CLEANUP(cleanup_fd) =
                openat(dirfd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

        if (fd < 0)
                return err_sys(err, errno, "create %s", path);
        if (fault_hit() || fd_write_all(fd, data, n) < 0)
                return err_sys(err, errno, "write %s", path);
        return 0;
}

static int sync_parent(int dirfd, const char *path, Err *err)
{
        const char *slash = strrchr(path, '/');
        char *dir CLEANUP(cleanup_free) = NULL;

        if (!slash)
                return path_sync_dir(dirfd, ".", err);
        dir = mem_strndup(path, slash == path ? 1 : (size_t)(slash - path));
        return path_sync_dir(dirfd, dir, err);
}

int file_write_durable(int dirfd, const char *path, const void *data, size_t n, mode_t mode,
                       Err *err)
{
        char *tmp CLEANUP(cleanup_free) = NULL;
        int fd CLEANUP(cleanup_fd) = -1;
        char suffix[9];

        random_name(suffix, 8);
        tmp = mem_printf("%s.tmp-%s", path, suffix);
        fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (fd < 0)
                return err_sys(err, errno, "create %s", tmp);
        if (fault_hit() || fd_write_all(fd, data, n) < 0 || fault_hit() || fsync(fd) < 0 ||
            fault_hit() || renameat(dirfd, tmp, dirfd, path) < 0) {
                int saved = errno;

                unlinkat(dirfd, tmp, 0);
                return err_sys(err, saved, "write %s", path);
        }
        return sync_parent(dirfd, path, err);
}
