/* SPDX-License-Identifier: Apache-2.0 */
/* Code points in and out; for this folder. */
#pragma once

#include <stdint.h>

enum { RUNE_BAD = 0xfffd, RUNE_MAX = 0x10ffff };

/* The code point at s, which is not the terminating NUL, and its length. A malformed byte is
 * RUNE_BAD of length 1. */
static inline int32_t utf8_next(const char *s, int *ret_len)
{
        static const int32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        uint8_t c = (uint8_t)*s;
        int n = c < 0x80                ? 1
                : c >= 0xc2 && c < 0xe0 ? 2
                : c >= 0xe0 && c < 0xf0 ? 3
                : c >= 0xf0 && c < 0xf5 ? 4
                                        : 0;
        int32_t r = n == 1 ? c : c & (0x7f >> n);

        *ret_len = 1;
        if (n == 0)
                return RUNE_BAD;
        for (int i = 1; i < n; i++) {
                if (((uint8_t)s[i] & 0xc0) != 0x80)
                        return RUNE_BAD;
                r = r << 6 | (s[i] & 0x3f);
        }
        if (n > 1 && (r < least[n] || r > RUNE_MAX || (r >= 0xd800 && r < 0xe000)))
                return RUNE_BAD;
        *ret_len = n;
        return r;
}

/* Up to four bytes; returns how many. */
static inline int utf8_put(char *out, int32_t r)
{
        if (r < 0x80) {
                out[0] = (char)r;
                return 1;
        }
        if (r < 0x800) {
                out[0] = (char)(0xc0 | r >> 6);
                out[1] = (char)(0x80 | (r & 0x3f));
                return 2;
        }
        if (r < 0x10000) {
                out[0] = (char)(0xe0 | r >> 12);
                out[1] = (char)(0x80 | (r >> 6 & 0x3f));
                out[2] = (char)(0x80 | (r & 0x3f));
                return 3;
        }
        out[0] = (char)(0xf0 | r >> 18);
        out[1] = (char)(0x80 | (r >> 12 & 0x3f));
        out[2] = (char)(0x80 | (r >> 6 & 0x3f));
        out[3] = (char)(0x80 | (r & 0x3f));
        return 4;
}
