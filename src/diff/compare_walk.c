/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stack of folders, each with its two lists of names, merged as it is walked. Folders near the
 * top of the stack stay open; of a very deep tree those further down are closed and found again by
 * their path, which the kernel walks without following a link or leaving the tree.
 *
 * Two files are the same when their metadata is, with the time of change standing for the bytes.
 * Only when both times have no fraction, as those from an archive, are the bytes compared.
 */
#include "diff/compare_walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"

enum { LIST_BYTES = 64 * 1024, PIECE = 128 * 1024, KEEP_OPEN = 64 };
enum { LOWER, UPPER, HINT, SIDES };

typedef struct Names {
        Str bytes;
        VEC(const char *) v;
        size_t next;
} Names;

typedef struct Level {
        int fd[SIDES];  /* -1: closed, or there is none */
        int has[SIDES]; /* whether there is one */
        Names names[2]; /* of lower and upper; with a hint [1] holds the hint's */
        size_t path_len;
} Level;

typedef struct Walk {
        const CompareWalk *w;
        Str path;
        VEC(Level *) levels;
        uint8_t *buf[2];
} Walk;

static int root_of(const CompareWalk *w, int side)
{
        return side == LOWER ? w->lower_fd : side == UPPER ? w->upper_fd : w->hint_fd;
}

static int open_path(int root_fd, const char *path)
{
        struct open_how how = {
                .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
        };

        return (int)syscall(SYS_openat2, root_fd, *path ? path : ".", &how, sizeof(how));
}

static int cannot(Walk *k, const char *what, Err *err)
{
        return err_sys(err, errno, "%s %.300s", what, k->path.len > 0 ? str_get(&k->path) : ".");
}

/* ---- names of a folder ---- */

/* Two sorted halves of from become one in to. */
static void merge(const char **to, const char *const *from, size_t half, size_t n)
{
        size_t a = 0, b = half;

        for (size_t i = 0; i < n; i++)
                to[i] = b == n || (a < half && strcmp(from[a], from[b]) <= 0) ? from[a++]
                                                                              : from[b++];
}

/* qsort(3) asks how much memory there is, with a call that the sandbox does not know. */
static void sort_names(const char **v, size_t n)
{
        const char **other CLEANUP(cleanup_free) = mem_alloc((n + 1) * sizeof(*v));
        const char **from = v, **to = other;

        for (size_t half = 1; half < n; half *= 2) {
                const char **swap = from;

                for (size_t at = 0; at < n; at += 2 * half)
                        merge(to + at, from + at, MIN(half, n - at), MIN(2 * half, n - at));
                from = to;
                to = swap;
        }
        if (from != v)
                memcpy(v, from, n * sizeof(*v));
}

static int list_names(Walk *k, int fd, Names *ret, Err *err)
{
        VEC(size_t) at = {};
        ssize_t n;

        if (lseek(fd, 0, SEEK_SET) < 0)
                return cannot(k, "list", err);
        while ((n = getdents64(fd, k->buf[0], LIST_BYTES)) > 0)
                for (ssize_t i = 0; i < n;) {
                        const struct dirent64 *e = (const void *)(k->buf[0] + i);

                        i += e->d_reclen;
                        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                                continue;
                        VEC_PUSH(&at, ret->bytes.len);
                        str_add_n(&ret->bytes, e->d_name, strlen(e->d_name) + 1);
                }
        VEC_FOREACH (offset, &at)
                VEC_PUSH(&ret->v, ret->bytes.data + *offset);
        VEC_DONE(&at);
        if (n < 0)
                return cannot(k, "list", err);
        sort_names(ret->v.v, ret->v.n);
        return 0;
}

static void names_done(Names *n)
{
        str_done(&n->bytes);
        VEC_DONE(&n->v);
}

/* ---- the stack ---- */

static void level_free(Level *l)
{
        for (int s = 0; s < SIDES; s++)
                fd_close(l->fd[s]);
        names_done(&l->names[0]);
        names_done(&l->names[1]);
        free(l);
}

/* Takes the descriptors over, also when it fails. */
static int push(Walk *k, const int fds[SIDES], Err *err)
{
        Level *l = mem_new(Level);
        int r = 0;

        for (int s = 0; s < SIDES; s++) {
                l->fd[s] = fds[s];
                l->has[s] = fds[s] >= 0;
        }
        l->path_len = k->path.len;
        VEC_PUSH(&k->levels, l);
        if (k->levels.n > KEEP_OPEN) {
                Level *deep = k->levels.v[k->levels.n - 1 - KEEP_OPEN];

                for (int s = 0; s < SIDES; s++) {
                        fd_close(deep->fd[s]);
                        deep->fd[s] = -1;
                }
        }
        if (l->has[HINT])
                return list_names(k, l->fd[HINT], &l->names[UPPER], err);
        if (l->has[LOWER])
                r = list_names(k, l->fd[LOWER], &l->names[LOWER], err);
        if (r == 0 && l->has[UPPER])
                r = list_names(k, l->fd[UPPER], &l->names[UPPER], err);
        return r;
}

/* Opens again what was closed while the walk was far below. */
static int reopen(Walk *k, Level *l, Err *err)
{
        for (int s = 0; s < SIDES; s++) {
                if (!l->has[s] || l->fd[s] >= 0)
                        continue;
                l->fd[s] = open_path(root_of(k->w, s), str_get(&k->path));
                if (l->fd[s] < 0)
                        return cannot(k, "open", err);
        }
        return 0;
}

/* ---- one name ---- */

int capability_of(int dir_fd, const char *name, uint8_t buf[CAPABILITY_MAX], Err *err)
{
        ssize_t n;

        if (fchdir(dir_fd) < 0)
                return err_sys(err, errno, "enter the folder of %.200s", name);
        n = lgetxattr(name, "security.capability", buf, CAPABILITY_MAX);
        if (n >= 0)
                return (int)n;
        if (errno == ENODATA || errno == EOPNOTSUPP || errno == ENOENT)
                return 0;
        return err_sys(err, errno, "failed to get capabilities xattr of %.200s", name);
}

static int same_capability(const Level *l, const char *name, Err *err)
{
        uint8_t a[CAPABILITY_MAX], b[CAPABILITY_MAX];
        int n = capability_of(l->fd[LOWER], name, a, err);
        int m = n < 0 ? n : capability_of(l->fd[UPPER], name, b, err);

        return m < 0 ? m : n == m && memcmp(a, b, (size_t)n) == 0;
}

/* A FIFO in its place must not keep us waiting; what is no file any more differs. */
static int open_file(int dir_fd, const char *name)
{
        int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        struct stat st;

        if (fd < 0 || (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)))
                return fd;
        fd_close(fd);
        errno = ENOENT;
        return -1;
}

static int same_bytes(Walk *k, const Level *l, const char *name, Err *err)
{
        int a CLEANUP(cleanup_fd) = open_file(l->fd[LOWER], name);
        int b CLEANUP(cleanup_fd) = a < 0 ? -1 : open_file(l->fd[UPPER], name);

        if (b < 0)
                return errno == ENOENT || errno == ELOOP ? 0 : cannot(k, "open", err);
        for (;;) {
                ssize_t n = fd_read_all(a, k->buf[0], PIECE);
                ssize_t m = n < 0 ? n : fd_read_all(b, k->buf[1], PIECE);

                if (m < 0)
                        return cannot(k, "read", err);
                if (n != m || memcmp(k->buf[0], k->buf[1], (size_t)n) != 0)
                        return 0;
                if (n < PIECE)
                        return 1;
        }
}

static int same_link(Walk *k, const Level *l, const char *name, Err *err)
{
        ssize_t n = readlinkat(l->fd[LOWER], name, (char *)k->buf[0], PIECE);
        ssize_t m = n < 0 ? n : readlinkat(l->fd[UPPER], name, (char *)k->buf[1], PIECE);

        if (m < 0)
                return errno == ENOENT || errno == EINVAL ? 0 : cannot(k, "read link", err);
        return n == m && memcmp(k->buf[0], k->buf[1], (size_t)n) == 0;
}

static int same(Walk *k, const Level *l, const char *name, const struct stat *a,
                const struct stat *b, Err *err)
{
        int r;

        if (a->st_dev == b->st_dev && a->st_ino == b->st_ino)
                return 1;
        if (a->st_mode != b->st_mode || a->st_uid != b->st_uid || a->st_gid != b->st_gid ||
            a->st_rdev != b->st_rdev)
                return 0;
        if (!S_ISDIR(a->st_mode) &&
            (a->st_size != b->st_size || a->st_mtim.tv_sec != b->st_mtim.tv_sec ||
             a->st_mtim.tv_nsec != b->st_mtim.tv_nsec))
                return 0;
        r = same_capability(l, name, err);
        if (r <= 0)
                return r;
        if (S_ISLNK(a->st_mode))
                return same_link(k, l, name, err);
        if (S_ISREG(a->st_mode) && a->st_size > 0 && a->st_mtim.tv_nsec == 0)
                return same_bytes(k, l, name, err);
        return 1;
}

/* 1: it is there. */
static int look(Walk *k, const Level *l, int side, const char *name, struct stat *ret, Err *err)
{
        if (!l->has[side])
                return 0;
        if (fstatat(l->fd[side], name, ret, AT_SYMLINK_NOFOLLOW) == 0)
                return 1;
        return errno == ENOENT ? 0 : cannot(k, "stat", err);
}

static int open_folder(const Level *l, int side, const char *name)
{
        if (!l->has[side])
                return -1;
        return openat(l->fd[side], name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* The folder is in upper. lower: whether it was one there too. */
static int descend(Walk *k, const Level *l, const char *name, int lower, Err *err)
{
        int fds[SIDES] = {-1, -1, -1}, opaque = 1, r = 0;

        fds[UPPER] = open_folder(l, UPPER, name);
        if (fds[UPPER] < 0) /* gone, or replaced by something that is none */
                return errno == ENOENT || errno == ENOTDIR || errno == ELOOP
                               ? 0
                               : cannot(k, "open", err);
        if (lower) {
                fds[LOWER] = open_folder(l, LOWER, name);
                if (fds[LOWER] < 0)
                        r = cannot(k, "open", err);
                else
                        fds[HINT] = open_folder(l, HINT, name);
        }
        if (fds[HINT] >= 0)
                r = k->w->opaque(k->w->opaque_ctx, fds[HINT], &opaque, err);
        if (opaque) {
                fd_close(fds[HINT]);
                fds[HINT] = -1;
        }
        if (r == 0)
                return push(k, fds, err);
        fd_close(fds[LOWER]);
        fd_close(fds[UPPER]);
        fd_close(fds[HINT]);
        return r;
}

static int report(Walk *k, ChangeKind kind, const Level *l, const char *name, const struct stat *st,
                  Err *err)
{
        Change c = {
                .kind = kind,
                .path = str_get(&k->path),
                .dir_fd = kind == CHANGE_DELETE ? -1 : l->fd[UPPER],
                .name = name,
                .st = kind == CHANGE_DELETE ? NULL : st,
        };

        return k->w->change(k->w->change_ctx, &c, err);
}

static int compare_name(Walk *k, const Level *l, const char *name, Err *err)
{
        struct stat a, b;
        int in_lower = look(k, l, LOWER, name, &a, err);
        int in_upper = in_lower < 0 ? in_lower : look(k, l, UPPER, name, &b, err);
        ChangeKind kind = in_lower ? CHANGE_MODIFY : CHANGE_ADD;
        int r;

        if (in_upper < 0)
                return in_upper;
        if (!in_upper)
                return in_lower ? report(k, CHANGE_DELETE, l, name, NULL, err) : 0;
        if (in_lower) {
                r = same(k, l, name, &a, &b, err);
                if (r < 0)
                        return r;
                if (r == 1)
                        kind = CHANGE_NONE;
        }
        if (kind != CHANGE_NONE || (!S_ISDIR(b.st_mode) && b.st_nlink > 1)) {
                r = report(k, kind, l, name, &b, err);
                if (r < 0)
                        return r;
        }
        if (!S_ISDIR(b.st_mode))
                return 0;
        return descend(k, l, name, in_lower && S_ISDIR(a.st_mode), err);
}

/* The next of two sorted lists, each name once; NULL at the end. */
static const char *next_name(Level *l)
{
        Names *a = &l->names[LOWER], *b = &l->names[UPPER];
        const char *x = a->next < a->v.n ? a->v.v[a->next] : NULL;
        const char *y = b->next < b->v.n ? b->v.v[b->next] : NULL;
        int order = !x ? 1 : !y ? -1 : strcmp(x, y);

        a->next += x && order <= 0;
        b->next += y && order >= 0;
        return order <= 0 ? x : y;
}

static int step(Walk *k, Err *err)
{
        Level *l = k->levels.v[k->levels.n - 1];
        const char *name;
        int r;

        str_truncate(&k->path, l->path_len);
        name = next_name(l);
        if (!name) {
                level_free(VEC_POP(&k->levels));
                return 0;
        }
        r = reopen(k, l, err);
        if (r < 0)
                return r;
        if (k->path.len > 0)
                str_add_char(&k->path, '/');
        str_add(&k->path, name);
        if (k->path.len >= LIMIT_TAR_NAME - 1)
                return err_set(err, RESOURCE_EXHAUSTED, "path is longer than %d bytes: %.60s…",
                               LIMIT_TAR_NAME - 2, str_get(&k->path));
        return compare_name(k, l, str_get(&k->path) + k->path.len - strlen(name), err);
}

int compare_walk(const CompareWalk *w, Err *err)
{
        Walk k = {.w = w, .buf = {mem_alloc(PIECE), mem_alloc(PIECE)}};
        int fds[SIDES], opaque = 0, r = 0;

        for (int s = 0; s < SIDES; s++) {
                fds[s] = root_of(w, s) < 0 ? -1 : open_path(root_of(w, s), "");
                if (fds[s] < 0 && root_of(w, s) >= 0 && r == 0)
                        r = cannot(&k, "open", err);
        }
        if (r == 0 && fds[HINT] >= 0)
                r = w->opaque(w->opaque_ctx, fds[HINT], &opaque, err);
        if (opaque) {
                fd_close(fds[HINT]);
                fds[HINT] = -1;
        }
        if (r == 0)
                r = push(&k, fds, err);
        while (r == 0 && k.levels.n > 0)
                r = step(&k, err);
        VEC_FOREACH (l, &k.levels)
                level_free(*l);
        VEC_DONE(&k.levels);
        str_done(&k.path);
        free(k.buf[0]);
        free(k.buf[1]);
        return r;
}
