// SPDX-License-Identifier: Apache-2.0
/*
 * The formats are those of the Go libraries behind ctr (progress.Bytes, go-units, time.Time), since
 * scripts read them.
 */
#include "client/human.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

static const char *scaled(double n, double base, const char *fmt, const char *const *units,
                          size_t n_units, char buf[HUMAN_MAX])
{
        size_t i = 0;

        while (n >= base && i + 1 < n_units) {
                n /= base;
                i++;
        }
        snprintf(buf, HUMAN_MAX, fmt, n, units[i]);
        return buf;
}

const char *human_bytes(int64_t n, char buf[HUMAN_MAX])
{
        static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};

        return scaled((double)n, 1024, "%02.1f %s", units, ARRAY_LEN(units), buf);
}

const char *human_size(int64_t n, char buf[HUMAN_MAX])
{
        static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};

        return scaled((double)n, 1000, "%.4g%s", units, ARRAY_LEN(units), buf);
}

const char *human_duration(int64_t ns, char buf[HUMAN_MAX])
{
        int64_t seconds = ns / (int64_t)NS_PER_SEC, minutes = seconds / 60;
        int64_t hours = (seconds + 1800) / 3600;
        static const struct {
                int64_t below, unit;
                const char *name;
        } steps[] = {
                {48, 1, "hours"},
                {24 * 7 * 2, 24, "days"},
                {24 * 30 * 2, 24 * 7, "weeks"},
                {24 * 365 * 2, 24 * 30, "months"},
                {INT64_MAX, 24 * 365, "years"},
        };

        if (seconds < 1)
                return strcpy(buf, "Less than a second");
        if (seconds == 1)
                return strcpy(buf, "1 second");
        if (minutes == 1)
                return strcpy(buf, "About a minute");
        if (seconds < 60 || minutes < 60) {
                snprintf(buf, HUMAN_MAX, seconds < 60 ? "%lld seconds" : "%lld minutes",
                         (long long)(seconds < 60 ? seconds : minutes));
                return buf;
        }
        if (hours == 1)
                return strcpy(buf, "About an hour");
        for (size_t i = 0;; i++) {
                if (hours >= steps[i].below)
                        continue;
                snprintf(buf, HUMAN_MAX, "%lld %s", (long long)(hours / steps[i].unit),
                         steps[i].name);
                return buf;
        }
}

const char *human_time(Time t, char buf[HUMAN_MAX])
{
        time_t sec = (time_t)t.sec;
        struct tm tm;
        char frac[12] = "";
        size_t n;

        gmtime_r(&sec, &tm);
        if (t.nsec > 0 && t.nsec < 1000000000) {
                n = (size_t)snprintf(frac, sizeof(frac), ".%09d", t.nsec);
                while (n > 0 && frac[n - 1] == '0')
                        frac[--n] = '\0';
        }
        snprintf(buf, HUMAN_MAX, "%04d-%02d-%02d %02d:%02d:%02d%s +0000 UTC",
                 (tm.tm_year + 1900) % 10000, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
                 tm.tm_sec, frac);
        return buf;
}

const char *human_time_local(Time t, char buf[HUMAN_MAX])
{
        time_t sec = (time_t)t.sec;
        struct tm tm;
        long off;
        size_t n;

        localtime_r(&sec, &tm);
        off = tm.tm_gmtoff / 60;
        n = strftime(buf, HUMAN_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
        if (off == 0)
                snprintf(buf + n, HUMAN_MAX - n, "Z");
        else
                snprintf(buf + n, HUMAN_MAX - n, "%c%02d:%02d", off < 0 ? '-' : '+',
                         abs((int)off) / 60, abs((int)off) % 60);
        return buf;
}

int signal_parse(const char *s)
{
        uint64_t n;
        int base = 0;

        if (str_to_u64(s, &n) == 0)
                return n > 0 && n <= (uint64_t)SIGRTMAX ? (int)n : 0;
        if (strncasecmp(s, "SIG", 3) == 0)
                s += 3;
        for (int i = 1; i < 32; i++) {
                const char *name = sigabbrev_np(i);

                if (name && strcasecmp(name, s) == 0)
                        return i;
        }
        if (strcasecmp(s, "IOT") == 0)
                return SIGABRT;
        if (strcasecmp(s, "CLD") == 0)
                return SIGCHLD;
        if (strncasecmp(s, "RTMIN", 5) == 0)
                base = SIGRTMIN;
        else if (strncasecmp(s, "RTMAX", 5) == 0)
                base = SIGRTMAX;
        else
                return 0;
        if (s[5] == '\0')
                return base;
        if (s[5] != (base == SIGRTMIN ? '+' : '-') || str_to_u64(s + 6, &n) < 0 ||
            n > (uint64_t)(SIGRTMAX - SIGRTMIN))
                return 0;
        return base == SIGRTMIN ? base + (int)n : base - (int)n;
}

/* Length of the well-formed UTF-8 sequence at s, 0 if there is none. */
static size_t utf8_length(const unsigned char *s)
{
        size_t n = s[0] < 0x80 ? 1 : (s[0] & 0xe0) == 0xc0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : 4;

        for (size_t i = 1; i < n; i++)
                if (s[i] == '\0')
                        return 0;
        return str_is_utf8((const char *)s, n) ? n : 0;
}

void text_escape(Str *out, const char *text)
{
        for (const unsigned char *s = (const unsigned char *)text; *s;) {
                size_t n = utf8_length(s);
                int control = *s < 0x20 || *s == 0x7f || (n == 2 && s[0] == 0xc2 && s[1] < 0xa0);

                if (n > 0 && !control) {
                        str_add_n(out, s, n);
                        s += n;
                        continue;
                }
                for (n = MAX(n, (size_t)1); n > 0; n--)
                        str_addf(out, "\\x%02x", *s++);
        }
}
