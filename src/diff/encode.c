/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One output buffer, one back end per format behind `step`, which turns input into output until the
 * input is used up or the buffer is full. What comes out depends on the input alone, not on how it
 * was cut into pieces or on the time: gzip's header carries no time and no name.
 */
#include "diff/encode.h"

#include <errno.h>
#include <zlib.h>
#include <zstd.h>
#ifdef HAVE_ISAL
#include <isa-l/igzip_lib.h>
#endif
#include "base/fd.h"
#include "base/mem.h"

enum { OUTPUT_BYTES = 256 * 1024, ZLIB_LEVEL = 6, ZSTD_LEVEL = 3, GZIP_WINDOW = 15 + 16 };

struct Encoder {
        int fd;
        uint8_t *out;
        size_t n_out;
        uint64_t written;
        /* Takes from in and adds to out; last: no more input comes. *ret_ended when all is out. */
        int (*step)(Encoder *e, const uint8_t **in, size_t *n, int last, int *ret_ended, Err *err);
        void (*done)(Encoder *e);
        union {
#ifdef HAVE_ISAL
                struct isal_zstream *isal;
#endif
                z_stream *zlib;
                ZSTD_CCtx *zstd;
        };
};

static int flush(Encoder *e, Err *err)
{
        if (e->n_out > 0 && fd_write_all(e->fd, e->out, e->n_out) < 0)
                return err_sys(err, errno, "write layer");
        e->written += e->n_out;
        e->n_out = 0;
        return 0;
}

static int raw_step(Encoder *e, const uint8_t **in, size_t *n, int last, int *ret_ended, Err *err)
{
        size_t take = MIN(*n, OUTPUT_BYTES - e->n_out);

        memcpy(e->out + e->n_out, *in, take);
        e->n_out += take;
        *in += take;
        *n -= take;
        *ret_ended = last && *n == 0;
        return 0;
}

static void raw_done(Encoder *e)
{
}

#ifdef HAVE_ISAL
static int isal_step(Encoder *e, const uint8_t **in, size_t *n, int last, int *ret_ended, Err *err)
{
        struct isal_zstream *s = e->isal;
        uint32_t take = (uint32_t)MIN(*n, (size_t)1 << 30);

        s->next_in = (uint8_t *)*in;
        s->avail_in = take;
        s->end_of_stream = last && take == *n;
        s->next_out = e->out + e->n_out;
        s->avail_out = (uint32_t)(OUTPUT_BYTES - e->n_out);
        if (isal_deflate(s) != COMP_OK)
                return err_set(err, INTERNAL, "gzip: the compressor has failed");
        e->n_out = OUTPUT_BYTES - s->avail_out;
        *in += take - s->avail_in;
        *n -= take - s->avail_in;
        *ret_ended = s->internal_state.state == ZSTATE_END;
        return 0;
}

static void isal_done(Encoder *e)
{
        free(e->isal->level_buf);
        free(e->isal);
}

static void isal_begin(Encoder *e)
{
        e->isal = mem_new(struct isal_zstream);
        isal_deflate_init(e->isal);
        e->isal->level = 3;
        e->isal->level_buf_size = ISAL_DEF_LVL3_LARGE;
        e->isal->level_buf = mem_alloc(ISAL_DEF_LVL3_LARGE);
        e->isal->gzip_flag = IGZIP_GZIP;
        e->step = isal_step;
        e->done = isal_done;
}
#endif

static int zlib_step(Encoder *e, const uint8_t **in, size_t *n, int last, int *ret_ended, Err *err)
{
        z_stream *s = e->zlib;
        uInt take = (uInt)MIN(*n, (size_t)1 << 30);
        int r;

        s->next_in = (Bytef *)*in;
        s->avail_in = take;
        s->next_out = e->out + e->n_out;
        s->avail_out = (uInt)(OUTPUT_BYTES - e->n_out);
        r = deflate(s, last && take == *n ? Z_FINISH : Z_NO_FLUSH);
        if (r == Z_STREAM_ERROR)
                return err_set(err, INTERNAL, "gzip: the compressor has failed");
        e->n_out = OUTPUT_BYTES - s->avail_out;
        *in += take - s->avail_in;
        *n -= take - s->avail_in;
        *ret_ended = r == Z_STREAM_END;
        return 0;
}

static void zlib_done(Encoder *e)
{
        deflateEnd(e->zlib);
        free(e->zlib);
}

static void zlib_begin(Encoder *e)
{
        e->zlib = mem_new(z_stream);
        if (deflateInit2(e->zlib, ZLIB_LEVEL, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) !=
            Z_OK)
                abort(); /* out of memory, as mem_alloc() has it */
        e->step = zlib_step;
        e->done = zlib_done;
}

static int zstd_step(Encoder *e, const uint8_t **in, size_t *n, int last, int *ret_ended, Err *err)
{
        ZSTD_inBuffer from = {.src = *in, .size = *n};
        ZSTD_outBuffer to = {.dst = e->out, .size = OUTPUT_BYTES, .pos = e->n_out};
        size_t left =
                ZSTD_compressStream2(e->zstd, &to, &from, last ? ZSTD_e_end : ZSTD_e_continue);

        if (ZSTD_isError(left))
                return err_set(err, INTERNAL, "zstd: %s", ZSTD_getErrorName(left));
        e->n_out = to.pos;
        *in += from.pos;
        *n -= from.pos;
        *ret_ended = last && left == 0;
        return 0;
}

static void zstd_done(Encoder *e)
{
        ZSTD_freeCCtx(e->zstd);
}

static void zstd_begin(Encoder *e)
{
        e->zstd = ZSTD_createCCtx();
        if (!e->zstd)
                abort(); /* out of memory, as mem_alloc() has it */
        ZSTD_CCtx_setParameter(e->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL);
        ZSTD_CCtx_setParameter(e->zstd, ZSTD_c_checksumFlag, 1);
        e->step = zstd_step;
        e->done = zstd_done;
}

Encoder *encoder_new(int fd, WorkerFormat format, DecodeGzip gzip)
{
        Encoder *e = mem_new(Encoder);

        e->fd = fd;
        e->out = mem_alloc(OUTPUT_BYTES);
        e->step = raw_step;
        e->done = raw_done;
        if (format == WORKER_FORMAT_ZSTD) {
                zstd_begin(e);
        } else if (format == WORKER_FORMAT_GZIP) {
#ifdef HAVE_ISAL
                if (gzip == DECODE_GZIP_BEST) {
                        isal_begin(e);
                        return e;
                }
#endif
                zlib_begin(e);
        }
        return e;
}

Encoder *encoder_free(Encoder *e)
{
        if (!e)
                return NULL;
        e->done(e);
        free(e->out);
        free(e);
        return NULL;
}

static int feed(Encoder *e, const uint8_t *p, size_t n, int last, Err *err)
{
        int ended = 0;

        while (n > 0 || (last && !ended)) {
                int r = e->step(e, &p, &n, last, &ended, err);

                if (r == 0 && e->n_out == OUTPUT_BYTES)
                        r = flush(e, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

int encoder_write(Encoder *e, const void *p, size_t n, Err *err)
{
        return feed(e, p, n, 0, err);
}

int encoder_finish(Encoder *e, Err *err)
{
        int r = feed(e, (const uint8_t *)"", 0, 1, err);

        return r < 0 ? r : flush(e, err);
}

uint64_t encoder_written(const Encoder *e)
{
        return e->written;
}
