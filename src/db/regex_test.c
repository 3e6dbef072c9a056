/* SPDX-License-Identifier: Apache-2.0 */
#include "db/regex.h"

#include "base/cancel.h"
#include "base/mem.h"
#include "base/test.h"
#include "base/vec.h"

static const struct {
        const char *expr;
        const char *yes, *no; /* NULL: nothing to try */
} table[] = {
        {"", "", NULL},
        {"abc", "xxabcxx", "ab c"},
        {"^abc$", "abc", "abcd"},
        {"^abc$", "abc", "xabc"},
        {"a|b|", "zzz", NULL},
        {"^(a|bc)$", "bc", "b"},
        {"^a*$", "aaaa", "aab"},
        {"^a+$", "a", ""},
        {"^a?b$", "b", "aab"},
        {"^a{3}$", "aaa", "aa"},
        {"^a{2,3}$", "aa", "aaaa"},
        {"^a{2,}$", "aaaaa", "a"},
        {"^a{0}$", "", "a"},
        {"^a{0,2}b$", "b", "aaab"},
        {"a{,2}", "a{,2}", "aa"},
        {"a{x", "a{x", "ax"},
        {"^a*?b$", "aab", "a"},
        {"^a+?b??$", "aa", "c"},
        {"^a{1,2}?$", "aa", "aaa"},
        {"^[abc]+$", "cab", "cabd"},
        {"^[^abc]+$", "xyz", "xaz"},
        {"^[a-c-]+$", "a-c", "a+c"},
        {"^[]a]+$", "]a", "b"},
        {"^[^]a]+$", "b", "]"},
        {"^[\\]\\-]+$", "]-", "a"},
        {"^[[:digit:][:upper:]]+$", "A1", "a1"},
        {"^[[:^digit:]]+$", "ab", "a1"},
        {"^\\d+\\s\\w+$", "12 ab_", "x2 ab"},
        {"^\\D\\S\\W$", "ab.", "1b."},
        {"^[\\d\\s]+$", "1 2", "1a2"},
        {"^[^\\D]+$", "12", "1a"},
        {"^.$", "\xc3\xa4", "\xc3\xa4\xc3\xa4"},
        {"^\xc3\xa4+$", "\xc3\xa4\xc3\xa4", "a"},
        {"^[\xc3\xa4-\xc3\xbc]$", "\xc3\xb6", "o"},
        {"^.$", "a", "\n"},
        {"(?s)^.$", "\n", "ab"},
        {"(?i)HeLLo", "say hEllO", "hell"},
        {"(?i)[a-c]x", "BX", "DX"},
        {"(?i:a)b", "Ab", "AB"},
        {"a(?i)b|c", "aB", "x"},
        {"((?i)a)b", "Ab", "aB"},
        {"(?-i)a", "a", "A"},
        {"(?m)^b$", "a\nb\nc", "ab"},
        {"^b$", NULL, "a\nb\nc"},
        {"\\Ab\\z", "b", "ab"},
        {"\\bfoo\\b", "a foo b", "afoo b"},
        {"\\Boo\\b", "foo", "oo"},
        {"\\.\\*\\\\", ".*\\", "xx"},
        {"\\x41\\x{e4}\\t\\101", "A\xc3\xa4\tA", "B"},
        {"\\Qa.b*\\E+$", "a.b**", "axb"},
        {"\\Qa.b", "a.b", "axb"},
        {"(?P<name>a)(?<other>b)(?:c)", "abc", "ac"},
        {"^(a*)*$", "aaaa", "b"},
        {"^(a|ab)(c|bcd)(d*)$", "abcd", "abx"},
        {"^(())*$", "", "a"},
        {"x*", "yyy", NULL},
        {"^()$", "", "a"},
        {"^(?U)a+$", "aa", "b"},
        {"docker.io/library/.*:latest", "docker.io/library/busybox:latest", "quay.io/x:latest"},
};

TEST(regex_table)
{
        for (size_t i = 0; i < ARRAY_LEN(table); i++) {
                Regex *re CLEANUP(regex_freep) = NULL;

                if (regex_compile(table[i].expr, &re) < 0) {
                        test_fail(__FILE__, __LINE__, "does not compile: %s", table[i].expr);
                        return;
                }
                if ((table[i].yes && !regex_search(re, table[i].yes)) ||
                    (table[i].no && regex_search(re, table[i].no))) {
                        test_fail(__FILE__, __LINE__, "wrong: %s", table[i].expr);
                        return;
                }
        }
}

TEST(regex_malformed)
{
        static const char *const bad[] = {
                "(",
                ")",
                "(a",
                "a)",
                "[",
                "[a",
                "[z-a]",
                "[]",
                "[^]",
                "*",
                "+a",
                "?",
                "a**",
                "a+*",
                "a{2}{3}",
                "a|*",
                "(?",
                "(?z)",
                "(?P<>a)",
                "(?P<n",
                "(?=a)",
                "\\",
                "\\1",
                "\\8",
                "\\q",
                "\\pL",
                "\\x4",
                "\\x{110000}",
                "\\x{",
                "a{1001}",
                "a{3,2}",
                "[[:foo:]]",
                "[[:alpha:",
                "[\\q]",
                "(?i-i-i)",
                "((a{100}){100})",
                "(((){1000}){1000}){1000}",
        };

        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                Regex *re CLEANUP(regex_freep) = NULL;

                if (regex_compile(bad[i], &re) == 0) {
                        test_fail(__FILE__, __LINE__, "compiles: %s", bad[i]);
                        return;
                }
        }
}

TEST(regex_nesting_is_limited)
{
        char *deep CLEANUP(cleanup_free) = mem_alloc(200001);
        Regex *re CLEANUP(regex_freep) = NULL;

        memset(deep, '(', 200000);
        CHECK(regex_compile(deep, &re) < 0);
        memset(deep, '[', 200000);
        CHECK(regex_compile(deep, &re) < 0);
}

/* What takes a backtracking matcher for ever. */
TEST(regex_is_linear)
{
        static const char *const evil[] = {"(a*)*b", "(a|a)*b", "(a+)+$b", "^(a?){100}a{100}c$",
                                           "(.*)(.*)(.*)(.*)x"};
        char text[4097];

        memset(text, 'a', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        for (size_t i = 0; i < ARRAY_LEN(evil); i++) {
                Regex *re CLEANUP(regex_freep) = NULL;

                CHECK(regex_compile(evil[i], &re) == 0);
                CHECK(!regex_search(re, text));
        }
}

static int give_up(void *ctx)
{
        return ++*(int *)ctx > 3;
}

/* Whoever has gone is not searched for to the end. */
TEST(regex_gives_up)
{
        Regex *re CLEANUP(regex_freep) = NULL;
        char *text CLEANUP(cleanup_free) = mem_alloc(100001);
        int asked = 0;

        memset(text, 'a', 100000);
        text[99999] = 'b';
        CHECK(regex_compile("b", &re) == 0 && regex_size(re) >= 2);
        CHECK(regex_search(re, text));
        cancel_watch((CancelWatch){give_up, &asked});
        CHECK(!regex_search(re, text));
        CHECK_INT(asked, 4);
        cancel_watch((CancelWatch){});
        CHECK(regex_search(re, text));
}

TEST(regex_malformed_text)
{
        Regex *re CLEANUP(regex_freep) = NULL;

        CHECK(regex_compile("^..$", &re) == 0);
        CHECK(regex_search(re, "\xff\xc3"));
        CHECK(regex_search(re, "\xe2\x82") && !regex_search(re, "\xf0\x9f\x98\x80"));
}
