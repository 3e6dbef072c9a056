/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trees that somebody hostile may have made. The walk keeps an explicit stack on the heap, one open
 * folder per level; a tree deeper than TREE_DEPTH_MAX is refused with its path.
 */
#include "snapshots/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/fd.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"

/* Up to so many inodes are synced one by one; beyond, one syncfs(2) is cheaper. */
enum { SYNC_SINGLY_MAX = 16 };

typedef struct Level {
        DIR *dir;
        struct stat st;
        size_t path_len; /* of the path before this level's name */
        char *name;
} Level;

typedef struct Walk {
        Level *stack;
        int depth;
        Str path;
} Walk;

static void walk_pop(Walk *w)
{
        Level *l = &w->stack[--w->depth];

        closedir(l->dir);
        free(l->name);
        str_truncate(&w->path, l->path_len);
}

static void walk_done(Walk *w)
{
        while (w->depth > 0)
                walk_pop(w);
        free(w->stack);
        str_done(&w->path);
}

/* Opens the folder name of dirfd as the next level: 1, or 0 when somebody has removed it meanwhile.
 */
static int walk_push(Walk *w, int dirfd, const char *name, const struct stat *st, size_t path_len,
                     Err *err)
{
        Level *l = &w->stack[w->depth];
        int fd;

        if (w->depth > TREE_DEPTH_MAX)
                return err_set(err, RESOURCE_EXHAUSTED,
                               "%.200s...: folders are nested more than %d deep", str_get(&w->path),
                               TREE_DEPTH_MAX);
        fd = fault_hit() ? -1
                         : openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
                return 0;
        if (fd < 0)
                return err_sys(err, errno, "open %s", w->path.len ? w->path.data : name);
        l->dir = fdopendir(fd);
        if (!l->dir) {
                fd_close(fd);
                return err_sys(err, ENOMEM, "open %s", str_get(&w->path));
        }
        l->st = *st;
        l->path_len = path_len;
        l->name = mem_strdup(name);
        w->depth++;
        return 1;
}

static int walk_entry(Walk *w, const char *name, int (*fn)(void *, const TreeEntry *, Err *),
                      void *ctx, Err *err)
{
        TreeEntry e = {.event = TREE_FILE,
                       .depth = w->depth - 1,
                       .dirfd = dirfd(w->stack[w->depth - 1].dir),
                       .name = name};
        size_t path_len = w->path.len;
        struct stat st;
        int r;

        if (path_len)
                str_add_char(&w->path, '/');
        str_add(&w->path, name);
        e.path = w->path.data;
        e.st = &st;
        if (fault_hit() || fstatat(e.dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
                r = errno == ENOENT ? 0 : err_sys(err, errno, "stat %s", e.path);
        } else if (!S_ISDIR(st.st_mode)) {
                r = fn(ctx, &e, err);
        } else {
                e.event = TREE_ENTER;
                r = walk_push(w, e.dirfd, name, &st, path_len, err);
                if (r == 1)
                        return fn(ctx, &e, err);
        }
        str_truncate(&w->path, path_len);
        return r;
}

static int walk_leave(Walk *w, int (*fn)(void *, const TreeEntry *, Err *), void *ctx, Err *err)
{
        Level *l = &w->stack[w->depth - 1];
        TreeEntry e = {
                .event = TREE_LEAVE,
                .depth = w->depth - 2,
                .name = l->name,
                .st = &l->st,
                .path = str_get(&w->path),
        };
        int r = 0;

        if (w->depth > 1) {
                e.dirfd = dirfd(w->stack[w->depth - 2].dir);
                r = fn(ctx, &e, err);
        }
        walk_pop(w);
        return r;
}

int tree_walk(int top, int (*fn)(void *ctx, const TreeEntry *e, Err *err), void *ctx, Err *err)
{
        Walk w CLEANUP(walk_done) = {.stack = mem_alloc(sizeof(Level) * (TREE_DEPTH_MAX + 1))};
        struct stat st = {};
        int r;

        r = walk_push(&w, top, ".", &st, 0, err);
        while (r >= 0 && w.depth > 0) {
                struct dirent *e;

                errno = 0;
                e = readdir(w.stack[w.depth - 1].dir);
                if (!e && errno)
                        r = err_sys(err, errno, "read %s", str_get(&w.path));
                else if (!e)
                        r = walk_leave(&w, fn, ctx, err);
                else if (!str_eq(e->d_name, ".") && !str_eq(e->d_name, ".."))
                        r = walk_entry(&w, e->d_name, fn, ctx, err);
        }
        return MIN(r, 0);
}

typedef struct Count {
        SnapshotUsage usage;
        Map links; /* inodes with several names, by number */
} Count;

static void count_done(Count *c)
{
        map_done(&c->links);
}

static int count_entry(void *ctx, const TreeEntry *e, Err *err)
{
        Count *c = ctx;
        char key[64];

        if (e->event == TREE_LEAVE)
                return 0;
        if (e->event == TREE_FILE && e->st->st_nlink > 1) {
                snprintf(key, sizeof(key), "%llx:%llx", (unsigned long long)e->st->st_dev,
                         (unsigned long long)e->st->st_ino);
                if (map_put(&c->links, key, c))
                        return 0;
        }
        c->usage.size += (int64_t)e->st->st_blocks * 512;
        c->usage.inodes++;
        return 0;
}

int tree_usage(int top, SnapshotUsage *ret, Err *err)
{
        Count c CLEANUP(count_done) = {};
        struct stat st;
        int r;

        if (fstat(top, &st) < 0)
                return err_sys(err, errno, "stat");
        c.usage.size = (int64_t)st.st_blocks * 512;
        c.usage.inodes = 1;
        r = tree_walk(top, count_entry, &c, err);
        if (r < 0)
                return r;
        *ret = c.usage;
        return 0;
}

static int sync_entry(void *ctx, const TreeEntry *e, Err *err)
{
        int fd CLEANUP(cleanup_fd) = -1;

        if (e->event == TREE_ENTER || (e->event == TREE_FILE && !S_ISREG(e->st->st_mode)))
                return 0;
        fd = openat(e->dirfd, e->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
                return 0;
        if (fd < 0 || fault_hit() || fsync(fd) < 0)
                return err_sys(err, errno, "fsync %s", e->path);
        return 0;
}

int tree_sync(int top, int64_t inodes, Err *err)
{
        if (inodes <= SYNC_SINGLY_MAX) {
                int r = tree_walk(top, sync_entry, NULL, err);

                if (r < 0)
                        return r;
                if (fault_hit() || fsync(top) < 0)
                        return err_sys(err, errno, "fsync");
                return 0;
        }
        if (fault_hit() || syncfs(top) < 0)
                return err_sys(err, errno, "syncfs");
        return 0;
}
