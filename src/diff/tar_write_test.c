/* SPDX-License-Identifier: Apache-2.0 */
/* What is written is read again by the reader, and single fields are looked at. */
#include "diff/tar_write.h"

#include "base/cleanup.h"
#include "base/test.h"

static int collect(void *ctx, const void *p, size_t n, Err *err)
{
        str_add_n(ctx, p, n);
        return 0;
}

typedef struct Source {
        const Str *s;
        int given;
} Source;

static int all_at_once(void *ctx, const uint8_t **ret, size_t *ret_n, Err *err)
{
        Source *s = ctx;

        *ret = (const uint8_t *)s->s->data;
        *ret_n = s->given++ ? 0 : s->s->len;
        return 0;
}

static void write_one(Str *out, const TarEntry *e, const char *data)
{
        TarWriter w;
        Err err = {};

        str_truncate(out, 0);
        tar_writer_init(&w, collect, out);
        if (tar_write_entry(&w, e, &err) < 0 ||
            (e->size && tar_write_data(&w, data, e->size, &err) < 0) || tar_write_end(&w, &err) < 0)
                test_fail(__FILE__, __LINE__, "%s", err.msg);
        tar_writer_done(&w);
}

static char *long_name(size_t n, char last)
{
        static char name[5000];

        for (size_t i = 0; i < n; i++)
                name[i] = i % 50 == 49 ? '/' : 'n';
        name[n - 1] = last;
        name[n] = 0;
        return name;
}

#define CHECK_ROUND_TRIP(e, data)                                                           \
        do {                                                                                \
                Str out CLEANUP(str_done) = {};                                             \
                TarReader t;                                                                \
                TarEntry got;                                                               \
                Err err = {};                                                               \
                write_one(&out, &(e), data);                                                \
                Source src = {.s = &out};                                                   \
                tar_reader_init(&t, all_at_once, &src);                                     \
                CHECK_INT(tar_next(&t, &got, &err), 1);                                     \
                CHECK(got.type == (e).type && got.mode == (e).mode && got.uid == (e).uid && \
                      got.gid == (e).gid && got.size == (e).size);                          \
                CHECK_STR(got.name, (e).name);                                              \
                CHECK_STR(got.link ? got.link : "", (e).link ? (e).link : "");              \
                CHECK_INT(got.mtime.sec, (e).mtime.sec);                                    \
                CHECK(got.n_xattrs == (e).n_xattrs);                                        \
                if ((e).n_xattrs)                                                           \
                        CHECK(memcmp(got.xattrs[0].value, (e).xattrs[0].value,              \
                                     (e).xattrs[0].n_value) == 0);                          \
                CHECK_INT(tar_next(&t, &got, &err), 0);                                     \
                tar_reader_done(&t);                                                        \
        } while (0)

TEST(tar_write_round_trips)
{
        TarXattr x = {"security.capability", (const uint8_t *)"\1\0\0\2\0\n=\0", 8};
        TarEntry file = {.type = TAR_FILE,
                         .name = "a/b",
                         .mode = 06755,
                         .uid = 1,
                         .gid = 2,
                         .size = 5,
                         .mtime = {.sec = 77}};
        TarEntry big = {.type = TAR_LINK,
                        .name = long_name(300, 'x'),
                        .link = "somewhere",
                        .uid = 0xfffffffe,
                        .gid = 3000000,
                        .mtime = {.sec = -5}};
        TarEntry caps = {.type = TAR_FILE, .name = "f", .xattrs = &x, .n_xattrs = 1};
        TarEntry utf8 = {.type = TAR_SYMLINK, .name = "\xc3\xbc/\xff", .link = "\xc3\xa4"};
        TarEntry far = {.type = TAR_DIR, .name = "d/", .mtime = {.sec = INT64_C(1) << 40}};

        CHECK_ROUND_TRIP(file, "12345");
        CHECK_ROUND_TRIP(big, "");
        CHECK_ROUND_TRIP(caps, "");
        CHECK_ROUND_TRIP(utf8, "");
        CHECK_ROUND_TRIP(far, "");
}

/* Lengths around every edge of the header's fields, and of a record that counts its own length. */
TEST(tar_write_names_of_any_length)
{
        for (size_t n = 2; n < 4090; n += n < 300 ? 1 : 97) {
                TarEntry e = {.type = TAR_FILE, .name = long_name(n, 'x')};
                TarEntry d = {.type = TAR_DIR};

                CHECK_ROUND_TRIP(e, "");
                d.name = long_name(n, '/');
                CHECK_ROUND_TRIP(d, "");
        }
}

TEST(tar_write_sizes)
{
        static char data[2000];

        for (size_t n = 0; n<sizeof(data); n += n % 512> 509 || n % 512 < 2 ? 1 : 37) {
                TarEntry e = {.type = TAR_FILE, .name = "f", .size = n};
                Str out CLEANUP(str_done) = {};

                write_one(&out, &e, data);
                CHECK_INT(out.len, 512 + (n + 511) / 512 * 512 + 1024);
        }
}

TEST(tar_write_large_files_in_a_record)
{
        TarEntry e = {.type = TAR_FILE, .name = "f", .size = UINT64_C(1) << 40};
        Str out CLEANUP(str_done) = {};
        TarWriter w;
        Err err = {};

        tar_writer_init(&w, collect, &out);
        CHECK_INT(tar_write_entry(&w, &e, &err), 0);
        CHECK_INT(out.len, 3 * 512);
        CHECK_STR(str_get(&out) + 512, "22 size=1099511627776\n");
        tar_writer_done(&w);
}

TEST(tar_write_refuses_device_numbers_that_do_not_fit)
{
        TarEntry e = {.type = TAR_CHAR, .name = "dev", .major = 1, .minor = 1 << 21};
        Str out CLEANUP(str_done) = {};
        TarWriter w;
        Err err = {};

        tar_writer_init(&w, collect, &out);
        CHECK(tar_write_entry(&w, &e, &err) == -INVALID_ARGUMENT);
        CHECK_INT(out.len, 0);
}

static int full(void *ctx, const void *p, size_t n, Err *err)
{
        return --*(int *)ctx >= 0 ? 0 : err_set(err, RESOURCE_EXHAUSTED, "full");
}

TEST(tar_write_passes_failures_on)
{
        TarXattr x = {"security.capability", (const uint8_t *)"x", 1};
        TarEntry e = {.type = TAR_FILE, .name = "f", .size = 3, .xattrs = &x, .n_xattrs = 1};

        for (int nth = 0;; nth++) {
                int left = nth, r;
                TarWriter w;
                Err err = {};

                tar_writer_init(&w, full, &left);
                r = tar_write_entry(&w, &e, &err);
                if (r == 0)
                        r = tar_write_data(&w, "abc", 3, &err);
                if (r == 0)
                        r = tar_write_end(&w, &err);
                tar_writer_done(&w);
                if (r == 0) {
                        CHECK_INT(nth, 8);
                        break;
                }
                CHECK_INT(r, -RESOURCE_EXHAUSTED);
        }
}
