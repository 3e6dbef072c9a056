/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 3339, https://www.rfc-editor.org/rfc/rfc3339, over the proleptic Gregorian calendar, years 1
 * to 9999. */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

Time time_now(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_REALTIME, &ts);
        return (Time){.sec = ts.tv_sec, .nsec = (int32_t)ts.tv_nsec};
}

uint64_t time_mono_ns(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

const char *time_format(Time t, char buf[TIME_TEXT_MAX])
{
        time_t sec = t.sec;
        struct tm tm;
        char frac[12] = "";
        size_t n;

        if (!gmtime_r(&sec, &tm))
                return "0001-01-01T00:00:00Z";
        if (t.nsec > 0) {
                n = (size_t)snprintf(frac, sizeof(frac), ".%09u", (unsigned)t.nsec % 1000000000u);
                while (n > 1 && frac[n - 1] == '0')
                        frac[--n] = 0;
        }
        snprintf(buf, TIME_TEXT_MAX, "%04d-%02d-%02dT%02d:%02d:%02d%sZ", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, frac);
        return buf;
}

/* Exactly n digits. */
static int digits(const char **s, int n, int max, int *ret)
{
        int v = 0;

        for (int i = 0; i < n; i++) {
                if (**s < '0' || **s > '9')
                        return -1;
                v = v * 10 + (*(*s)++ - '0');
        }
        *ret = v;
        return v > max ? -1 : 0;
}

static int literal(const char **s, char c)
{
        if (**s != c)
                return -1;
        (*s)++;
        return 0;
}

static int fraction(const char **s, int32_t *ret)
{
        int32_t scale = 100000000;

        *ret = 0;
        if (**s != '.')
                return 0;
        (*s)++;
        if (**s < '0' || **s > '9')
                return -1;
        for (; **s >= '0' && **s <= '9'; (*s)++, scale /= 10)
                *ret += (**s - '0') * scale;
        return 0;
}

static int zone(const char **s, int *ret_sec)
{
        int h, m, sign = **s == '-' ? -1 : 1;

        if (**s == 'Z') {
                (*s)++;
                *ret_sec = 0;
                return 0;
        }
        if (**s != '+' && **s != '-')
                return -1;
        (*s)++;
        if (digits(s, 2, 23, &h) < 0 || literal(s, ':') < 0 || digits(s, 2, 59, &m) < 0)
                return -1;
        *ret_sec = sign * (h * 3600 + m * 60);
        return 0;
}

int time_parse(const char *s, Time *ret)
{
        struct tm tm = {};
        int offset, year;
        int32_t nsec;

        if (digits(&s, 4, 9999, &year) < 0 || literal(&s, '-') < 0 ||
            digits(&s, 2, 12, &tm.tm_mon) < 0 || literal(&s, '-') < 0 ||
            digits(&s, 2, 31, &tm.tm_mday) < 0 || literal(&s, 'T') < 0 ||
            digits(&s, 2, 23, &tm.tm_hour) < 0 || literal(&s, ':') < 0 ||
            digits(&s, 2, 59, &tm.tm_min) < 0 || literal(&s, ':') < 0 ||
            digits(&s, 2, 60, &tm.tm_sec) < 0 || fraction(&s, &nsec) < 0 || zone(&s, &offset) < 0 ||
            *s || tm.tm_mon == 0 || tm.tm_mday == 0)
                return -1;
        tm.tm_year = year - 1900;
        tm.tm_mon--;
        *ret = (Time){.sec = timegm(&tm) - offset, .nsec = nsec};
        return 0;
}

int duration_parse(const char *s, int64_t *ret_ns)
{
        static const struct {
                const char *unit;
                double ns;
        } units[] = {{"ns", 1},  {"us", 1e3}, {"µs", 1e3},  {"ms", 1e6},
                     {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
        double total = 0;
        int negative = *s == '-';

        s += *s == '-' || *s == '+';
        if (strcmp(s, "0") == 0) {
                *ret_ns = 0;
                return 0;
        }
        if (!*s)
                return -1;
        while (*s) {
                double v = 0, scale = 1;
                int seen = 0;
                size_t u;

                for (; *s >= '0' && *s <= '9'; s++, seen = 1)
                        v = v * 10 + (*s - '0');
                if (*s == '.')
                        for (s++; *s >= '0' && *s <= '9'; s++, seen = 1)
                                v += (*s - '0') * (scale /= 10);
                for (u = 0; u < ARRAY_LEN(units); u++) {
                        size_t n = strlen(units[u].unit);

                        if (strncmp(s, units[u].unit, n) == 0 &&
                            (s[n] == 0 || (s[n] >= '0' && s[n] <= '9') || s[n] == '.'))
                                break;
                }
                if (!seen || u == ARRAY_LEN(units))
                        return -1;
                total += v * units[u].ns;
                s += strlen(units[u].unit);
        }
        if (total > 9.2e18)
                return -1;
        *ret_ns = (int64_t)(total + 0.5) * (negative ? -1 : 1);
        return 0;
}

/* v in units of 10^-digits, without trailing zeros. */
static void decimal(char *buf, uint64_t v, int digits, const char *unit)
{
        uint64_t scale = 1;
        char frac[24];
        size_t n;

        for (int i = 0; i < digits; i++)
                scale *= 10;
        n = (size_t)snprintf(frac, sizeof(frac), ".%0*llu", digits,
                             (unsigned long long)(v % scale));
        while (n > 0 && (frac[n - 1] == '0' || frac[n - 1] == '.'))
                frac[--n] = 0;
        snprintf(buf, TIME_TEXT_MAX, "%llu%.10s%.3s", (unsigned long long)(v / scale), frac, unit);
}

const char *duration_format(int64_t ns, char buf[TIME_TEXT_MAX])
{
        uint64_t u = ns < 0 ? -(uint64_t)ns : (uint64_t)ns, minutes = u / (60 * NS_PER_SEC);
        char seconds[TIME_TEXT_MAX], hours[24] = "";
        const char *sign = ns < 0 ? "-" : "";

        if (u == 0)
                return strcpy(buf, "0s");
        if (u < 1000)
                decimal(seconds, u, 0, "ns");
        else if (u < NS_PER_MS)
                decimal(seconds, u, 3, "µs");
        else if (u < NS_PER_SEC)
                decimal(seconds, u, 6, "ms");
        else
                decimal(seconds, u % (60 * NS_PER_SEC), 9, "s");
        if (minutes >= 60)
                snprintf(hours, sizeof(hours), "%lluh", (unsigned long long)(minutes / 60));
        if (minutes > 0)
                snprintf(buf, TIME_TEXT_MAX, "%s%s%llum%.16s", sign, hours,
                         (unsigned long long)(minutes % 60), seconds);
        else
                snprintf(buf, TIME_TEXT_MAX, "%s%.30s", sign, seconds);
        return buf;
}
