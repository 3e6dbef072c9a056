/* SPDX-License-Identifier: Apache-2.0 */
/* The job "read an image archive": each file is announced on the socket and poured into the pipe,
 * links are announced only. What they mean is the parent's affair. */
#include <errno.h>
#include <string.h>
#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"
#include "cmd/unpack/unpack.h"
#include "diff/decode.h"
#include "diff/tar.h"

enum { PIECE = 256 * 1024 };

/* The decoder as what a tar is read from; the parent hashes each member, nobody the whole. */
typedef struct Source {
        Decoder *decoder;
        uint8_t *piece;
        uint64_t size, max;
} Source;

static int next_piece(void *ctx, const uint8_t **ret, size_t *ret_n, Err *err)
{
        Source *s = ctx;
        int r = decoder_read(s->decoder, s->piece, PIECE, ret_n, err);

        if (r < 0)
                return r;
        s->size += *ret_n;
        if (s->size > s->max)
                return err_set(err, RESOURCE_EXHAUSTED, "archive is larger than %llu bytes",
                               (unsigned long long)s->max);
        *ret = s->piece;
        return 0;
}

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
                return err_set(err, INVALID_ARGUMENT, "%.200s is a sparse file: invalid argument",
                               e->name);
        m.entry.type = e->type == TAR_FILE ? WORKER_ENTRY_FILE : WORKER_ENTRY_SYMLINK;
        m.entry.size = e->type == TAR_FILE ? e->size : 0;
        r = worker_msg_send(sock, &m, NULL, 0, err);
        return r < 0 || e->type != TAR_FILE ? r : pour(tar, data_fd, err);
}

int unpack_import(int sock, const WorkerImportMsg *job, int archive_fd, int data_fd, WorkerMsg *ret,
                  Err *err)
{
        Source src = {
                .decoder = decoder_new(archive_fd, WORKER_CODEC_SNIFF, DECODE_GZIP_BEST),
                .piece = mem_alloc(PIECE),
                .max = job->max_bytes,
        };
        const uint8_t *rest;
        TarReader tar;
        TarEntry e;
        size_t n = 1;
        int r;

        *ret = (WorkerMsg){.type = WORKER_MSG_DONE};
        tar_reader_init(&tar, next_piece, &src);
        while ((r = tar_next(&tar, &e, err)) == 1) {
                if (++ret->done.entries > job->max_entries)
                        return err_set(err, RESOURCE_EXHAUSTED,
                                       "archive has more than %llu entries",
                                       (unsigned long long)job->max_entries);
                r = announce(sock, &e, &tar, data_fd, err);
                if (r < 0)
                        return r;
        }
        /* A writer into a pipe wants its last byte read, and a broken end is broken. */
        while (r == 0 && n > 0)
                r = next_piece(&src, &rest, &n, err);
        ret->done.size = src.size;
        return r;
}
