/* SPDX-License-Identifier: Apache-2.0 */
/* A growing byte string, always NUL-terminated. Embedded: `Str s CLEANUP(str_done) = {};`. Never
 * fails. */
#pragma once

#include <stdarg.h>
#include "base/macros.h"

typedef struct Str {
        char *data; /* NULL while empty; str_get() gives "" then */
        size_t len, cap;
} Str;

void str_done(Str *s);
void str_reserve(Str *s, size_t extra);
void str_add(Str *s, const char *text);
void str_add_n(Str *s, const void *bytes, size_t n);
void str_add_char(Str *s, char c);
void str_addf(Str *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
void str_vaddf(Str *s, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);
void str_truncate(Str *s, size_t len);
const char *str_get(const Str *s);
char *str_steal(Str *s); /* caller frees; never NULL */

/* Strict decimal and bounded: the whole string, no sign for u64, no blanks. 0 or -1. */
int str_to_u64(const char *s, uint64_t *ret);
int str_to_i64(const char *s, int64_t *ret);
/* Whether n bytes are well-formed UTF-8 without NUL. */
int str_is_utf8(const char *s, size_t n);
