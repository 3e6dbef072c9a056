/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each tree becomes a detached mount (open_tree) that nobody can write through; a temporary mount
 * point exists only while such a mount is made, so that a killed daemon leaves little behind. The
 * worker's pipe and its socket are served by the one thread that waits here.
 */
#include "diff/compare.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/hash.h"
#include "base/mem.h"
#include "diff/grant.h"
#include "diff/temp.h"
#include "spec/descriptor.h"
#include "worker/worker.h"

enum { PIPE_BYTES = 1024 * 1024 };

typedef struct Root {
        int fd;     /* -1: empty */
        char *name; /* how messages name it */
} Root;

typedef struct Compare {
        const DiffCompare *c;
        Arena arena;
        Root lower, upper;
        Grant hint; /* fd -1: none */
        int pipe;   /* the end that is read */
        uint8_t *buf;
        uint64_t received;
} Compare;

int diff_format(const char *media_type, WorkerFormat *ret, const char **ret_type, Err *err)
{
        static const struct {
                const char *type;
                WorkerFormat format;
        } table[] = {
                {MEDIA_OCI_LAYER "+gzip", WORKER_FORMAT_GZIP},
                {MEDIA_OCI_LAYER, WORKER_FORMAT_RAW},
                {MEDIA_OCI_LAYER "+zstd", WORKER_FORMAT_ZSTD},
        };

        if (str_empty(media_type))
                media_type = table[0].type;
        for (size_t i = 0; i < ARRAY_LEN(table); i++)
                if (str_eq(table[i].type, media_type)) {
                        *ret = table[i].format;
                        *ret_type = table[i].type;
                        return 0;
                }
        return err_set(err, UNIMPLEMENTED, "unsupported diff media type: %s: not implemented",
                       media_type);
}

/* ---- the trees ---- */

static int clone_tree(const char *path, int recursive, Root *ret, Err *err)
{
        unsigned flags = recursive ? AT_RECURSIVE : 0;
        struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
                                              MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC};
        int fd CLEANUP(cleanup_fd) = (int)syscall(SYS_open_tree, AT_FDCWD, path,
                                                  OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);

        if (fd < 0)
                return err_sys(err, errno, "open %s", path);
        if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | flags, &attr, sizeof(attr)) < 0)
                return err_sys(err, errno, "confine %s", path);
        ret->fd = TAKE_FD(fd);
        return 0;
}

static int mount_tree(const DiffCompare *c, const Mount *m, size_t n, Root *ret, Err *err)
{
        char *dir CLEANUP(temp_dir_removep) = NULL;
        int r = temp_dir_make(c->tmp_root, &dir, err);

        if (r < 0)
                return r;
        free(ret->name);
        ret->name = mem_strdup(dir);
        r = mount_all(m, n, dir, err);
        return r < 0 ? r : clone_tree(dir, 1, ret, err);
}

/* An overlay that is written elsewhere is read below its upperdir's back: never mounted twice for
 * writing. */
static int open_root(Compare *k, const Mount *m, size_t n, int readonly, Root *ret, Err *err)
{
        char random[9];
        MountList l = {.v = (Mount *)m, .n = n};
        int r;

        random_name(random, sizeof(random) - 1);
        ret->name = mem_printf("%s/%s%s", k->c->tmp_root, TEMP_PREFIX, random);
        if (n == 0)
                return 0;
        if (n == 1 && mount_is_bind(m)) {
                free(ret->name);
                ret->name = mem_strdup(m->source);
                r = clone_tree(m->source, mount_has_option(m, "rbind"), ret, err);
        } else {
                if (readonly || str_eq(m->type, "overlay"))
                        l = mount_readonly(&k->arena, m, n);
                r = mount_tree(k->c, l.v, l.n, ret, err);
        }
        return r < 0 ? err_wrap(err, "failed to mount %s", ret->name) : 0;
}

/* ---- the folder in which they differ ---- */

/* Options with which an overlay is exactly its folders, one above the other; with the index,
 * changing one name of a file changes others. */
static int plain_overlay(const Mount *m)
{
        char index = 'N';
        int fd CLEANUP(cleanup_fd) = -1;
        int off = 0;

        for (size_t i = 0; i < m->n_options; i++) {
                const char *o = m->options[i];

                off |= str_eq(o, "index=off");
                if (str_eq(o, "index=on") || str_eq(o, "nfs_export=on"))
                        return 0;
        }
        if (off)
                return 1;
        fd = open("/sys/module/overlay/parameters/index", O_RDONLY | O_CLOEXEC);
        return fd < 0 || read(fd, &index, 1) != 1 || index == 'N';
}

/* The folders of a mount, nearest first, joined by colons; NULL for what is no stack of folders. */
static char *stack_of(Arena *a, const Mount *m)
{
        const char *upper = mount_option(m, "upperdir"), *lower = mount_option(m, "lowerdir");

        if (mount_is_bind(m))
                return strchr(m->source, ':') ? NULL : arena_strdup(a, m->source);
        if (!str_eq(m->type, "overlay") || !mount_is_whole(m) || !lower || strchr(lower, '\\') ||
            strstr(lower, "::") || !plain_overlay(m))
                return NULL;
        if (!upper)
                return arena_strdup(a, lower);
        return strchr(upper, ':') || strchr(upper, '\\') ? NULL
                                                         : arena_printf(a, "%s:%s", upper, lower);
}

/* Upper is an overlay of one folder more than lower: that one. NULL if it is anything else. */
static const char *find_hint(Compare *k)
{
        const DiffCompare *c = k->c;
        char *lower, *upper, *colon;

        if (c->whole || c->n_lower != 1 || c->n_upper != 1 || !str_eq(c->upper->type, "overlay"))
                return NULL;
        lower = stack_of(&k->arena, c->lower);
        upper = stack_of(&k->arena, c->upper);
        colon = upper ? strchr(upper, ':') : NULL;
        if (!lower || !colon || !str_eq(colon + 1, lower))
                return NULL;
        *colon = 0;
        return upper;
}

static int open_hint(Compare *k, Err *err)
{
        struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
        const char *dir = find_hint(k);
        int r = dir ? grant_open(dir, NULL, 0, &k->hint, err) : 0;

        if (r == 0 && dir &&
            syscall(SYS_mount_setattr, k->hint.fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
                return err_sys(err, errno, "confine %s", dir);
        return r;
}

/* ---- the worker ---- */

static int send_job(Compare *k, Worker *w, int pipe, Err *err)
{
        const DiffCompare *c = k->c;
        WorkerMsg job = {.type = WORKER_MSG_COMPARE,
                         .compare = {
                                 .format = c->format,
                                 .bounded = (uint32_t)c->bounded,
                                 .sec = (uint64_t)c->bound.sec,
                                 .nsec = (uint32_t)c->bound.nsec,
                         }};
        int fds[WORKER_FDS_MAX], all[] = {k->lower.fd, k->upper.fd, k->hint.fd};
        size_t n = 0;

        fds[n++] = pipe;
        for (size_t i = 0; i < ARRAY_LEN(all); i++)
                if (all[i] >= 0) {
                        job.compare.trees |= 1U << i;
                        fds[n++] = all[i];
                }
        return worker_send(w, &job, fds, n, err);
}

/* 1: done. */
static int serve_message(Compare *k, Worker *w, DiffCompared *ret, Err *err)
{
        WorkerMsg m, reply = {.type = WORKER_MSG_REPLY};
        int fds[WORKER_FDS_MAX], r;

        r = worker_recv(w, &m, fds, err);
        if (r < 0)
                return r;
        if (m.type == WORKER_MSG_OPAQUE && k->hint.fd >= 0) {
                reply.reply.errnum = grant_is_opaque(&k->hint, fds[0]) ? EEXIST : 0;
                r = worker_send(w, &reply, NULL, 0, err);
        } else if (m.type == WORKER_MSG_DONE && m.done.sent == k->received &&
                   (*m.done.digest != 0) == (k->c->format != WORKER_FORMAT_RAW)) {
                ret->size = k->received;
                snprintf(ret->diff_id.text, sizeof(ret->diff_id.text), "%s", m.done.digest);
                r = 1;
        } else {
                r = err_set(err, INTERNAL, "malformed message from worker");
        }
        for (int i = 0; i < WORKER_FDS_MAX; i++)
                fd_close(fds[i]);
        return r;
}

/* 1: there is no more. */
static int take_piece(Compare *k, Err *err)
{
        ssize_t n = read(k->pipe, k->buf, PIPE_BYTES);

        if (n < 0)
                return errno == EINTR || errno == EAGAIN ? 0
                                                         : err_sys(err, errno, "read from worker");
        k->received += (uint64_t)n;
        return n == 0 ? 1 : k->c->sink.write(k->c->sink.ctx, k->buf, (size_t)n, err);
}

static int serve(Compare *k, Worker *w, DiffCompared *ret, Err *err)
{
        int ended = 0, r = 0;

        while (r == 0) {
                r = ended ? 0 : worker_wait(w, k->pipe, err);
                if (r < 0)
                        return r;
                if (r == 0) {
                        r = serve_message(k, w, ret, err);
                } else {
                        ended = take_piece(k, err);
                        r = MIN(ended, 0);
                }
        }
        return MIN(r, 0);
}

static int run_worker(Compare *k, DiffCompared *ret, Err *err)
{
        Worker *w CLEANUP(worker_endp) = NULL;
        WorkerOptions o = {
                .name = "lighter-unpack",
                .path = k->c->worker_path,
                .ids = WORKER_IDS_ALL,
                .deadline_ns = k->c->deadline_ns,
                .cancelled = k->c->cancelled,
                .ctx = k->c->ctx,
        };
        int pipes[2], r;

        if (pipe2(pipes, O_CLOEXEC) < 0)
                return err_sys(err, errno, "pipe");
        k->pipe = pipes[0];
        fcntl(pipes[0], F_SETPIPE_SZ, PIPE_BYTES); /* fewer turns; it works without */
        fcntl(pipes[0], F_SETFL, O_NONBLOCK);
        r = worker_start(&o, &w, err);
        if (r == 0)
                r = send_job(k, w, pipes[1], err);
        fd_close(pipes[1]);
        return r < 0 ? r : serve(k, w, ret, err);
}

static int run(Compare *k, Err *err)
{
        const DiffSink *s = &k->c->sink;
        DiffCompared done = {};
        int r = s->begin(s->ctx, err);

        if (r < 0)
                return r;
        k->buf = mem_alloc(PIPE_BYTES);
        r = run_worker(k, &done, err);
        if (r < 0)
                return err_wrap(err, "failed to write %sdiff",
                                k->c->format == WORKER_FORMAT_RAW ? "" : "compressed ");
        return s->finish(s->ctx, &done, err);
}

static void compare_done(Compare *k)
{
        fd_close(k->lower.fd);
        fd_close(k->upper.fd);
        fd_close(k->pipe);
        grant_done(&k->hint);
        free(k->lower.name);
        free(k->upper.name);
        free(k->buf);
        arena_done(&k->arena);
}

int diff_compare(const DiffCompare *c, Err *err)
{
        Compare k CLEANUP(compare_done) = {
                .c = c,
                .lower.fd = -1,
                .upper.fd = -1,
                .hint.fd = -1,
                .pipe = -1,
        };
        int r;

        arena_init(&k.arena, SIZE_MAX);
        r = open_root(&k, c->lower, c->n_lower, 0, &k.lower, err);
        if (r < 0)
                return r;
        r = open_root(&k, c->upper, c->n_upper, 1, &k.upper, err);
        if (r == 0)
                r = open_hint(&k, err);
        if (r == 0)
                r = run(&k, err);
        if (r < 0)
                err_wrap(err, "mount callback failed on %s", k.upper.name);
        return r < 0 ? err_wrap(err, "mount callback failed on %s", k.lower.name) : 0;
}
