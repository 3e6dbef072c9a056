/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handlers that the daemon has itself.
 *
 * loop: the mount point is a link to the device. The device frees itself when nobody uses it, until
 * the link is there, and again from when it is about to go; so a daemon that is killed in between
 * leaves no device that nobody knows of.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fd.h"
#include "mount/loop.h"
#include "runtime/mounts_priv.h"

enum { DEVICES_MAX = 64 };

static int loop_mount(const Mount *m, const char *point, Err *err)
{
        char path[LOOP_PATH_MAX];
        int fd CLEANUP(cleanup_fd) = -1;
        unsigned flags = 0;
        int r;

        for (size_t i = 0; i < m->n_options; i++) {
                if (str_eq(m->options[i], "ro"))
                        flags |= LOOP_READONLY;
                else if (str_eq(m->options[i], "direct-io"))
                        flags |= LOOP_DIRECT_IO;
                else if (!str_eq(m->options[i], "rw") && !str_eq(m->options[i], "loop"))
                        return err_set(err, INVALID_ARGUMENT,
                                       "option \"%s\" of a loop device: invalid argument",
                                       m->options[i]);
        }
        r = loop_attach(m->source, flags, path, &fd, err);
        if (r < 0)
                return r;
        if (fault_hit() || symlink(path, point) < 0)
                return err_sys(err, errno, "symlink %s", point);
        r = fault_hit() ? err_sys(err, errno, "keep %s", path) : loop_set_autoclear(fd, 0, err);
        if (r < 0)
                unlink(point);
        return r;
}

static int loop_unmount(const char *point, int lazy, Err *err)
{
        char path[LOOP_PATH_MAX];
        ssize_t n = readlink(point, path, sizeof(path) - 1);
        int fd CLEANUP(cleanup_fd) = -1;
        int r;

        if (n < 0)
                return errno == ENOENT || errno == EINVAL ? 0
                                                          : err_sys(err, errno, "read %s", point);
        path[n] = 0;
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 && errno != ENOENT)
                return err_sys(err, errno, "open %s", path);
        if (fd >= 0) {
                r = loop_set_autoclear(fd, 1, err);
                if (r < 0)
                        return r;
        }
        if (unlink(point) < 0 && errno != ENOENT)
                return err_sys(err, errno, "remove %s", point);
        return 0;
}

const MountHandler loop_handler = {"loop", loop_mount, loop_unmount};

/* ---- EROFS ---- */

typedef struct Loops {
        int fd[DEVICES_MAX];
        size_t n;
} Loops;

static void loops_done(Loops *l)
{
        while (l->n > 0)
                fd_close(l->fd[--l->n]);
}

static int to_device(Arena *a, Loops *l, const char *file, const char **ret, Err *err)
{
        char path[LOOP_PATH_MAX];
        int r;

        if (l->n == DEVICES_MAX)
                return err_set(err, INVALID_ARGUMENT, "more than %d devices: invalid argument",
                               DEVICES_MAX);
        r = loop_attach(file, LOOP_READONLY, path, &l->fd[l->n], err);
        if (r < 0)
                return r;
        l->n++;
        *ret = arena_strdup(a, path);
        return 0;
}

/* For a kernel that mounts only block devices: the image, and what "device=" names, become some. */
static int mount_devices(Arena *a, const Mount *m, const char *point, Err *err)
{
        const char **options = arena_memdup(a, m->options, m->n_options * sizeof(*options));
        Loops loops CLEANUP(loops_done) = {};
        Mount with = *m;
        int r;

        r = to_device(a, &loops, m->source, &with.source, err);
        for (size_t i = 0; i < m->n_options && r == 0; i++) {
                const char *path;

                if (!str_starts(m->options[i], "device="))
                        continue;
                r = to_device(a, &loops, m->options[i] + strlen("device="), &path, err);
                if (r == 0)
                        options[i] = arena_printf(a, "device=%s", path);
        }
        with.options = options;
        return r < 0 ? r : mount_one(&with, point, err);
}

static int erofs_mount(const Mount *m, const char *point, Err *err)
{
        Arena a CLEANUP(arena_done);
        const char **options;
        Mount with = *m;
        struct stat st;
        int r;

        arena_init(&a, SIZE_MAX);
        options = arena_array(&a, const char *, m->n_options + 1);
        with.n_options = 0;
        with.options = options;
        for (size_t i = 0; i < m->n_options; i++)
                if (!str_eq(m->options[i], "loop"))
                        options[with.n_options++] = m->options[i];
        if (fault_hit() || mkdir(point, 0700) < 0)
                return err_sys(err, errno, "mkdir %s", point);
        r = mount_one(&with, point, err);
        if (r < 0 && stat(m->source, &st) == 0 && S_ISREG(st.st_mode))
                r = mount_devices(&a, &with, point, err);
        if (r < 0)
                rmdir(point);
        return r;
}

static int erofs_unmount(const char *point, int lazy, Err *err)
{
        return unmount_all(point, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0), err);
}

const MountHandler erofs_handler = {"erofs", erofs_mount, erofs_unmount};
