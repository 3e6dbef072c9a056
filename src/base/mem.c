/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/arena.h"

static NORETURN void out_of_memory(void)
{
        static const char text[] = "out of memory\n";

        (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
        abort();
}

void *mem_alloc(size_t size)
{
        void *p = calloc(1, size ? size : 1);

        if (!p)
                out_of_memory();
        return p;
}

void *mem_realloc(void *old, size_t size)
{
        void *p = realloc(old, size ? size : 1);

        if (!p)
                out_of_memory();
        return p;
}

enum { HUGE = 2 * 1024 * 1024, KEPT_MAX = 8 * HUGE };

static void *kept; /* one large buffer, full of pages; atomic */

void *mem_alloc_large(size_t *size)
{
        void *p = __atomic_exchange_n(&kept, NULL, __ATOMIC_ACQUIRE);
        size_t n = (*size + HUGE - 1) & ~(size_t)(HUGE - 1);

        if (p && malloc_usable_size(p) >= n) {
                *size = malloc_usable_size(p) & ~(size_t)(HUGE - 1);
                return p;
        }
        free(p);
        if (posix_memalign(&p, HUGE, n) != 0)
                out_of_memory();
        madvise(p, n, MADV_HUGEPAGE); /* a wish */
        *size = n;
        return p;
}

void mem_free_large(void *p)
{
        if (p && ((uintptr_t)p & (HUGE - 1)) == 0 && malloc_usable_size(p) >= HUGE &&
            malloc_usable_size(p) <= KEPT_MAX + HUGE)
                p = __atomic_exchange_n(&kept, p, __ATOMIC_ACQ_REL);
        free(p);
}

void mem_trim(void)
{
        free(__atomic_exchange_n(&kept, NULL, __ATOMIC_ACQUIRE));
        malloc_trim(0);
}

char *mem_strndup(const char *s, size_t n)
{
        size_t len = strnlen(s, n);
        char *p = mem_alloc(len + 1);

        memcpy(p, s, len);
        return p;
}

char *mem_strdup(const char *s)
{
        return s ? mem_strndup(s, strlen(s)) : NULL;
}

char *mem_printf(const char *fmt, ...)
{
        va_list ap;
        char *p;
        int n;

        va_start(ap, fmt);
        n = vasprintf(&p, fmt, ap);
        va_end(ap);
        if (n < 0)
                out_of_memory();
        return p;
}
