/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/test.h"

TEST(times_format_as_go_does)
{
        char buf[TIME_TEXT_MAX];

        CHECK_STR(time_format((Time){0, 0}, buf), "1970-01-01T00:00:00Z");
        CHECK_STR(time_format((Time){1700000000, 120000000}, buf), "2023-11-14T22:13:20.12Z");
        CHECK_STR(time_format(TIME_YEAR1, buf), "0001-01-01T00:00:00Z");
}

TEST(times_parse)
{
        static const char *const bad[] = {"",
                                          "2023-11-14",
                                          "2023-13-14T22:13:20Z",
                                          "2023-11-14T22:13:20",
                                          "2023x",
                                          "2023-11-14T22:13:20.Z",
                                          "2023-11-14T25:13:20Z",
                                          "2023-11-14T22:13:20Zx"};
        Time t;

        CHECK(time_parse("2023-11-14T22:13:20.12Z", &t) == 0 && t.sec == 1700000000 &&
              t.nsec == 120000000);
        CHECK(time_parse("2023-11-15T00:13:20.000000001+02:00", &t) == 0 && t.sec == 1700000000 &&
              t.nsec == 1);
        CHECK(time_parse("0001-01-01T00:00:00Z", &t) == 0 && t.sec == TIME_YEAR1.sec);
        for (size_t i = 0; i < ARRAY_LEN(bad); i++)
                CHECK(time_parse(bad[i], &t) < 0);
}

TEST(durations_parse_as_go_writes_them)
{
        int64_t ns;

        CHECK(duration_parse("1h2m3.5s", &ns) == 0 && ns == INT64_C(3723500000000));
        CHECK(duration_parse("100ms", &ns) == 0 && ns == 100000000);
        CHECK(duration_parse("0s", &ns) == 0 && ns == 0);
        CHECK(duration_parse("0", &ns) == 0 && ns == 0);
        CHECK(duration_parse("-2s", &ns) == 0 && ns == -2000000000);
        CHECK(duration_parse("10", &ns) < 0 && duration_parse("s", &ns) < 0 &&
              duration_parse("5x", &ns) < 0);
        CHECK(duration_parse("", &ns) < 0 && duration_parse("1h ", &ns) < 0);
}

TEST(duration_is_written_as_go_does)
{
        static const struct {
                int64_t ns;
                const char *text;
        } cases[] = {
                {0, "0s"},
                {1, "1ns"},
                {1500, "1.5µs"},
                {100000000, "100ms"},
                {1234567, "1.234567ms"},
                {1000000000, "1s"},
                {1500000000, "1.5s"},
                {60000000000, "1m0s"},
                {3723500000000, "1h2m3.5s"},
                {-1500000000, "-1.5s"},
                {INT64_MIN, "-2562047h47m16.854775808s"},
                {10000000000, "10s"},
        };
        char buf[TIME_TEXT_MAX];

        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                CHECK_STR(duration_format(cases[i].ns, buf), cases[i].text);
}
