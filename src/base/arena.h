/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arena: memory that goes away all at once, the lifetime of one call. Blocks double up to 64 KiB;
 * larger requests get a block of their own. An arena belongs to one thread at a time.
 *
 * arena_alloc() and its relatives are for our own small needs and never fail: out of memory aborts,
 * and so does crossing the cap, which would be a bug. Whatever a peer sizes uses arena_try(), which
 * answers NULL at the cap.
 */
#pragma once

#include <stdarg.h>
#include "base/macros.h"

typedef struct ArenaBlock ArenaBlock;

typedef struct Arena {
        ArenaBlock *head;
        size_t used; /* bytes handed out */
        size_t cap;  /* arena_try() refuses beyond this; 0 for none */
} Arena;

void arena_init(Arena *a, size_t cap);
void arena_done(Arena *a); /* frees all; the arena is as after arena_init */

void *arena_alloc(Arena *a, size_t size); /* zeroed, aligned to 16 */
void *arena_try(Arena *a, size_t size);   /* zeroed, NULL at the cap */
/* Grows the last allocation in place where it can, else copies; for arrays being built. */
void *arena_grow(Arena *a, void *old, size_t old_size, size_t new_size);

#define arena_new(a, type)      ((type *)arena_alloc(a, sizeof(type)))
#define arena_array(a, type, n) ((type *)arena_alloc(a, sizeof(type) * (size_t)(n)))

char *arena_strdup(Arena *a, const char *s); /* NULL gives NULL */
char *arena_strndup(Arena *a, const char *s, size_t n);
void *arena_memdup(Arena *a, const void *p, size_t n);
char *arena_printf(Arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
char *arena_vprintf(Arena *a, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);
