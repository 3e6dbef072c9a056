/* SPDX-License-Identifier: Apache-2.0 */
/* What is compressed is decompressed again, through both libraries and in pieces of any size. */
#include "diff/encode.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/test.h"
#include "diff/outlet.h"

enum { N = 3 * 1024 * 1024 };

/* Some of it compresses, some of it does not. */
static uint8_t *sample(void)
{
        uint8_t *p = mem_alloc(N);

        for (size_t i = 0; i < N / 2; i++)
                p[i] = (uint8_t)(i / 1000 + i % 7);
        random_bytes(p + N / 2, N / 4);
        return p;
}

static void round_trip(WorkerFormat format, DecodeGzip gzip, size_t piece, size_t n)
{
        int fd CLEANUP(cleanup_fd) = memfd_create("encoded", MFD_CLOEXEC);
        uint8_t *in CLEANUP(cleanup_free) = sample(), *out CLEANUP(cleanup_free) = mem_alloc(N);
        Encoder *e CLEANUP(encoder_freep) = encoder_new(fd, format, gzip);
        Decoder *d CLEANUP(decoder_freep) = decoder_new(fd, WORKER_CODEC_SNIFF, DECODE_GZIP_ZLIB);
        size_t got = 0;
        Err err = {};

        for (size_t at = 0; at < n; at += piece)
                CHECK_INT(encoder_write(e, in + at, MIN(piece, n - at), &err), 0);
        CHECK_INT(encoder_finish(e, &err), 0);
        CHECK_INT(encoder_written(e), lseek(fd, 0, SEEK_CUR));
        CHECK(n < 1000 || format == WORKER_FORMAT_RAW || encoder_written(e) < n);
        CHECK(lseek(fd, 0, SEEK_SET) == 0);
        if (decoder_read(d, out, N, &got, &err) < 0)
                test_fail(__FILE__, __LINE__, "%s", err.msg);
        CHECK_INT(got, n);
        CHECK(memcmp(in, out, n) == 0);
}

TEST(encode_round_trips)
{
        static const size_t pieces[] = {1000, 65536, N}, sizes[] = {0, 1, 70000, N};

        for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
                for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
                        round_trip(WORKER_FORMAT_GZIP, DECODE_GZIP_BEST, pieces[i], sizes[k]);
                        round_trip(WORKER_FORMAT_GZIP, DECODE_GZIP_ZLIB, pieces[i], sizes[k]);
                        round_trip(WORKER_FORMAT_ZSTD, DECODE_GZIP_BEST, pieces[i], sizes[k]);
                        round_trip(WORKER_FORMAT_RAW, DECODE_GZIP_BEST, pieces[i], sizes[k]);
                }
}

static void outlet_trip(size_t n, int hash)
{
        int fd CLEANUP(cleanup_fd) = memfd_create("outlet", MFD_CLOEXEC);
        uint8_t *in CLEANUP(cleanup_free) = sample(), *out CLEANUP(cleanup_free) = mem_alloc(N);
        Encoder *e CLEANUP(encoder_freep) = encoder_new(fd, WORKER_FORMAT_RAW, DECODE_GZIP_BEST);
        Outlet *o CLEANUP(outlet_freep) = NULL;
        Digest got, want;
        uint64_t size;
        Err err = {};

        CHECK_INT(outlet_start(e, hash, &o, &err), 0);
        for (size_t at = 0; at < n; at += 100001)
                CHECK_INT(outlet_write(o, in + at, MIN((size_t)100001, n - at), &err), 0);
        CHECK_INT(outlet_finish(o, &got, &size, &err), 0);
        digest_of(in, n, &want);
        CHECK_STR(got.text, hash ? want.text : "");
        CHECK(size == n && fd_pread_all(fd, out, N, 0) == (ssize_t)n);
        CHECK(memcmp(in, out, n) == 0);
}

TEST(outlet_keeps_every_byte)
{
        static const size_t sizes[] = {0, 1, 256 * 1024, 256 * 1024 + 1, N};

        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
                outlet_trip(sizes[i], 0);
                outlet_trip(sizes[i], 1);
        }
}

/* The other end is gone: the caller learns of it and does not wait for ever. */
TEST(outlet_fails_when_nobody_reads)
{
        int fd CLEANUP(cleanup_fd) = open("/dev/full", O_WRONLY | O_CLOEXEC);
        uint8_t *in CLEANUP(cleanup_free) = sample();
        Encoder *e CLEANUP(encoder_freep) = encoder_new(fd, WORKER_FORMAT_RAW, DECODE_GZIP_BEST);
        Outlet *o CLEANUP(outlet_freep) = NULL;
        uint64_t size;
        Err err = {};
        Digest d;
        int r = 0;

        CHECK_INT(outlet_start(e, 1, &o, &err), 0);
        for (int i = 0; i < 4 && r == 0; i++)
                r = outlet_write(o, in, N, &err);
        if (r == 0)
                r = outlet_finish(o, &d, &size, &err);
        CHECK(r < 0);
        CHECK_STR(err.msg, "write layer: No space left on device");
}
