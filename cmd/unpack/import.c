/* SPDX-License-Identifier: Apache-2.0 */
/* The job "read an image archive": each file is announced on the socket and poured into the pipe, links are announced
 * only. What they mean is the parent's affair. */
#include <errno.h>
#include <string.h>
#include "base/fd.h"
#include "base/limits.h"
#include "cmd/unpack/unpack.h"
#include "diff/pipeline.h"
#include "diff/tar.h"

static int pour(TarReader *tar, int data_fd, Err *err)
{
        for (;;) {
                const uint8_t *p;
                uint64_t offset;
                size_t n;
                int r = tar_data(tar, &p, &n, &offset, err);

                if (r < 0 || n == 0)
                        return r;
                if (fd_write_all(data_fd, p, n) < 0)
                        return err_sys(err, errno, "write to parent");
        }
}

static int announce(int sock, const TarEntry *e, TarReader *tar, int data_fd, Err *err)
{
        WorkerMsg m = {.type = WORKER_MSG_ENTRY, .entry = {.name = e->name, .link = e->link}};
        int r;

        if (e->type != TAR_FILE && e->type != TAR_SYMLINK)
                return 0;
        if (e->sparse)
                return err_set(err, INVALID_ARGUMENT, "%.200s is a sparse file: invalid argument", e->name);
        m.entry.type = e->type == TAR_FILE ? WORKER_ENTRY_FILE : WORKER_ENTRY_SYMLINK;
        m.entry.size = e->type == TAR_FILE ? e->size : 0;
        r = worker_msg_send(sock, &m, NULL, 0, err);
        return r < 0 || e->type != TAR_FILE ? r : pour(tar, data_fd, err);
}

int unpack_import(int sock, const WorkerImportMsg *job, int archive_fd, int data_fd, WorkerMsg *ret, Err *err)
{
        static Digest digest;
        Decoder *decoder = decoder_new(archive_fd, WORKER_CODEC_SNIFF, DECODE_GZIP_BEST);
        Pipeline *pipeline = NULL;
        TarReader tar;
        TarEntry e;
        int r;

        r = pipeline_start(decoder, job->max_bytes, &pipeline, err);
        if (r < 0)
                return r;
        *ret = (WorkerMsg){.type = WORKER_MSG_DONE};
        tar_reader_init(&tar, pipeline_next, pipeline);
        while ((r = tar_next(&tar, &e, err)) == 1) {
                if (++ret->done.entries > job->max_entries)
                        return err_set(err, RESOURCE_EXHAUSTED, "archive has more than %llu entries",
                                       (unsigned long long)job->max_entries);
                r = announce(sock, &e, &tar, data_fd, err);
                if (r < 0)
                        return r;
        }
        if (r == 0)
                r = pipeline_finish(pipeline, &digest, &ret->done.size, err);
        ret->done.digest = digest.text;
        return r;
}
