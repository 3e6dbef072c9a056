/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"
#include "base/cleanup.h"
#include "spec/reference.h"

#define HEX    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define DIGEST "sha256:" HEX

TEST(familiar_names)
{
        static const char *const cases[][2] = {
                /* typed, whole */
                {"busybox", "docker.io/library/busybox"},
                {"busybox:1.36", "docker.io/library/busybox:1.36"},
                {"user/app", "docker.io/user/app"},
                {"docker.io/busybox", "docker.io/library/busybox"},
                {"index.docker.io/user/app", "docker.io/user/app"},
                {"localhost/app", "localhost/app"},
                {"localhost:5000/a/b:t", "localhost:5000/a/b:t"},
                {"reg.example.com/a@" DIGEST, "reg.example.com/a@" DIGEST},
                {"a:t@" DIGEST, "docker.io/library/a:t@" DIGEST},
                {"Reg/a", "Reg/a"},
                {"[::1]:5000/a", "[::1]:5000/a"},
                {"docker.io/library/a/b", "docker.io/library/a/b"},
        };
        Arena a CLEANUP(arena_done);

        arena_init(&a, SIZE_MAX);
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                Reference r;
                Err err = {};

                CHECK(reference_parse_familiar(&a, cases[i][0], &r, &err) == 0);
                CHECK_STR(reference_format(&a, &r), cases[i][1]);
        }
}

TEST(latest_is_added_on_request_only)
{
        Arena a CLEANUP(arena_done);
        Reference r;
        Err err = {};

        arena_init(&a, SIZE_MAX);
        CHECK(reference_parse_familiar(&a, "busybox", &r, &err) == 0);
        CHECK_STR(r.tag, "");
        reference_default_tag(&r);
        CHECK_STR(reference_format(&a, &r), "docker.io/library/busybox:latest");
        CHECK(reference_parse_familiar(&a, "busybox@" DIGEST, &r, &err) == 0);
        reference_default_tag(&r);
        CHECK_STR(r.tag, "");
}

TEST(bad_references)
{
        static const char *const bad[] = {
                "",
                ":",
                "@",
                "/",
                "a/",
                "/a",
                "a//b",
                "a b",
                "Foo",
                "foo:",
                "foo:bad tag",
                "foo:-x",
                "foo:.x",
                "foo@sha256:abc",
                "foo@" DIGEST "x",
                "a..b",
                "a___b",
                "a._b",
                "-a",
                "a-",
                "../a",
                "a/../b",
                "http://x/y",
                "a:b:c",
                "host:/a",
                "host:x/a",
                HEX,
                "a__c.d/e@f",
                "a\n",
                "\xff",
                "[::1/a",
                "[]/a",
        };
        Arena a CLEANUP(arena_done);
        char longer[600];

        arena_init(&a, SIZE_MAX);
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                Reference r;
                Err err = {};

                if (reference_parse_familiar(&a, bad[i], &r, &err) != -INVALID_ARGUMENT)
                        test_fail(__FILE__, __LINE__, "accepted: %s", bad[i]);
                CHECK(err.msg[0]);
        }
        memset(longer, 'a', sizeof(longer));
        longer[256] = '\0';
        CHECK_INT(reference_parse(&a, longer, &(Reference){}, &(Err){}), -INVALID_ARGUMENT);
        longer[255] = '\0';
        CHECK_INT(reference_parse(&a, longer, &(Reference){}, &(Err){}), 0);
}

TEST(the_bare_grammar_adds_nothing)
{
        Arena a CLEANUP(arena_done);
        Reference r;
        Err err = {};

        arena_init(&a, SIZE_MAX);
        CHECK(reference_parse(&a, "foo/bar:1", &r, &err) == 0);
        CHECK_STR(r.domain, "foo");
        CHECK_STR(r.path, "bar");
        CHECK(reference_parse(&a, "foo_bar/baz", &r, &err) == 0);
        CHECK_STR(r.domain, "");
        CHECK_STR(r.path, "foo_bar/baz");
        CHECK(reference_parse(&a, "localhost:5000", &r, &err) == 0);
        CHECK_STR(r.path, "localhost");
        CHECK_STR(r.tag, "5000");
}
