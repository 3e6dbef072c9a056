/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounting with mount(2): first call, then for a read-only bind a second one, because the kernel
 * ignores flags when it binds. The new mount API is used only where it alone can do it (mapped
 * owners, idmap.c): a string parameter of fsconfig(2) is at most 255 bytes, too short for
 * lowerdirs.
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
#include "mount/loop.h"
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

/* Where something is mounted. A descriptor shows what was there when it was opened, so what comes
 * after the first mount has to look again. */
typedef struct Place {
        const char *path;
        int root; /* with sub: path is of the descriptor of sub below it */
        const char *sub;
        int fd;
        int mounted; /* by us, and still there */
        char name[40];
} Place;

static void place_done(Place *p)
{
        fd_close(p->fd);
        fd_close(p->root);
}

static int place_look(Place *p, Err *err)
{
        int fd;

        if (!p->sub)
                return 0;
        fd = path_open_in_root(p->root, p->sub, O_PATH, 0);
        if (fd < 0)
                return err_sys(err, errno, "open %s below a mount point", p->sub);
        fd_close(p->fd);
        p->fd = fd;
        snprintf(p->name, sizeof(p->name), "/proc/self/fd/%d", fd);
        p->path = p->name;
        return 0;
}

/* The flags of a bind, which the kernel ignores when it binds. */
static int finish_bind(const MountFlags *f, Place *p, Err *err)
{
        if ((f->flags & (MS_BIND | MS_RDONLY)) != (MS_BIND | MS_RDONLY))
                return 0;
        return call_mount("", p->path, "", f->flags | MS_REMOUNT, "", err);
}

/* Only a mount that is not attached can be mapped: a copy takes its place. */
static int map_owners(const MountFlags *f, int userns, Place *p, Err *err)
{
        int fd CLEANUP(cleanup_fd) = -1;
        int r;

        r = idmap_copy(p->path, (f->flags & MS_REC) != 0, userns, &fd, err);
        if (r < 0)
                return r;
        if (umount2(p->path, MNT_DETACH) < 0)
                return err_sys(err, errno, "unmount %s", p->path);
        p->mounted = 0;
        r = place_look(p, err);
        return r < 0 ? r : idmap_attach(fd, p->path, err);
}

static int finish(const MountFlags *f, int userns, Place *p, Err *err)
{
        int r = place_look(p, err);

        if (r == 0)
                r = finish_bind(f, p, err);
        if (r == 0 && userns >= 0)
                r = map_owners(f, userns, p, err);
        return r;
}

static int mount_mapped_overlay(Arena *a, const Mount *m, const MountFlags *f, int userns,
                                const Place *p, Err *err)
{
        int fd CLEANUP(cleanup_fd) = -1;
        int r;

        r = idmap_overlay(a, m->source ? m->source : "", f->flags, f->data, userns, &fd, err);
        return r < 0 ? r : idmap_attach(fd, p->path, err);
}

static int mount_new(Arena *a, const Mount *m, const MountFlags *f, Place *p, Err *err)
{
        int loop_fd CLEANUP(cleanup_fd) = -1, userns CLEANUP(cleanup_fd) = -1;
        const char *source = m->source ? m->source : "";
        char loop_path[LOOP_PATH_MAX];
        int r;

        if (f->uidmap && f->gidmap) {
                r = idmap_userns(a, f->uidmap, f->gidmap, &userns, err);
                if (r < 0)
                        return r;
                if (str_eq(m->type, "overlay"))
                        return mount_mapped_overlay(a, m, f, userns, p, err);
        }
        if (f->loop) {
                r = loop_attach(source,
                                (f->flags & MS_RDONLY ? LOOP_READONLY : 0) |
                                        (f->direct_io ? LOOP_DIRECT_IO : 0),
                                loop_path, &loop_fd, err);
                if (r < 0)
                        return r;
                source = loop_path;
        }
        r = mount_data(a, m, f, source, p->path, err);
        if (r < 0)
                return r;
        p->mounted = 1;
        r = finish(f, userns, p, err);
        if (r < 0 && p->mounted)
                umount2(p->path, MNT_DETACH);
        return r;
}

/* A remount without options for the file system is left to the bind's second call. */
static int remount(Arena *a, const Mount *m, const MountFlags *f, Place *p, Err *err)
{
        const char *source = m->source ? m->source : "";
        int r;

        if (*f->data) {
                r = mount_data(a, m, f, source, p->path, err);
                return r < 0 ? r : finish_bind(f, p, err);
        }
        if ((f->flags & (MS_BIND | MS_RDONLY)) == (MS_BIND | MS_RDONLY))
                return finish_bind(f, p, err);
        return call_mount(source, p->path, m->type, f->flags, "", err);
}

static int do_mount(const Mount *m, Place *p, Err *err)
{
        Arena a CLEANUP(arena_done);
        MountFlags f;
        int r;

        arena_init(&a, SIZE_MAX);
        r = mount_parse_options(&a, m, &f, err);
        if (r < 0)
                return r;
        if (str_empty(m->type))
                return err_set(err, INVALID_ARGUMENT, "mount of \"%s\" has no type",
                               m->source ? m->source : "");
        if (strchr(m->type, '/'))
                return err_set(err, UNIMPLEMENTED, "mount type \"%s\" needs a mount handler",
                               m->type);
        if (!f.uidmap != !f.gidmap)
                return err_set(err, INVALID_ARGUMENT, "mount of \"%s\": %s without %s",
                               m->source ? m->source : "", f.uidmap ? "uidmap" : "gidmap",
                               f.uidmap ? "gidmap" : "uidmap");
        if (is_fuse(m->type))
                return fuse_mount(&a, m, p->path, err);
        return f.flags & MS_REMOUNT ? remount(&a, m, &f, p, err) : mount_new(&a, m, &f, p, err);
}

int mount_one(const Mount *m, const char *target, Err *err)
{
        Place p CLEANUP(place_done) = {.path = target, .root = -1, .fd = -1};
        int r;

        if (!str_empty(m->target)) {
                p.root = open(target, O_PATH | O_DIRECTORY | O_CLOEXEC);
                if (p.root < 0)
                        return err_sys(err, errno, "open %s", target);
                p.sub = m->target;
        }
        r = place_look(&p, err);
        return r < 0 ? r : do_mount(m, &p, err);
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
