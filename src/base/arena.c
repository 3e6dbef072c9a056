/* SPDX-License-Identifier: Apache-2.0 */
/* A chain of blocks, newest first; only the newest is filled. */
#include "base/arena.h"

#include <stdio.h>
#include "base/mem.h"

enum { ALIGN = 16, BLOCK_MIN = 1024, BLOCK_MAX = 64 * 1024 };

struct ArenaBlock {
        ArenaBlock *next;
        size_t used, size;
        char data[] __attribute__((aligned(ALIGN)));
};

void arena_init(Arena *a, size_t cap)
{
        *a = (Arena){.cap = cap};
}

void arena_done(Arena *a)
{
        for (ArenaBlock *b = a->head, *next; b; b = next) {
                next = b->next;
                free(b);
        }
        a->head = NULL;
        a->used = 0;
}

static ArenaBlock *block_new(size_t size)
{
        ArenaBlock *b = calloc(1, sizeof(*b) + size);

        if (b)
                b->size = size;
        return b;
}

/* A request larger than half a block gets its own, put behind the head so that the head keeps being
 * filled. */
static ArenaBlock *block_for(Arena *a, size_t size)
{
        size_t want = a->head ? MIN(a->head->size * 2, (size_t)BLOCK_MAX) : BLOCK_MIN;
        ArenaBlock *b;

        if (a->head && a->head->size - a->head->used >= size)
                return a->head;

        if (size > want / 2 && a->head) {
                b = block_new(size);
                if (b) {
                        b->next = a->head->next;
                        a->head->next = b;
                }
                return b;
        }

        b = block_new(MAX(want, size));
        if (b) {
                b->next = a->head;
                a->head = b;
        }
        return b;
}

void *arena_try(Arena *a, size_t size)
{
        ArenaBlock *b;
        void *p;

        if (size > SIZE_MAX / 2)
                return NULL;
        size = (MAX(size, (size_t)1) + ALIGN - 1) & ~(size_t)(ALIGN - 1);
        if (a->cap && (size > a->cap || a->used > a->cap - size))
                return NULL;
        b = block_for(a, size);
        if (!b)
                return NULL;

        p = b->data + b->used;
        b->used += size;
        a->used += size;
        return p;
}

void *arena_alloc(Arena *a, size_t size)
{
        void *p = arena_try(a, size);

        if (!p) {
                fprintf(stderr, "arena: %zu bytes on top of %zu: out of memory\n", size, a->used);
                abort();
        }
        return p;
}

void *arena_grow(Arena *a, void *old, size_t old_size, size_t new_size)
{
        size_t had = (MAX(old_size, (size_t)1) + ALIGN - 1) & ~(size_t)(ALIGN - 1);
        size_t wants = (new_size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
        ArenaBlock *b = a->head;
        void *p;

        if (old && new_size <= had)
                return old;
        if (old && b && (char *)old + had == b->data + b->used &&
            wants - had <= b->size - b->used && (!a->cap || a->used + wants - had <= a->cap)) {
                b->used += wants - had;
                a->used += wants - had;
                return old;
        }
        p = arena_alloc(a, new_size);
        if (old)
                memcpy(p, old, old_size);
        return p;
}

void *arena_memdup(Arena *a, const void *p, size_t n)
{
        void *copy = arena_alloc(a, n);

        if (n)
                memcpy(copy, p, n);
        return copy;
}

char *arena_strndup(Arena *a, const char *s, size_t n)
{
        size_t len = strnlen(s, n);
        char *copy = arena_alloc(a, len + 1);

        memcpy(copy, s, len);
        return copy;
}

char *arena_strdup(Arena *a, const char *s)
{
        return s ? arena_strndup(a, s, strlen(s)) : NULL;
}

char *arena_vprintf(Arena *a, const char *fmt, va_list ap)
{
        va_list again;
        char *p;
        int n;

        va_copy(again, ap);
        n = vsnprintf(NULL, 0, fmt, again);
        va_end(again);
        assert(n >= 0);
        p = arena_alloc(a, (size_t)n + 1);
        vsnprintf(p, (size_t)n + 1, fmt, ap);
        return p;
}

char *arena_printf(Arena *a, const char *fmt, ...)
{
        va_list ap;
        char *p;

        va_start(ap, fmt);
        p = arena_vprintf(a, fmt, ap);
        va_end(ap);
        return p;
}
