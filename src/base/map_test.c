/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include <stdio.h>
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/test.h"

TEST(map_behaves_like_an_array_of_flags)
{
        Map m CLEANUP(map_done) = {};
        char present[500] = {};
        uint32_t rnd = 1;
        size_t n = 0;

        for (int step = 0; step < 20000; step++) {
                char key[16];
                int k;

                rnd = rnd * 1664525 + 1013904223;
                k = (int)(rnd >> 16) % 500;
                snprintf(key, sizeof(key), "key%d", k);
                CHECK_INT(map_find(&m, key) != NULL, present[k]);
                if (rnd & 0x8000) {
                        CHECK_INT(map_put(&m, key, &present[k]) != NULL, present[k]);
                        n += !present[k];
                        present[k] = 1;
                } else {
                        CHECK(map_remove(&m, key) == (present[k] ? &present[k] : NULL));
                        n -= present[k] != 0;
                        present[k] = 0;
                }
                CHECK_INT(m.n, n);
        }
        MAP_FOREACH (slot, &m)
                n--;
        CHECK_INT(n, 0);
}

TEST(hash_is_the_published_function_per_length)
{
        /* Without the seed there is no vector to compare; that lengths and contents matter, there
         * is. */
        CHECK(hash_bytes("abc", 3) == hash_str("abc"));
        CHECK(hash_bytes("abc\0", 4) != hash_str("abc"));
        CHECK(hash_str("12345678") != hash_str("12345679"));
}
