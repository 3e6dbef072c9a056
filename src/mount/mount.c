/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounting with mount(2): first call, then for a read-only bind a second one, because the kernel
 * ignores flags when it binds. The new mount API is used only where it alone can do it (identity
 * maps): a string parameter of fsconfig(2) is at most 255 bytes, too short for lowerdirs.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/path.h"
#include "mount/mount_priv.h"

enum { PAGE_SLACK = 512 };

static int call_mount(const char *source, const char *target, const char *type, unsigned long flags,
                      const char *data, Err *err)
{
        if (fault_hit() || mount(source, target, type, flags, data) < 0)
                return err_sys(
                        err, errno,
                        "mount source: \"%s\", target: \"%s\", fstype: %s, flags: %lu, data: \"%.200s\"",
                        source ? source : "", target, type ? type : "", flags, data);
        return 0;
}

/* mount(2) with a working directory that is this thread's alone. */
static int call_mount_at(const char *dir, const char *source, const char *target, const char *type,
                         unsigned long flags, const char *data, Err *err)
{
        int here CLEANUP(cleanup_fd) = -1;
        int r;

        if (unshare(CLONE_FS) < 0)
                return err_sys(err, errno, "unshare the working directory");
        here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (here < 0)
                return err_sys(err, errno, "open the working directory");
        if (chdir(dir) < 0)
                return err_sys(err, errno, "chdir %s", dir);
        r = call_mount(source, target, type, flags, data, err);
        if (fchdir(here) < 0 && r == 0)
                return err_sys(err, errno, "return to the working directory");
        return r;
}

static int mount_data(Arena *a, const Mount *m, const MountFlags *f, const char *source,
                      const char *target, Err *err)
{
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        const char *dir = NULL;
        char *data = f->data;

        if (str_eq(m->type, "overlay") && strlen(data) >= page - PAGE_SLACK) {
                char *absolute = path_absolute(a, target);

                overlay_pack(a, f->data, &dir, &data);
                target = absolute;
        }
        if (strlen(data) >= page)
                return err_set(err, INVALID_ARGUMENT,
                               "mount options are too long: %zu bytes, at most %zu", strlen(data),
                               page - 1);
        if (dir)
                return call_mount_at(dir, source, target, m->type, f->flags, data, err);
        return call_mount(source, target, m->type, f->flags, data, err);
}

static int do_mount(const Mount *m, const char *target, Err *err)
{
        Arena a CLEANUP(arena_done);
        int loop_fd CLEANUP(cleanup_fd) = -1;
        const char *source = m->source ? m->source : "";
        char loop_path[32];
        MountFlags f;
        int r;

        arena_init(&a, SIZE_MAX);
        r = mount_parse_options(&a, m, &f, err);
        if (r < 0)
                return r;
        if (str_empty(m->type))
                return err_set(err, INVALID_ARGUMENT, "mount of \"%s\" has no type", source);
        if (strchr(m->type, '/') || str_starts(m->type, "fuse.") || str_starts(m->type, "fuse3."))
                return err_set(err, UNIMPLEMENTED, "mount type \"%s\" needs a mount helper",
                               m->type);
        if (f.uidmap || f.gidmap)
                return err_set(err, UNIMPLEMENTED, "mount of \"%s\": uidmap and gidmap", source);
        if (f.loop) {
                r = loop_attach(source, (f.flags & MS_RDONLY) != 0, loop_path, &loop_fd, err);
                if (r < 0)
                        return r;
                source = loop_path;
        }
        /* A remount without options for the file system is left to the bind's second call. */
        if (!(f.flags & MS_REMOUNT) || *f.data) {
                r = mount_data(&a, m, &f, source, target, err);
                if (r < 0)
                        return r;
        }
        if ((f.flags & (MS_BIND | MS_RDONLY)) == (MS_BIND | MS_RDONLY)) {
                r = call_mount("", target, "", f.flags | MS_REMOUNT, "", err);
                if (r < 0 && !(f.flags & MS_REMOUNT))
                        umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW);
                return r;
        }
        if ((f.flags & MS_REMOUNT) && !*f.data)
                return call_mount(source, target, m->type, f.flags, "", err);
        return 0;
}

int mount_one(const Mount *m, const char *target, Err *err)
{
        int root CLEANUP(cleanup_fd) = -1;
        int fd CLEANUP(cleanup_fd) = -1;
        char path[40];

        if (str_empty(m->target))
                return do_mount(m, target, err);
        root = open(target, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (root < 0)
                return err_sys(err, errno, "open %s", target);
        fd = path_open_in_root(root, m->target, O_PATH, 0);
        if (fd < 0)
                return err_sys(err, errno, "open %s below %s", m->target, target);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return do_mount(m, path, err);
}

int mount_all(const Mount *mounts, size_t n, const char *target, Err *err)
{
        for (size_t i = 0; i < n; i++) {
                int r = mount_one(&mounts[i], target, err);
                Err ignored;

                if (r == 0)
                        continue;
                if (i > 0)
                        unmount_recursive(target, MNT_DETACH | UMOUNT_NOFOLLOW, &ignored);
                return r;
        }
        return 0;
}
