/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"

#include <stdio.h>
#include "base/mem.h"

void str_done(Str *s)
{
        free(s->data);
        *s = (Str){};
}

void str_reserve(Str *s, size_t extra)
{
        size_t need = s->len + extra + 1;
        char *old = s->data;

        if (need <= s->cap)
                return;
        s->cap = MAX(need, s->cap * 2);
        s->cap = MAX(s->cap, (size_t)64);
        if (s->cap < MEM_LARGE) {
                s->data = mem_realloc(s->data, s->cap);
        } else {
                s->data = mem_alloc_large(&s->cap);
                memcpy(s->data, old ? old : "", s->len);
                mem_free_large(old);
        }
        s->data[s->len] = 0;
}

void str_add_n(Str *s, const void *bytes, size_t n)
{
        str_reserve(s, n);
        if (n)
                memcpy(s->data + s->len, bytes, n);
        s->len += n;
        s->data[s->len] = 0;
}

void str_add(Str *s, const char *text)
{
        str_add_n(s, text, strlen(text));
}

void str_add_char(Str *s, char c)
{
        str_add_n(s, &c, 1);
}

void str_vaddf(Str *s, const char *fmt, va_list ap)
{
        va_list again;
        int n;

        va_copy(again, ap);
        n = vsnprintf(NULL, 0, fmt, again);
        va_end(again);
        assert(n >= 0);
        str_reserve(s, (size_t)n);
        vsnprintf(s->data + s->len, (size_t)n + 1, fmt, ap);
        s->len += (size_t)n;
}

void str_addf(Str *s, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        str_vaddf(s, fmt, ap);
        va_end(ap);
}

void str_truncate(Str *s, size_t len)
{
        assert(len <= s->len);
        s->len = len;
        if (s->data)
                s->data[len] = 0;
}

const char *str_get(const Str *s)
{
        return s->data ? s->data : "";
}

char *str_steal(Str *s)
{
        char *data;

        str_reserve(s, 0);
        data = s->data;
        *s = (Str){};
        return data;
}

int str_to_u64(const char *s, uint64_t *ret)
{
        uint64_t n = 0;

        if (!*s)
                return -1;
        for (; *s; s++) {
                if (*s < '0' || *s > '9' || __builtin_mul_overflow(n, 10, &n) ||
                    __builtin_add_overflow(n, (uint64_t)(*s - '0'), &n))
                        return -1;
        }
        *ret = n;
        return 0;
}

int str_to_i64(const char *s, int64_t *ret)
{
        int negative = *s == '-';
        uint64_t n;

        if (str_to_u64(s + negative, &n) < 0 || n > (uint64_t)INT64_MAX + (uint64_t)negative)
                return -1;
        *ret = negative ? (int64_t)(0 - n) : (int64_t)n;
        return 0;
}

/* RFC 3629: shortest forms only, no surrogates, nothing above U+10FFFF. */
int str_is_utf8(const char *text, size_t n)
{
        const unsigned char *s = (const unsigned char *)text, *end = s + n;

        while (s < end) {
                unsigned c = *s, low = 0x80, high = 0xBF;
                int more;

                if (c == 0)
                        return 0;
                if (c < 0x80) {
                        s++;
                        continue;
                }
                if (c >= 0xC2 && c <= 0xDF)
                        more = 1;
                else if (c >= 0xE0 && c <= 0xEF)
                        more = 2;
                else if (c >= 0xF0 && c <= 0xF4)
                        more = 3;
                else
                        return 0;
                if (c == 0xE0)
                        low = 0xA0;
                else if (c == 0xED)
                        high = 0x9F;
                else if (c == 0xF0)
                        low = 0x90;
                else if (c == 0xF4)
                        high = 0x8F;
                if (end - s <= more || s[1] < low || s[1] > high)
                        return 0;
                for (int i = 2; i <= more; i++)
                        if ((s[i] & 0xC0) != 0x80)
                                return 0;
                s += more + 1;
        }
        return 1;
}
