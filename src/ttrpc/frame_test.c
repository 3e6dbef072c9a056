/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include "base/cleanup.h"
#include "base/test.h"
#include "ttrpc/frame.h"

static size_t put(uint8_t *out, uint32_t stream, const char *text)
{
        size_t n = strlen(text);

        ttrpc_header_put(out, (uint32_t)n, stream, TTRPC_REQUEST, 0);
        memcpy(out + TTRPC_HEADER, text, n);
        return TTRPC_HEADER + n;
}

TEST(frames_survive_any_cut)
{
        uint8_t wire[128];
        size_t n = 0;

        n += put(wire + n, 1, "hello");
        n += put(wire + n, 3, "");
        n += put(wire + n, 5, "a longer piece of data");
        for (size_t step = 1; step <= n; step++) {
                TtrpcReader r = {};
                uint32_t seen = 0, bytes = 0;

                for (size_t at = 0; at < n;) {
                        size_t chunk = MIN(step, n - at), used;
                        TtrpcFrame f;

                        /* the bytes of this read are gone after it: what was collected must be a
                         * copy */
                        uint8_t *copy = malloc(chunk);
                        memcpy(copy, wire + at, chunk);
                        for (size_t off = 0; off < chunk; off += used) {
                                if (ttrpc_reader_feed(&r, copy + off, chunk - off, &used, &f) ==
                                    1) {
                                        CHECK_INT(f.stream, 2 * seen + 1);
                                        CHECK_INT(f.type, TTRPC_REQUEST);
                                        CHECK(f.length == 0 || f.data[f.length - 1] != 0);
                                        bytes += f.length;
                                        seen++;
                                }
                        }
                        free(copy);
                        at += chunk;
                }
                CHECK_INT(seen, 3);
                CHECK_INT(bytes, 27);
                CHECK_INT(r.n_header, 0); /* between two frames */
                ttrpc_reader_done(&r);
        }
}

TEST(exactly_4_mib_is_taken_and_one_more_is_thrown_away)
{
        size_t max = LIMIT_TTRPC_MESSAGE, used;
        uint8_t *big CLEANUP(cleanup_free) = calloc(1, max + 1);
        uint8_t header[TTRPC_HEADER], tail[32];
        TtrpcReader r = {};
        TtrpcFrame f;

        ttrpc_header_put(header, (uint32_t)max, 1, TTRPC_REQUEST, 0);
        CHECK_INT(ttrpc_reader_feed(&r, header, sizeof(header), &used, &f), 0);
        CHECK_INT(ttrpc_reader_feed(&r, big, max / 2, &used, &f), 0);
        CHECK_INT(ttrpc_reader_feed(&r, big, max - max / 2, &used, &f), 1);
        CHECK_INT(f.length, max);
        CHECK(f.data);

        ttrpc_header_put(header, (uint32_t)max + 1, 3, TTRPC_REQUEST, 0);
        CHECK_INT(ttrpc_reader_feed(&r, header, sizeof(header), &used, &f), 0);
        CHECK_INT(ttrpc_reader_feed(&r, big, max, &used, &f), 0);
        CHECK(!r.data);
        CHECK_INT(ttrpc_reader_feed(&r, big, 5, &used, &f), 1);
        CHECK_INT(used, 1);
        CHECK(!f.data);
        CHECK_INT(f.length, max + 1);
        CHECK_INT(f.stream, 3);

        CHECK_INT(ttrpc_reader_feed(&r, tail, put(tail, 3, "next"), &used, &f), 1);
        CHECK(f.data && memcmp(f.data, "next", 4) == 0);
        ttrpc_reader_done(&r);
}

TEST(an_announcement_alone_costs_no_memory)
{
        TtrpcReader r = {};
        TtrpcFrame f;
        uint8_t wire[TTRPC_HEADER + 1] = {};
        size_t used;

        ttrpc_header_put(wire, LIMIT_TTRPC_MESSAGE, 1, TTRPC_REQUEST, 0);
        CHECK_INT(ttrpc_reader_feed(&r, wire, sizeof(wire), &used, &f), 0);
        CHECK(r.cap < 1024);
        ttrpc_reader_done(&r);
        ttrpc_header_put(wire, 0x80000000u, 1, TTRPC_REQUEST, 0);
        CHECK_INT(ttrpc_reader_feed(&r, wire, sizeof(wire), &used, &f), 0);
        CHECK(r.cap == 0);
        ttrpc_reader_done(&r);
}
