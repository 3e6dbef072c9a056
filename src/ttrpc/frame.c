/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames that arrive whole in one read are handed out from the caller's bytes; only a frame that is
 * cut by the end of a read is collected here. The buffer doubles as bytes come in, so that a header
 * alone, which may announce 4 MiB, costs its sender more than us.
 */
#include <stdlib.h>
#include "ttrpc/frame.h"

static uint32_t be32(const uint8_t *p)
{
        return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put_be32(uint8_t *p, uint32_t v)
{
        p[0] = (uint8_t)(v >> 24);
        p[1] = (uint8_t)(v >> 16);
        p[2] = (uint8_t)(v >> 8);
        p[3] = (uint8_t)v;
}

void ttrpc_header_put(uint8_t header[TTRPC_HEADER], uint32_t length, uint32_t stream, uint8_t type,
                      uint8_t flags)
{
        put_be32(header, length);
        put_be32(header + 4, stream);
        header[8] = type;
        header[9] = flags;
}

void ttrpc_reader_done(TtrpcReader *r)
{
        free(r->data);
        *r = (TtrpcReader){};
}

static void frame_begin(TtrpcReader *r, TtrpcFrame *ret)
{
        *ret = (TtrpcFrame){
                .length = be32(r->header),
                .stream = be32(r->header + 4),
                .type = r->header[8],
                .flags = r->header[9],
        };
}

static int collect(TtrpcReader *r, const uint8_t *p, size_t n, size_t length)
{
        if (r->n_data + n > r->cap) {
                size_t cap = MIN(length, MAX((r->n_data + n) * 2, (size_t)512));
                uint8_t *data = realloc(r->data, cap);

                if (!data)
                        return -1;
                r->data = data;
                r->cap = cap;
        }
        memcpy(r->data + r->n_data, p, n);
        r->n_data += n;
        return 0;
}

/* The data of the last frame lives until here. */
static void frame_reset(TtrpcReader *r)
{
        if (r->data && r->n_header == 0) {
                free(r->data);
                r->data = NULL;
                r->cap = r->n_data = 0;
        }
}

int ttrpc_reader_feed(TtrpcReader *r, const void *bytes, size_t n, size_t *ret_used,
                      TtrpcFrame *ret)
{
        const uint8_t *p = bytes;
        size_t left = n, take;

        frame_reset(r);
        *ret_used = 0;
        if (r->n_header < TTRPC_HEADER) {
                take = MIN(left, TTRPC_HEADER - r->n_header);
                memcpy(r->header + r->n_header, p, take);
                r->n_header += take;
                p += take;
                left -= take;
                if (r->n_header < TTRPC_HEADER) {
                        *ret_used = n;
                        return 0;
                }
                frame_begin(r, ret);
                r->skipping = ret->length > LIMIT_TTRPC_MESSAGE;
                r->skip = r->skipping ? ret->length : 0;
                r->n_data = 0;
        } else {
                frame_begin(r, ret);
        }

        if (r->skipping) {
                take = MIN(left, r->skip);
                r->skip -= take;
                *ret_used = n - (left - take);
                if (r->skip > 0)
                        return 0;
                r->n_header = 0;
                return 1;
        }

        take = MIN(left, ret->length - r->n_data);
        *ret_used = n - (left - take);
        if (r->n_data == 0 && take == ret->length) {
                ret->data = p;
                r->n_header = 0;
                return 1;
        }
        if (take > 0 && collect(r, p, take, ret->length) < 0)
                return -1;
        if (r->n_data < ret->length)
                return 0;
        ret->data = r->data;
        r->n_header = 0;
        return 1;
}
