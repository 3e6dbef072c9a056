/* SPDX-License-Identifier: Apache-2.0 */
/* The few macros that everything uses. */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define MAX(a, b)                       ((a) > (b) ? (a) : (b))
#define PRINTF_LIKE(fmt, first)         __attribute__((format(printf, fmt, first)))
#define UNUSED                          __attribute__((unused))
#define NORETURN                        __attribute__((noreturn))
#define WARN_UNUSED                     __attribute__((warn_unused_result))

#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline int str_eq(const char *a, const char *b)
{
        return a == b || (a && b && strcmp(a, b) == 0);
}

static inline int str_empty(const char *s)
{
        return !s || !*s;
}

static inline int str_starts(const char *s, const char *prefix)
{
        return strncmp(s, prefix, strlen(prefix)) == 0;
}

static inline int str_ends(const char *s, const char *suffix)
{
        size_t n = strlen(s), m = strlen(suffix);

        return n >= m && memcmp(s + n - m, suffix, m) == 0;
}
