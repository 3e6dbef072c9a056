/* SPDX-License-Identifier: Apache-2.0 */
/* SipHash-2-4, https://131002.net/siphash/siphash.pdf. The seed is drawn before main(), so no
 * thread races for it. */
#include "base/hash.h"

#include <sys/random.h>
#include <stdlib.h>

static uint64_t seed[2];

__attribute__((constructor)) static void draw_seed(void)
{
        random_bytes(seed, sizeof(seed));
}

void random_bytes(void *p, size_t n)
{
        char *at = p;

        while (n > 0) {
                ssize_t got = getrandom(at, n, 0);

                if (got < 0)
                        abort(); /* only a kernel without the call */
                at += got;
                n -= (size_t)got;
        }
}

void random_name(char *buf, size_t n)
{
        static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";

        random_bytes(buf, n);
        for (size_t i = 0; i < n; i++)
                buf[i] = letters[(unsigned char)buf[i] % (sizeof(letters) - 1)];
        buf[n] = 0;
}

static inline uint64_t rotl(uint64_t x, int b)
{
        return (x << b) | (x >> (64 - b));
}

static inline void sip_round(uint64_t v[4])
{
        v[0] += v[1];
        v[1] = rotl(v[1], 13) ^ v[0];
        v[0] = rotl(v[0], 32);
        v[2] += v[3];
        v[3] = rotl(v[3], 16) ^ v[2];
        v[0] += v[3];
        v[3] = rotl(v[3], 21) ^ v[0];
        v[2] += v[1];
        v[1] = rotl(v[1], 17) ^ v[2];
        v[2] = rotl(v[2], 32);
}

uint64_t hash_bytes(const void *p, size_t n)
{
        const unsigned char *at = p;
        uint64_t last = (uint64_t)n << 56, m;
        uint64_t v[4] = {
                seed[0] ^ UINT64_C(0x736f6d6570736575),
                seed[1] ^ UINT64_C(0x646f72616e646f6d),
                seed[0] ^ UINT64_C(0x6c7967656e657261),
                seed[1] ^ UINT64_C(0x7465646279746573),
        };

        for (size_t i = 0; i + 8 <= n; i += 8) {
                memcpy(&m, at + i, 8);
                v[3] ^= m;
                sip_round(v);
                sip_round(v);
                v[0] ^= m;
        }
        for (size_t i = n & ~(size_t)7; i < n; i++)
                last |= (uint64_t)at[i] << (8 * (i & 7));
        v[3] ^= last;
        sip_round(v);
        sip_round(v);
        v[0] ^= last;
        v[2] ^= 0xff;
        for (int i = 0; i < 4; i++)
                sip_round(v);
        return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t hash_str(const char *s)
{
        return hash_bytes(s, strlen(s));
}
