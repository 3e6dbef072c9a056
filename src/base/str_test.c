/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"
#include "base/cleanup.h"
#include "base/test.h"

TEST(str_builds)
{
        Str s CLEANUP(str_done) = {};
        char *stolen CLEANUP(cleanup_free) = NULL;

        CHECK_STR(str_get(&s), "");
        for (int i = 0; i < 100; i++)
                str_addf(&s, "%d,", i);
        CHECK_INT(s.len, 290);
        str_truncate(&s, 4);
        CHECK_STR(str_get(&s), "0,1,");
        stolen = str_steal(&s);
        CHECK_STR(stolen, "0,1,");
        CHECK_STR(str_get(&s), "");
}

TEST(numbers_are_strict)
{
        uint64_t u;
        int64_t i;

        CHECK(str_to_u64("18446744073709551615", &u) == 0 && u == UINT64_MAX);
        CHECK(str_to_u64("18446744073709551616", &u) < 0);
        CHECK(str_to_u64("", &u) < 0 && str_to_u64("+1", &u) < 0 && str_to_u64("1 ", &u) < 0);
        CHECK(str_to_i64("-9223372036854775808", &i) == 0 && i == INT64_MIN);
        CHECK(str_to_i64("9223372036854775808", &i) < 0 && str_to_i64("-", &i) < 0);
}

TEST(utf8_takes_only_shortest_forms)
{
        static const struct {
                const char *s;
                int ok;
        } cases[] = {
                {"plain", 1},
                {"\xc3\xa9", 1},
                {"\xe2\x82\xac", 1},
                {"\xf0\x9f\x98\x80", 1},
                {"\xc0\x80", 0},
                {"\xc1\xbf", 0},
                {"\xe0\x80\x80", 0},
                {"\xed\xa0\x80", 0},
                {"\xf4\x90\x80\x80", 0},
                {"\xc3", 0},
                {"\xe2\x82", 0},
                {"\xff", 0},
                {"a\x80", 0},
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                CHECK_INT(str_is_utf8(cases[i].s, strlen(cases[i].s)), cases[i].ok);
        CHECK(!str_is_utf8("a\0b", 3));
}
