/* SPDX-License-Identifier: Apache-2.0 */
/* SipHash-2-4 keyed with a random seed of this process: for tables, never for stored data. */
#pragma once

#include "base/macros.h"

uint64_t hash_bytes(const void *p, size_t n);
uint64_t hash_str(const char *s);
/* n random bytes from getrandom(2). */
void random_bytes(void *p, size_t n);
/* n characters of [a-z0-9] and a NUL; buf holds n + 1. */
void random_name(char *buf, size_t n);
