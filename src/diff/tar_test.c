/* SPDX-License-Identifier: Apache-2.0 */
#include "diff/tar.h"

#include <stdlib.h>
#include "base/limits.h"
#include "base/test.h"
#include "diff/tar_make.h"

/* Reads everything; the listing is "type name[>link] size:data\n". */
static int list(const Str *archive, size_t step, Str *ret, Err *err)
{
        MakeSource src CLEANUP(make_source_done) = {.s = archive, .step = step};
        TarReader t CLEANUP(tar_reader_done);
        TarEntry e;
        int r;

        tar_reader_init(&t, make_next, &src);
        while ((r = tar_next(&t, &e, err)) == 1) {
                const uint8_t *p;
                uint64_t off;
                size_t n;

                str_addf(ret, "%c %s", e.type, e.name);
                if (*e.link)
                        str_addf(ret, ">%s", e.link);
                str_addf(ret, " %llu:", (unsigned long long)e.size);
                while ((r = tar_data(&t, &p, &n, &off, err)) == 0 && n > 0)
                        str_addf(ret, "%.*s", (int)n, (const char *)p);
                if (r < 0)
                        break;
                for (size_t i = 0; i < e.n_xattrs; i++)
                        str_addf(ret, " [%s=%.*s]", e.xattrs[i].name, (int)e.xattrs[i].n_value,
                                 (const char *)e.xattrs[i].value);
                str_add_char(ret, '\n');
        }
        return r;
}

#define CHECK_LIST(archive, want)                                     \
        for (size_t step_ = 1; step_ < 5000; step_ = step_ * 3 + 4) { \
                Str out_ CLEANUP(str_done) = {};                      \
                Err err_ = {};                                        \
                CHECK_INT(list(archive, step_, &out_, &err_), 0);     \
                CHECK_STR(str_get(&out_), want);                      \
        }

#define CHECK_REFUSED(archive, text)                                  \
        for (size_t step_ = 1; step_ < 5000; step_ = step_ * 3 + 4) { \
                Str out_ CLEANUP(str_done) = {};                      \
                Err err_ = {};                                        \
                CHECK(list(archive, step_, &out_, &err_) < 0);        \
                CHECK_STR(err_.msg, text);                            \
        }

TEST(tar_lists_every_kind)
{
        Str s CLEANUP(str_done) = {};

        make_dir(&s, "d/");
        make_file(&s, "d/f", "hello");
        make_link(&s, '2', "l", "/etc/passwd");
        make_link(&s, '1', "h", "d/f");
        make_entry(&s, (MakeEntry){.type = '3', .name = "null", .major = 1, .minor = 3});
        make_entry(&s, (MakeEntry){.type = '6', .name = "fifo"});
        make_entry(&s, (MakeEntry){.type = 0, .name = "old"});
        make_entry(&s, (MakeEntry){.type = 0, .name = "olddir/"});
        make_entry(&s, (MakeEntry){.type = 'Z', .name = "strange", .data = "z"});
        make_end(&s);
        CHECK_LIST(&s,
                   "5 d/ 0:\n0 d/f 5:hello\n2 l>/etc/passwd 0:\n1 h>d/f 0:\n3 null 0:\n6 fifo 0:\n"
                   "0 old 0:\n5 olddir/ 0:\nZ strange 1:z\n");
}

TEST(tar_ends_without_zero_blocks_and_ignores_what_follows)
{
        Str s CLEANUP(str_done) = {}, none CLEANUP(str_done) = {};

        CHECK_LIST(&none, "");
        make_file(&s, "f", "x");
        CHECK_LIST(&s, "0 f 1:x\n");
        make_end(&s);
        make_file(&s, "hidden", "x");
        CHECK_LIST(&s, "0 f 1:x\n");
}

TEST(tar_long_names_of_gnu_and_pax)
{
        Str s CLEANUP(str_done) = {};
        char longer[301] = {};

        memset(longer, 'n', 300);
        make_entry(
                &s,
                (MakeEntry){.type = 'L', .name = "././@LongLink", .data = longer, .n_data = 301});
        make_entry(
                &s,
                (MakeEntry){.type = 'K', .name = "././@LongLink", .data = "far/away", .n_data = 9});
        make_link(&s, '2', "short", "near");
        make_pax(&s, "path", "p\xc3\xa4th");
        make_file(&s, "x", "1");
        make_pax(&s, "SCHILY.xattr.user.a", "b=c");
        make_file(&s, "y", "2");
        make_file(&s, "z", "3");
        make_end(&s);

        char want[1000];

        snprintf(want, sizeof(want),
                 "2 %s>far/away 0:\n0 p\xc3\xa4th 1:1\n0 y 1:2 [user.a=b=c]\n0 z 1:3\n", longer);
        CHECK_LIST(&s, want);
}

TEST(tar_prefix_is_ustar_only)
{
        Str s CLEANUP(str_done) = {};

        make_file(&s, "f", "x");
        memcpy(s.data + 345, "pre", 3);
        s.data[148 + 5] = 0; /* recomputed below */
        unsigned sum = 0;
        memset(s.data + 148, ' ', 8);
        for (int i = 0; i < 512; i++)
                sum += (unsigned char)s.data[i];
        snprintf(s.data + 148, 8, "%06o", sum);
        make_end(&s);
        CHECK_LIST(&s, "0 pre/f 1:x\n");
}

TEST(tar_large_numbers_and_pax_size)
{
        Str s CLEANUP(str_done) = {};
        MakeSource src CLEANUP(make_source_done) = {.s = &s, .step = 512};
        TarReader t CLEANUP(tar_reader_done);
        TarEntry e;
        Err err = {};

        make_pax(&s, "mtime", "1700000000.25");
        make_entry(&s, (MakeEntry){.type = '0',
                                   .name = "f",
                                   .mode = 07755,
                                   .uid = 1000,
                                   .gid = 2000,
                                   .mtime = 5});
        make_pax(&s, "uid", "4294967294");
        make_entry(&s,
                   (MakeEntry){.type = '0', .name = "g", .claim = "\x80\0\0\0\0\0\0\0\0\0\0\7"});
        tar_reader_init(&t, make_next, &src);
        CHECK_INT(tar_next(&t, &e, &err), 1);
        CHECK(e.mtime.sec == 1700000000 && e.mtime.nsec == 250000000);
        CHECK(e.uid == 1000 && e.gid == 2000 && e.mode == 07755);
        CHECK_INT(tar_next(&t, &e, &err), 1);
        CHECK(e.uid == 4294967294);
}

TEST(tar_truncated_anywhere_is_an_unexpected_eof)
{
        Str s CLEANUP(str_done) = {};

        make_pax(&s, "path", "some/long/name");
        make_file(&s, "f", "content of the file");
        for (size_t n = 1; n < s.len; n++) {
                Str cut CLEANUP(str_done) = {}, got CLEANUP(str_done) = {};
                Err err = {};

                str_add_n(&cut, s.data, n);
                CHECK(list(&cut, 100, &got, &err) == -UNKNOWN);
                CHECK_STR(err.msg, "unexpected EOF");
        }
}

TEST(tar_bad_headers_are_refused)
{
        static const char bad[] = "archive/tar: invalid tar header";
        Str s CLEANUP(str_done) = {};
        const char *records[] = {"5 a=b\n", "99 path=x\n", "path=x\n", "8 path=x\n",
                                 "0 \n",    "-1 a=b\n",    "6 a=b",    "18446744073709551616 a=b\n",
                                 "5 =bb\n", "6 abc\n"};

        make_entry(&s, (MakeEntry){.type = '0', .name = "f", .bad_checksum = 1});
        CHECK_REFUSED(&s, bad);
        str_truncate(&s, 0);
        make_entry(&s, (MakeEntry){.type = '0', .name = "f", .claim = "99999999999"});
        CHECK_REFUSED(&s, bad);
        str_truncate(&s, 0);
        make_entry(&s, (MakeEntry){.type = '0',
                                   .name = "f",
                                   .claim = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"});
        CHECK_REFUSED(&s, bad);
        for (size_t i = 0; i < ARRAY_LEN(records); i++) {
                str_truncate(&s, 0);
                make_entry(&s, (MakeEntry){.type = 'x', .name = "pax", .data = records[i]});
                make_file(&s, "f", "x");
                CHECK_REFUSED(&s, bad);
        }
        str_truncate(&s, 0);
        for (int i = 0; i < 512; i++)
                str_add_char(&s, 0);
        make_file(&s, "after one zero block", "x");
        CHECK_REFUSED(&s, bad);
        str_truncate(&s, 0);
        str_add(&s, "this is no tar at all, but long enough to be a block of one: ");
        for (int i = 0; i < 1000; i++)
                str_add_char(&s, 'x');
        CHECK_REFUSED(&s, bad);
}

TEST(tar_metadata_bombs_are_refused)
{
        Str s CLEANUP(str_done) = {};

        make_entry(&s, (MakeEntry){.type = 'x', .name = "pax", .claim = "77777777777"});
        CHECK_REFUSED(&s, "header of 8589934591 bytes in archive: limit is 1048576");
        str_truncate(&s, 0);
        make_entry(&s, (MakeEntry){.type = 'L', .name = "l", .claim = "00001000000"});
        CHECK_REFUSED(&s, "header of 262144 bytes in archive: limit is 4096");
}

TEST(tar_sparse_of_pax)
{
        Str s CLEANUP(str_done) = {};
        char *data = calloc(1, 1024 + 1);

        memcpy(data, "2\n0\n3\n100\n3\n", 12);
        memcpy(data + 512, "abcdef", 6);
        make_entry(
                &s,
                (MakeEntry){.type = 'x',
                            .name = "p",
                            .data = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"
                                    "30 GNU.sparse.name=real/name1\n27 GNU.sparse.realsize=103\n"});
        make_entry(
                &s,
                (MakeEntry){.type = '0', .name = "GNUSparseFile.0/f", .data = data, .n_data = 518});
        make_pax(&s, "path", "after");
        make_file(&s, "f", "x");
        make_end(&s);
        CHECK_LIST(&s, "0 real/name1 103:abcdef\n0 after 1:x\n");
        free(data);
}

/* A gigabyte's worth of regions announced in a few bytes. */
TEST(tar_sparse_map_without_end_cve_2025_58183)
{
        Str s CLEANUP(str_done) = {}, map CLEANUP(str_done) = {};

        str_add(&map, "999999999\n");
        for (int i = 0; i < 70000; i++)
                str_addf(&map, "%d\n0\n", 0);
        make_pad(&map);
        make_entry(&s, (MakeEntry){.type = 'x',
                                   .name = "p",
                                   .data = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"
                                           "25 GNU.sparse.realsize=1\n"});
        make_entry(&s, (MakeEntry){.type = '0', .name = "f", .data = map.data, .n_data = map.len});
        make_end(&s);
        CHECK_REFUSED(&s, "sparse file in archive has too many regions");
}

/* Every byte of a rich archive damaged in turn: an error or a listing, never more. */
TEST(tar_survives_damage)
{
        Str s CLEANUP(str_done) = {};

        make_pax(&s, "SCHILY.xattr.user.a", "b");
        make_file(&s, "f", "hello");
        make_entry(&s, (MakeEntry){.type = 'L', .name = "l", .data = "long", .n_data = 5});
        make_link(&s, '2', "l", "f");
        make_end(&s);
        for (size_t i = 0; i < s.len; i++)
                for (int v = 0; v < 256; v += 51) {
                        Str got CLEANUP(str_done) = {};
                        char old = s.data[i];
                        Err err = {};

                        s.data[i] = (char)v;
                        (void)list(&s, 700, &got, &err);
                        s.data[i] = old;
                }
}
