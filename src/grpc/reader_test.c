/* SPDX-License-Identifier: Apache-2.0 */
#include "grpc/reader.h"

#include "base/cleanup.h"
#include "base/str.h"
#include "base/test.h"

static int feed_bytes(GrpcReader *r, const void *bytes, size_t n, Err *err)
{
        size_t used;
        int done;

        return grpc_reader_feed(r, bytes, n, &used, &done, err);
}

TEST(reader_any_split)
{
        static const uint8_t wire[] = "\0\0\0\0\5hello\0\0\0\0\0\0\0\0\0\3abc";
        size_t n = sizeof(wire) - 1;

        for (size_t piece = 1; piece <= n; piece++) {
                GrpcReader r CLEANUP(grpc_reader_done) = {.max = 100};
                Str got CLEANUP(str_done) = {};

                for (size_t at = 0; at < n;) {
                        size_t used, len;
                        int done;
                        Err err;

                        CHECK_INT(grpc_reader_feed(&r, wire + at, MIN(piece, n - at), &used, &done,
                                                   &err),
                                  0);
                        at += used;
                        CHECK_INT(grpc_reader_busy(&r), 1);
                        if (done) {
                                void *msg CLEANUP(cleanup_free) = grpc_reader_take(&r, &len);

                                str_add_n(&got, msg, len);
                                str_add_char(&got, '.');
                        }
                }
                CHECK_STR(str_get(&got), "hello..abc.");
                CHECK(!grpc_reader_busy(&r));
        }
}

TEST(reader_refuses)
{
        GrpcReader r = {.max = 16777216};
        Err err;

        CHECK_INT(feed_bytes(&r, "\1\0\0\0\1", 5, &err), -INTERNAL);
        grpc_reader_done(&r);
        CHECK_INT(feed_bytes(&r, "\7\0\0\0\1", 5, &err), -INTERNAL);
        CHECK_STR(err.msg, "grpc: received unexpected payload format 7");
        grpc_reader_done(&r);
        CHECK_INT(feed_bytes(&r, "\0\x01\0\0\1", 5, &err), -RESOURCE_EXHAUSTED);
        CHECK_STR(err.msg, "grpc: received message larger than max (16777217 vs. 16777216)");
        grpc_reader_done(&r);
        CHECK_INT(feed_bytes(&r, "\0\xff\xff\xff\xff", 5, &err), -RESOURCE_EXHAUSTED);
        grpc_reader_done(&r);
}

/* A promise of 16 MiB costs nothing before the bytes are there. */
TEST(reader_memory_follows_the_bytes)
{
        GrpcReader r CLEANUP(grpc_reader_done) = {.max = 16777216};
        static const uint8_t some[1000];
        Err err;

        CHECK_INT(feed_bytes(&r, "\0\x01\0\0\0", 5, &err), 0);
        CHECK_INT(r.cap, 0);
        for (size_t i = 1; i <= 100; i++) {
                CHECK_INT(feed_bytes(&r, some, sizeof(some), &err), 0);
                CHECK(r.cap <= MAX(i * 2 * sizeof(some), (size_t)32768));
        }
}
