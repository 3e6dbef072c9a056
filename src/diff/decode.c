/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One input buffer, one back end per format behind `step`, which turns input into output until one
 * of them is used up. A gzip file may be several members and a zstd file several frames: after each
 * the back end starts again if there is more input. Zeros after the last gzip member are padding,
 * as every gzip tool takes them.
 */
#include "diff/decode.h"

#include <errno.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#ifdef HAVE_ISAL
#include <isa-l/igzip_lib.h>
#endif
#include "base/limits.h"
#include "base/mem.h"

enum { INPUT_BYTES = 256 * 1024 };

struct Decoder {
        int fd;
        int eof;
        uint8_t *in;
        size_t pos, end;
        /* Moves input to output; -code, or 0. May stop early with *done when a member has ended. */
        int (*step)(Decoder *d, uint8_t **out, size_t *n_out, Err *err);
        void (*done)(Decoder *d);
        int (*restart)(Decoder *d, Err *err); /* another member; NULL: none ever */
        int ended;                            /* the current member has */
        WorkerCodec codec;
        DecodeGzip gzip;
        union {
#ifdef HAVE_ISAL
                struct inflate_state *isal;
#endif
                z_stream *zlib;
                ZSTD_DCtx *zstd;
        };
};

static int short_read(Err *err)
{
        return err_set(err, UNKNOWN, "unexpected EOF");
}

/* Keeps what is unread and reads more behind it. */
static int refill(Decoder *d, Err *err)
{
        ssize_t n;

        if (d->eof || d->end - d->pos == INPUT_BYTES)
                return 0;
        if (d->pos > 0) {
                memmove(d->in, d->in + d->pos, d->end - d->pos);
                d->end -= d->pos;
                d->pos = 0;
        }
        do
                n = read(d->fd, d->in + d->end, INPUT_BYTES - d->end);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return err_sys(err, errno, "read layer");
        d->end += (size_t)n;
        d->eof = n == 0;
        return 0;
}

static int raw_step(Decoder *d, uint8_t **out, size_t *n_out, Err *err)
{
        size_t n = MIN(d->end - d->pos, *n_out);

        memcpy(*out, d->in + d->pos, n);
        d->pos += n;
        *out += n;
        *n_out -= n;
        return 0;
}

static void raw_done(Decoder *d)
{
}

#ifdef HAVE_ISAL
static const char *isal_text(int r)
{
        switch (r) {
        case ISAL_INCORRECT_CHECKSUM:
                return "gzip: invalid checksum";
        case ISAL_INVALID_WRAPPER:
        case ISAL_UNSUPPORTED_METHOD:
                return "gzip: invalid header";
        default:
                return "flate: corrupt input";
        }
}

static int isal_step(Decoder *d, uint8_t **out, size_t *n_out, Err *err)
{
        struct inflate_state *s = d->isal;
        int r;

        s->next_in = d->in + d->pos;
        s->avail_in = (uint32_t)(d->end - d->pos);
        s->next_out = *out;
        s->avail_out = (uint32_t)MIN(*n_out, (size_t)1 << 30);
        r = isal_inflate(s);
        d->pos = (size_t)(s->next_in - d->in);
        *n_out -= (size_t)(s->next_out - *out);
        *out = s->next_out;
        if (r < 0)
                return err_set(err, UNKNOWN, "%s", isal_text(r));
        d->ended = s->block_state == ISAL_BLOCK_FINISH;
        return 0;
}

static int isal_restart(Decoder *d, Err *err)
{
        isal_inflate_reset(d->isal);
        d->isal->crc_flag = ISAL_GZIP;
        return 0;
}

static void isal_done(Decoder *d)
{
        free(d->isal);
}
#endif

static int zlib_step(Decoder *d, uint8_t **out, size_t *n_out, Err *err)
{
        z_stream *z = d->zlib;
        int r;

        z->next_in = d->in + d->pos;
        z->avail_in = (uInt)(d->end - d->pos);
        z->next_out = *out;
        z->avail_out = (uInt)MIN(*n_out, (size_t)1 << 30);
        r = inflate(z, Z_NO_FLUSH);
        d->pos = (size_t)(z->next_in - d->in);
        *n_out -= (size_t)(z->next_out - *out);
        *out = z->next_out;
        if (r == Z_DATA_ERROR && z->msg && strstr(z->msg, "check"))
                return err_set(err, UNKNOWN, "gzip: invalid %s",
                               strstr(z->msg, "header") ? "header" : "checksum");
        if (r == Z_DATA_ERROR && z->msg && (strstr(z->msg, "header") || strstr(z->msg, "method")) &&
            z->total_out == 0)
                return err_set(err, UNKNOWN, "gzip: invalid header");
        if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
                return err_set(err, UNKNOWN, "flate: corrupt input");
        d->ended = r == Z_STREAM_END;
        return 0;
}

static int zlib_restart(Decoder *d, Err *err)
{
        return inflateReset(d->zlib) == Z_OK ? 0 : err_set(err, INTERNAL, "inflateReset");
}

static void zlib_done(Decoder *d)
{
        inflateEnd(d->zlib);
        free(d->zlib);
}

static int zstd_step(Decoder *d, uint8_t **out, size_t *n_out, Err *err)
{
        ZSTD_inBuffer in = {d->in, d->end, d->pos};
        ZSTD_outBuffer o = {*out, *n_out, 0};
        size_t r = ZSTD_decompressStream(d->zstd, &o, &in);

        d->pos = in.pos;
        *out += o.pos;
        *n_out -= o.pos;
        if (ZSTD_isError(r)) {
                /* The stable interface has texts only. */
                const char *text = ZSTD_getErrorName(r);

                if (strstr(text, "too much memory"))
                        return err_set(err, RESOURCE_EXHAUSTED, "window size exceeded");
                return err_set(err, UNKNOWN, "zstd: %s", text);
        }
        d->ended = r == 0;
        return 0;
}

static int zstd_restart(Decoder *d, Err *err)
{
        return 0; /* it goes on to the next frame by itself */
}

static void zstd_done(Decoder *d)
{
        ZSTD_freeDCtx(d->zstd);
}

static int begin_gzip(Decoder *d, Err *err)
{
#ifdef HAVE_ISAL
        if (d->gzip == DECODE_GZIP_BEST) {
                d->isal = mem_new(struct inflate_state);
                isal_inflate_init(d->isal);
                d->isal->crc_flag = ISAL_GZIP;
                d->step = isal_step;
                d->restart = isal_restart;
                d->done = isal_done;
                return 0;
        }
#endif
        d->zlib = mem_new(z_stream);
        d->step = zlib_step;
        d->restart = zlib_restart;
        d->done = zlib_done;
        if (inflateInit2(d->zlib, 16 + MAX_WBITS) != Z_OK)
                return err_set(err, INTERNAL, "inflateInit");
        return 0;
}

static int begin_zstd(Decoder *d, Err *err)
{
        d->zstd = ZSTD_createDCtx();
        if (!d->zstd)
                return err_set(err, RESOURCE_EXHAUSTED, "no memory for zstd");
        ZSTD_DCtx_setParameter(d->zstd, ZSTD_d_windowLogMax, LIMIT_ZSTD_WINDOW_LOG);
        d->step = zstd_step;
        d->restart = zstd_restart;
        d->done = zstd_done;
        return 0;
}

/* Looks at the first four bytes; a pipe may bring them one by one. */
static int begin(Decoder *d, Err *err)
{
        uint32_t magic = 0;

        while (!d->eof && d->end < 4) {
                int r = refill(d, err);

                if (r < 0)
                        return r;
        }
        memcpy(&magic, d->in, MIN(d->end, sizeof(magic)));
        if (d->codec == WORKER_CODEC_SNIFF && d->end >= 3 && (magic & 0xffffff) == 0x088b1f)
                return begin_gzip(d, err);
        if (d->codec == WORKER_CODEC_SNIFF && d->end >= 4 &&
            (magic == 0xfd2fb528 || (magic & 0xfffffff0) == 0x184d2a50))
                return begin_zstd(d, err);
        d->step = raw_step;
        d->done = raw_done;
        return 0;
}

/* Between members: 1 there is another, 0 that was all. */
static int next_member(Decoder *d, Err *err)
{
        int zeros = d->done == zstd_done ? 0 : 1, r;

        for (;;) {
                while (zeros && d->pos < d->end && d->in[d->pos] == 0)
                        d->pos++;
                if (d->pos < d->end)
                        break;
                if (d->eof)
                        return 0;
                r = refill(d, err);
                if (r < 0)
                        return r;
        }
        d->ended = 0;
        r = d->restart(d, err);
        return r < 0 ? r : 1;
}

int decoder_read(Decoder *d, void *buf, size_t n, size_t *ret_n, Err *err)
{
        uint8_t *out = buf;
        size_t left = n;
        int r = d->step ? 0 : begin(d, err);

        while (r == 0 && left > 0) {
                size_t before_in, before_out = left;

                if (d->pos == d->end && !d->eof)
                        r = refill(d, err);
                if (r == 0 && d->ended) {
                        r = next_member(d, err);
                        if (r <= 0)
                                break;
                        r = 0;
                }
                if (r < 0)
                        break;
                before_in = d->pos;
                r = d->step(d, &out, &left, err);
                if (r < 0 || before_in != d->pos || before_out != left || d->ended)
                        continue;
                /* Nothing moved: only more input can help. */
                if (d->eof)
                        break;
                r = refill(d, err);
        }
        if (r < 0)
                return r;
        if (left > 0 && d->done != raw_done && !d->ended)
                return short_read(err);
        *ret_n = n - left;
        return 0;
}

Decoder *decoder_new(int fd, WorkerCodec codec, DecodeGzip gzip)
{
        Decoder *d = mem_new(Decoder);

        d->fd = fd;
        d->codec = codec;
        d->gzip = gzip;
        d->in = mem_alloc(INPUT_BYTES);
        return d;
}

Decoder *decoder_free(Decoder *d)
{
        if (!d)
                return NULL;
        if (d->done)
                d->done(d);
        free(d->in);
        free(d);
        return NULL;
}
