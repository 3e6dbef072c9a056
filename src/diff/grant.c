/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every request is checked as if the worker were an attacker with the folder's content in its
 * hands, swapping names while we look: so an object is opened once, checked, and then acted on
 * through /proc/self/fd, which cannot be swapped.
 */
#include "diff/grant.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/path.h"

#define OVERLAY_OPAQUE "trusted.overlay.opaque"

enum { LOWERS_MAX = 500, XATTR_LIST_MAX = 64 * 1024 };

typedef char FdPath[32];

static const char *fd_path(int fd, FdPath buf)
{
        snprintf(buf, sizeof(FdPath), "/proc/self/fd/%d", fd);
        return buf;
}

/* Whether fd lies in the granted folder; its mode comes along. */
static int inside(const Grant *g, int fd, mode_t *ret_mode)
{
        struct statx sx;

        if (fd < 0 ||
            statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_MNT_ID | STATX_TYPE, &sx) <
                    0 ||
            !(sx.stx_mask & STATX_MNT_ID) || sx.stx_mnt_id != g->mount)
                return 0;
        *ret_mode = sx.stx_mode;
        return 1;
}

static int open_lowers(Grant *g, const char *lowers, Err *err)
{
        char *copy CLEANUP(cleanup_free) = mem_strdup(lowers), *rest = copy, *dir;

        while ((dir = strsep(&rest, ":"))) {
                int fd;

                if (!*dir)
                        continue;
                if (g->n_lowers == LOWERS_MAX)
                        return err_set(err, INVALID_ARGUMENT,
                                       "more than %d lower folders: invalid argument", LOWERS_MAX);
                fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
                if (fd < 0)
                        return err_sys(err, errno, "open %s", dir);
                g->lowers = mem_realloc(g->lowers, (g->n_lowers + 1) * sizeof(*g->lowers));
                g->lowers[g->n_lowers++] = fd;
        }
        return 0;
}

int grant_open(const char *dir, const char *lowers, int overlay, Grant *ret, Err *err)
{
        Grant g CLEANUP(grant_done) = {.fd = -1, .overlay = overlay};
        struct mount_attr attr = {.attr_set =
                                          MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC};
        struct statx sx;
        int r;

        g.fd = (int)syscall(SYS_open_tree, AT_FDCWD, dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        if (g.fd < 0)
                return err_sys(err, errno, "open %s", dir);
        if (syscall(SYS_mount_setattr, g.fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
                return err_sys(err, errno, "confine %s", dir);
        if (statx(g.fd, "", AT_EMPTY_PATH, STATX_MNT_ID | STATX_TYPE, &sx) < 0)
                return err_sys(err, errno, "stat %s", dir);
        if (!(sx.stx_mask & STATX_MNT_ID) || !S_ISDIR(sx.stx_mode))
                return err_set(err, FAILED_PRECONDITION,
                               "%s is no folder to unpack into: failed precondition", dir);
        g.mount = sx.stx_mnt_id;
        r = lowers ? open_lowers(&g, lowers, err) : 0;
        if (r < 0)
                return r;
        *ret = g;
        g = (Grant){.fd = -1};
        return 0;
}

void grant_done(Grant *g)
{
        fd_close(g->fd);
        for (size_t i = 0; i < g->n_lowers; i++)
                fd_close(g->lowers[i]);
        free(g->lowers);
        *g = (Grant){.fd = -1};
}

int grant_xattr(const Grant *g, int fd, const char *name, const void *value, size_t n)
{
        int opaque =
                g->overlay && str_eq(name, OVERLAY_OPAQUE) && n == 1 && *(const char *)value == 'y';
        int label = str_starts(name, "security.") && !str_eq(name, "security.capability");
        mode_t mode;
        FdPath path;

        if (!inside(g, fd, &mode) || (!label && !(opaque && S_ISDIR(mode))))
                return EPERM;
        return setxattr(fd_path(fd, path), name, value, n, 0) < 0 ? errno : 0;
}

static int good_name(const char *name)
{
        return *name && !strchr(name, '/') && !str_eq(name, ".") && !str_eq(name, "..");
}

int grant_mknod(const Grant *g, int dir_fd, const WorkerMknodMsg *m)
{
        mode_t type = m->mode & S_IFMT, dir_mode;
        dev_t dev = makedev(m->major, m->minor);
        int fd CLEANUP(cleanup_fd) = -1;
        struct stat st;
        mode_t mode;
        FdPath path;

        if ((type != S_IFCHR && type != S_IFBLK) || !good_name(m->name) ||
            !inside(g, dir_fd, &dir_mode) || !S_ISDIR(dir_mode))
                return EPERM;
        if (mknodat(dir_fd, m->name, type, dev) < 0)
                return errno;
        fd = openat(dir_fd, m->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return errno;
        if (!inside(g, fd, &mode) || (st.st_mode & S_IFMT) != type || st.st_rdev != dev)
                return EPERM;
        if (fchownat(fd, "", m->uid, m->gid, AT_EMPTY_PATH) < 0 ||
            chmod(fd_path(fd, path), m->mode & 07777) < 0)
                return errno;
        return 0;
}

static int copy_xattrs(int from, int to)
{
        FdPath from_path, to_path;
        char *names CLEANUP(cleanup_free) = mem_alloc(XATTR_LIST_MAX);
        char *value CLEANUP(cleanup_free) = mem_alloc(LIMIT_TAR_XATTR);
        ssize_t n = listxattr(fd_path(from, from_path), names, XATTR_LIST_MAX);

        if (n < 0)
                return errno == EOPNOTSUPP ? 0 : errno;
        for (const char *name = names; name < names + n; name += strlen(name) + 1) {
                ssize_t len;

                if (str_starts(name, "trusted."))
                        continue;
                len = getxattr(from_path, name, value, LIMIT_TAR_XATTR);
                if (len < 0 || (setxattr(fd_path(to, to_path), name, value, (size_t)len, 0) < 0 &&
                                errno != EOPNOTSUPP))
                        return errno;
        }
        return 0;
}

/* The path decides only which lower folder is looked at, and the walk does not leave that. */
int grant_implied(const Grant *g, int dir_fd, const char *path)
{
        struct open_how how = {
                .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
        };
        mode_t mode;

        if (!inside(g, dir_fd, &mode) || !S_ISDIR(mode))
                return EPERM;
        for (size_t i = 0; i < g->n_lowers; i++) {
                int fd CLEANUP(cleanup_fd) =
                        (int)syscall(SYS_openat2, g->lowers[i], path, &how, sizeof(how));
                FdPath to;
                struct stat st;

                if (fd < 0 && errno == ENOENT)
                        continue;
                if (fd < 0)
                        return errno == ENOTDIR ? 0 : errno; /* a file or whiteout: replaced,
                                                                nothing to inherit */
                if (fstat(fd, &st) < 0 ||
                    fchownat(dir_fd, "", st.st_uid, st.st_gid, AT_EMPTY_PATH) < 0 ||
                    chmod(fd_path(dir_fd, to), st.st_mode & 07777) < 0)
                        return errno;
                return copy_xattrs(fd, dir_fd);
        }
        return 0;
}

int grant_is_opaque(const Grant *g, int dir_fd)
{
        static const char *const marks[] = {
                OVERLAY_OPAQUE,
                "trusted.overlay.redirect",
                "user.overlay.opaque",
                "user.overlay.redirect",
        };
        mode_t mode;
        FdPath path;

        if (!inside(g, dir_fd, &mode) || !S_ISDIR(mode))
                return 1;
        for (size_t i = 0; i < ARRAY_LEN(marks); i++)
                if (getxattr(fd_path(dir_fd, path), marks[i], NULL, 0) >= 0 ||
                    (errno != ENODATA && errno != EOPNOTSUPP))
                        return 1;
        return 0;
}
