/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each entry is made in the hope that nothing is there, which is almost always so and costs one
 * call; what is in the way is removed when the kernel says that it is. The order within an entry is
 * forced: writing and chown() take set-id bits and file capabilities away, and everything touches
 * times.
 *
 * To empty a folder of what is older than this layer, the layer's own names are remembered, as
 * hashes of the parent's inode and the name: that is the same for all ways through links. Only the
 * plain mode needs it; overlayfs has a mark for such folders.
 */
#include "diff/extract.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/path.h"

#define WHITEOUT        ".wh."
#define WHITEOUT_META   ".wh..wh."
#define WHITEOUT_OPAQUE ".wh..wh..opq"
#define OVERLAY_OPAQUE  "trusted.overlay.opaque"

enum { OPAQUE_DEPTH = 256 };

typedef struct DirTimes {
        char *path;
        struct timespec times[2];
} DirTimes;

/* Open addressing; 0 is a free slot. */
typedef struct Seen {
        uint64_t *v;
        size_t n, cap;
} Seen;

struct Extract {
        ExtractOptions o;
        Tree tree;
        uint64_t bytes, entries;
        VEC(DirTimes) dirs;
        Seen seen;
};

/* One entry on its way; parent and base point into name. */
typedef struct Work {
        const TarEntry *e;
        char name[LIMIT_TAR_NAME];
        const char *parent, *base;
        const TreeDir *dir;
        struct timespec times[2];
} Work;

static uint64_t seen_key(ino_t ino, const char *name)
{
        struct {
                uint64_t ino, name;
        } key = {ino, hash_str(name)};
        uint64_t h = hash_bytes(&key, sizeof(key));

        return h ? h : 1;
}

static int seen_has(const Seen *s, uint64_t key)
{
        if (s->cap == 0)
                return 0;
        for (size_t i = key & (s->cap - 1);; i = (i + 1) & (s->cap - 1))
                if (s->v[i] == key || s->v[i] == 0)
                        return s->v[i] == key;
}

static void seen_put(Seen *s, uint64_t key)
{
        size_t i;

        if (s->n * 4 >= s->cap * 3) {
                Seen bigger = {.cap = s->cap ? s->cap * 2 : 1024};

                bigger.v = mem_alloc(bigger.cap * sizeof(*bigger.v));
                for (size_t k = 0; k < s->cap; k++)
                        if (s->v[k])
                                seen_put(&bigger, s->v[k]);
                free(s->v);
                *s = bigger;
        }
        for (i = key & (s->cap - 1); s->v[i] && s->v[i] != key; i = (i + 1) & (s->cap - 1))
                ;
        s->n += s->v[i] == 0;
        s->v[i] = key;
}

/* What no file system can hold becomes the epoch. */
static struct timespec bound(Time t)
{
        if (t.sec < 0 || t.sec > INT64_MAX / INT64_C(1000000000))
                return (struct timespec){};
        return (struct timespec){.tv_sec = t.sec, .tv_nsec = t.nsec};
}

static void entry_times(const TarEntry *e, struct timespec ret[2])
{
        Time a = e->atime, m = e->mtime;

        ret[0] = bound(a.sec > m.sec || (a.sec == m.sec && a.nsec > m.nsec) ? a : m);
        ret[1] = bound(m);
}

static int fail(const Extract *x, const Work *w, const char *what, Err *err)
{
        return err_sys(err, errno, "%s %s/%s%s%s", what, x->o.label, w->parent,
                       *w->parent ? "/" : "", w->base);
}

/* Takes away what is at the name. 1: it is a folder and may stay one. The folder that holds it is
 * looked up again when links or folders have gone. */
static int make_room(Extract *x, Work *w, int want_dir, Err *err)
{
        struct stat st;
        int r;

        if (fstatat(w->dir->fd, w->base, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : fail(x, w, "stat", err);
        if (S_ISDIR(st.st_mode) && want_dir)
                return 1;
        if (S_ISDIR(st.st_mode))
                r = path_remove_tree(w->dir->fd, w->base, err);
        else
                r = unlinkat(w->dir->fd, w->base, 0) < 0 ? fail(x, w, "remove", err) : 0;
        if (r < 0)
                return r;
        if (S_ISDIR(st.st_mode) || S_ISLNK(st.st_mode)) {
                tree_forget(&x->tree);
                return tree_dir(&x->tree, w->parent, 1, &w->dir, err);
        }
        return 0;
}

static int set_xattr(Extract *x, Work *w, const TarXattr *a, int fd, int by_name, Err *err)
{
        char type = w->e->type;
        int r, errnum = 0;

        if (str_starts(a->name, "trusted."))
                return 0; /* the host's own marks, overlayfs' among them; containerd skips them too
                           */
        if (str_starts(a->name, "security.") && !str_eq(a->name, "security.capability")) {
                r = x->o.ops.xattr(x->o.ops.ctx, fd, a->name, a->value, a->n_value, &errnum, err);
                if (r < 0)
                        return r;
        } else if (by_name) {
                /* There is no call for a link's attributes by folder and name before Linux 6.13. */
                if (fchdir(w->dir->fd) < 0 ||
                    lsetxattr(w->base, a->name, a->value, a->n_value, 0) < 0)
                        errnum = errno;
        } else if (fsetxattr(fd, a->name, a->value, a->n_value, 0) < 0) {
                errnum = errno;
        }
        if (errnum == 0 || errnum == EOPNOTSUPP)
                return 0;
        if (errnum == EPERM && str_starts(a->name, "user.") && type != TAR_FILE && type != TAR_DIR)
                return 0; /* user(7): only files and folders have those */
        return err_set(err, UNKNOWN, "failed to setxattr \"%s/%s/%s\" for key \"%.200s\": %s",
                       x->o.label, w->parent, w->base, a->name, strerror(errnum));
}

/* fd -1: opens the name. */
static int set_xattrs(Extract *x, Work *w, int fd, Err *err)
{
        int own CLEANUP(cleanup_fd) = -1;
        int by_name = 0, r = 0;
        struct stat st;

        if (w->e->n_xattrs == 0)
                return 0;
        if (fd < 0) {
                if (fstatat(w->dir->fd, w->base, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        return fail(x, w, "stat", err);
                by_name = !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
                own = openat(w->dir->fd, w->base,
                             O_CLOEXEC | O_NOFOLLOW | (by_name ? O_PATH : O_RDONLY));
                if (own < 0)
                        return fail(x, w, "open", err);
                fd = own;
        }
        for (size_t i = 0; i < w->e->n_xattrs && r == 0; i++)
                r = set_xattr(x, w, &w->e->xattrs[i], fd, by_name, err);
        return r;
}

/* Whether a new name in this folder has the right owner already. */
static int owned(const Work *w)
{
        return w->dir->plain && w->e->uid == 0 && w->e->gid == 0;
}

static int bad_owner(const TarEntry *e)
{
        return e->uid < 0 || e->gid < 0 || e->uid >= UINT32_MAX || e->gid >= UINT32_MAX;
}

static int chown_failed(const Extract *x, const Work *w, int errnum, Err *err)
{
        return err_set(err, UNKNOWN, "failed to Lchown \"%s/%s%s%s\" for UID %lld, GID %lld: %s",
                       x->o.label, w->parent, *w->parent ? "/" : "", w->base, (long long)w->e->uid,
                       (long long)w->e->gid, strerror(errnum));
}

/* Owner, attributes, mode and times of what is no regular file;
 * times 0 leaves those to extract_finish(). */
static int dress(Extract *x, Work *w, int existed, int chmod, int times, Err *err)
{
        const TarEntry *e = w->e;
        int r;

        if ((existed || !owned(w)) &&
            fchownat(w->dir->fd, w->base, (uid_t)e->uid, (gid_t)e->gid, AT_SYMLINK_NOFOLLOW) < 0)
                return chown_failed(x, w, errno, err);
        r = set_xattrs(x, w, -1, err);
        if (r < 0)
                return r;
        /* Nobody else changes this tree, and chmod is never set for a link: this does not follow
         * one. */
        if (chmod && fchmodat(w->dir->fd, w->base, e->mode, 0) < 0)
                return fail(x, w, "chmod", err);
        if (times && utimensat(w->dir->fd, w->base, w->times, AT_SYMLINK_NOFOLLOW) < 0)
                return fail(x, w, "set times of", err);
        return 0;
}

static int write_data(Extract *x, Work *w, TarReader *t, int fd, Err *err)
{
        for (;;) {
                const uint8_t *p;
                uint64_t offset;
                size_t n;
                int r = tar_data(t, &p, &n, &offset, err);

                if (r < 0)
                        return r;
                if (n == 0)
                        break;
                x->bytes += n;
                if (w->e->sparse && lseek(fd, (off_t)offset, SEEK_SET) < 0)
                        return fail(x, w, "seek", err);
                if (fd_write_all(fd, p, n) < 0)
                        return fail(x, w, "write", err);
        }
        if (w->e->sparse && ftruncate(fd, (off_t)w->e->size) < 0)
                return fail(x, w, "truncate", err);
        return 0;
}

static int make_file(Extract *x, Work *w, TarReader *t, Err *err)
{
        const TarEntry *e = w->e;
        int fd CLEANUP(cleanup_fd) = -1;
        int r;

        /* Said before a byte is written: a terabyte of zeros compresses well. */
        if (e->size > x->o.max_bytes ||
            (!e->sparse && e->size > x->o.max_bytes - MIN(x->bytes, x->o.max_bytes)))
                return err_set(err, RESOURCE_EXHAUSTED,
                               "layer needs more than the %llu bytes there are",
                               (unsigned long long)x->o.max_bytes);
        for (int tries = 0; fd < 0; tries++) {
                fd = openat(w->dir->fd, w->base,
                            O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, e->mode & 0777);
                if (fd >= 0)
                        break;
                if (errno != EEXIST || tries)
                        return fail(x, w, "open", err);
                r = make_room(x, w, 0, err);
                if (r < 0)
                        return r;
        }
        if (e->size) {
                r = write_data(x, w, t, fd, err);
                if (r < 0)
                        return r;
        }
        if (!owned(w) && fchown(fd, (uid_t)e->uid, (gid_t)e->gid) < 0)
                return chown_failed(x, w, errno, err);
        r = set_xattrs(x, w, fd, err);
        if (r < 0)
                return r;
        if ((!w->dir->plain || (e->mode & 07000) || e->n_xattrs) && fchmod(fd, e->mode) < 0)
                return fail(x, w, "chmod", err);
        return futimens(fd, w->times) < 0 ? fail(x, w, "set times of", err) : 0;
}

static int make_dir(Extract *x, Work *w, Err *err)
{
        const TarEntry *e = w->e;
        int existed = 0, r;

        if (mkdirat(w->dir->fd, w->base, e->mode & 01777) < 0) {
                if (errno != EEXIST)
                        return fail(x, w, "mkdir", err);
                existed = make_room(x, w, 1, err);
                if (existed < 0)
                        return existed;
                if (!existed && mkdirat(w->dir->fd, w->base, e->mode & 01777) < 0)
                        return fail(x, w, "mkdir", err);
        }
        r = dress(x, w, existed, existed || !w->dir->plain || (e->mode & 06000) || e->n_xattrs, 0,
                  err);
        if (r < 0)
                return r;
        if (existed && ((e->mode & S_ISGID) || e->n_xattrs)) {
                tree_forget(&x->tree); /* it may be open, and no longer plain */
                r = tree_dir(&x->tree, w->parent, 1, &w->dir, err);
                if (r < 0)
                        return r;
        }
        VEC_PUSH(&x->dirs,
                 (DirTimes){
                         .path = mem_printf("%s%s%s", w->parent, *w->parent ? "/" : "", w->base),
                         .times = {w->times[0], w->times[1]},
                 });
        return 0;
}

static int make_symlink(Extract *x, Work *w, Err *err)
{
        if (symlinkat(w->e->link, w->dir->fd, w->base) < 0) {
                int r = errno == EEXIST ? make_room(x, w, 0, err) : fail(x, w, "symlink", err);

                if (r < 0)
                        return r;
                if (symlinkat(w->e->link, w->dir->fd, w->base) < 0)
                        return fail(x, w, "symlink", err);
        }
        return dress(x, w, 0, 0, 1, err);
}

static int link_failed(Extract *x, Work *w, int errnum, Err *err)
{
        return err_set(err, UNKNOWN, "link %s/%s %s/%s%s%s: %s", x->o.label, w->e->link, x->o.label,
                       w->parent, *w->parent ? "/" : "", w->base, strerror(errnum));
}

/* Links the name itself, also a symlink's, so that what follows cannot reach through it. */
static int make_link(Extract *x, Work *w, Err *err)
{
        char name[LIMIT_TAR_NAME];
        const char *parent, *base;
        const TreeDir *d;
        int to CLEANUP(cleanup_fd) = -1;
        struct stat st;
        int r = tree_clean(w->e->link, name, err);

        if (r < 0)
                return r;
        tree_split(name, &parent, &base);
        if (!*base)
                return link_failed(x, w, EPERM, err);
        r = make_room(x, w, 0, err);
        if (r < 0)
                return r;
        r = tree_dir(&x->tree, parent, 0, &d, err);
        if (r == -NOT_FOUND)
                return link_failed(x, w, ENOENT, err);
        if (r < 0)
                return r;
        to = fcntl(d->fd, F_DUPFD_CLOEXEC, 3); /* the next look-up may close it */
        if (to < 0)
                return fail(x, w, "link", err);
        r = tree_dir(&x->tree, w->parent, 1, &w->dir, err);
        if (r < 0)
                return r;
        if (linkat(to, base, w->dir->fd, w->base, 0) < 0)
                return link_failed(x, w, errno, err);
        if (fstatat(w->dir->fd, w->base, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return fail(x, w, "stat", err);
        return dress(x, w, 1, !S_ISLNK(st.st_mode), 1, err);
}

/* Nodes that are nobody's device are free for all; the rest needs the initial namespace. */
static int mknod_once(Extract *x, Work *w, int *ret_errno, Err *err)
{
        const TarEntry *e = w->e;

        *ret_errno = 0;
        if (e->type == TAR_FIFO || (e->type == TAR_CHAR && e->major == 0 && e->minor == 0)) {
                mode_t type = e->type == TAR_FIFO ? S_IFIFO : S_IFCHR;

                if (mknodat(w->dir->fd, w->base, type | (e->mode & 07777), 0) < 0)
                        *ret_errno = errno;
                return 0;
        }
        return x->o.ops.mknod(x->o.ops.ctx, w->dir->fd, w->base, e, ret_errno, err);
}

static int make_node(Extract *x, Work *w, Err *err)
{
        int errnum, r = mknod_once(x, w, &errnum, err);

        if (r == 0 && errnum == EEXIST) {
                r = make_room(x, w, 0, err);
                if (r == 0)
                        r = mknod_once(x, w, &errnum, err);
        }
        if (r < 0)
                return r;
        errno = errnum;
        return errnum ? fail(x, w, "mknod", err) : dress(x, w, 1, 1, 1, err);
}

static int whiteout_overlay(Extract *x, Work *w, Err *err)
{
        for (int tries = 0; mknodat(w->dir->fd, w->base, S_IFCHR, makedev(0, 0)) < 0; tries++) {
                int r = errno == EEXIST && !tries ? make_room(x, w, 0, err)
                                                  : fail(x, w, "mknod", err);

                if (r < 0)
                        return r;
        }
        if (!owned(w) && fchownat(w->dir->fd, w->base, (uid_t)w->e->uid, (gid_t)w->e->gid,
                                  AT_SYMLINK_NOFOLLOW) < 0)
                return chown_failed(x, w, errno, err);
        return 0;
}

/* Empties a folder of what this layer did not make. A folder that is older, but now holds something
 * of this layer, stays with that. */
static int empty_older(Extract *x, int fd, ino_t ino, int depth, Err *err)
{
        DIR *dir = fdopendir(fd);
        struct dirent *e;
        int r = 0;

        if (!dir) {
                r = err_sys(err, errno, "read folder");
                fd_close(fd);
                return r;
        }
        while (r == 0 && (e = readdir(dir))) {
                int seen, sub;

                if (str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
                        continue;
                seen = seen_has(&x->seen, seen_key(ino, e->d_name));
                sub = depth > 0 ? openat(fd, e->d_name,
                                         O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                                : -1;
                if (sub >= 0) {
                        struct stat st = {};

                        fstat(sub, &st);
                        r = empty_older(x, sub, st.st_ino, depth - 1, err);
                        if (r == 0 && !seen && unlinkat(fd, e->d_name, AT_REMOVEDIR) < 0 &&
                            errno != ENOTEMPTY && errno != EEXIST)
                                r = err_sys(err, errno, "remove %s", e->d_name);
                } else if (!seen) {
                        r = path_remove_tree(fd, e->d_name, err);
                }
        }
        closedir(dir);
        return r;
}

static int opaque(Extract *x, Work *w, Err *err)
{
        int errnum = 0, fd, r;

        if (x->o.overlay) {
                r = x->o.ops.xattr(x->o.ops.ctx, w->dir->fd, OVERLAY_OPAQUE, "y", 1, &errnum, err);
                if (r < 0 || errnum == 0)
                        return r;
                errno = errnum;
                return fail(x, w, "mark as opaque", err);
        }
        fd = openat(w->dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return fail(x, w, "open", err);
        r = empty_older(x, fd, w->dir->ino, OPAQUE_DEPTH, err);
        tree_forget(&x->tree);
        return r;
}

static int whiteout(Extract *x, Work *w, Err *err)
{
        const char *name = w->base + strlen(WHITEOUT);

        if (str_eq(w->base, WHITEOUT_OPAQUE))
                return opaque(x, w, err);
        if (!*name || str_eq(name, ".") || str_eq(name, ".."))
                return err_set(err, UNKNOWN, "invalid whiteout name: %s: invalid archive", w->base);
        w->base = name;
        return x->o.overlay ? whiteout_overlay(x, w, err) : make_room(x, w, 0, err);
}

static int make(Extract *x, Work *w, TarReader *t, Err *err)
{
        switch (w->e->type) {
        case TAR_FILE:
                return make_file(x, w, t, err);
        case TAR_DIR:
                return make_dir(x, w, err);
        case TAR_SYMLINK:
                return make_symlink(x, w, err);
        case TAR_LINK:
                return make_link(x, w, err);
        case TAR_CHAR:
        case TAR_BLOCK:
        case TAR_FIFO:
                return make_node(x, w, err);
        default:
                return err_set(err, UNKNOWN, "unhandled tar header type %d",
                               (unsigned char)w->e->type);
        }
}

static int entry(Extract *x, const TarEntry *e, TarReader *t, Err *err)
{
        Work w = {.e = e};
        int r;

        if (e->type == TAR_GLOBAL)
                return 0;
        if (++x->entries > x->o.max_entries)
                return err_set(err, RESOURCE_EXHAUSTED, "layer has more than %llu entries",
                               (unsigned long long)x->o.max_entries);
        r = tree_clean(e->name, w.name, err);
        if (r < 0 || !*w.name)
                return r; /* the folder itself is the snapshotter's */
        tree_split(w.name, &w.parent, &w.base);
        entry_times(e, w.times);
        r = tree_dir(&x->tree, w.parent, 1, &w.dir, err);
        if (r < 0)
                return r;
        if (bad_owner(e))
                return chown_failed(x, &w, EINVAL, err);
        if (str_starts(w.base, WHITEOUT) &&
            (!str_starts(w.base, WHITEOUT_META) || str_eq(w.base, WHITEOUT_OPAQUE)))
                return whiteout(x, &w, err);
        r = make(x, &w, t, err);
        if (r == 0 && !x->o.overlay)
                seen_put(&x->seen, seen_key(w.dir->ino, w.base));
        return r;
}

int extract_entry(Extract *x, const TarEntry *e, TarReader *t, Err *err)
{
        int r = entry(x, e, t, err);

        /* A file that an archive names and that is not there is the archive's fault, not a missing
         * object. */
        if (r < 0 && r != -RESOURCE_EXHAUSTED)
                err->code = UNKNOWN;
        return r < 0 ? -err->code : 0;
}

int extract_finish(Extract *x, Err *err)
{
        VEC_FOREACH (d, &x->dirs) {
                const char *parent, *base;
                const TreeDir *dir;
                int r;

                tree_split(d->path, &parent, &base);
                r = tree_dir(&x->tree, parent, 0, &dir, err);
                if (r < 0)
                        continue; /* the layer has removed it again */
                if (utimensat(dir->fd, base, d->times, AT_SYMLINK_NOFOLLOW) < 0 && errno != ENOENT)
                        return err_sys(err, errno, "set times of %s/%s/%s", x->o.label, parent,
                                       base);
        }
        return 0;
}

Extract *extract_new(const ExtractOptions *o)
{
        Extract *x = mem_new(Extract);

        x->o = *o;
        tree_init(&x->tree, o->root_fd, o->label, (TreeOps){o->ops.ctx, o->ops.implied});
        return x;
}

Extract *extract_free(Extract *x)
{
        if (!x)
                return NULL;
        tree_done(&x->tree);
        VEC_FOREACH (d, &x->dirs)
                free(d->path);
        VEC_DONE(&x->dirs);
        free(x->seen.v);
        free(x);
        return NULL;
}

int extract_archive(const ExtractOptions *o, TarReader *t, uint64_t *ret_entries, Err *err)
{
        Extract *x = extract_new(o);
        TarEntry e;
        int r;

        while ((r = tar_next(t, &e, err)) == 1) {
                r = extract_entry(x, &e, t, err);
                if (r < 0)
                        break;
        }
        if (r == 0)
                r = extract_finish(x, err);
        *ret_entries = x->entries;
        extract_free(x);
        return r;
}
