/* SPDX-License-Identifier: Apache-2.0 */
/* See reader.h. */
#include "grpc/reader.h"

#include "base/mem.h"

enum { FIRST_CAP = 16 * 1024 };

void grpc_reader_done(GrpcReader *r)
{
        free(r->buf);
        *r = (GrpcReader){.max = r->max};
}

int grpc_reader_busy(const GrpcReader *r)
{
        return r->have > 0;
}

static int check_prefix(GrpcReader *r, Err *err)
{
        const uint8_t *p = r->prefix;

        if (p[0] == 1)
                return err_set(err, INTERNAL,
                               "grpc: compressed flag set with identity or empty encoding");
        if (p[0])
                return err_set(err, INTERNAL, "grpc: received unexpected payload format %u", p[0]);
        r->len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
        if (r->len > r->max)
                return err_set(err, RESOURCE_EXHAUSTED,
                               "grpc: received message larger than max (%zu vs. %zu)", r->len,
                               r->max);
        return 0;
}

/* Doubling, but straight to the end when most of it is here. */
static void make_room(GrpcReader *r, size_t n)
{
        size_t want = r->got + n;

        if (want <= r->cap)
                return;
        want = MAX(MAX(want, r->cap * 2), (size_t)FIRST_CAP);
        r->cap = want >= r->len / 2 ? r->len : want;
        r->buf = mem_realloc(r->buf, r->cap);
}

int grpc_reader_feed(GrpcReader *r, const uint8_t *p, size_t n, size_t *ret_used, int *ret_done,
                     Err *err)
{
        size_t used = 0, take;
        int rc;

        *ret_done = 0;
        if (r->have < sizeof(r->prefix)) {
                take = MIN(n, sizeof(r->prefix) - r->have);
                memcpy(r->prefix + r->have, p, take);
                r->have += (uint8_t)take;
                used = take;
                if (r->have == sizeof(r->prefix)) {
                        rc = check_prefix(r, err);
                        if (rc < 0)
                                return rc;
                }
        }
        if (r->have == sizeof(r->prefix)) {
                take = MIN(n - used, r->len - r->got);
                if (take > 0) {
                        make_room(r, take);
                        memcpy(r->buf + r->got, p + used, take);
                        r->got += take;
                        used += take;
                }
                *ret_done = r->got == r->len;
        }
        *ret_used = used;
        return 0;
}

void *grpc_reader_take(GrpcReader *r, size_t *ret_len)
{
        void *buf = r->buf;

        assert(r->have == sizeof(r->prefix) && r->got == r->len);
        *ret_len = r->len;
        *r = (GrpcReader){.max = r->max};
        return buf;
}
