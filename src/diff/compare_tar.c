/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file with several names is written under the first that is reported as changed; the others are
 * links to it, those that came before it unchanged as well, because unpacking the layer makes a new
 * file and would leave them with the old one.
 *
 * A file is opened before its header is written, and the header says what the open file is: the
 * name may mean something else by then.
 */
#include "diff/compare_tar.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"

enum { PIECE = 256 * 1024 };

/* The names of one file. */
typedef struct Inode {
        char *source;       /* written; NULL while all were unchanged */
        VEC(char *) before; /* unchanged ones that came before it */
} Inode;

struct Layer {
        LayerOptions o;
        TarWriter tar;
        Map folders; /* that have been written */
        Map inodes;
        uint8_t *buf;
        char link[LIMIT_TAR_NAME];
};

Layer *layer_new(const LayerOptions *o)
{
        Layer *l = mem_new(Layer);

        l->o = *o;
        l->buf = mem_alloc(PIECE);
        tar_writer_init(&l->tar, o->sink, o->sink_ctx);
        return l;
}

Layer *layer_free(Layer *l)
{
        if (!l)
                return NULL;
        MAP_FOREACH (slot, &l->inodes) {
                Inode *in = slot->value;

                VEC_FOREACH (name, &in->before)
                        free(*name);
                VEC_DONE(&in->before);
                free(in->source);
                free(in);
        }
        map_done(&l->inodes);
        map_done(&l->folders);
        tar_writer_done(&l->tar);
        free(l->buf);
        free(l);
        return NULL;
}

static Time bounded_time(const Layer *l, const struct stat *st)
{
        Time t = {.sec = st->st_mtim.tv_sec, .nsec = (int32_t)st->st_mtim.tv_nsec};

        if (l->o.bounded &&
            (t.sec > l->o.bound.sec || (t.sec == l->o.bound.sec && t.nsec > l->o.bound.nsec)))
                return l->o.bound;
        return t;
}

static TarEntry entry_of(const Layer *l, const char *name, const struct stat *st)
{
        TarEntry e = {
                .name = name,
                .mode = st->st_mode & 07777,
                .uid = st->st_uid,
                .gid = st->st_gid,
                .mtime = bounded_time(l, st),
        };

        switch (st->st_mode & S_IFMT) {
        case S_IFDIR:
                e.type = TAR_DIR;
                break;
        case S_IFLNK:
                e.type = TAR_SYMLINK;
                break;
        case S_IFIFO:
                e.type = TAR_FIFO;
                break;
        case S_IFBLK:
        case S_IFCHR:
                e.type = S_ISBLK(st->st_mode) ? TAR_BLOCK : TAR_CHAR;
                e.major = major(st->st_rdev);
                e.minor = minor(st->st_rdev);
                break;
        default:
                e.type = TAR_FILE;
                e.size = (uint64_t)st->st_size;
        }
        return e;
}

/* Both live as long as the caller's buffers. */
static void set_capability(TarEntry *e, TarXattr *x, const uint8_t *value, int n)
{
        if (n <= 0)
                return;
        *x = (TarXattr){.name = "security.capability", .value = value, .n_value = (size_t)n};
        e->xattrs = x;
        e->n_xattrs = 1;
}

/* ---- folders on the way ---- */

/* A folder that is gone by now is left out: unpacking makes one. */
static int write_folder(Layer *l, const char *path, Err *err)
{
        struct open_how how = {
                .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
        };
        int fd CLEANUP(cleanup_fd) =
                (int)syscall(SYS_openat2, l->o.upper_fd, path, &how, sizeof(how));
        char *name CLEANUP(cleanup_free) = mem_printf("%s/", path);
        uint8_t capability[CAPABILITY_MAX];
        struct stat st;
        TarXattr x;
        TarEntry e;

        if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
                return 0;
        if (fd < 0 || fstat(fd, &st) < 0)
                return err_sys(err, errno, "open %.300s", path);
        e = entry_of(l, name, &st);
        set_capability(&e, &x, capability,
                       (int)fgetxattr(fd, "security.capability", capability, CAPABILITY_MAX));
        return tar_write_entry(&l->tar, &e, err);
}

/* The folders that lead to path, those that have not been written yet, from the top. */
static int write_folders(Layer *l, const char *path, Err *err)
{
        char *prefix CLEANUP(cleanup_free) = mem_strdup(path);
        char *slash = strrchr(prefix, '/');
        int r = 0;

        if (!slash)
                return 0;
        *slash = 0;
        if (map_find(&l->folders, prefix))
                return 0;
        for (char *p = strchr(prefix, '/'); r == 0; p = strchr(p + 1, '/')) {
                if (p)
                        *p = 0;
                if (!map_put(&l->folders, prefix, l))
                        r = write_folder(l, prefix, err);
                if (!p)
                        break;
                *p = '/';
        }
        return r;
}

/* ---- entries ---- */

static int write_whiteout(Layer *l, const char *path, Err *err)
{
        const char *slash = strrchr(path, '/');
        int dir = slash ? (int)(slash - path) + 1 : 0;
        char *name CLEANUP(cleanup_free) = mem_printf("%.*s.wh.%s", dir, path, path + dir);
        TarEntry e = {.type = TAR_FILE, .name = name};
        int r = write_folders(l, path, err);

        return r < 0 ? r : tar_write_entry(&l->tar, &e, err);
}

static int copy_data(Layer *l, int fd, const TarEntry *e, Err *err)
{
        uint64_t left = e->size;

        while (left > 0) {
                ssize_t n = fd_read_all(fd, l->buf, MIN(left, (uint64_t)PIECE));
                int r;

                if (n < 0)
                        return err_sys(err, errno, "failed to copy %.300s", e->name);
                if (n == 0)
                        return err_set(err, UNKNOWN,
                                       "failed to copy %.300s: it has become shorter meanwhile",
                                       e->name);
                r = tar_write_data(&l->tar, l->buf, (size_t)n, err);
                if (r < 0)
                        return r;
                left -= (uint64_t)n;
        }
        return 0;
}

static Inode *inode_of(Layer *l, const struct stat *st)
{
        char key[48];
        Inode *in;

        if (S_ISDIR(st->st_mode) || st->st_nlink < 2)
                return NULL;
        snprintf(key, sizeof(key), "%llx:%llx", (unsigned long long)st->st_dev,
                 (unsigned long long)st->st_ino);
        in = map_find(&l->inodes, key);
        if (!in) {
                in = mem_new(Inode);
                map_put(&l->inodes, key, in);
        }
        return in;
}

static int write_links(Layer *l, TarEntry e, Inode *in, Err *err)
{
        e.type = TAR_LINK;
        e.link = in->source;
        e.size = 0;
        VEC_FOREACH (name, &in->before) {
                int r = write_folders(l, *name, err);

                e.name = *name;
                if (r == 0)
                        r = tar_write_entry(&l->tar, &e, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Opens what has bytes and looks again at the rest; 0 when the name is gone. */
static int look_again(const Change *c, struct stat *ret, int *ret_fd, Err *err)
{
        *ret = *c->st;
        if (!S_ISREG(c->st->st_mode))
                return 1;
        *ret_fd = openat(c->dir_fd, c->name,
                         O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (*ret_fd < 0 && (errno == ENOENT || errno == ELOOP))
                return 0;
        if (*ret_fd < 0 || fstat(*ret_fd, ret) < 0)
                return err_sys(err, errno, "failed to open %.300s", c->path);
        return S_ISREG(ret->st_mode);
}

static int write_change(Layer *l, const Change *c, const struct stat *st, int fd, Inode *in,
                        Err *err)
{
        int is_link = in && in->source, n, r;
        char *folder CLEANUP(cleanup_free) =
                S_ISDIR(st->st_mode) ? mem_printf("%s/", c->path) : NULL;
        TarEntry e = entry_of(l, folder ? folder : c->path, st);
        uint8_t capability[CAPABILITY_MAX];
        TarXattr x;

        if (is_link) {
                e.type = TAR_LINK;
                e.link = in->source;
                e.size = 0;
        } else if (in) {
                in->source = mem_strdup(c->path);
        }
        if (e.type == TAR_SYMLINK)
                e.link = l->link;
        n = capability_of(c->dir_fd, c->name, capability, err);
        if (n < 0)
                return n;
        set_capability(&e, &x, capability, n);
        r = write_folders(l, c->path, err);
        if (r == 0 && folder)
                map_put(&l->folders, c->path, l);
        if (r == 0)
                r = tar_write_entry(&l->tar, &e, err);
        if (r == 0)
                r = copy_data(l, fd, &e, err);
        return r == 0 && in && !is_link ? write_links(l, e, in, err) : r;
}

int layer_change(void *layer, const Change *c, Err *err)
{
        int fd CLEANUP(cleanup_fd) = -1;
        Layer *l = layer;
        struct stat st;
        Inode *in;
        int r;

        if (c->kind == CHANGE_DELETE)
                return write_whiteout(l, c->path, err);
        if (S_ISSOCK(c->st->st_mode))
                return 0;
        in = inode_of(l, c->st);
        if (c->kind == CHANGE_NONE && (!in || !in->source)) {
                if (in)
                        VEC_PUSH(&in->before, mem_strdup(c->path));
                return 0;
        }
        r = look_again(c, &st, &fd, err);
        if (r == 1 && S_ISLNK(st.st_mode)) {
                ssize_t n = readlinkat(c->dir_fd, c->name, l->link, sizeof(l->link) - 1);

                if (n < 0 && errno != ENOENT && errno != EINVAL)
                        return err_sys(err, errno, "readlink %.300s", c->path);
                r = n >= 0;
                l->link[MAX(n, 0)] = 0;
        }
        if (r == 0) /* gone since it was reported, or something else by now */
                return c->kind == CHANGE_ADD ? 0 : write_whiteout(l, c->path, err);
        return r < 0 ? r : write_change(l, c, &st, fd, in, err);
}

int layer_finish(Layer *l, Err *err)
{
        return tar_write_end(&l->tar, err);
}
