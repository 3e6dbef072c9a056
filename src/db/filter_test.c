/* SPDX-License-Identifier: Apache-2.0 */
#include "db/filter.h"

#include "base/limits.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/test.h"

/* An object with a name, an empty field and three labels, one of them of a nested look. */
static const char *field(void *ctx, const char *const *path, size_t n)
{
        static const char *const labels[][2] = {{"env", "prod"},
                                                {"io.kubernetes.pod", "web-1"},
                                                {"a b\"c", "quoted"},
                                                {"empty", ""}};

        if (n == 1 && str_eq(path[0], "name"))
                return "docker.io/library/busybox:latest";
        if (n == 1 && str_eq(path[0], "id"))
                return "x1";
        if (n < 2 || !str_eq(path[0], "labels"))
                return NULL;
        for (size_t i = 0; i < ARRAY_LEN(labels); i++)
                if (filter_path_is(path, n, 1, labels[i][0]))
                        return labels[i][1];
        return NULL;
}

static int match(const char *text)
{
        Filter *f CLEANUP(filter_freep) = NULL;
        Err err = {};

        if (filter_parse(&text, 1, &f, &err) < 0) {
                fprintf(stderr, "%s\n", err.msg);
                return -1;
        }
        return filter_match(f, field, NULL);
}

TEST(filter_matches)
{
        static const struct {
                const char *text;
                int want;
        } t[] = {
                {"", 1},
                {"name", 1},
                {"nothing", 0},
                {"name==docker.io/library/busybox:latest", 1},
                {"name == \"docker.io/library/busybox:latest\"", 1},
                {"name==busybox", 0},
                {"name!=busybox", 1},
                {"nothing!=x", 1},
                {"nothing==x", 0},
                {"nothing==\"\"", 0},
                {"nothing!=\"\"", 0},
                {"name~=busybox", 1},
                {"name~=^busybox", 0},
                {"name~=/busybox:.*$/", 1},
                {"name~=|library/busy|", 1},
                {"name~=/library\\/busy/", 1},
                {"name~=\"li[b]rary\"", 1},
                {"nothing~=^$", 1},
                {"nothing~=x", 0},
                {"name~=(", 0},
                {"labels.env==prod", 1},
                {"labels.\"env\"==prod", 1},
                {"labels.io.kubernetes.pod==web-1", 1},
                {"labels.\"io.kubernetes.pod\"==web-1", 1},
                {"labels.\"io.kubernetes\".pod==web-1", 1},
                {"labels.io.kubernetes", 0},
                {"labels.io.kubernetes.pod.x", 0},
                {"labels.\"a b\\\"c\"==quoted", 1},
                {"labels.\"a\\x20b\\042c\"==\"quot\\u0065d\"", 1},
                {"labels.empty", 1},
                {"labels.empty==\"\"", 1},
                {"labels", 0},
                {"name,labels.env==prod", 1},
                {"name , labels.env == prod ,\tid==x1", 1},
                {"name,labels.env==dev", 0},
                {"labels . env == prod", 1},
        };

        for (size_t i = 0; i < ARRAY_LEN(t); i++)
                if (match(t[i].text) != t[i].want) {
                        test_fail(__FILE__, __LINE__, "%s: not %d", t[i].text, t[i].want);
                        return;
                }
}

TEST(filter_list_is_ored)
{
        const char *list[] = {"id==nope", "labels.env==prod"}, *none[] = {"id==nope", "x"};
        Filter *f CLEANUP(filter_freep) = NULL, *g CLEANUP(filter_freep) = NULL,
                  *all CLEANUP(filter_freep) = NULL;
        Err err = {};

        CHECK(filter_parse(list, 2, &f, &err) == 0 && filter_match(f, field, NULL));
        CHECK(filter_parse(none, 2, &g, &err) == 0 && !filter_match(g, field, NULL) &&
              !filter_matches_all(g));
        CHECK(filter_parse(NULL, 0, &all, &err) == 0 && filter_matches_all(all));
}

TEST(filter_errors)
{
        static const struct {
                const char *text, *want;
        } t[] = {
                {"name=bar", "[name >|=|< bar]: unsupported operator \"=\""},
                {"name===bar", "[name >|=|< ==bar]: unsupported operator \"===\""},
                {"labels.|foo|==x", "[labels. >|||< foo|==x]: invalid quote encountered"},
                {"name==/x/", "[name== >|/|< x/]: invalid quote encountered"},
                {"labels.?x", "[labels. >|?|< x]: expected field or quoted"},
                {"name==foo,", "[name==foo,]: expected field or quoted"},
                {"labels.", "[labels.]: expected field or quoted"},
                {",", "[ >|,|< ]: expected field or quoted"},
                {"name==", "[name==]: expected value or quoted"},
                {"name==,x", "[name== >|,|< x]: expected value or quoted"},
                {"name==foo bar", "[name==foo  >|b|< ar]: unexpected input: b"},
                {"name foo", "[name  >|f|< oo]: expected an operator (\"==\"|\"!=\"|\"~=\")"},
                {"name==\"foo", "[name== >|\"|< foo]: quoted literal not terminated"},
                {"name~=/fo\\qo/", "[name~= >|/|< fo\\qo/]: illegal escape sequence"},
                {"name==\"\\x0\"", "[name== >|\"|< \\x0\"]: illegal escape sequence"},
                {"name==\"\\000\"", "[name== >|\"|< \\000\"]: illegal escape sequence"},
                {"n==x \xc3\xa4", "[n==x  >|\xc3\xa4|< ]: unexpected input: \xc3\xa4"},
        };

        for (size_t i = 0; i < ARRAY_LEN(t); i++) {
                Filter *f CLEANUP(filter_freep) = NULL;
                char want[300];
                Err err = {};

                snprintf(want, sizeof(want), "filters: parse error: %s: invalid argument",
                         t[i].want);
                CHECK_INT(filter_parse(&t[i].text, 1, &f, &err), -INVALID_ARGUMENT);
                CHECK_STR(err.msg, want);
        }
}

TEST(filter_size_is_limited)
{
        char *big CLEANUP(cleanup_free) = mem_alloc(LIMIT_FILTER + 2);
        Str many CLEANUP(str_done) = {};
        Filter *f CLEANUP(filter_freep) = NULL;
        const char *one = big;
        Err err = {};

        memset(big, 'a', LIMIT_FILTER + 1);
        CHECK_INT(filter_parse(&one, 1, &f, &err), -INVALID_ARGUMENT);
        for (int i = 0; i < 100; i++)
                str_add(&many, i ? ",a~=x{900}" : "a~=x{900}");
        one = str_get(&many);
        CHECK_INT(filter_parse(&one, 1, &f, &err), -INVALID_ARGUMENT);
}

/* Every prefix of something long, and every byte of it replaced: no crash, and it parses or says
 * why. */
TEST(filter_hostile)
{
        static const char text[] =
                "labels.\"a\\x41\\u00e4\\101\".b ~= |(?i)[^a-z\\d]{2,3}x*\\||,name != /a/ , z";
        static const char subst[] = "\"\\|/=,.~[({\x01\xff";
        char buf[sizeof(text)];
        const char *p = buf;

        for (size_t i = 0; i < sizeof(text); i++) {
                for (size_t k = 0; k < sizeof(subst); k++) {
                        Filter *f CLEANUP(filter_freep) = NULL;
                        Err err = {};

                        memcpy(buf, text, sizeof(text));
                        buf[i] = subst[k];
                        buf[sizeof(text) - 1] = '\0';
                        if (filter_parse(&p, 1, &f, &err) == 0)
                                filter_match(f, field, NULL);
                        else
                                CHECK(str_starts(err.msg, "filters: "));
                }
        }
}

TEST(quick_filters_are_a_few_plain_comparisons)
{
        static const struct {
                const char *filter;
                int quick;
        } table[] = {
                {"", 1},
                {"topic==a", 1},
                {"topic==a,namespace!=b", 1},
                {"topic~=a", 0},
                {"event.id==x", 0},
                {"a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a", 1},
                {"a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a", 0},
        };
        Err err = {};

        for (size_t i = 0; i < ARRAY_LEN(table); i++) {
                Filter *f CLEANUP(filter_freep) = NULL;

                CHECK(filter_parse(&table[i].filter, 1, &f, &err) == 0);
                CHECK_INT(filter_is_quick(f), table[i].quick);
        }
}

TEST(regular_expressions_are_limited_together)
{
        const char *list[8], *one = "a~=x{1000}";
        Filter *f = NULL;
        Err err = {};

        for (size_t i = 0; i < ARRAY_LEN(list); i++)
                list[i] = one;
        CHECK(filter_parse(list, 4, &f, &err) == 0);
        filter_free(f);
        CHECK(filter_parse(list, ARRAY_LEN(list), &f, &err) == -INVALID_ARGUMENT);
        CHECK(strstr(err.msg, "steps in all: invalid argument"));
}
