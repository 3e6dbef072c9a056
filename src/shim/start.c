/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A short-lived helper in the bundle: binds the socket, starts the shim with it as fd 3, prints the
 * address. Containers of one pod name the same socket; whoever comes second finds it answering and
 * prints the same address.
 *
 * The daemon takes everything on stdout and stderr for the answer, so nothing else may be written
 * there.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/proc.h"
#include "base/str.h"
#include "base/vec.h"
#include "cgroup/cgroup.h"
#include "shim/start.h"
#include "spec/digest.h"
#include "ttrpc/client.h"

#define DEFAULT_SOCKET_DIR "/run/containerd/s"
#define ADDRESS_SCHEME     "unix://"

#ifndef PR_SCHED_CORE
#define PR_SCHED_CORE 62
#endif

enum { SCHED_CORE_CREATE = 1, SCHED_CORE_PROCESS_GROUP = 2, BIND_TRIES = 3 };

static const char *const group_annotations[] = {"io.containerd.runc.v2.group",
                                                "io.kubernetes.cri.sandbox-id"};

const char *shim_group(Arena *a, const char *config_json, size_t n, const char *id)
{
        json_t *spec CLEANUP(json_decrefp) = NULL;
        const json_t *annotations = NULL;
        const char *group;
        Err err;

        if (json_read(config_json, n, LIMIT_DOCUMENT, "config.json", &spec, &err) < 0 ||
            !json_is_object(spec) || json_get_obj(spec, "annotations", &annotations, &err) < 0 ||
            !annotations)
                return id;
        for (size_t i = 0; i < ARRAY_LEN(group_annotations); i++) {
                group = NULL;
                if (json_get_str(annotations, group_annotations[i], &group, &err) == 0 &&
                    !str_empty(group))
                        return arena_strdup(a, group);
        }
        return id;
}

/* Go's filepath.Join of address, namespace and group: empty parts vanish, "//", "." and ".." are
 * resolved. */
static char *join_clean(Arena *a, const char *const parts[], size_t n)
{
        size_t room = 2;
        char *out;
        size_t len = 0;
        int rooted;

        for (size_t i = 0; i < n; i++)
                room += strlen(parts[i]) + 1;
        out = arena_alloc(a, room);
        rooted = parts[0][0] == '/';
        for (size_t i = 0; i < n; i++) {
                for (const char *p = parts[i]; *p;) {
                        size_t seg = strcspn(p, "/");

                        if (seg == 2 && memcmp(p, "..", 2) == 0) {
                                while (len > 0 && out[len - 1] != '/')
                                        len--;
                                len -= len > 0;
                        } else if (seg > 0 && !(seg == 1 && *p == '.')) {
                                if (len > 0 || rooted)
                                        out[len++] = '/';
                                memcpy(out + len, p, seg);
                                len += seg;
                        }
                        p += seg + (p[seg] == '/');
                }
        }
        out[len] = 0;
        return out;
}

int shim_socket_path(Arena *a, const char *dir, const char *grpc_address, const char *ns,
                     const char *group, const char **ret, Err *err)
{
        const char *joined = join_clean(a, (const char *const[]){grpc_address, ns, group}, 3);
        Digest digest;

        if (!dir)
                dir = DEFAULT_SOCKET_DIR;
        if (strlen(dir) > SOCKET_DIR_MAX || dir[0] != '/')
                return err_set(err, INVALID_ARGUMENT,
                               "socket directory \"%s\" is not absolute or longer than %d: "
                               "invalid argument",
                               dir, SOCKET_DIR_MAX);
        digest_of(joined, strlen(joined), &digest);
        *ret = arena_printf(a, "%s/%s", dir, digest_hex(&digest));
        return 0;
}

static int answers(const char *path)
{
        int fd;
        Err err;

        if (ttrpc_dial(path, &fd, &err) < 0)
                return 0;
        fd_close(fd);
        return 1;
}

static int bind_socket(int fd, const char *path)
{
        struct sockaddr_un sun = {.sun_family = AF_UNIX};
        mode_t old;
        int r;

        if (strlen(path) >= sizeof(sun.sun_path)) {
                errno = ENAMETOOLONG;
                return -1;
        }
        memcpy(sun.sun_path, path, strlen(path) + 1);
        old = umask(0177);
        r = bind(fd, (struct sockaddr *)&sun, sizeof(sun));
        umask(old);
        return r;
}

int shim_socket_listen(const char *path, int *ret_fd, Err *err)
{
        char *dir CLEANUP(cleanup_free) = mem_strndup(path, (size_t)(strrchr(path, '/') - path));
        int r = path_mkdirs(dir, 0700, err);

        if (r < 0)
                return r;
        for (int i = 0; i < BIND_TRIES; i++) {
                int fd CLEANUP(cleanup_fd) = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

                if (fd < 0)
                        return err_sys(err, errno, "socket");
                if (bind_socket(fd, path) == 0) {
                        if (listen(fd, SOMAXCONN) < 0)
                                return err_sys(err, errno, "listen on %s", path);
                        *ret_fd = TAKE_FD(fd);
                        return 0;
                }
                if (errno != EADDRINUSE)
                        return err_sys(err, errno, "bind %s", path);
                if (answers(path)) {
                        *ret_fd = -1;
                        return 0;
                }
                unlink(path); /* left by a shim that was killed */
        }
        return err_set(err, UNAVAILABLE, "bind %s: somebody else keeps taking it", path);
}

/* One more than the daemon's, so that the kernel takes the shim first; a shim that may not change
 * it keeps its own. */
static void raise_oom_score(pid_t pid)
{
        char path[64], text[32];
        int64_t score = 0;
        ssize_t n;
        int fd;

        snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", getppid());
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        fd_close(fd);
        if (n <= 0)
                return;
        text[n] = 0;
        text[strcspn(text, "\n")] = 0;
        if (str_to_i64(text, &score) < 0)
                return;
        snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
        snprintf(text, sizeof(text), "%d", (int)MIN(score + 1, INT64_C(1000)));
        fd = open(path, O_WRONLY | O_CLOEXEC);
        (void)!write(fd, text, strlen(text));
        fd_close(fd);
}

static int spawn_shim(const Bootstrap *b, int listen_fd, pid_t *ret, Err *err)
{
        const char *argv[10] = {"containerd-shim-lighter-v2",
                                "-namespace",
                                b->ns,
                                "-id",
                                b->id,
                                "-address",
                                b->grpc_address,
                                b->debug ? "-debug" : NULL,
                                NULL};
        ProcFd fd = {listen_fd, SHIM_LISTEN_FD};
        ProcSpec spec = {
                .path = "/proc/self/exe", .argv = argv, .fds = &fd, .n_fds = 1, .new_group = 1};
        Proc p;
        int r;

        setenv("TTRPC_ADDRESS", b->ttrpc_address, 1);
        r = proc_spawn(&spec, &p, err);
        if (r < 0)
                return err_wrap(err, "starting the shim");
        fd_close(p.pidfd);
        *ret = p.pid;
        return 0;
}

static int start_new(Arena *a, const Bootstrap *b, int listen_fd, pid_t *ret, Err *err)
{
        Runc__Options *options;
        pid_t pid = 0;
        int r = runc_options_read(a, b->options, &options, err);

        if (r < 0)
                return r;
        if (!str_empty(getenv("SCHED_CORE")))
                prctl(PR_SCHED_CORE, SCHED_CORE_CREATE, 0, SCHED_CORE_PROCESS_GROUP, 0);
        r = spawn_shim(b, listen_fd, &pid, err);
        if (r < 0)
                return r;
        raise_oom_score(pid);
        if (!str_empty(options->shim_cgroup)) {
                r = cgroup_join(a, options->shim_cgroup, pid, err);
                if (r < 0) {
                        kill(pid, SIGKILL);
                        return err_wrap(err, "failed to add the shim to cgroup %s",
                                        options->shim_cgroup);
                }
        }
        *ret = pid;
        return 0;
}

int shim_read_stdin(Arena *a, char **ret, size_t *ret_n, Err *err)
{
        Str s CLEANUP(str_done) = {};
        char buf[4096];
        ssize_t n;

        while ((n = read(0, buf, sizeof(buf))) != 0) {
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return err_sys(err, errno, "stdin");
                if (s.len + (size_t)n > LIMIT_BOOTSTRAP)
                        return err_set(err, RESOURCE_EXHAUSTED, "more than %d bytes on stdin",
                                       LIMIT_BOOTSTRAP);
                str_add_n(&s, buf, (size_t)n);
        }
        *ret = arena_memdup(a, str_get(&s), s.len + 1);
        *ret_n = s.len;
        return 0;
}

/* What the folder of the bundle tells later calls: daemons before 2.0 reconnect by `address`,
 * delete finds the socket's folder by `s`. */
static int note_in_bundle(const Bootstrap *b, const char *address, Err *err)
{
        if (b->socket_dir && symlink(b->socket_dir, "s") < 0 && errno != EEXIST)
                return err_sys(err, errno, "symlink s");
        if (b->modern)
                return 0;
        return file_write(AT_FDCWD, "address", address, strlen(address), 0644, err);
}

static int start(Arena *a, const ShimFlags *flags, Err *err)
{
        const char *path, *address;
        const void *answer;
        char *input, *config;
        size_t n;
        Bootstrap b;
        pid_t made = 0;
        int fd CLEANUP(cleanup_fd) = -1;
        int r = shim_read_stdin(a, &input, &n, err);

        if (r == 0)
                r = bootstrap_read(a, flags, getenv("TTRPC_ADDRESS"), input, n, &b, err);
        if (r == 0)
                r = file_read(a, AT_FDCWD, "config.json", LIMIT_DOCUMENT, &config, &n, err);
        if (r == 0)
                r = shim_socket_path(a, b.socket_dir, b.grpc_address, b.ns,
                                     shim_group(a, config, n, b.id), &path, err);
        if (r == 0)
                r = shim_socket_listen(path, &fd, err);
        if (r < 0)
                return r;
        address = arena_printf(a, ADDRESS_SCHEME "%s", path);
        r = note_in_bundle(&b, address, err);
        if (r == 0 && fd >= 0)
                r = start_new(a, &b, fd, &made, err);
        if (r == 0) {
                answer = bootstrap_answer(a, &b, address, &n);
                if (fd_write_all(1, answer, n) < 0)
                        r = err_sys(err, errno, "stdout");
        }
        if (r < 0 && fd >= 0) {
                /* A daemon that is gone by now has nobody to tell the address. */
                if (made > 0)
                        kill(made, SIGKILL);
                unlink(path);
        }
        return r;
}

int shim_start(const ShimFlags *flags)
{
        Arena a;
        Err err = {};
        int r;

        signal(SIGPIPE, SIG_IGN);
        arena_init(&a, SIZE_MAX);
        r = start(&a, flags, &err);
        if (r < 0)
                log_fatal_text("containerd-shim-lighter-v2", &err);
        arena_done(&a);
        return r < 0 ? 1 : 0;
}
