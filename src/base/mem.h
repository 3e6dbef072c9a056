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

#define mem_new(type) ((type *)mem_alloc(sizeof(type)))
