/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers that do not behave, as bytes written by hand: nothing here uses nghttp2 except its header
 * compressor. After each the server must still answer an honest client.
 */
#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "api/grpc/health/v1/health.pb-c.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/str.h"
#include "grpc/testing.h"

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

enum {
        DATA = 0,
        HEADERS = 1,
        PRIORITY = 2,
        RST = 3,
        SETTINGS = 4,
        PING = 6,
        GOAWAY = 7,
        WINDOW = 8,
        CONTINUATION = 9,
        END_STREAM = 1,
        END_HEADERS = 4
};

/* A raw connection: what is to be sent, and what has come. */
typedef struct Raw {
        int fd;
        Str out, in;
        nghttp2_hd_deflater *deflater;
} Raw;

static void raw_done(Raw *r)
{
        fd_close(r->fd);
        str_done(&r->out);
        str_done(&r->in);
        nghttp2_hd_deflate_del(r->deflater);
}

static void add_frame(Raw *r, int type, int flags, uint32_t stream, const void *payload, size_t n)
{
        uint8_t hd[9] = {(uint8_t)(n >> 16),      (uint8_t)(n >> 8),      (uint8_t)n,
                         (uint8_t)type,           (uint8_t)flags,         (uint8_t)(stream >> 24),
                         (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream};

        str_add_n(&r->out, hd, sizeof(hd));
        str_add_n(&r->out, payload, n);
}

static void raw_init(Raw *r, Fixture *f)
{
        r->fd = fixture_connect(f);
        nghttp2_hd_deflate_new(&r->deflater, 4096);
        str_add(&r->out, PREFACE);
        add_frame(r, SETTINGS, 0, 0, NULL, 0);
}

typedef struct Field {
        const char *name, *value;
} Field;

static void add_block(Raw *r, const Field *fields, size_t n, Str *block)
{
        nghttp2_nv nva[64];
        uint8_t *buf CLEANUP(cleanup_free) = NULL;
        ssize_t len;

        for (size_t i = 0; i < n; i++)
                nva[i] = (nghttp2_nv){(uint8_t *)(uintptr_t)fields[i].name,
                                      (uint8_t *)(uintptr_t)fields[i].value, strlen(fields[i].name),
                                      strlen(fields[i].value), 0};
        buf = mem_alloc(nghttp2_hd_deflate_bound(r->deflater, nva, n));
        len = nghttp2_hd_deflate_hd(r->deflater, buf, nghttp2_hd_deflate_bound(r->deflater, nva, n),
                                    nva, n);
        str_add_n(block, buf, (size_t)len);
}

static void add_headers(Raw *r, uint32_t stream, int flags, const Field *fields, size_t n)
{
        Str block CLEANUP(str_done) = {};

        add_block(r, fields, n, &block);
        add_frame(r, HEADERS, flags | END_HEADERS, stream, block.data, block.len);
}

#define REQUEST(path)                                              \
        {":method", "POST"}, {":scheme", "http"}, {":path", path}, \
                {"content-type", "application/grpc"},              \
        {                                                          \
                "te", "trailers"                                   \
        }

static void add_request(Raw *r, uint32_t stream, const char *path)
{
        Field fields[] = {REQUEST(path)};

        add_headers(r, stream, 0, fields, ARRAY_LEN(fields));
}

/* Writes what is queued while reading what comes, until the server hangs up or `wait_ms` pass in
 * silence. */
static void exchange(Raw *r, int wait_ms)
{
        size_t off = 0;
        char buf[65536];

        for (;;) {
                struct pollfd p = {r->fd, (short)(POLLIN | (off < r->out.len ? POLLOUT : 0)), 0};
                ssize_t n;

                if (poll(&p, 1, wait_ms) == 0)
                        break;
                if (off < r->out.len && (p.revents & POLLOUT)) {
                        n = send(r->fd, r->out.data + off, r->out.len - off,
                                 MSG_NOSIGNAL | MSG_DONTWAIT);
                        if (n > 0)
                                off += (size_t)n;
                        else if (errno == EPIPE)
                                off = r->out.len;
                }
                if (!(p.revents & (POLLIN | POLLHUP)))
                        continue;
                n = recv(r->fd, buf, sizeof(buf), MSG_DONTWAIT);
                if (n == 0 || (n < 0 && errno != EAGAIN))
                        break;
                if (n > 0)
                        str_add_n(&r->in, buf, (size_t)n);
        }
        str_truncate(&r->out, 0);
}

/* The first frame of a type that has come (on a stream, 0 for any); NULL without one. */
static const uint8_t *find_frame(const Raw *r, int type, uint32_t stream)
{
        const uint8_t *p = (const uint8_t *)str_get(&r->in), *end = p + r->in.len;

        while (end - p >= 9) {
                size_t n = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
                uint32_t id =
                        (uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8];

                if (p[3] == type && (!stream || id == stream))
                        return p;
                p += MIN(9 + n, (size_t)(end - p));
        }
        return NULL;
}

static uint32_t last_u32(const uint8_t *frame, size_t at)
{
        frame += 9 + at;
        return (uint32_t)frame[0] << 24 | (uint32_t)frame[1] << 16 | (uint32_t)frame[2] << 8 |
               frame[3];
}

/* All header fields of a stream as "name=value;", trailers too. */
static const char *fields_of(const Raw *r, uint32_t stream, Str *out)
{
        const uint8_t *p = (const uint8_t *)str_get(&r->in), *end = p + r->in.len;
        nghttp2_hd_inflater *inflater;

        nghttp2_hd_inflate_new(&inflater);
        while (end - p >= 9) {
                size_t n = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2], left = n;
                uint32_t id = last_u32(p - 9 + 5, 0);
                const uint8_t *block = p + 9;

                if (p[3] == HEADERS) {
                        for (;;) {
                                nghttp2_nv nv;
                                int flags = 0;
                                ssize_t used = nghttp2_hd_inflate_hd2(inflater, &nv, &flags, block,
                                                                      left, 1);

                                if (used < 0)
                                        break;
                                block += used;
                                left -= (size_t)used;
                                if ((flags & NGHTTP2_HD_INFLATE_EMIT) && id == stream)
                                        str_addf(out, "%s=%s;", nv.name, nv.value);
                                if (flags & NGHTTP2_HD_INFLATE_FINAL) {
                                        nghttp2_hd_inflate_end_headers(inflater);
                                        break;
                                }
                        }
                }
                p += MIN(9 + n, (size_t)(end - p));
        }
        nghttp2_hd_inflate_del(inflater);
        return str_get(out);
}

static int still_alive(Fixture *f)
{
        Health__HealthCheckRequest req = HEALTH__HEALTH_CHECK_REQUEST__INIT;
        void *rsp;

        return grpc_unary(f->client, "/test.Test/Check", &req,
                          &health__health_check_response__descriptor, &f->arena, &rsp,
                          &f->err) == 0;
}

#define WITH_RAW(f, r)                        \
        Fixture f CLEANUP(fixture_done) = {}; \
        Raw r CLEANUP(raw_done) = {.fd = -1}; \
        fixture_init(&f, NULL);               \
        raw_init(&r, &f)

#define CHECK_CALM(f, r)                                                            \
        do {                                                                        \
                const uint8_t *goaway_ = find_frame(&r, GOAWAY, 0);                 \
                CHECK(goaway_ &&last_u32(goaway_, 4) == NGHTTP2_ENHANCE_YOUR_CALM); \
                CHECK_INT(fixture_connections(&f), 1);                              \
                CHECK(still_alive(&f));                                             \
        } while (0)

TEST(hostile_garbage)
{
        static const char *garbage[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\x00",
                                        "\xff\xff\xff\xff\xff\xff\xff\xff",
                                        PREFACE "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"};

        for (size_t i = 0; i < ARRAY_LEN(garbage); i++) {
                Fixture f CLEANUP(fixture_done) = {};
                Raw r CLEANUP(raw_done) = {.fd = -1};

                fixture_init(&f, NULL);
                raw_init(&r, &f);
                str_truncate(&r.out, 0);
                str_add(&r.out, garbage[i]);
                exchange(&r, 100);
                CHECK(still_alive(&f));
        }
}

TEST(hostile_random_frames)
{
        Fixture f CLEANUP(fixture_done) = {};
        unsigned seed = 7;

        fixture_init(&f, NULL);
        for (int i = 0; i < 200; i++) {
                Raw r CLEANUP(raw_done) = {.fd = -1};

                raw_init(&r, &f);
                add_request(&r, 1, "/test.Test/Echo");
                for (int j = 0; j < 20; j++) {
                        uint8_t payload[64];

                        for (size_t k = 0; k < sizeof(payload); k++)
                                payload[k] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
                        add_frame(&r, payload[0] % 11, payload[1], payload[2] % 5, payload,
                                  payload[3] % 64);
                }
                exchange(&r, 5);
        }
        CHECK(still_alive(&f));
}

TEST(hostile_cut_anywhere)
{
        Fixture f CLEANUP(fixture_done) = {};
        size_t len = 1;

        fixture_init(&f, NULL);
        for (size_t cut = 0; cut < len; cut++) {
                Raw r CLEANUP(raw_done) = {.fd = -1};

                raw_init(&r, &f);
                add_request(&r, 1, "/test.Test/Check");
                add_frame(&r, DATA, END_STREAM, 1, "\0\0\0\0\3\x0a\1x", 8);
                len = r.out.len;
                str_truncate(&r.out, cut);
                CHECK(fd_write_all(r.fd, str_get(&r.out), cut) == 0);
        }
        CHECK(still_alive(&f));
}

static void unary_fields(Raw *r, const Field *fields, size_t n, const void *data, size_t len,
                         Str *out)
{
        add_headers(r, 1, 0, fields, n);
        add_frame(r, DATA, END_STREAM, 1, data, len);
        exchange(r, 100);
        fields_of(r, 1, out);
}

TEST(hostile_http_errors)
{
        static const struct {
                Field extra;
                const char *method, *type, *want;
        } cases[] = {
                {{"x-ok", "1"}, "POST", "application/grpc", "grpc-status=0;"},
                {{"x-ok", "1"},
                 "POST",
                 "application/grpc+proto",
                 "content-type=application/grpc+proto;grpc-status=0;"},
                {{"x-ok", "1"},
                 "POST",
                 "application/json",
                 ":status=415;content-type=application/grpc;grpc-status=3;"},
                {{"x-ok", "1"}, "GET", "application/grpc", ":status=405;"},
                {{"grpc-timeout", "1x"}, "POST", "application/grpc", ":status=400;"},
                {{"grpc-timeout", "123456789S"}, "POST", "application/grpc", ":status=400;"},
                {{"grpc-timeout", "0n"},
                 "POST",
                 "application/grpc",
                 ":status=200;content-type=application/grpc;grpc-status=4;grpc-message=context deadline exceeded;"},
                {{"x-data-bin", "!!"}, "POST", "application/grpc", ":status=400;"},
                {{"x-data-bin", "QUI="}, "POST", "application/grpc", "grpc-status=0;"},
                {{"grpc-encoding", "gzip"},
                 "POST",
                 "application/grpc",
                 "grpc-status=12;grpc-message=grpc: Decompressor is not installed for grpc-encoding: \"gzip\";"},
                {{"grpc-encoding", "identity"}, "POST", "application/grpc", "grpc-status=0;"},
                {{":authority", "/run/containerd/containerd.sock"},
                 "POST",
                 "application/grpc",
                 "grpc-status=0;"},
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                WITH_RAW(f, r);
                Str got CLEANUP(str_done) = {};
                Field fields[] = {{":method", cases[i].method},
                                  {":scheme", "http"},
                                  {":path", "/test.Test/Check"},
                                  cases[i].extra,
                                  {"content-type", cases[i].type}};

                if (cases[i].extra.name[0] != ':') {
                        Field swap = fields[3];

                        fields[3] = fields[4];
                        fields[4] = swap;
                }
                unary_fields(&r, fields, ARRAY_LEN(fields), "\0\0\0\0\0", 5, &got);
                if (!strstr(str_get(&got), cases[i].want))
                        CHECK_STR(str_get(&got), cases[i].want);
                CHECK(still_alive(&f));
        }
}

TEST(hostile_two_authorities)
{
        WITH_RAW(f, r);
        Str got CLEANUP(str_done) = {};
        Field fields[] = {{":authority", "a"}, {":authority", "b"}, REQUEST("/test.Test/Check")};

        unary_fields(&r, fields, ARRAY_LEN(fields), "\0\0\0\0\0", 5, &got);
        CHECK(str_starts(str_get(&got), ":status=400;"));
}

TEST(hostile_headers_reset)
{
        static const Field bad[] = {{"connection", "close"}, {"Upper", "x"},
                                    {":path", "/twice"},     {":what", "x"},
                                    {"x", "line\nbreak"},    {"containerd-namespace", "a\x01"}};

        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                WITH_RAW(f, r);
                Field fields[] = {REQUEST("/test.Test/Check"), bad[i]};
                const uint8_t *rst;

                add_headers(&r, 1, END_STREAM, fields, ARRAY_LEN(fields));
                exchange(&r, 100);
                rst = find_frame(&r, RST, 1);
                CHECK(rst && last_u32(rst, 0) == NGHTTP2_PROTOCOL_ERROR);
                CHECK(still_alive(&f));
        }
}

TEST(hostile_paths)
{
        static const char *paths[] = {"test.Test/Check",
                                      "",
                                      "/",
                                      "//",
                                      "/test.Test",
                                      "/test.Test/",
                                      "/%2ftest.Test/Check",
                                      "/test.Test/Check/",
                                      "//test.Test/Check"};

        for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
                WITH_RAW(f, r);
                Str got CLEANUP(str_done) = {};
                Field fields[] = {REQUEST(paths[i])};

                unary_fields(&r, fields, ARRAY_LEN(fields), "\0\0\0\0\0", 5, &got);
                CHECK(strstr(str_get(&got), "grpc-status=12;"));
        }
}

/* Prefixes and bodies that lie. */
TEST(hostile_messages)
{
        static const struct {
                const char *bytes;
                size_t n;
                const char *want;
        } cases[] = {
                {"\0\x80\0\0\0", 5,
                 "grpc-status=8;grpc-message=grpc: received message larger than max (2147483648 vs. 16777216);"},
                {"\0\xff\xff\xff\xff", 5, "grpc-status=8;"},
                {"\1\0\0\0\1x", 6,
                 "grpc-status=13;grpc-message=grpc: compressed flag set with identity or empty encoding;"},
                {"\2\0\0\0\1x", 6, "grpc-status=13;"},
                {"\0\0\0\0\5ab", 7, "grpc-status=13;grpc-message=unexpected EOF;"},
                {"\0\0\0", 3, "grpc-status=13;"},
                {"", 0, "grpc-status=13;"},
                {"\0\0\0\0\0\0\0\0\0\0", 10,
                 "grpc-status=13;grpc-message=method takes a single message;"},
                {"\0\0\0\0\2\x0f\x01", 7,
                 "grpc-status=13;grpc-message=grpc: error unmarshalling request: proto: "},
                {"\0\0\0\0\4\x0a\x02\xc3\x28", 9, "grpc-status=13;"},
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                WITH_RAW(f, r);
                Str got CLEANUP(str_done) = {};
                Field fields[] = {REQUEST("/test.Test/Check")};

                unary_fields(&r, fields, ARRAY_LEN(fields), cases[i].bytes, cases[i].n, &got);
                if (!strstr(str_get(&got), cases[i].want))
                        CHECK_STR(str_get(&got), cases[i].want);
                CHECK(still_alive(&f));
        }
}

/* A small block that the decompressor blows up to many MiB: one entry of the table, named thousands
 * of times. */
TEST(hostile_header_bomb)
{
        WITH_RAW(f, r);
        Str block CLEANUP(str_done) = {};
        char value[4000];
        Field fields[] = {REQUEST("/test.Test/Check"), {"x", value}};

        memset(value, 'v', sizeof(value) - 1);
        value[sizeof(value) - 1] = 0;
        add_block(&r, fields, ARRAY_LEN(fields), &block);
        for (int i = 0; i < 8000; i++)
                str_add_char(&block, (char)0xbe); /* the newest entry of the table */
        add_frame(&r, HEADERS, END_STREAM | END_HEADERS, 1, block.data, block.len);
        exchange(&r, 200);
        CHECK(find_frame(&r, HEADERS, 1));
        CHECK(still_alive(&f));
}

TEST(hostile_continuation_flood)
{
        WITH_RAW(f, r);
        Str block CLEANUP(str_done) = {};
        Field fields[] = {REQUEST("/test.Test/Check")};

        add_block(&r, fields, ARRAY_LEN(fields), &block);
        add_frame(&r, HEADERS, 0, 1, block.data, block.len);
        for (int i = 0; i < 10000; i++)
                add_frame(&r, CONTINUATION, 0, 1, NULL, 0);
        exchange(&r, 200);
        CHECK_CALM(f, r);
}

TEST(hostile_rapid_reset)
{
        WITH_RAW(f, r);

        for (uint32_t i = 0; i < 20000; i++) {
                add_request(&r, 2 * i + 1, "/test.Test/Wait");
                add_frame(&r, RST, 0, 2 * i + 1, "\0\0\0\x08", 4);
        }
        exchange(&r, 200);
        CHECK_CALM(f, r);
}

/* Made to reset by us: a stream error for each (CVE-2025-8671). */
TEST(hostile_made_you_reset)
{
        WITH_RAW(f, r);

        for (uint32_t i = 0; i < 20000; i++) {
                add_request(&r, 2 * i + 1, "/test.Test/Echo");
                add_frame(&r, WINDOW, 0, 2 * i + 1, "\0\0\0\0", 4);
        }
        exchange(&r, 200);
        CHECK(find_frame(&r, GOAWAY, 0));
        CHECK_INT(fixture_connections(&f), 1);
        CHECK(still_alive(&f));
}

static void flood(int type, uint32_t stream, const void *payload, size_t n)
{
        WITH_RAW(f, r);

        add_request(&r, 1, "/test.Test/Echo");
        for (int i = 0; i < LIMIT_CONTROL_FRAMES * 2; i++)
                add_frame(&r, type, 0, stream, payload, n);
        exchange(&r, 200);
        CHECK_CALM(f, r);
}

TEST(hostile_floods)
{
        flood(PING, 0, "12345678", 8);
        flood(SETTINGS, 0, NULL, 0);
        flood(DATA, 1, NULL, 0);
        flood(WINDOW, 1, "\0\0\0\1", 4);
        flood(PRIORITY, 1, "\0\0\0\0\1", 5);
}

/* Floods what makes us answer, and does not read the answers. */
TEST(hostile_flood_without_reading)
{
        WITH_RAW(f, r);
        size_t off = 0;

        for (int i = 0; i < 200000; i++)
                add_frame(&r, PING, 0, 0, "12345678", 8);
        while (off < r.out.len) {
                ssize_t n = send(r.fd, r.out.data + off, r.out.len - off, MSG_NOSIGNAL);

                if (n < 0)
                        break;
                off += (size_t)n;
        }
        CHECK(off < r.out.len);
        CHECK(still_alive(&f));
}

/* Unfinished messages of one connection: each within its limit, all together not. */
static int unfinished(int streams, int pieces)
{
        enum { PIECE = 16384 };
        static uint8_t piece[PIECE];
        Fixture f CLEANUP(fixture_done) = {};
        Raw r CLEANUP(raw_done) = {.fd = -1};
        int refused = 0;

        fixture_init(&f, NULL);
        raw_init(&r, &f);
        for (int s = 0; s < streams; s++) {
                add_request(&r, (uint32_t)(2 * s + 1), "/test.Test/Sum");
                add_frame(&r, DATA, 0, (uint32_t)(2 * s + 1), "\0\x00\xff\xff\xff", 5);
        }
        for (int i = 0; i < pieces; i++)
                for (int s = 0; s < streams; s++)
                        add_frame(&r, DATA, 0, (uint32_t)(2 * s + 1), piece, PIECE);
        exchange(&r, 300);
        for (int s = 0; s < streams; s++) {
                Str got CLEANUP(str_done) = {};

                refused += strstr(fields_of(&r, (uint32_t)(2 * s + 1), &got), "grpc-status=8;") !=
                           NULL;
        }
        return still_alive(&f) ? refused : -1;
}

TEST(hostile_unfinished_messages)
{
        int refused;

        CHECK_INT(unfinished(40, 12), 0);
        refused = unfinished(6, 900);
        CHECK(refused >= 1 && refused < 6);
}

TEST(hostile_window_overrun)
{
        WITH_RAW(f, r);
        uint8_t *big CLEANUP(cleanup_free) = mem_alloc(16384);

        add_request(&r, 1, "/test.Test/Echo");
        for (int i = 0; i < 200; i++)
                add_frame(&r, WINDOW, 0, 0, "\x7f\xff\xff\xff", 4); /* overflows */
        exchange(&r, 200);
        CHECK(find_frame(&r, GOAWAY, 0));
        CHECK(still_alive(&f));
}

TEST(hostile_too_many_streams)
{
        WITH_RAW(f, r);

        for (uint32_t i = 0; i < LIMIT_STREAMS + 100; i++)
                add_request(&r, 2 * i + 1, "/test.Test/Wait");
        exchange(&r, 300);
        CHECK(find_frame(&r, RST, 2 * LIMIT_STREAMS + 1) || find_frame(&r, GOAWAY, 0));
        CHECK(still_alive(&f));
}

static void add_message(Raw *r, uint32_t stream, const char *bytes, size_t n)
{
        char hd[5] = {0, 0, 0, 0, (char)n};
        Str payload CLEANUP(str_done) = {};

        str_add_n(&payload, hd, sizeof(hd));
        str_add_n(&payload, bytes, n);
        add_frame(r, DATA, END_STREAM, stream, payload.data, payload.len);
}

/* Asks for far more than it reads: answers up to a limit wait for it, then its calls wait. Nothing
 * of them is lost: they go on as it reads. */
TEST(hostile_answers_not_read)
{
        enum { CALLS = 300, SENT_MAX = 100 };
        static const char settings[] = "\0\4\x7f\xff\xff\xff"; /* INITIAL_WINDOW_SIZE */
        static const char mib[] = "\x18\x80\x80\x40";          /* ReadContentRequest.size */
        WITH_RAW(f, r);
        int before = testing_bigs(), chunks = testing_chunks(), ended = 0;

        add_frame(&r, SETTINGS, 0, 0, settings, sizeof(settings) - 1);
        add_frame(&r, WINDOW, 0, 0, "\x7f\x00\x00\x00", 4);
        for (uint32_t i = 0; i < CALLS; i++) {
                add_request(&r, 2 * i + 1, i % 3 ? "/test.Test/Big" : "/test.Test/Count");
                add_message(&r, 2 * i + 1, mib, sizeof(mib) - 1);
        }
        CHECK(write(r.fd, r.out.data, r.out.len) == (ssize_t)r.out.len);
        str_truncate(&r.out, 0);
        for (int n = 0, last = -1; n != last; usleep(200 * 1000)) {
                last = n;
                n = testing_bigs() - before;
        }
        CHECK(testing_bigs() - before <= SENT_MAX);
        CHECK((testing_chunks() - chunks) * 32 <= SENT_MAX * 1024);
        CHECK(still_alive(&f));

        exchange(&r, 1000);
        for (const uint8_t *p = (const uint8_t *)str_get(&r.in), *end = p + r.in.len; end - p >= 9;
             p += 9 + ((size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2]))
                ended += p[3] == HEADERS && (p[4] & END_STREAM);
        CHECK_INT(ended, CALLS);
        CHECK(still_alive(&f));
}
