/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An archive names the same few folders over and over, so a direct-mapped table of open ones saves
 * the walk. The table is keyed by the name in the archive; as names pass through links, everything
 * is forgotten whenever a folder or link changes, which is rare.
 */
#include "diff/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/path.h"

enum { LINKS_MAX = 40 }; /* as the kernel has it */

void tree_init(Tree *t, int root_fd, const char *label, TreeOps ops)
{
        *t = (Tree){.root_fd = root_fd, .label = label, .ops = ops};
}

void tree_forget(Tree *t)
{
        for (size_t i = 0; i < TREE_SLOTS; i++) {
                TreeDir *d = &t->slots[i];

                if (!d->path)
                        continue;
                fd_close(d->fd);
                free(d->path);
                *d = (TreeDir){};
        }
}

void tree_done(Tree *t)
{
        tree_forget(t);
}

int tree_clean(const char *name, char *buf, Err *err)
{
        size_t len = 0;
        int depth = 0;

        while (*name) {
                size_t n = strcspn(name, "/");

                if (n == 2 && name[0] == '.' && name[1] == '.') {
                        while (len > 0 && buf[--len] != '/')
                                ;
                        depth -= depth > 0;
                } else if (n > 0 && !(n == 1 && name[0] == '.')) {
                        if (len + n + 2 > LIMIT_TAR_NAME || ++depth > LIMIT_TAR_DEPTH)
                                return err_set(
                                        err, RESOURCE_EXHAUSTED,
                                        "name in archive is too long or deeper than %d: %.60s…",
                                        LIMIT_TAR_DEPTH, buf);
                        if (len > 0)
                                buf[len++] = '/';
                        memcpy(buf + len, name, n);
                        len += n;
                        buf[len] = 0; /* for the message above */
                }
                name += n + (name[n] == '/');
        }
        buf[len] = 0;
        return 0;
}

void tree_split(char *clean, const char **ret_parent, const char **ret_base)
{
        char *slash = strrchr(clean, '/');

        if (slash)
                *slash = 0;
        *ret_parent = slash ? clean : "";
        *ret_base = slash ? slash + 1 : clean;
}

static int open_at(Tree *t, const char *path)
{
        return path_open_in_root(t->root_fd, *path ? path : ".", O_RDONLY | O_DIRECTORY, 0);
}

/* The first part of the name that is there and no folder, for the message. */
static int not_a_folder(Tree *t, const char *path, Err *err)
{
        char *prefix CLEANUP(cleanup_free) = mem_strdup(path);
        size_t i = 0;

        while (prefix[i]) {
                struct stat st;
                int fd CLEANUP(cleanup_fd) = -1;
                char c;

                i += strcspn(prefix + i, "/");
                c = prefix[i];
                prefix[i] = 0;
                fd = path_open_in_root(t->root_fd, prefix, O_PATH, 0);
                if (fd < 0 || (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode)))
                        break;
                prefix[i] = c;
                i += c == '/';
        }
        return err_set(err, UNKNOWN, "mkparent %s/%s: not a directory", t->label, prefix);
}

static int ensure(Tree *t, const char *path, int links, int *ret_fd, Err *err);

/* A link that points nowhere stands where a folder is needed: make what it points to. */
static int ensure_target(Tree *t, int parent_fd, const char *parent, const char *base, int links,
                         int *ret_fd, Err *err)
{
        char link[LIMIT_TAR_NAME];
        char *to CLEANUP(cleanup_free) = NULL;
        ssize_t n = readlinkat(parent_fd, base, link, sizeof(link) - 1);

        if (n < 0 || links == 0)
                return err_sys(err, n < 0 ? errno : ELOOP, "mkparent %s/%s/%s", t->label, parent,
                               base);
        link[n] = 0;
        for (ssize_t i = 0, slashes = 0; i < n; i++)
                if (link[i] == '/' && ++slashes > LIMIT_TAR_DEPTH)
                        return err_sys(err, ELOOP, "mkparent %s/%s/%s", t->label, parent, base);
        /* Not cleaned: parent may be a link itself, so ".." must be walked, which the kernel does
         * confined. */
        to = link[0] == '/' ? mem_strdup(link + 1)
                            : mem_printf("%s/%s", *parent ? parent : ".", link);
        return ensure(t, to, links - 1, ret_fd, err);
}

/* Opens a folder, making what is missing. Each level of recursion shortens the path or spends a
 * link. */
static int ensure(Tree *t, const char *path, int links, int *ret_fd, Err *err)
{
        char *copy CLEANUP(cleanup_free) = mem_strdup(path);
        int parent CLEANUP(cleanup_fd) = -1;
        const char *dir, *base;
        int fd = open_at(t, path), r;

        if (fd >= 0) {
                *ret_fd = fd;
                return 0;
        }
        if (errno == ENOTDIR)
                return not_a_folder(t, path, err);
        if (errno != ENOENT)
                return err_sys(err, errno, "mkparent %s/%s", t->label, path);
        for (size_t n = strlen(copy); n > 0 && copy[n - 1] == '/'; n--)
                copy[n - 1] = 0;
        if (!*copy || strlen(copy) >= LIMIT_TAR_NAME)
                return err_sys(err, ENAMETOOLONG, "mkparent %s", t->label);
        tree_split(copy, &dir, &base);
        r = ensure(t, dir, links, &parent, err);
        if (r < 0)
                return r;
        if (mkdirat(parent, base, 0755) < 0) {
                if (errno == EEXIST)
                        return ensure_target(t, parent, dir, base, links, ret_fd, err);
                return err_sys(err, errno, "mkparent %s/%s", t->label, path);
        }
        fd = openat(parent, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return err_sys(err, errno, "mkparent %s/%s", t->label, path);
        r = t->ops.implied ? t->ops.implied(t->ops.ctx, fd, path, err) : 0;
        if (r < 0) {
                fd_close(fd);
                return r;
        }
        *ret_fd = fd;
        return 0;
}

int tree_dir(Tree *t, const char *path, int make, const TreeDir **ret, Err *err)
{
        TreeDir *d = &t->slots[hash_str(path) % TREE_SLOTS];
        struct stat st;
        int fd, r;

        if (d->path && strcmp(d->path, path) == 0) {
                *ret = d;
                return 0;
        }
        fd = open_at(t, path);
        if (fd < 0 && errno == ENOENT && !make)
                return err_set(err, NOT_FOUND, "%s/%s: no such file or directory", t->label, path);
        if (fd < 0) {
                r = ensure(t, path, LINKS_MAX, &fd, err);
                if (r < 0)
                        return r;
        }
        if (fstat(fd, &st) < 0) {
                r = err_sys(err, errno, "stat %s/%s", t->label, path);
                fd_close(fd);
                return r;
        }
        if (d->path) {
                fd_close(d->fd);
                free(d->path);
        }
        *d = (TreeDir){.path = mem_strdup(path), .fd = fd, .ino = st.st_ino};
        d->plain =
                !(st.st_mode & S_ISGID) && fgetxattr(fd, "system.posix_acl_default", NULL, 0) < 0;
        *ret = d;
        return 0;
}
