/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Idmapped mounts: see mount_setattr(2), MOUNT_ATTR_IDMAP. The map is that of a user namespace,
 * which exists as long as a process or a descriptor holds it: a child that does nothing is made in
 * a new one, gets the maps, and dies when we have the descriptor.
 *
 * A mount can be mapped only while it is not attached, so one that is attached is copied
 * (open_tree(2)), mapped, and put in its own place. Overlay takes no map; its lowerdirs have to be
 * mapped mounts, and attached ones, by path. They are attached in a mount namespace of this
 * thread's own, on a tmpfs that nobody else sees; the finished overlay comes back as a descriptor.
 * So nothing is left behind wherever this is killed, and the lowerdirs have short names, however
 * many they are.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/str.h"
#include "mount/mount_priv.h"

/* <sys/mount.h> of older libraries and <linux/mount.h> do not go together */
int mount(const char *source, const char *target, const char *type, unsigned long flags,
          const void *data);

enum {
        FLAG_REC = 1 << 14,      /* MS_REC ... */
        FLAG_PRIVATE = 1 << 18,  /* ... and MS_PRIVATE of <sys/mount.h> */
        TREE_RECURSIVE = 0x8000, /* AT_RECURSIVE of <linux/fcntl.h> */
        MAP_LINES = 340,         /* user_namespaces(7) */
};

/* ---- the user namespace ---- */

/* "0:1000:65536,65536:0:1" as the kernel wants it: a line each. */
static int map_text(Arena *a, const char *map, const char *what, char **ret, Err *err)
{
        char *out = *ret = arena_alloc(a, strlen(map) + 2);
        size_t lines = 0;

        for (const char *p = map; *p;) {
                char *entry = arena_strndup(a, p, strcspn(p, ","));
                char *first = strchr(entry, ':'), *second = first ? strchr(first + 1, ':') : NULL;
                uint64_t inside, outside, count;

                p += strlen(entry);
                if (*p == ',' && p[1])
                        p++;
                if (!second)
                        return err_set(err, INVALID_ARGUMENT, "%s \"%s\" is not a list of A:B:N",
                                       what, map);
                *first = *second = 0;
                if (str_to_u64(entry, &inside) < 0 || str_to_u64(first + 1, &outside) < 0 ||
                    str_to_u64(second + 1, &count) < 0 || MAX(inside, outside) > UINT32_MAX ||
                    count == 0 || count > UINT32_MAX || ++lines > MAP_LINES)
                        return err_set(err, INVALID_ARGUMENT, "%s \"%s\" is not a list of A:B:N",
                                       what, map);
                out += sprintf(out, "%s %s %s\n", entry, first + 1, second + 1);
        }
        if (lines == 0)
                return err_set(err, INVALID_ARGUMENT, "%s is empty", what);
        return 0;
}

static int write_map(pid_t pid, const char *file, const char *text, Err *err)
{
        char path[48];
        int fd CLEANUP(cleanup_fd) = -1;

        snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0)
                return err_sys(err, errno, "open %s", path);
        if (write(fd, text, strlen(text)) < 0) /* all at once, says the kernel */
                return err_sys(err, errno, "write %s of a user namespace", file);
        return 0;
}

/* A copy of this process that only sleeps. By the system call, without a signal at its end: nobody
 * else's waitpid() finds it, and nothing of the C library runs in it. It has our descriptors, the
 * lock on the root among them, so it must not outlive us: it dies with the thread that made it. */
static pid_t sleeping_child(void)
{
        const pid_t parent = getpid();
        sigset_t all, old;
        pid_t pid;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER, NULL, NULL, NULL, NULL);
        if (pid == 0) {
                syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
                while (syscall(SYS_getppid) == parent)
                        syscall(SYS_pause);
                syscall(SYS_exit_group, 0);
        }
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        return pid;
}

int idmap_userns(Arena *a, const char *uidmap, const char *gidmap, int *ret_fd, Err *err)
{
        char path[48], *uids, *gids;
        pid_t pid;
        int r, fd = -1;

        r = map_text(a, uidmap, "uidmap", &uids, err);
        if (r == 0)
                r = map_text(a, gidmap, "gidmap", &gids, err);
        if (r < 0)
                return r;
        pid = fault_hit() ? -1 : sleeping_child();
        if (pid < 0)
                return err_sys(err, errno, "make a user namespace");
        r = write_map(pid, "uid_map", uids, err);
        if (r == 0)
                r = write_map(pid, "gid_map", gids, err);
        if (r == 0) {
                snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
                fd = open(path, O_RDONLY | O_CLOEXEC);
                if (fd < 0)
                        r = err_sys(err, errno, "open a user namespace");
        }
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
                ;
        if (r == 0)
                *ret_fd = fd;
        return r;
}

/* ---- mounts ---- */

static int copy_mapped(const char *path, int recursive, uint64_t attrs, int userns, Err *err)
{
        struct mount_attr attr = {
                .attr_set = MOUNT_ATTR_IDMAP | attrs,
                .userns_fd = (uint64_t)userns,
        };
        unsigned flags = recursive ? TREE_RECURSIVE : 0;
        int tree CLEANUP(cleanup_fd) = -1;

        tree = (int)syscall(SYS_open_tree, AT_FDCWD, path,
                            OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);
        if (fault_hit() || tree < 0)
                return err_sys(err, errno, "open_tree %s", path);
        if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | flags, &attr, sizeof(attr)) < 0)
                return err_sys(err, errno, "map the owners of %s", path);
        return TAKE_FD(tree);
}

int idmap_attach(int fd, const char *target, Err *err)
{
        if (fault_hit() || syscall(SYS_move_mount, fd, "", AT_FDCWD, target,
                                   MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS) < 0)
                return err_sys(err, errno, "move_mount to %s", target);
        return 0;
}

int idmap_copy(const char *path, int recursive, int userns, int *ret_fd, Err *err)
{
        int fd = copy_mapped(path, recursive, 0, userns, err);

        if (fd >= 0)
                *ret_fd = fd;
        return MIN(fd, 0);
}

/* Where a thread was before it went into a namespace of its own. */
typedef struct Home {
        int ns, root, cwd;
} Home;

static void home_done(Home *h)
{
        fd_close(h->ns);
        fd_close(h->root);
        fd_close(h->cwd);
}

static int home_leave(Home *h, Err *err)
{
        h->ns = open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
        h->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        h->cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (h->ns < 0 || h->root < 0 || h->cwd < 0)
                return err_sys(err, errno, "remember the mount namespace");
        if (unshare(CLONE_NEWNS) < 0)
                return err_sys(err, errno, "unshare the mount namespace");
        return 0;
}

/* A thread that cannot return must not go on: whatever it did next would happen in the wrong place.
 */
static void home_return(const Home *h)
{
        if (setns(h->ns, CLONE_NEWNS) < 0 || fchdir(h->root) < 0 || chroot(".") < 0 ||
            fchdir(h->cwd) < 0)
                abort();
}

/* A tmpfs on top of this namespace's root, which nothing but its descriptor reaches. */
static int make_stage(Err *err)
{
        int context CLEANUP(cleanup_fd) = -1, stage CLEANUP(cleanup_fd) = -1;

        if (mount(NULL, "/", NULL, FLAG_REC | FLAG_PRIVATE, NULL) < 0)
                return err_sys(err, errno, "make the mount namespace private");
        context = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
        if (context < 0 || syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return err_sys(err, errno, "make a tmpfs");
        stage = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0);
        if (stage < 0)
                return err_sys(err, errno, "make a tmpfs");
        if (idmap_attach(stage, "/", err) < 0)
                return -err->code;
        if (fchdir(stage) < 0)
                return err_sys(err, errno, "chdir to a tmpfs");
        return TAKE_FD(stage);
}

typedef struct Lowers {
        int *trees;
        size_t n;
} Lowers;

static void lowers_done(Lowers *l)
{
        for (size_t i = 0; i < l->n; i++)
                fd_close(l->trees[i]);
}

static char *unescape(Arena *a, const char *p, const char *end)
{
        char *name = arena_alloc(a, (size_t)(end - p) + 1), *out = name;

        while (p < end) {
                if (*p == '\\' && p + 1 < end)
                        p++;
                *out++ = *p++;
        }
        return name;
}

static int map_lowers(Arena *a, const char *list, const char *end, int userns, Lowers *l, Err *err)
{
        size_t max = 1;

        for (const char *p = list; p < end; p++)
                max += *p == ':';
        l->trees = arena_array(a, int, max);
        for (const char *p = list; p < end;) {
                const char *e = overlay_path_end(p, end);
                int tree = copy_mapped(unescape(a, p, e), 0, MOUNT_ATTR_RDONLY, userns, err);

                if (tree < 0)
                        return tree;
                l->trees[l->n++] = tree;
                p = e < end ? e + 1 : end;
        }
        return 0;
}

static int mount_staged(Arena *a, const Lowers *l, const char *source, unsigned long flags,
                        const char *before, const char *after, Err *err)
{
        int stage CLEANUP(cleanup_fd) = make_stage(err);
        Str data CLEANUP(str_done) = {};
        int fd;

        if (stage < 0)
                return stage;
        str_addf(&data, "%slowerdir=", before);
        for (size_t i = 0; i < l->n; i++) {
                char *name = arena_printf(a, "%zu", i);

                if (mkdir(name, 0700) < 0)
                        return err_sys(err, errno, "mkdir on a tmpfs");
                if (idmap_attach(l->trees[i], name, err) < 0)
                        return -err->code;
                str_addf(&data, "%s%s", i ? ":" : "", name);
        }
        str_add(&data, after);
        if (mkdir("m", 0700) < 0)
                return err_sys(err, errno, "mkdir on a tmpfs");
        if (mount(source, "m", "overlay", flags, str_get(&data)) < 0)
                return err_sys(err, errno,
                               "mount an overlay of %zu mapped folders, data: \"%.200s\"", l->n,
                               str_get(&data));
        fd = (int)syscall(SYS_open_tree, AT_FDCWD, "m", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        return fd < 0 ? err_sys(err, errno, "open_tree of an overlay") : fd;
}

int idmap_overlay(Arena *a, const char *source, unsigned long flags, const char *data, int userns,
                  int *ret_fd, Err *err)
{
        const char *list = overlay_find_lowerdir(data), *end;
        Lowers l CLEANUP(lowers_done) = {};
        Home home CLEANUP(home_done) = {-1, -1, -1};
        int r;

        if (!list)
                return err_set(err, INVALID_ARGUMENT,
                               "overlay with uidmap and gidmap has no lowerdir");
        end = overlay_option_end(list);
        r = map_lowers(a, list, end, userns, &l, err);
        if (r == 0)
                r = home_leave(&home, err);
        if (r < 0)
                return r;
        r = mount_staged(a, &l, source, flags,
                         arena_strndup(a, data, (size_t)(list - data) - strlen("lowerdir=")), end,
                         err);
        home_return(&home);
        if (r < 0)
                return r;
        *ret_fd = r;
        return 0;
}
