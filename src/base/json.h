/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and building JSON with jansson under our limits: size, depth, no duplicate keys. Integers
 * up to 2^64-1 are exact: a number beyond int64 that is exactly 18446744073709551615 is read as
 * such (how specs write an unlimited rlimit), any other inexact number is refused by its path.
 *
 * A local document is declared `json_t *j CLEANUP(json_decrefp) = NULL;`, jansson's own.
 *
 * Readers: json_get_*() look a member up, leave *ret alone when it is absent or null, and answer
 * INVALID_ARGUMENT naming the member when its type is wrong. Borrowed strings live as long as the
 * document.
 */
#pragma once

#include <jansson.h>
#include "base/cleanup.h"
#include "base/err.h"

/* INVALID_ARGUMENT with line and column; what names the document in the message. */
int json_read(const char *text, size_t n, size_t max, const char *what, json_t **ret, Err *err);

int json_get_str(const json_t *obj, const char *key, const char **ret, Err *err);
int json_get_i64(const json_t *obj, const char *key, int64_t *ret, Err *err);
int json_get_bool(const json_t *obj, const char *key, int *ret, Err *err);
int json_get_obj(const json_t *obj, const char *key, const json_t **ret, Err *err);
int json_get_arr(const json_t *obj, const char *key, const json_t **ret, Err *err);

/* An exact integer beyond int64 in a document being built. */
json_t *json_u64(uint64_t n);
/* Compact text on the heap, keys in insertion order. */
char *json_text(const json_t *j);
