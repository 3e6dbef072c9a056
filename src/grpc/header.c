/* SPDX-License-Identifier: Apache-2.0 */
/* Pure text functions; see header.h. */
#include "grpc/header.h"

#include <stdio.h>
#include "base/clock.h"

static const struct {
        char name;
        uint64_t ns;
} units[] = {
        {'n', 1},
        {'u', 1000},
        {'m', NS_PER_MS},
        {'S', NS_PER_SEC},
        {'M', 60 * NS_PER_SEC},
        {'H', 3600 * NS_PER_SEC},
};

enum { TIMEOUT_DIGITS = 8 };

int grpc_timeout_parse(const char *s, uint64_t *ret_ns)
{
        uint64_t v = 0;
        size_t n = 0;

        for (; s[n] >= '0' && s[n] <= '9'; n++) {
                if (n == TIMEOUT_DIGITS)
                        return -1;
                v = v * 10 + (uint64_t)(s[n] - '0');
        }
        if (n == 0 || !s[n] || s[n + 1])
                return -1;
        for (size_t i = 0; i < ARRAY_LEN(units); i++) {
                if (units[i].name != s[n])
                        continue;
                *ret_ns = v > INT64_MAX / units[i].ns ? INT64_MAX : v * units[i].ns;
                return 0;
        }
        return -1;
}

const char *grpc_timeout_format(uint64_t ns, char buf[GRPC_TIMEOUT_MAX])
{
        uint64_t max = 99999999, v = ns;
        size_t i = 0;

        while (v > max && i + 1 < ARRAY_LEN(units)) {
                i++;
                v = ns / units[i].ns + (ns % units[i].ns != 0);
        }
        snprintf(buf, GRPC_TIMEOUT_MAX, "%u%c", (unsigned)MIN(v, max), units[i].name);
        return buf;
}

void grpc_message_encode(Str *out, const char *text)
{
        for (const char *p = text; *p; p++) {
                if (*p >= ' ' && *p <= '~' && *p != '%')
                        str_add_char(out, *p);
                else
                        str_addf(out, "%%%02X", (unsigned char)*p);
        }
}

static int hex_digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return -1;
}

void grpc_message_decode(char *text)
{
        char *to = text;

        for (const char *p = text; *p; p++) {
                int high, low;

                if (*p == '%' && (high = hex_digit(p[1])) >= 0 && (low = hex_digit(p[2])) >= 0 &&
                    high + low > 0) {
                        *to++ = (char)(high << 4 | low);
                        p += 2;
                } else {
                        *to++ = *p;
                }
        }
        *to = 0;
}

int grpc_content_type_ok(const char *s)
{
        static const char base[] = "application/grpc";

        if (!str_starts(s, base))
                return 0;
        s += sizeof(base) - 1;
        return !*s || *s == '+' || *s == ';';
}

static int is_base64_char(char c)
{
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
               c == '+' || c == '/';
}

int grpc_is_base64(const char *s, size_t n)
{
        size_t end = n;

        if (n % 4 == 0)
                while (end > 0 && n - end < 2 && s[end - 1] == '=')
                        end--;
        if (end % 4 == 1)
                return 0;
        for (size_t i = 0; i < end; i++)
                if (!is_base64_char(s[i]))
                        return 0;
        return 1;
}
