/* SPDX-License-Identifier: Apache-2.0 */
/* The job "apply a layer": blob in, files out, digest back. Requests to the parent go out in the
 * middle of it and are answered before the next byte is read. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include "cmd/unpack/unpack.h"
#include "diff/extract.h"
#include "diff/pipeline.h"

/* Besides the files a stream has headers and padding, and whatever follows the archive: that much
 * is hashed. */
#define STREAM_EXTRA (UINT64_C(4) << 30)

typedef struct Asker {
        int sock;
        uint8_t packet[WORKER_MSG_MAX];
} Asker;

static int ask(Asker *a, const WorkerMsg *m, int fd, int *ret_errno, Err *err)
{
        int fds[WORKER_FDS_MAX], r;
        WorkerMsg reply;

        r = worker_msg_send(a->sock, m, &fd, 1, err);
        if (r == 0)
                r = worker_msg_recv(a->sock, -1, a->packet, &reply, fds, err);
        if (r < 0)
                return r;
        if (reply.type != WORKER_MSG_REPLY)
                return err_set(err, INTERNAL, "unexpected message from parent");
        *ret_errno = (int)reply.reply.errnum;
        return 0;
}

static int ask_xattr(void *ctx, int fd, const char *name, const void *value, size_t n,
                     int *ret_errno, Err *err)
{
        WorkerMsg m = {.type = WORKER_MSG_XATTR, .xattr = {name, value, (uint32_t)n}};

        if (strlen(name) > 255) {
                *ret_errno = ERANGE;
                return 0;
        }
        return ask(ctx, &m, fd, ret_errno, err);
}

static int ask_mknod(void *ctx, int dir_fd, const char *name, const TarEntry *e, int *ret_errno,
                     Err *err)
{
        WorkerMsg m = {
                .type = WORKER_MSG_MKNOD,
                .mknod = {name, e->mode | (e->type == TAR_CHAR ? S_IFCHR : S_IFBLK), e->major,
                          e->minor, (uint32_t)e->uid, (uint32_t)e->gid},
        };

        if (strlen(name) > 255) {
                *ret_errno = ENAMETOOLONG;
                return 0;
        }
        return ask(ctx, &m, dir_fd, ret_errno, err);
}

static int ask_implied(void *ctx, int dir_fd, const char *path, Err *err)
{
        WorkerMsg m = {.type = WORKER_MSG_PARENT, .parent = {path}};
        int errnum = 0, r = ask(ctx, &m, dir_fd, &errnum, err);

        if (r < 0)
                return r;
        return errnum ? err_sys(err, errnum, "mkparent %s", path) : 0;
}

int unpack_apply(int sock, const WorkerApplyMsg *job, int blob_fd, int target_fd, WorkerMsg *ret,
                 Err *err)
{
        static Asker asker;
        static Digest digest;
        Decoder *decoder = decoder_new(blob_fd, (WorkerCodec)job->codec, DECODE_GZIP_BEST);
        Pipeline *pipeline = NULL;
        TarReader tar;
        ExtractOptions o = {
                .root_fd = target_fd,
                .label = job->root,
                .overlay = (int)job->overlay,
                .max_bytes = job->max_bytes,
                .max_entries = job->max_entries,
                .ops = {&asker, ask_xattr, ask_mknod, ask_implied},
        };
        int r;

        asker.sock = sock;
        r = pipeline_start(decoder, job->max_bytes + MIN(STREAM_EXTRA, UINT64_MAX - job->max_bytes),
                           &pipeline, err);
        if (r < 0)
                return r;
        *ret = (WorkerMsg){.type = WORKER_MSG_DONE};
        tar_reader_init(&tar, pipeline_next, pipeline);
        r = extract_archive(&o, &tar, &ret->done.entries, err);
        if (r == 0)
                r = pipeline_finish(pipeline, &digest, &ret->done.size, err);
        ret->done.digest = digest.text;
        return r;
}
