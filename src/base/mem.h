/* SPDX-License-Identifier: Apache-2.0 */
/* Heap allocation for our own small objects: out of memory aborts with a message. */
#pragma once

#include "base/cleanup.h"
#include "base/macros.h"

void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull)); /* zeroed */
void *mem_realloc(void *p, size_t size) __attribute__((returns_nonnull));
char *mem_strdup(const char *s); /* NULL gives NULL */
char *mem_strndup(const char *s, size_t n);
char *mem_printf(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* For buffers of megabytes, not zeroed: on huge pages where the kernel has them, because touching
 * such a buffer for the first time costs more than filling it. *size is rounded up to what is
 * there. Freed with free(), or with mem_free_large(), which takes any heap memory and keeps one
 * such buffer for the next until mem_trim(). Any thread. */
enum { MEM_LARGE = 1024 * 1024 };
void *mem_alloc_large(size_t *size) __attribute__((returns_nonnull));
void mem_free_large(void *p);
/* Gives what is not needed back to the kernel. */
void mem_trim(void);

#define mem_new(type) ((type *)mem_alloc(sizeof(type)))
