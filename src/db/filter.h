/* SPDX-License-Identifier: Apache-2.0 */
/*
 * containerd's filters: a list of filters is ORed; the selectors of one, separated by commas, are
 * ANDed. An empty list, and a filter that is "", match everything.
 *
 *         selector = fieldpath [ ("==" | "!=" | "~=") value ]      without an operator: is it there
 *
 * Expressions of "~=" have RE2's syntax and run in time linear in text times expression, whoever
 * wrote them; one that does not compile matches nothing. A parsed filter is constant: any number of
 * threads may match with it.
 */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"
#include "base/macros.h"

typedef struct Filter Filter;

/* The value of a field, or NULL when it is not there; "labels.a.b" arrives as {"labels", "a", "b"}.
 * What it returns must live until the next call of it or the end of the match. */
typedef const char *(*FilterFieldFn)(void *ctx, const char *const *path, size_t n);

/* INVALID_ARGUMENT "filters: parse error: [before >|X|< after]: what: invalid argument". */
int filter_parse(const char *const *filters, size_t n, Filter **ret, Err *err);
Filter *filter_free(Filter *f); /* takes NULL, returns NULL */
DEFINE_CLEANUP(Filter *, filter_free)
/* 1 for everything without asking fn when filter_matches_all(). */
int filter_match(const Filter *f, FilterFieldFn fn, void *ctx);
int filter_matches_all(const Filter *f);
/* Whether a match is a handful of comparisons of top fields, whoever wrote the filter: what may be
 * asked where others wait. */
int filter_is_quick(const Filter *f);

/* Whether key is path[from..n-1] joined with dots: how a map's key is looked up. */
int filter_path_is(const char *const *path, size_t n, size_t from, const char *key);
