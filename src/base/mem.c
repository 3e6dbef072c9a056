/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

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

void *mem_alloc_large(size_t *size)
{
        const size_t huge = 2 * 1024 * 1024;
        void *p;

        *size = (*size + huge - 1) & ~(huge - 1);
        if (posix_memalign(&p, huge, *size) != 0)
                out_of_memory();
        madvise(p, *size, MADV_HUGEPAGE); /* a wish */
        return p;
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
