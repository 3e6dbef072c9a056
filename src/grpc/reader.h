/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts messages together from pieces of DATA. The memory grows with what has arrived, never with
 * what a prefix promises. Embedded; all zero but max is a fresh one.
 */
#pragma once

#include "base/err.h"

typedef struct GrpcReader {
        size_t max; /* largest message taken */
        size_t len, got, cap;
        uint8_t *buf;
        uint8_t prefix[5], have; /* of the prefix */
} GrpcReader;

void grpc_reader_done(GrpcReader *r);
/* Takes bytes up to the end of one message and says how many. ret_done: it is whole, take it before
 * the next call. INTERNAL for a bad flag byte, RESOURCE_EXHAUSTED for a message larger than max. */
int grpc_reader_feed(GrpcReader *r, const uint8_t *p, size_t n, size_t *ret_used, int *ret_done,
                     Err *err);
/* The whole message as heap memory (NULL when empty); the reader starts afresh. */
void *grpc_reader_take(GrpcReader *r, size_t *ret_len);
/* Whether it is in the middle of a message. */
int grpc_reader_busy(const GrpcReader *r);
