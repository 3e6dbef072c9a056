/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"
#include "spec/identifier.h"

TEST(good_identifiers)
{
        static const char *const good[] = {
                "a",
                "default",
                "k8s.io",
                "A-b_c.9",
                "0",
                "1234567890123456789012345678901234567890123456789012345678901234567890123456",
        };
        Err err = {};

        for (size_t i = 0; i < ARRAY_LEN(good); i++)
                CHECK(identifier_check(NULL, good[i], &err) == 0);
}

TEST(bad_identifiers)
{
        static const char *const bad[] = {
                "",
                ".",
                "..",
                "../x",
                "a/b",
                "-a",
                "a-",
                "a..b",
                "a._b",
                "a b",
                "a\n",
                "\xc3\xa9",
                "a:b",
                "_",
                "12345678901234567890123456789012345678901234567890123456789012345678901234567",
        };

        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                Err err = {};

                CHECK_INT(identifier_check(NULL, bad[i], &err), -INVALID_ARGUMENT);
                CHECK(str_ends(err.msg, ": invalid argument"));
        }
}

TEST(identifier_texts)
{
        Err err = {};

        CHECK(identifier_check("container.ID", "a/b", &err) < 0);
        CHECK_STR(err.msg, "container.ID: identifier \"a/b\" must match "
                           "^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$: invalid argument");
        CHECK(identifier_check(NULL, "", &err) < 0);
        CHECK_STR(err.msg, "identifier must not be empty: invalid argument");
}

TEST(labels_have_a_limit)
{
        char value[4200];
        Err err = {};

        memset(value, 'v', sizeof(value));
        value[4096 - 3] = '\0';
        CHECK(label_check("key", value, &err) == 0);
        value[4096 - 3] = 'v';
        value[4096 - 2] = '\0';
        CHECK_INT(label_check("key", value, &err), -INVALID_ARGUMENT);
        CHECK_STR(err.msg,
                  "label key and value length (4097 bytes) greater than maximum size (4096 bytes), "
                  "key: key: invalid argument");
}
