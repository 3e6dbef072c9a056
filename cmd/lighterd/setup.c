/* SPDX-License-Identifier: Apache-2.0 */
#include "setup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/path.h"
#include "cgroup/cgroup.h"

enum { LOCK_TEXT = 16 };

/* The lock is on a file of its own, which also says who has it; the kernel drops it with the
 * process. */
static int lock_folder(int dirfd, const char *path, Err *err)
{
        int fd CLEANUP(cleanup_fd) = openat(dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        char pid[LOCK_TEXT + 1] = "";

        if (fd < 0)
                return err_sys(err, errno, "open %s/lock", path);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK)
                        return err_sys(err, errno, "lock %s", path);
                if (fd_pread_all(fd, pid, sizeof(pid) - 1, 0) < 0)
                        pid[0] = 0;
                pid[strcspn(pid, "\n")] = 0;
                return err_set(
                        err, FAILED_PRECONDITION,
                        "%s is in use by the lighterd with pid %s; stop it, or choose another folder",
                        path, pid);
        }
        /* Always as long: emptying a file first makes ext4 wait for its journal. */
        memset(pid, '\n', LOCK_TEXT);
        pid[snprintf(pid, LOCK_TEXT, "%d", getpid())] = '\n';
        if (pwrite(fd, pid, LOCK_TEXT, 0) < 0)
                return err_sys(err, errno, "write %s/lock", path);
        return TAKE_FD(fd);
}

int setup_folder(const char *path, mode_t mode, int enforce_mode, Err *err)
{
        int dir CLEANUP(cleanup_fd) = -1;
        int r;

        r = path_mkdirs(path, mode, err);
        if (r < 0)
                return r;
        dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir < 0)
                return err_sys(err, errno, "open %s", path);
        if (enforce_mode && fchmod(dir, mode) < 0)
                return err_sys(err, errno, "chmod %s", path);
        return lock_folder(dir, path, err);
}

int setup_temp(const char *path, Err *err)
{
        int r;

        if (str_empty(path))
                return 0;
        r = path_mkdirs(path, 0700, err);
        if (r < 0)
                return r;
        return setenv("TMPDIR", path, 1) < 0 ? err_sys(err, errno, "setenv TMPDIR") : 0;
}

static int make_parent(const char *path, uid_t uid, gid_t gid, Err *err)
{
        const char *slash = strrchr(path, '/');
        char *parent CLEANUP(cleanup_free) = NULL;
        int r;

        if (!slash || slash == path)
                return 0;
        parent = mem_strndup(path, (size_t)(slash - path));
        if (access(parent, F_OK) == 0)
                return 0;
        r = path_mkdirs(parent, 0770, err);
        if (r < 0)
                return r;
        return chown(parent, uid, gid) < 0 ? err_sys(err, errno, "chown %s", parent) : 0;
}

/* A socket that nobody answers on is what a killed daemon left. EAGAIN is one whose queue is full:
 * stuck, but there. */
static int refuse_served(const struct sockaddr_un *addr, Err *err)
{
        int fd CLEANUP(cleanup_fd) = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct ucred peer = {};
        socklen_t n = sizeof(peer);

        if (fd < 0)
                return err_sys(err, errno, "socket");
        if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
                return errno == EAGAIN ? err_set(err, FAILED_PRECONDITION,
                                                 "%s is served by a process that does not answer",
                                                 addr->sun_path)
                                       : 0;
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n);
        return err_set(err, FAILED_PRECONDITION, "%s is served by the process with pid %d",
                       addr->sun_path, peer.pid);
}

int setup_socket(const char *path, int64_t uid, int64_t gid, Err *err)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        uid_t owner = uid < 0 ? geteuid() : (uid_t)uid;
        gid_t group = gid < 0 ? getegid() : (gid_t)gid;
        int fd CLEANUP(cleanup_fd) = -1;
        int r;

        if (strlen(path) > LIMIT_SOCKET_PATH)
                return err_set(err, INVALID_ARGUMENT, "%s: unix socket path too long (> %d)", path,
                               LIMIT_SOCKET_PATH);
        strcpy(addr.sun_path, path);
        r = make_parent(path, owner, group, err);
        if (r < 0)
                return r;
        r = refuse_served(&addr, err);
        if (r < 0)
                return r;
        if (unlink(path) < 0 && errno != ENOENT)
                return err_sys(err, errno, "unlink %s", path);

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return err_sys(err, errno, "socket");
        /* Nobody can connect before listen(2), and by then mode and owner are right. Not by
         * umask(2): plugins are at work in other threads. */
        if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
                return err_sys(err, errno, "bind %s", path);
        if (chmod(path, 0660) < 0)
                return err_sys(err, errno, "chmod %s", path);
        if (chown(path, owner, group) < 0)
                return err_sys(err, errno, "chown %s", path);
        if (listen(fd, SOMAXCONN) < 0)
                return err_sys(err, errno, "listen %s", path);
        return TAKE_FD(fd);
}

int setup_oom_score(int64_t score, Err *err)
{
        char text[24];
        int n = snprintf(text, sizeof(text), "%d", (int)score);

        return file_write(AT_FDCWD, "/proc/self/oom_score_adj", text, (size_t)n, 0644, err);
}

int setup_cgroup(const char *path, Err *err)
{
        Arena a CLEANUP(arena_done);
        int r;

        arena_init(&a, SIZE_MAX);
        r = cgroup_join(&a, *path == '/' ? path : arena_printf(&a, "/%s", path), getpid(), err);
        return r < 0 ? err_wrap(err, "cgroup \"%s\"", path) : 0;
}

void setup_notify(const char *state)
{
        const char *path = getenv("NOTIFY_SOCKET");
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        int fd CLEANUP(cleanup_fd) = -1;
        size_t n;

        if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof(addr.sun_path))
                return;
        n = strlen(path);
        memcpy(addr.sun_path, path, n);
        if (path[0] == '@')
                addr.sun_path[0] = 0;
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd >= 0)
                (void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&addr,
                              (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
}
