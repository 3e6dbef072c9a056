/* SPDX-License-Identifier: Apache-2.0 */
#include "diff/decode.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/test.h"
#include "diff/pipeline.h"

enum { PLAIN = 3 * 1000 * 1000 };

/* Compressible, but not periodic. */
static char *plain(void)
{
        static char text[PLAIN];
        uint32_t x = 1;

        for (size_t i = 0; i < PLAIN && !text[PLAIN - 1]; i++) {
                x = x * 1664525 + 1013904223;
                text[i] = (char)('a' + ((x >> 24) & 7) + (i / 1000) % 10);
        }
        return text;
}

static void gzip_of(const char *p, size_t n, Str *ret)
{
        z_stream z = {};
        char *out = mem_alloc(n + 1000);

        deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
        z.next_in = (Bytef *)(uintptr_t)p;
        z.avail_in = (uInt)n;
        z.next_out = (Bytef *)out;
        z.avail_out = (uInt)n + 1000;
        deflate(&z, Z_FINISH);
        str_add_n(ret, out, z.total_out);
        deflateEnd(&z);
        free(out);
}

static void zstd_of(const char *p, size_t n, Str *ret)
{
        char *out = mem_alloc(n + 1000);

        str_add_n(ret, out, ZSTD_compress(out, n + 1000, p, n, 3));
        free(out);
}

static int file_of(const Str *s)
{
        int fd = memfd_create("blob", MFD_CLOEXEC);

        if (fd_write_all(fd, str_get(s), s->len) < 0 || lseek(fd, 0, SEEK_SET) < 0)
                test_fail(__FILE__, __LINE__, "memfd");
        return fd;
}

static int decode(const Str *in, WorkerCodec codec, DecodeGzip gzip, size_t step, Str *ret,
                  Err *err)
{
        int fd CLEANUP(cleanup_fd) = file_of(in);
        Decoder *d CLEANUP(decoder_freep) = decoder_new(fd, codec, gzip);
        char *buf CLEANUP(cleanup_free) = mem_alloc(step);
        size_t n;
        int r;

        do {
                r = decoder_read(d, buf, step, &n, err);
                if (r < 0)
                        return r;
                str_add_n(ret, buf, n);
        } while (n == step);
        return 0;
}

#define CHECK_DECODES(in, want, n_want)                                                        \
        for (int g_ = DECODE_GZIP_BEST; g_ <= DECODE_GZIP_ZLIB; g_++)                          \
                for (size_t step_ = 1009; step_ < 8000000; step_ *= 60) {                      \
                        Str out_ CLEANUP(str_done) = {};                                       \
                        Err err_ = {};                                                         \
                        CHECK_INT(decode(in, WORKER_CODEC_SNIFF, (DecodeGzip)g_, step_, &out_, \
                                         &err_),                                               \
                                  0);                                                          \
                        CHECK(out_.len == (n_want) &&                                          \
                              memcmp(str_get(&out_), want, out_.len) == 0);                    \
                }

#define CHECK_BROKEN(in, want)                                                                  \
        for (int g_ = DECODE_GZIP_BEST; g_ <= DECODE_GZIP_ZLIB; g_++) {                         \
                Str out_ CLEANUP(str_done) = {};                                                \
                Err err_ = {};                                                                  \
                CHECK(decode(in, WORKER_CODEC_SNIFF, (DecodeGzip)g_, 65536, &out_, &err_) < 0); \
                CHECK_STR(err_.msg, want);                                                      \
        }

TEST(decode_what_it_sniffs)
{
        Str gz CLEANUP(str_done) = {}, zs CLEANUP(str_done) = {}, raw CLEANUP(str_done) = {};
        Str none CLEANUP(str_done) = {};

        gzip_of(plain(), PLAIN, &gz);
        zstd_of(plain(), PLAIN, &zs);
        str_add_n(&raw, plain(), 100000);
        CHECK_DECODES(&gz, plain(), PLAIN);
        CHECK_DECODES(&zs, plain(), PLAIN);
        CHECK_DECODES(&raw, plain(), 100000);
        CHECK_DECODES(&none, "", 0);
        str_add(&none, "\x1f");
        CHECK_DECODES(&none, "\x1f", 1);
}

TEST(decode_raw_leaves_gzip_alone)
{
        Str gz CLEANUP(str_done) = {}, got CLEANUP(str_done) = {};
        Err err = {};

        gzip_of("abc", 3, &gz);
        CHECK_INT(decode(&gz, WORKER_CODEC_RAW, DECODE_GZIP_BEST, 100, &got, &err), 0);
        CHECK(got.len == gz.len);
}

TEST(decode_members_and_padding)
{
        Str gz CLEANUP(str_done) = {}, zs CLEANUP(str_done) = {};

        gzip_of(plain(), 200000, &gz);
        gzip_of(plain() + 200000, 100000, &gz);
        CHECK_DECODES(&gz, plain(), 300000);
        for (int i = 0; i < 700; i++)
                str_add_char(&gz, 0);
        CHECK_DECODES(&gz, plain(), 300000);
        zstd_of(plain(), 200000, &zs);
        str_add_n(&zs, "\x50\x2a\x4d\x18\4\0\0\0skip", 12);
        zstd_of(plain() + 200000, 100000, &zs);
        CHECK_DECODES(&zs, plain(), 300000);
}

TEST(decode_truncated)
{
        Str gz CLEANUP(str_done) = {}, zs CLEANUP(str_done) = {};

        gzip_of(plain(), 5000, &gz);
        zstd_of(plain(), 5000, &zs);
        for (size_t n = 4; n<gz.len; n += n> 60 && n + 60 < gz.len ? 37 : 1) {
                Str cut CLEANUP(str_done) = {};

                str_add_n(&cut, gz.data, n);
                CHECK_BROKEN(&cut, "unexpected EOF");
        }
        for (size_t n = 4; n < zs.len; n += 17) {
                Str cut CLEANUP(str_done) = {};

                str_add_n(&cut, zs.data, n);
                CHECK_BROKEN(&cut, "unexpected EOF");
        }
}

TEST(decode_damaged)
{
        Str gz CLEANUP(str_done) = {};

        gzip_of(plain(), 5000, &gz);
        gz.data[gz.len - 6] ^= 1;
        CHECK_BROKEN(&gz, "gzip: invalid checksum");
        gz.data[gz.len - 6] ^= 1;
        str_add(&gz, "garbage after the end");
        CHECK_BROKEN(&gz, "gzip: invalid header");
        for (size_t i = 0; i < 3000; i += 7) {
                Str got CLEANUP(str_done) = {};
                Err err = {};

                gz.data[i % gz.len] ^= 0x55;
                (void)decode(&gz, WORKER_CODEC_SNIFF, i & 1 ? DECODE_GZIP_BEST : DECODE_GZIP_ZLIB,
                             4096, &got, &err);
        }
}

TEST(pipeline_hashes_what_it_hands_on)
{
        Str gz CLEANUP(str_done) = {};
        Digest want, digest;
        uint64_t size;
        Err err = {};

        gzip_of(plain(), PLAIN, &gz);
        digest_of(plain(), PLAIN, &want);
        for (int read_pieces = 0; read_pieces < 100; read_pieces += 3) {
                int fd CLEANUP(cleanup_fd) = file_of(&gz);
                Decoder *d CLEANUP(decoder_freep) =
                        decoder_new(fd, WORKER_CODEC_SNIFF, DECODE_GZIP_BEST);
                Pipeline *p CLEANUP(pipeline_freep) = NULL;
                const uint8_t *piece;
                size_t n;

                CHECK_INT(pipeline_start(d, UINT64_MAX, &p, &err), 0);
                for (int i = 0; i < read_pieces; i++)
                        CHECK_INT(pipeline_next(p, &piece, &n, &err), 0);
                if (read_pieces % 2)
                        continue; /* leaving in the middle */
                CHECK_INT(pipeline_finish(p, &digest, &size, &err), 0);
                CHECK(size == PLAIN && digest_eq(&digest, &want));
        }
}

TEST(pipeline_stops_a_bomb)
{
        Str gz CLEANUP(str_done) = {};
        int fd CLEANUP(cleanup_fd) = -1;
        Decoder *d CLEANUP(decoder_freep) = NULL;
        Pipeline *p CLEANUP(pipeline_freep) = NULL;
        Digest digest;
        uint64_t size;
        Err err = {};

        gzip_of(plain(), PLAIN, &gz);
        fd = file_of(&gz);
        d = decoder_new(fd, WORKER_CODEC_SNIFF, DECODE_GZIP_BEST);
        CHECK_INT(pipeline_start(d, 1000000, &p, &err), 0);
        CHECK_INT(pipeline_finish(p, &digest, &size, &err), -RESOURCE_EXHAUSTED);
        CHECK_STR(err.msg, "layer is larger than 1000000 bytes");
}
