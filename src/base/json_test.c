/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "base/str.h"
#include "base/test.h"

static int read_text(const char *text, json_t **ret, Err *err)
{
        return json_read(text, strlen(text), 1 << 20, "doc", ret, err);
}

TEST(json_unlimited_rlimit_survives)
{
        json_t *j CLEANUP(json_decrefp) = NULL;
        char *text CLEANUP(cleanup_free) = NULL;
        double half;
        Err err;

        CHECK(read_text(
                      "{\"hard\":18446744073709551615,\"soft\":1024,\"x\":0.5,\"a\":[1,18446744073709551615]}",
                      &j, &err) == 0);
        half = json_real_value(json_object_get(j, "x"));
        CHECK(half == 0.5);
        text = json_text(j);
        CHECK_STR(
                text,
                "{\"hard\":18446744073709551615,\"soft\":1024,\"x\":0.5,\"a\":[1,18446744073709551615]}");
}

TEST(json_inexact_numbers_are_refused_by_path)
{
        json_t *j CLEANUP(json_decrefp) = NULL;
        Err err;

        CHECK(read_text("{\"a\":{\"b\":[1,18446744073709551000]}}", &j, &err) ==
                      -INVALID_ARGUMENT ||
              json_real_value(json_array_get(json_object_get(json_object_get(j, "a"), "b"), 1)) ==
                      18446744073709551616.0);
        CHECK(read_text("{\"a\":{\"b\":[1,9300000000000000000]}}", &j, &err) == -INVALID_ARGUMENT);
        CHECK_STR(err.msg, "doc.a.b[1]: number is not exact");
}

/* The path is for the error: an array below a long key must not pay for it with each element. This
 * would take minutes. */
TEST(json_a_long_key_costs_its_length_once)
{
        json_t *j CLEANUP(json_decrefp) = NULL;
        Str s CLEANUP(str_done) = {};
        Err err;

        str_add(&s, "{\"");
        for (int i = 0; i < 1 << 20; i++)
                str_add_char(&s, 'k');
        str_add(&s, "\":[18446744073709551615");
        for (int i = 0; i < 1 << 18; i++)
                str_add(&s, ",[1]");
        str_add(&s, "]}");
        CHECK_INT(json_read(str_get(&s), s.len, 4 << 20, "doc", &j, &err), 0);
}

TEST(json_bombs_and_duplicates)
{
        json_t *j CLEANUP(json_decrefp) = NULL;
        char deep[400];
        Err err;

        memset(deep, '[', sizeof(deep) - 1);
        deep[sizeof(deep) - 1] = 0;
        CHECK(read_text(deep, &j, &err) == -INVALID_ARGUMENT && strstr(err.msg, "nested"));
        CHECK(read_text("{\"a\":1,\"a\":2}", &j, &err) == -INVALID_ARGUMENT &&
              strstr(err.msg, "doc: line 1"));
        CHECK(read_text("{\"a\":1", &j, &err) == -INVALID_ARGUMENT);
        CHECK(read_text("", &j, &err) == -INVALID_ARGUMENT);
        CHECK(json_read("[1,2]", 5, 4, "doc", &j, &err) == -INVALID_ARGUMENT);
        CHECK(read_text("{\"s\":\"[[[[{{{{\\\"[[\"}", &j, &err) == 0);
}

TEST(json_members_name_their_type)
{
        json_t *j CLEANUP(json_decrefp) = NULL;
        const char *s = "kept";
        int64_t n = 0;
        Err err;

        CHECK(read_text("{\"a\":1,\"b\":null,\"c\":\"x\"}", &j, &err) == 0);
        CHECK(json_get_str(j, "a", &s, &err) == -INVALID_ARGUMENT);
        CHECK_STR(err.msg, "member \"a\" must be a string");
        CHECK(json_get_str(j, "b", &s, &err) == 0 && json_get_str(j, "absent", &s, &err) == 0);
        CHECK_STR(s, "kept");
        CHECK(json_get_i64(j, "c", &n, &err) == -INVALID_ARGUMENT);
}
