/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "base/test.h"
#include "runtime/mounts_priv.h"

typedef struct Fixture {
        Arena a;
        Err err;
        Types__Mount mounts[3];
        Types__ActiveMount actives[3];
        const Types__ActiveMount *v[3];
} Fixture;

static void fixture_init(Fixture *f)
{
        static const char *const sources[] = {"/s0", "/s1", "/s2"};
        static const char *const points[] = {"/m/0", "/m/1", "/m/2"};

        arena_init(&f->a, SIZE_MAX);
        for (size_t i = 0; i < ARRAY_LEN(f->v); i++) {
                types__mount__init(&f->mounts[i]);
                types__active_mount__init(&f->actives[i]);
                f->mounts[i].source = sources[i];
                f->mounts[i].target = i == 1 ? "sub" : "";
                f->actives[i].mount = &f->mounts[i];
                f->actives[i].mount_point = points[i];
                f->v[i] = &f->actives[i];
        }
}

static void fixture_done(Fixture *f)
{
        arena_done(&f->a);
}

TEST(templates_are_filled_in)
{
        static const struct {
                const char *text, *want;
        } cases[] = {
                {"", ""},
                {"plain } {text", "plain } {text"},
                {"{{ mount 0 }}", "/m/0"},
                {"{{mount 2}}", "/m/2"},
                {"a={{ source 1 }},{{ target 1 }}.", "a=/s1,sub."},
                {"lowerdir={{ overlay 0 2 }}", "lowerdir=/m/0:/m/1:/m/2"},
                {"{{ overlay 2 1 }}", "/m/2:/m/1"},
                {"{{ overlay 1 1 }}", "/m/1"},
                {"a {{- mount 0 -}}  b", "a/m/0b"},
                {"{{\tmount\n0 }}}}", "/m/0}}"},
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                Fixture f CLEANUP(fixture_done) = {};
                const char *got = NULL;
                size_t left = 100;

                fixture_init(&f);
                CHECK(template_fill(&f.a, cases[i].text, f.v, 3, &left, &got, &f.err) == 0);
                CHECK_STR(got, cases[i].want);
        }
}

TEST(templates_that_are_none_are_refused)
{
        static const struct {
                const char *text, *why;
        } cases[] = {
                {"{{", "unclosed action"},
                {"x{{ mount 0", "unclosed action"},
                {"{{}}", "function \"\" not defined"},
                {"{{ -}}", "function \"\" not defined"},
                {"{{-}}", "function \"-\" not defined"},
                {"{{ mounts 0 }}", "function \"mounts\" not defined"},
                {"{{ mount }}", "wrong number of args for mount: want 1 got 0"},
                {"{{ mount 0 1 }}", "wrong number of args for mount: want 1 got 2"},
                {"{{ mount 0 1 2 }}", "unexpected \"2\""},
                {"{{ mount x }}", "unexpected \"x\""},
                {"{{ mount 99999999999999999999 }}", "unexpected"},
                {"{{ mount 3 }}", "index out of bounds: 3, has 3 active mounts"},
                {"{{ source -1 }}", "index out of bounds: -1, has 3 active mounts"},
                {"{{ overlay 0 3 }}", "invalid range: 0-3, has 3 active mounts"},
                {"{{ overlay 3 0 }}", "invalid range: 3-0, has 3 active mounts"},
                {"{{ overlay -1 0 }}", "invalid range"},
                {"{{ overlay 9223372036854775807 0 }}", "invalid range"},
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                Fixture f CLEANUP(fixture_done) = {};
                const char *got = NULL;
                size_t left = 100;

                fixture_init(&f);
                CHECK(template_fill(&f.a, cases[i].text, f.v, 3, &left, &got, &f.err) == -UNKNOWN);
                CHECK(!got);
                if (!strstr(f.err.msg, cases[i].why))
                        test_fail(__FILE__, __LINE__, "%s: %s", cases[i].text, f.err.msg);
        }
}

TEST(templates_that_fill_in_too_much_are_refused)
{
        Fixture f CLEANUP(fixture_done) = {};
        const char *got = NULL;
        size_t left = 14;

        fixture_init(&f);
        CHECK(template_fill(&f.a, "{{ overlay 0 2 }}", f.v, 3, &left, &got, &f.err) == 0);
        CHECK_INT(left, 0);
        left = 13;
        got = NULL;
        CHECK(template_fill(&f.a, "{{ overlay 0 2 }}", f.v, 3, &left, &got, &f.err) ==
              -RESOURCE_EXHAUSTED);
        CHECK(!got && left == 13);
}
