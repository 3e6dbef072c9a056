/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "base/test.h"
#include "spec/platform.h"

static Platform parse(Arena *a, const char *s)
{
        Platform p = {};
        Err err = {};

        if (platform_parse(a, s, &p, &err) < 0)
                test_fail(__FILE__, __LINE__, "%s: %s", s, err.msg);
        return p;
}

TEST(platforms_have_one_spelling)
{
        static const char *const pairs[][2] = {
                {"linux/x86_64", "linux/amd64"},
                {"Linux/AMD64", "linux/amd64"},
                {"linux/amd64/v1", "linux/amd64"},
                {"linux/amd64/v3", "linux/amd64/v3"},
                {"linux/aarch64/v8", "linux/arm64"},
                {"linux/armhf", "linux/arm/v7"},
                {"linux/armel", "linux/arm/v6"},
                {"linux/arm", "linux/arm/v7"},
                {"linux/arm/5", "linux/arm/v5"},
                {"macos/arm64", "darwin/arm64"},
                {"windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"},
                {"linux/i386", "linux/386"},
        };
        Arena a CLEANUP(arena_done);
        char buf[PLATFORM_TEXT_MAX];

        arena_init(&a, SIZE_MAX);
        for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
                Platform p = parse(&a, pairs[i][0]);

                CHECK_STR(platform_format(&p, buf), pairs[i][1]);
        }
}

TEST(a_lone_word_is_completed_by_the_host)
{
        Arena a CLEANUP(arena_done);
        Platform host = platform_host(), p;

        arena_init(&a, SIZE_MAX);
        p = parse(&a, "linux");
        CHECK(str_eq(p.os, host.os) && str_eq(p.arch, host.arch) &&
              str_eq(p.variant, host.variant));
        p = parse(&a, "s390x");
        CHECK_STR(p.os, "linux");
        CHECK_STR(p.arch, "s390x");
}

TEST(bad_platforms)
{
        static const char *const bad[] = {
                "",        "/",         "linux/",         "a/b/c/d",         "nonsense",
                "linux/*", "linux/a b", "windows(/amd64", "windows()/amd64", "linux//v8"};
        Arena a CLEANUP(arena_done);

        arena_init(&a, SIZE_MAX);
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                Platform p;
                Err err = {};

                CHECK_INT(platform_parse(&a, bad[i], &p, &err), -INVALID_ARGUMENT);
        }
}

static int rank(const char *want, const char *have)
{
        Arena a CLEANUP(arena_done);
        Platform w, h;

        arena_init(&a, SIZE_MAX);
        w = parse(&a, want);
        h = parse(&a, have);
        return platform_rank(&w, &h);
}

TEST(preference)
{
        CHECK_INT(rank("linux/amd64", "linux/amd64"), 0);
        CHECK_INT(rank("linux/amd64", "linux/arm64"), -1);
        CHECK_INT(rank("linux/amd64", "windows/amd64"), -1);
        CHECK_INT(rank("linux/amd64", "linux/amd64/v2"), -1);
        CHECK(rank("linux/amd64/v3", "linux/amd64/v2") < rank("linux/amd64/v3", "linux/amd64"));
        CHECK(rank("linux/amd64/v3", "linux/amd64") < rank("linux/amd64", "linux/386"));
        CHECK(rank("linux/amd64", "linux/386") > 0);
        CHECK(rank("linux/arm64", "linux/arm/v7") > 0);
        CHECK(rank("linux/arm64", "linux/arm/v7") < rank("linux/arm64", "linux/arm/v6"));
        CHECK_INT(rank("linux/arm/v6", "linux/arm/v7"), -1);
        CHECK(rank("linux/arm64/v9", "linux/arm64") > 0);
}
