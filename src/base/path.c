/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folders. Trees are removed with an explicit stack of open folders, so that depth costs
 * descriptors and not stack; beyond STACK_MAX levels a folder is first moved beside the top one,
 * which keeps any depth removable.
 */
#include "base/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/vec.h"

enum { STACK_MAX = 64 };

int path_mkdirs(const char *path, mode_t mode, Err *err)
{
        char *copy CLEANUP(cleanup_free) = mem_strdup(path);

        if (!*path)
                return err_set(err, INVALID_ARGUMENT, "mkdir: empty path");
        for (char *p = copy + 1;; p++) {
                char c = *p;

                if (c != '/' && c != 0)
                        continue;
                *p = 0;
                if (mkdir(copy, mode) < 0 && errno != EEXIST && errno != EISDIR)
                        return err_sys(err, errno, "mkdir %s", copy);
                *p = c;
                if (c == 0)
                        break;
        }
        return 0;
}

int path_open_dir(int dirfd, const char *path, mode_t mode, Err *err)
{
        int fd;

        if (mkdirat(dirfd, path, mode) < 0 && errno != EEXIST)
                return err_sys(err, errno, "mkdir %s", path);
        fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return err_sys(err, errno, "open %s", path);
        return fd;
}

static int open_confined(int root_fd, const char *path, int flags, mode_t mode, uint64_t resolve)
{
        struct open_how how = {
                .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
                .mode = (flags & (O_CREAT | __O_TMPFILE)) ? mode & 07777 : 0,
                .resolve = resolve | RESOLVE_NO_MAGICLINKS,
        };
        int fd;

        /* EAGAIN: a rename raced with the walk; the kernel asks to try again. */
        for (int tries = 0; tries < 128; tries++) {
                fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
                if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
                        return fd;
        }
        return -1;
}

int path_open_in_root(int root_fd, const char *path, int flags, mode_t mode)
{
        return open_confined(root_fd, path, flags, mode, RESOLVE_IN_ROOT);
}

int path_open_beneath(int root_fd, const char *path, int flags, mode_t mode)
{
        return open_confined(root_fd, path, flags, mode, RESOLVE_BENEATH);
}

/* Opens a folder below dirfd without following links and without leaving the mount. */
static DIR *open_level(int dirfd, const char *name)
{
        struct open_how how = {
                .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW,
                .resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
        };
        int fd = (int)syscall(SYS_openat2, dirfd, name, &how, sizeof(how));
        DIR *d = fd < 0 ? NULL : fdopendir(fd);

        if (fd >= 0 && !d)
                fd_close(fd);
        return d;
}

typedef struct Level {
        DIR *dir;
        char name[NAME_MAX + 1];
} Level;

typedef struct Removal {
        int dirfd; /* where the top name lies */
        Level stack[STACK_MAX];
        int depth;
        VEC(char *)
        moved; /* folders too deep for the stack, moved beside the top one to be removed in turn */
} Removal;

static void removal_done(Removal *r)
{
        while (r->depth > 0)
                closedir(r->stack[--r->depth].dir);
        VEC_FOREACH (name, &r->moved)
                free(*name);
        VEC_DONE(&r->moved);
}

static int push(Removal *r, int parent, const char *name)
{
        DIR *d = open_level(parent, name);

        if (!d)
                return -1;
        r->stack[r->depth].dir = d;
        snprintf(r->stack[r->depth].name, sizeof(r->stack[0].name), "%s", name);
        r->depth++;
        return 0;
}

static int move_aside(Removal *r, int parent, const char *name)
{
        char to[32] = ".removing-";

        random_name(to + strlen(to), 12);
        if (renameat(parent, name, r->dirfd, to) < 0)
                return -1;
        VEC_PUSH(&r->moved, mem_strdup(to));
        return 0;
}

/* One entry: unlinked, or its folder entered. */
static int remove_entry(Removal *r, int parent, const char *name)
{
        if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
                return 0;
        if (errno != EISDIR && errno != EPERM)
                return -1;
        if (unlinkat(parent, name, AT_REMOVEDIR) == 0)
                return 0;
        if (errno != ENOTEMPTY && errno != EEXIST)
                return -1;
        return r->depth == STACK_MAX ? move_aside(r, parent, name) : push(r, parent, name);
}

static int remove_top(Removal *r, const char *name)
{
        if (remove_entry(r, r->dirfd, name) < 0)
                return -1;
        while (r->depth > 0) {
                Level *at = &r->stack[r->depth - 1];
                struct dirent *e;

                errno = 0;
                e = readdir(at->dir);
                if (!e) {
                        int parent = r->depth > 1 ? dirfd(r->stack[r->depth - 2].dir) : r->dirfd;

                        if (errno)
                                return -1;
                        closedir(at->dir);
                        r->depth--;
                        if (unlinkat(parent, at->name, AT_REMOVEDIR) < 0 && errno != ENOENT)
                                return -1;
                        continue;
                }
                if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                        continue;
                if (remove_entry(r, dirfd(at->dir), e->d_name) < 0)
                        return -1;
        }
        return 0;
}

int path_remove_tree(int dirfd, const char *name, Err *err)
{
        const char *slash = strrchr(name, '/');
        Removal r CLEANUP(removal_done) = {.dirfd = dirfd};
        int parent CLEANUP(cleanup_fd) = -1;

        /* On the way to the tree mounts may be crossed, within it they may not. */
        if (slash) {
                char *path CLEANUP(cleanup_free) =
                        mem_strndup(name, MAX((size_t)(slash - name), (size_t)1));

                parent = openat(dirfd, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
                if (parent < 0 && errno == ENOENT)
                        return 0;
                if (parent < 0)
                        return err_sys(err, errno, "remove %s", name);
                r.dirfd = parent;
        }
        if (remove_top(&r, slash ? slash + 1 : name) < 0)
                return err_sys(err, errno, "remove %s", name);
        while (r.moved.n > 0) {
                char *next CLEANUP(cleanup_free) = VEC_POP(&r.moved);

                if (remove_top(&r, next) < 0)
                        return err_sys(err, errno, "remove %s", next);
        }
        return 0;
}

int path_sync_dir(int dirfd, const char *path, Err *err)
{
        int fd CLEANUP(cleanup_fd) = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return err_sys(err, errno, "open %s", path);
        if (fault_hit() || fsync(fd) < 0)
                return err_sys(err, errno, "fsync %s", path);
        return 0;
}

char *path_join(Arena *a, const char *dir, const char *name)
{
        return arena_printf(a, "%s/%s", dir, name);
}

static char self_dir[PATH_MAX], libexec_dir[PATH_MAX + 32];
static pthread_once_t self_once = PTHREAD_ONCE_INIT;

static void find_self_dir(void)
{
        ssize_t n = readlink("/proc/self/exe", self_dir, sizeof(self_dir) - 1);
        char *slash;

        self_dir[MAX(n, (ssize_t)0)] = 0;
        slash = strrchr(self_dir, '/');
        if (slash)
                slash[slash == self_dir] = 0;
        else
                strcpy(self_dir, "/");
        snprintf(libexec_dir, sizeof(libexec_dir), "%s/../libexec/lighter", self_dir);
}

const char *path_self_dir(void)
{
        pthread_once(&self_once, find_self_dir);
        return self_dir;
}

const char *const *path_helper_dirs(void)
{
        static const char *const dirs[] = {self_dir, libexec_dir, "/usr/libexec/lighter", NULL};

        pthread_once(&self_once, find_self_dir);
        return dirs;
}

char *path_absolute(Arena *a, const char *path)
{
        char cwd[PATH_MAX];

        if (path[0] == '/' || !getcwd(cwd, sizeof(cwd)))
                return arena_strdup(a, path);
        return path_join(a, strcmp(cwd, "/") == 0 ? "" : cwd, path);
}
