// SPDX-License-Identifier: Apache-2.0
#include "client/human.h"

#include <signal.h>
#include "base/cleanup.h"
#include "base/test.h"

TEST(human_sizes)
{
        char b[HUMAN_MAX];

        CHECK_STR(human_bytes(0, b), "0.0 B");
        CHECK_STR(human_bytes(1023, b), "1023.0 B");
        CHECK_STR(human_bytes(4096, b), "4.0 KiB");
        CHECK_STR(human_bytes(2006528, b), "1.9 MiB");
        CHECK_STR(human_size(371, b), "371B");
        CHECK_STR(human_size(2006528, b), "2.007MB");
        CHECK_STR(human_size(1234, b), "1.234kB");
        CHECK_STR(human_size(INT64_MAX, b), "9.223EB");
}

TEST(human_durations)
{
        static const struct {
                int64_t seconds;
                const char *want;
        } cases[] = {
                {0, "Less than a second"}, {1, "1 second"},          {59, "59 seconds"},
                {60, "About a minute"},    {119, "About a minute"},  {120, "2 minutes"},
                {3599, "59 minutes"},      {3600, "About an hour"},  {5400, "2 hours"},
                {47 * 3600, "47 hours"},   {48 * 3600, "2 days"},    {14 * 86400, "2 weeks"},
                {60 * 86400, "2 months"},  {730 * 86400, "2 years"}, {-5, "Less than a second"},
        };
        char b[HUMAN_MAX];

        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                CHECK_STR(human_duration(cases[i].seconds * 1000000000, b), cases[i].want);
}

TEST(human_times)
{
        char b[HUMAN_MAX];

        CHECK_STR(human_time((Time){0, 0}, b), "1970-01-01 00:00:00 +0000 UTC");
        CHECK_STR(human_time((Time){1700000000, 120000000}, b), "2023-11-14 22:13:20.12 +0000 UTC");
        CHECK_STR(human_time(TIME_YEAR1, b), "0001-01-01 00:00:00 +0000 UTC");
}

TEST(signals_by_name_and_number)
{
        CHECK_INT(signal_parse("SIGTERM"), SIGTERM);
        CHECK_INT(signal_parse("kill"), SIGKILL);
        CHECK_INT(signal_parse("9"), 9);
        CHECK_INT(signal_parse("RTMIN+3"), SIGRTMIN + 3);
        CHECK_INT(signal_parse("SIGRTMAX-1"), SIGRTMAX - 1);
        CHECK_INT(signal_parse("0"), 0);
        CHECK_INT(signal_parse("65"), 0);
        CHECK_INT(signal_parse("SIG"), 0);
        CHECK_INT(signal_parse("RTMIN+99"), 0);
        CHECK_INT(signal_parse(""), 0);
}

TEST(escape_leaves_text_and_kills_control)
{
        Str s CLEANUP(str_done) = {};

        text_escape(&s, "gr\xc3\xbc\xc3\x9f \x1b]0;x\x07 \x7f \xc2\x9b \xff end\xc3");
        CHECK_STR(str_get(&s), "gr\xc3\xbc\xc3\x9f \\x1b]0;x\\x07 \\x7f \\xc2\\x9b \\xff end\\xc3");
}
