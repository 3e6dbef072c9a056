/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"
#include "base/test.h"

TEST(arena_memory_is_zeroed_and_aligned)
{
        Arena a;

        arena_init(&a, 0);
        for (size_t n = 1; n < 100000; n = n * 3 + 1) {
                unsigned char *p = arena_alloc(&a, n);

                CHECK(((uintptr_t)p & 15) == 0);
                for (size_t i = 0; i < n; i++)
                        CHECK(p[i] == 0);
                memset(p, 0xff, n);
        }
        arena_done(&a);
}

TEST(arena_try_stops_at_the_cap)
{
        size_t got = 0;
        Arena a;

        arena_init(&a, 4096);
        while (arena_try(&a, 100))
                got += 100;
        CHECK(got >= 3000 && got <= 4096);
        CHECK(!arena_try(&a, SIZE_MAX));
        CHECK(!arena_try(&a, SIZE_MAX - 8));
        arena_done(&a);
        CHECK(arena_try(&a, 4096));
        arena_done(&a);
}

TEST(arena_grow_keeps_content)
{
        Arena a;
        int *v = NULL;

        arena_init(&a, 0);
        for (size_t n = 0; n < 5000; n++) {
                v = arena_grow(&a, v, n * sizeof(int), (n + 1) * sizeof(int));
                v[n] = (int)n;
                if (n % 100 == 0)
                        arena_alloc(&a, 10); /* something in the way */
        }
        for (int n = 0; n < 5000; n++)
                CHECK_INT(v[n], n);
        CHECK_STR(arena_printf(&a, "%s-%d", "x", 7), "x-7");
        CHECK(arena_strdup(&a, NULL) == NULL);
        arena_done(&a);
}
