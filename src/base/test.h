/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unit tests: foo_test.c beside foo.c, one binary per folder, TEST(name) { CHECK(...); }. A failed
 * CHECK prints where and leaves the test. The binary runs all tests, or those whose name contains
 * an argument, and closes with "N passed, N failed".
 */
#pragma once

#include <stdio.h>
#include "base/macros.h"

typedef struct TestCase {
        const char *name, *file;
        void (*fn)(void);
        struct TestCase *next;
} TestCase;

void test_register(TestCase *t);
void test_fail(const char *file, int line, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Says why and counts as skipped: what this machine cannot do. */
void test_skip(const char *why);
/* A fresh folder below $TMPDIR, removed after the test. */
const char *test_tmpdir(void);

#define TEST(name_)                                                                         \
        static void test_##name_(void);                                                     \
        __attribute__((constructor)) static void register_##name_(void)                     \
        {                                                                                   \
                static TestCase t = {.name = #name_, .file = __FILE__, .fn = test_##name_}; \
                test_register(&t);                                                          \
        }                                                                                   \
        static void test_##name_(void)

#define CHECK(cond)                                                 \
        do {                                                        \
                if (!(cond)) {                                      \
                        test_fail(__FILE__, __LINE__, "%s", #cond); \
                        return;                                     \
                }                                                   \
        } while (0)

#define CHECK_STR(got, want)                                                                  \
        do {                                                                                  \
                const char *got_ = (got), *want_ = (want);                                    \
                if (!str_eq(got_, want_)) {                                                   \
                        test_fail(__FILE__, __LINE__, "%s\n     got: %s\n    want: %s", #got, \
                                  got_ ? got_ : "(null)", want_ ? want_ : "(null)");          \
                        return;                                                               \
                }                                                                             \
        } while (0)

#define CHECK_INT(got, want)                                                                 \
        do {                                                                                 \
                long long got_ = (got), want_ = (want);                                      \
                if (got_ != want_) {                                                         \
                        test_fail(__FILE__, __LINE__, "%s: got %lld, want %lld", #got, got_, \
                                  want_);                                                    \
                        return;                                                              \
                }                                                                            \
        } while (0)
