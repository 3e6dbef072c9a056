/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unmounting. umount(2) tells by EINVAL that nothing is mounted, which ends a loop over stacked
 * mounts. A busy mount is tried again for a short while: a process that has just ended may still
 * hold it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/path.h"
#include "mount/mount.h"
#include "mount/mountinfo.h"

enum { BUSY_TRIES = 50, BUSY_WAIT_US = 20 * 1000, STACK_LIMIT = 1024 };

static int unmount_once(const char *target, int flags)
{
        for (int i = 0;; i++) {
                if (!fault_hit() && umount2(target, flags) == 0)
                        return 0;
                if (errno != EBUSY || i == BUSY_TRIES)
                        return -1;
                usleep(BUSY_WAIT_US);
        }
}

int unmount_all(const char *target, int flags, Err *err)
{
        for (int i = 0; i < STACK_LIMIT; i++) {
                if (unmount_once(target, flags) == 0)
                        continue;
                if (errno == EINVAL || errno == ENOENT)
                        return 0;
                return err_sys(err, errno, "unmount %s", target);
        }
        return err_set(err, FAILED_PRECONDITION, "unmount %s: more than %d mounts", target,
                       STACK_LIMIT);
}

static int is_below(const char *path, const char *dir)
{
        size_t n = strlen(dir);

        return strncmp(path, dir, n) == 0 && (path[n] == 0 || path[n] == '/' || str_eq(dir, "/"));
}

int unmount_recursive(const char *target, int flags, Err *err)
{
        Arena a CLEANUP(arena_done);
        char *real CLEANUP(cleanup_free) = realpath(target, NULL);
        MountInfo *mounts;
        size_t n;
        int r;

        arena_init(&a, SIZE_MAX);
        if (!real)
                return errno == ENOENT ? 0 : err_sys(err, errno, "resolve %s", target);
        r = mountinfo_read(&a, NULL, &mounts, &n, err);
        if (r < 0)
                return r;
        /* A mount is listed after the one it lies on. */
        for (size_t i = n; i-- > 0;) {
                if (!is_below(mounts[i].point, real))
                        continue;
                if (unmount_once(mounts[i].point, flags) < 0 && errno != EINVAL && errno != ENOENT)
                        return err_sys(err, errno, "unmount %s", mounts[i].point);
        }
        return 0;
}

int unmount_detach(const char *target, int *ret_handle, Err *err)
{
        int handle CLEANUP(cleanup_fd) = open(target, O_PATH | O_NOFOLLOW | O_CLOEXEC);

        if (handle < 0 && errno != ENOENT)
                return err_sys(err, errno, "open %s", target);
        if (handle < 0 || !mount_is_point(target)) {
                *ret_handle = -1;
                return 0;
        }
        if (fault_hit() || umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
                return err_sys(err, errno, "unmount %s", target);
        *ret_handle = TAKE_FD(handle);
        return 0;
}

int mount_is_point(const char *path)
{
        struct statx st;

        if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE, &st) < 0)
                return 0;
        return (st.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) &&
               (st.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}
