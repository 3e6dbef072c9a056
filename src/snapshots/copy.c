/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying a tree as it stands: the walk goes through the source, a stack of open folders follows in
 * the target. A folder gets its attributes when everything is in it, because writing changes its
 * times. Within one entry the order is owner, extended attributes, mode, times: chown clears file
 * capabilities and set-user-id, writing sets the times.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/limits.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/fd.h"
#include "base/map.h"
#include "base/mem.h"
#include "snapshots/tree.h"

enum { COPY_CHUNK = 64 * 1024 * 1024, COPY_BUF = 128 * 1024 };

typedef struct Copy {
        int to;
        int dirs[TREE_DEPTH_MAX + 1]; /* open folders of the target, by depth */
        int n_dirs;
        Map links; /* path in the target of the first name of an inode */
} Copy;

static void copy_done(Copy *c)
{
        while (c->n_dirs > 0)
                fd_close(c->dirs[--c->n_dirs]);
        MAP_FOREACH (slot, &c->links)
                free(slot->value);
        map_done(&c->links);
}

static int copy_xattrs(const char *from, const char *to, const char *path, Err *err)
{
        char *names CLEANUP(cleanup_free) = NULL;
        char *value CLEANUP(cleanup_free) = mem_alloc(XATTR_SIZE_MAX);
        ssize_t n = listxattr(from, NULL, 0);

        if (n <= 0)
                return n == 0 || errno == ENOTSUP
                               ? 0
                               : err_sys(err, errno, "list attributes of %s", path);
        names = mem_alloc((size_t)n + 1);
        n = listxattr(from, names, (size_t)n);
        if (n < 0)
                return err_sys(err, errno, "list attributes of %s", path);
        for (char *name = names; name < names + n; name += strlen(name) + 1) {
                ssize_t k = getxattr(from, name, value, XATTR_SIZE_MAX);

                if (k < 0 || setxattr(to, name, value, (size_t)k, 0) < 0) {
                        if (errno == ENOTSUP || errno == ENODATA)
                                continue;
                        return err_sys(err, errno, "attribute %s of %s", name, path);
                }
        }
        return 0;
}

/* O_PATH handles, seen through /proc, reach symlinks and devices alike without following or opening
 * them. */
static int copy_attributes(int from, int to, const struct stat *st, const char *path, Err *err)
{
        struct timespec times[2] = {st->st_atim, st->st_mtim};
        char from_path[40], to_path[40];
        int r;

        snprintf(from_path, sizeof(from_path), "/proc/self/fd/%d", from);
        snprintf(to_path, sizeof(to_path), "/proc/self/fd/%d", to);
        if (fault_hit() || fchownat(to, "", st->st_uid, st->st_gid, AT_EMPTY_PATH) < 0)
                return err_sys(err, errno, "chown %s", path);
        r = copy_xattrs(from_path, to_path, path, err);
        if (r < 0)
                return r;
        if (!S_ISLNK(st->st_mode) && chmod(to_path, st->st_mode & 07777) < 0)
                return err_sys(err, errno, "chmod %s", path);
        if (utimensat(to, "", times, AT_EMPTY_PATH) < 0)
                return err_sys(err, errno, "times of %s", path);
        return 0;
}

static int copy_bytes(int in, int out, const char *path, Err *err)
{
        char *buf CLEANUP(cleanup_free) = NULL;
        ssize_t n;

        if (ioctl(out, FICLONE, in) == 0)
                return 0;
        while ((n = fault_hit() ? -1 : copy_file_range(in, NULL, out, NULL, COPY_CHUNK, 0)) > 0)
                ;
        if (n == 0)
                return 0;
        if (errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS)
                return err_sys(err, errno, "copy %s", path);
        buf = mem_alloc(COPY_BUF);
        while ((n = read(in, buf, COPY_BUF)) > 0)
                if (fd_write_all(out, buf, (size_t)n) < 0)
                        return err_sys(err, errno, "write %s", path);
        return n < 0 ? err_sys(err, errno, "read %s", path) : 0;
}

/* 1 when the inode has been copied under another name and is linked now. */
static int link_again(Copy *c, const TreeEntry *e, int dir, Err *err)
{
        const char *first;
        char key[64];

        if (e->st->st_nlink < 2)
                return 0;
        snprintf(key, sizeof(key), "%llx:%llx", (unsigned long long)e->st->st_dev,
                 (unsigned long long)e->st->st_ino);
        first = map_find(&c->links, key);
        if (!first) {
                map_put(&c->links, key, mem_strdup(e->path));
                return 0;
        }
        if (fault_hit() || linkat(c->to, first, dir, e->name, 0) < 0)
                return err_sys(err, errno, "link %s to %s", e->path, first);
        return 1;
}

static int make_file(const TreeEntry *e, int dir, Err *err)
{
        char target[PATH_MAX + 1];
        ssize_t n;

        if (fault_hit())
                return err_sys(err, errno, "create %s", e->path);
        if (S_ISLNK(e->st->st_mode)) {
                n = readlinkat(e->dirfd, e->name, target, sizeof(target) - 1);
                if (n < 0)
                        return err_sys(err, errno, "read link %s", e->path);
                target[n] = 0;
                return symlinkat(target, dir, e->name) < 0
                               ? err_sys(err, errno, "create %s", e->path)
                               : 0;
        }
        if (S_ISREG(e->st->st_mode)) {
                int in CLEANUP(cleanup_fd) =
                        openat(e->dirfd, e->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
                int out CLEANUP(cleanup_fd) = openat(
                        dir, e->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

                if (in < 0 || out < 0)
                        return err_sys(err, errno, "%s %s", in < 0 ? "open" : "create", e->path);
                return copy_bytes(in, out, e->path, err);
        }
        if (mknodat(dir, e->name, (e->st->st_mode & S_IFMT) | 0600, e->st->st_rdev) < 0)
                return err_sys(err, errno, "create %s", e->path);
        return 0;
}

static int finish(const TreeEntry *e, int dir, Err *err)
{
        int from CLEANUP(cleanup_fd) = openat(e->dirfd, e->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        int to CLEANUP(cleanup_fd) = openat(dir, e->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

        if (from < 0 || to < 0)
                return err_sys(err, errno, "open %s", e->path);
        return copy_attributes(from, to, e->st, e->path, err);
}

static int copy_entry(void *ctx, const TreeEntry *e, Err *err)
{
        Copy *c = ctx;
        int dir, r;

        if (e->event == TREE_LEAVE)
                fd_close(c->dirs[--c->n_dirs]);
        dir = c->n_dirs ? c->dirs[c->n_dirs - 1] : c->to;
        if (e->event == TREE_LEAVE)
                return finish(e, dir, err);
        if (e->event == TREE_ENTER) {
                if (fault_hit() || mkdirat(dir, e->name, 0700) < 0)
                        return err_sys(err, errno, "mkdir %s", e->path);
                if (c->n_dirs > TREE_DEPTH_MAX)
                        return err_set(err, RESOURCE_EXHAUSTED,
                                       "folders are nested more than %d deep", TREE_DEPTH_MAX);
                c->dirs[c->n_dirs] =
                        openat(dir, e->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (c->dirs[c->n_dirs] < 0)
                        return err_sys(err, errno, "open %s", e->path);
                c->n_dirs++;
                return 0;
        }
        /* A socket without its process is nothing. */
        if (S_ISSOCK(e->st->st_mode))
                return 0;
        r = link_again(c, e, dir, err);
        if (r != 0)
                return r < 0 ? r : 0;
        r = make_file(e, dir, err);
        return r < 0 ? r : finish(e, dir, err);
}

int tree_copy(int from, int to, Err *err)
{
        Copy c CLEANUP(copy_done) = {.to = to};
        struct stat st;
        int r;

        r = tree_walk(from, copy_entry, &c, err);
        if (r < 0)
                return r;
        if (fstat(from, &st) < 0)
                return err_sys(err, errno, "stat");
        return copy_attributes(from, to, &st, ".", err);
}
