/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three steps: find the folder (or mount one), open a grant on it, and serve one worker until it is
 * done. The worker reports digest and size of what it read; that is compared with the image's diff
 * id by whoever asked, so a worker that lies makes its own layer fail.
 */
#include "diff/apply.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "base/arena.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/path.h"
#include "diff/grant.h"
#include "diff/temp.h"
#include "worker/worker.h"

#define UNPACK_ENTRIES_MAX UINT64_C(100000000)
#define UNPACK_RESERVE \
        (UINT64_C(16) << 20) /* of the file system stays free: others live there too */

/* Which media types there are; named is the one to complain about, and whether their bytes may be
 * compressed whatever they say. */
static int choose_codec(const char *media_type, const char *named, WorkerCodec *ret, Err *err)
{
        static const struct {
                const char *base;
                int sniff;
        } table[] = {
                {MEDIA_DOCKER_LAYER, 1},
                {"application/vnd.docker.image.rootfs.foreign.diff.tar", 1},
                {"application/vnd.docker.image.rootfs.diff.tar.gzip", 1},
                {"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", 1},
                {"application/vnd.docker.image.rootfs.diff.tar.zstd", 1},
                {MEDIA_OCI_LAYER, 0},
                {"application/vnd.oci.image.layer.nondistributable.v1.tar", 0},
        };
        size_t n = strcspn(media_type, "+");
        const char *last = strrchr(media_type, '+');

        for (size_t i = 0; i < ARRAY_LEN(table); i++) {
                if (strlen(table[i].base) != n || strncmp(table[i].base, media_type, n) != 0)
                        continue;
                if (last && str_eq(last, "+encrypted"))
                        break;
                if (last)
                        *ret = !table[i].sniff && (str_eq(last, "+gzip") || str_eq(last, "+zstd"))
                                       ? WORKER_CODEC_SNIFF
                                       : WORKER_CODEC_RAW;
                else
                        *ret = table[i].sniff ? WORKER_CODEC_SNIFF : WORKER_CODEC_RAW;
                return 0;
        }
        return err_set(err, UNKNOWN,
                       "failed to get stream processor for %s: no processor for media-type", named);
}

/* What the target's file system has left; a file system without numbers has no limit but ours. */
static void measure(int fd, WorkerApplyMsg *job)
{
        struct statvfs v;

        job->max_bytes = UINT64_MAX / 2;
        job->max_entries = UNPACK_ENTRIES_MAX;
        if (fstatvfs(fd, &v) < 0)
                return;
        if (v.f_blocks) {
                uint64_t left = (uint64_t)v.f_bavail * v.f_frsize;

                job->max_bytes = left > UNPACK_RESERVE ? left - UNPACK_RESERVE : 0;
        }
        if (v.f_files)
                job->max_entries = MIN(job->max_entries, (uint64_t)v.f_favail);
}

/* 1: the message was a request and has been answered. */
static int serve_request(Worker *w, const Grant *g, const WorkerMsg *m, int fd, Err *err)
{
        WorkerMsg reply = {.type = WORKER_MSG_REPLY};
        int errnum, r;

        switch (m->type) {
        case WORKER_MSG_XATTR:
                errnum = grant_xattr(g, fd, m->xattr.name, m->xattr.value, m->xattr.n_value);
                break;
        case WORKER_MSG_MKNOD:
                errnum = grant_mknod(g, fd, &m->mknod);
                break;
        case WORKER_MSG_PARENT:
                errnum = grant_implied(g, fd, m->parent.path);
                break;
        default:
                return 0;
        }
        reply.reply.errnum = (uint32_t)errnum;
        r = worker_send(w, &reply, NULL, 0, err);
        return r < 0 ? r : 1;
}

static int serve(Worker *w, const Grant *g, DiffApplied *ret, Err *err)
{
        for (;;) {
                int fds[WORKER_FDS_MAX], r;
                WorkerMsg m;

                r = worker_recv(w, &m, fds, err);
                if (r < 0)
                        return r;
                r = serve_request(w, g, &m, fds[0], err);
                for (int i = 0; i < WORKER_FDS_MAX; i++)
                        fd_close(fds[i]);
                if (r < 0)
                        return r;
                if (r == 1)
                        continue;
                if (m.type != WORKER_MSG_DONE)
                        return err_set(err, INTERNAL, "malformed message from worker");
                ret->media_type = MEDIA_OCI_LAYER;
                ret->size = m.done.size;
                return digest_parse(m.done.digest, &ret->digest, err);
        }
}

/* The grant's own handle is O_PATH, which cannot be synced. */
static int sync_fs(const Grant *g, const char *dir, Err *err)
{
        int fd CLEANUP(cleanup_fd) = openat(g->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 || syncfs(fd) < 0 ? err_sys(err, errno, "syncfs %s", dir) : 0;
}

static int apply_to(const DiffApply *a, WorkerCodec codec, const char *dir, const char *lowers,
                    int overlay, DiffApplied *ret, Err *err)
{
        Worker *w CLEANUP(worker_endp) = NULL;
        Grant g CLEANUP(grant_done) = {.fd = -1};
        WorkerOptions o = {
                .name = "lighter-unpack",
                .path = a->worker_path,
                .ids = WORKER_IDS_ALL,
                .deadline_ns = a->deadline_ns,
                .cancelled = a->cancelled,
                .ctx = a->ctx,
        };
        WorkerMsg job = {.type = WORKER_MSG_APPLY,
                         .apply = {.codec = codec, .overlay = (uint32_t)overlay, .root = dir}};
        int r;

        r = grant_open(dir, lowers, overlay, &g, err);
        if (r < 0)
                return r;
        measure(g.fd, &job.apply);
        r = worker_start(&o, &w, err);
        if (r < 0)
                return r;
        r = worker_send(w, &job, (int[]){a->blob_fd, g.fd}, 2, err);
        if (r == 0)
                r = serve(w, &g, ret, err);
        return r == 0 && a->sync_fs ? sync_fs(&g, dir, err) : r;
}

/* Whether it may be written past its mount point. */
static int writable(const Mount *m)
{
        return mount_is_whole(m) && !mount_has_option(m, "ro");
}

static int apply_mounted(const DiffApply *a, WorkerCodec codec, DiffApplied *ret, Err *err)
{
        char *dir CLEANUP(temp_dir_removep) = NULL;
        int r = temp_dir_make(a->tmp_root, &dir, err);

        if (r < 0)
                return r;
        r = mount_all(a->mounts, a->n_mounts, dir, err);
        if (r < 0)
                return err_wrap(err, "failed to mount %s", dir);
        r = apply_to(a, codec, dir, NULL, 0, ret, err);
        if (r < 0)
                err_wrap(err, "mount callback failed on %s", dir);
        /* With no mounts the layer lies in the folder itself, and nobody wants it. */
        if (a->n_mounts == 0) {
                Err ignored = {};
                int parent CLEANUP(cleanup_fd) =
                        open(a->tmp_root, O_PATH | O_DIRECTORY | O_CLOEXEC);

                path_remove_tree(parent, strrchr(dir, '/') + 1, &ignored);
        }
        return r;
}

static int apply_stream(const DiffApply *a, WorkerCodec codec, DiffApplied *ret, Err *err)
{
        const Mount *m = a->n_mounts == 1 ? &a->mounts[0] : NULL;

        if (m && str_eq(m->type, "overlay") && writable(m) && mount_option(m, "upperdir"))
                return apply_to(a, codec, mount_option(m, "upperdir"), mount_option(m, "lowerdir"),
                                1, ret, err);
        if (m && mount_is_bind(m) && writable(m)) {
                int r = apply_to(a, codec, m->source, NULL, 0, ret, err);

                return r < 0 ? err_wrap(err, "mount callback failed on %s", m->source) : 0;
        }
        return apply_mounted(a, codec, ret, err);
}

int diff_apply(const DiffApply *a, DiffApplied *ret, Err *err)
{
        Processors p CLEANUP(processors_done) = {.out = -1};
        WorkerCodec codec = WORKER_CODEC_RAW;
        DiffApply with = *a;
        const char *type;
        int r;

        r = processors_choose(&p, a->processors, a->n_processors, a->media_type, &type, err);
        if (r == 0)
                r = choose_codec(type, a->media_type, &codec, err);
        if (r == 0)
                r = processors_start(&p, a->blob_fd, a->payloads, a->n_payloads, err);
        if (r < 0)
                return r;
        if (p.n > 0)
                with.blob_fd = p.out;
        return processors_finish(&p, apply_stream(&with, codec, ret, err), err);
}

int diff_cleanup(const char *tmp_root, Err *err)
{
        DIR *dir = opendir(tmp_root);
        struct dirent *e;
        int r = 0;

        if (!dir)
                return errno == ENOENT ? 0 : err_sys(err, errno, "open %s", tmp_root);
        while (r == 0 && (e = readdir(dir))) {
                char *path CLEANUP(cleanup_free) = mem_printf("%s/%s", tmp_root, e->d_name);

                if (!str_starts(e->d_name, TEMP_PREFIX))
                        continue;
                r = unmount_all(path, MNT_DETACH | UMOUNT_NOFOLLOW, err);
                /* Never what is still mounted: the removal does not cross mounts either. */
                if (r == 0)
                        r = path_remove_tree(dirfd(dir), e->d_name, err);
        }
        closedir(dir);
        return r;
}
