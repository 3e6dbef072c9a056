/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Regular expressions in RE2's syntax that answer one question, whether an expression matches
 * anywhere in a text, in time linear in the text's length times the expression's size: whoever
 * writes them may be hostile.
 *
 * Left out: Unicode classes (\p{..}), and (?i) folds the letters of ASCII only.
 */
#pragma once

#include "base/cleanup.h"

typedef struct Regex Regex;

/* 0, or -1: malformed, or larger than REGEX_PROGRAM_MAX steps once repetitions are written out. */
int regex_compile(const char *expr, Regex **ret);
int regex_search(const Regex *re, const char *text); /* 1 or 0 */
Regex *regex_free(Regex *re);                        /* takes NULL, returns NULL */
DEFINE_CLEANUP(Regex *, regex_free)

/* How many steps it has become: what a character of text costs at most. */
int regex_size(const Regex *re);

enum { REGEX_PROGRAM_MAX = 5000 };
