/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/test.h"

TEST(mem_large_is_kept_for_the_next)
{
        size_t small = MEM_LARGE, large = 3 * MEM_LARGE, again = MEM_LARGE;
        char *a = mem_alloc_large(&small), *b = mem_alloc_large(&large), *c;

        CHECK(small >= MEM_LARGE && large >= 3 * MEM_LARGE);
        memset(a, 1, small);
        memset(b, 2, large);
        mem_free_large(a);
        mem_free_large(b); /* instead of a */
        c = mem_alloc_large(&again);
        CHECK(c == b);
        CHECK_INT(again, large);
        memset(c, 3, again);
        large = 2 * again;
        mem_free_large(c);
        a = mem_alloc_large(&large); /* what is kept is too small for it */
        memset(a, 4, large);
        mem_free_large(a);
        mem_trim();
        mem_free_large(mem_strdup("something small"));
        mem_free_large(NULL);
        mem_trim();
}
