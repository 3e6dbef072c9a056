// SPDX-License-Identifier: Apache-2.0
#include "client/args.h"

#include <stdlib.h>
#include "base/test.h"

static const Flag root_flags[] = {
        {FLAG_STRING, "namespace", "n", "namespace", "default", "LIGHTER_TEST_NS,LIGHTER_TEST_NS2"},
        {FLAG_DURATION, "timeout", NULL, "deadline", "0s"},
        {},
};
static const Flag run_flags[] = {
        {FLAG_BOOL, "rm", NULL, "remove"},          {FLAG_LIST, "env", NULL, "variable"},
        {FLAG_FLOAT, "cpus", NULL, "cpus", "0"},    {FLAG_INT, "cpu-quota", NULL, "quota", "-1"},
        {FLAG_UINT, "memory-limit", NULL, "bytes"}, {},
};
static const Flag active_flags[] = {{FLAG_DURATION, "timeout", "t", "deadline", "7s"}, {}};
static const Command content[] = {
        {.name = "list", .aliases = "ls,l", .help = "list"},
        {.name = "active", .help = "active", .flags = {active_flags}},
        {},
};
static const Command top[] = {
        {.name = "run", .help = "run", .flags = {run_flags}},
        {.name = "content", .aliases = "c", .help = "content", .subs = content},
        {},
};
static const Command root = {.name = "lighter", .help = "test", .flags = {root_flags}, .subs = top};

/* The words outlive the statement: Args borrows them. */
static int parse(Args *a, Err *err, const char *const *words)
{
        static char *kept[4][32];
        static int at;
        char **argv = kept[at++ % 4];
        int n = 0;

        for (; words[n]; n++)
                argv[n] = (char *)(uintptr_t)words[n];
        return args_parse(&root, n, argv, a, err);
}
#define PARSE(...) parse(&a, &err, (const char *const[]){"lighter", __VA_ARGS__, NULL})

TEST(args_flags_end_at_the_first_positional)
{
        Args a CLEANUP(args_done) = {};
        Err err = {};
        size_t at = 0;

        CHECK(PARSE("-namespace", "x", "run", "--rm", "--env", "A=1,2", "-env=B", "--cpus=1.5",
                    "img", "id", "ls", "-x", "--rm") == 0);
        CHECK_STR(args_command(&a)->name, "run");
        CHECK_STR(args_str(&a, "namespace"), "x");
        CHECK(args_bool(&a, "rm") && args_float(&a, "cpus") == 1.5);
        CHECK_STR(args_next(&a, "env", &at), "A=1,2");
        CHECK_STR(args_next(&a, "env", &at), "B");
        CHECK(!args_next(&a, "env", &at));
        CHECK_INT(a.n, 5);
        CHECK_STR(args_arg(&a, 3), "-x");
        CHECK_STR(args_arg(&a, 9), "");
}

TEST(args_defaults_environment_and_last_wins)
{
        Args a CLEANUP(args_done) = {}, b CLEANUP(args_done) = {};
        Err err = {};

        unsetenv("LIGHTER_TEST_NS");
        setenv("LIGHTER_TEST_NS2", "second", 1);
        CHECK(PARSE("run", "--rm", "--rm=false") == 0);
        CHECK(!args_bool(&a, "rm") && args_given(&a, "rm") && !args_given(&a, "env"));
        CHECK_INT(args_int(&a, "cpu-quota"), -1);
        CHECK_STR(args_str(&a, "namespace"), "second");
        setenv("LIGHTER_TEST_NS", "first", 1);
        CHECK_STR(args_str(&a, "namespace"), "first");
        CHECK(parse(&b, &err, (const char *const[]){"lighter", "c", "active", NULL}) == 0);
        CHECK_INT(args_duration(&b, "timeout") / 1000000000, 7);
        unsetenv("LIGHTER_TEST_NS");
        unsetenv("LIGHTER_TEST_NS2");
        CHECK_STR(args_str(&a, "namespace"), "default");
}

static void wrong(const char *want, const char *const *words)
{
        Args a CLEANUP(args_done) = {};
        Err err = {};

        CHECK_INT(parse(&a, &err, words), -INVALID_ARGUMENT);
        if (!strstr(err.msg, want))
                test_fail(__FILE__, __LINE__, "\"%s\" is not in \"%s\"", want, err.msg);
}
#define WRONG(want, ...) wrong(want, (const char *const[]){"lighter", __VA_ARGS__, NULL})

TEST(args_errors_say_what_was_meant)
{
        WRONG("unknown command \"rnu\"; did you mean \"lighter run\"?", "rnu");
        WRONG("unknown command \"zzz\"; \"lighter content --help\"", "content", "zzz");
        WRONG("flag provided but not defined: -ev; did you mean --env?", "run", "--ev", "x");
        WRONG("it belongs to \"lighter\" and stands before \"run\"", "run", "--namespace", "x");
        WRONG("flag needs an argument: --env", "run", "--env");
        WRONG("invalid value \"x\" for flag --cpus", "run", "--cpus", "x");
        WRONG("invalid value \"-1\" for flag --memory-limit", "run", "--memory-limit=-1");
        WRONG("invalid value \"5\" for flag --rm", "run", "--rm=5");
        WRONG("invalid value \"5parsecs\" for flag --timeout", "--timeout", "5parsecs", "run");
        WRONG("bad flag syntax: ---x", "run", "---x");
}

TEST(args_help_and_double_dash)
{
        Args a CLEANUP(args_done) = {}, b CLEANUP(args_done) = {}, c CLEANUP(args_done) = {};
        Err err = {};

        CHECK(PARSE("content") == 0 && a.help && a.depth == 2);
        CHECK(parse(&b, &err, (const char *const[]){"lighter", "help", "run", NULL}) == 0);
        CHECK(b.help && args_command(&b) == &top[0]);
        CHECK(parse(&c, &err, (const char *const[]){"lighter", "run", "--rm", "--", "-x", NULL}) ==
              0);
        CHECK_INT(c.n, 1);
        CHECK_STR(args_arg(&c, 0), "-x");
}
