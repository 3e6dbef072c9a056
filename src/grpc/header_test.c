/* SPDX-License-Identifier: Apache-2.0 */
#include "grpc/header.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/test.h"

TEST(header_timeout)
{
        static const struct {
                const char *text;
                uint64_t ns;
        } good[] = {
                {"1n", 1},          {"1999963u", 1999963000}, {"5m", 5000000},
                {"3S", 3000000000}, {"2M", 120000000000},     {"1H", 3600000000000},
                {"0n", 0},          {"99999999H", INT64_MAX},
        };
        static const char *bad[] = {"",    "1",  "S",   "123456789n", "-1S",
                                    "+1S", "1s", "1SS", " 1S",        "1 S"};
        uint64_t ns;

        for (size_t i = 0; i < ARRAY_LEN(good); i++) {
                CHECK_INT(grpc_timeout_parse(good[i].text, &ns), 0);
                CHECK(ns == good[i].ns);
        }
        for (size_t i = 0; i < ARRAY_LEN(bad); i++)
                CHECK_INT(grpc_timeout_parse(bad[i], &ns), -1);
}

TEST(header_timeout_is_never_shortened)
{
        uint64_t values[] = {1, 99999999, 100000000, 123456789012, 7200000000001, 1ULL << 62};
        char buf[GRPC_TIMEOUT_MAX];
        uint64_t ns;

        for (size_t i = 0; i < ARRAY_LEN(values); i++) {
                CHECK_INT(grpc_timeout_parse(grpc_timeout_format(values[i], buf), &ns), 0);
                CHECK(ns >= values[i]);
        }
}

TEST(header_message_encoding)
{
        Str s CLEANUP(str_done) = {};
        char *back CLEANUP(cleanup_free) = NULL;

        grpc_message_encode(&s, "100% \xc3\xa4\n ok: not found");
        CHECK_STR(str_get(&s), "100%25 %C3%A4%0A ok: not found");
        back = mem_strdup(str_get(&s));
        grpc_message_decode(back);
        CHECK_STR(back, "100% \xc3\xa4\n ok: not found");
}

TEST(header_message_decoding_of_nonsense)
{
        char text[] = "%, %4, %zz, %00, %c3%A4%";

        grpc_message_decode(text);
        CHECK_STR(text, "%, %4, %zz, %00, \xc3\xa4%");
}

TEST(header_content_type)
{
        CHECK(grpc_content_type_ok("application/grpc"));
        CHECK(grpc_content_type_ok("application/grpc+proto"));
        CHECK(grpc_content_type_ok("application/grpc;charset=utf-8"));
        CHECK(!grpc_content_type_ok("application/grpc-web"));
        CHECK(!grpc_content_type_ok("application/json"));
        CHECK(!grpc_content_type_ok(""));
}

TEST(header_base64)
{
        CHECK(grpc_is_base64("", 0) && grpc_is_base64("QUJD", 4));
        CHECK(grpc_is_base64("QUI=", 4) && grpc_is_base64("QQ==", 4) && grpc_is_base64("QUI", 3));
        CHECK(!grpc_is_base64("Q", 1) && !grpc_is_base64("Q===", 4) && !grpc_is_base64("Q!JD", 4));
}
