/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Typed growing arrays on the heap: `VEC(int) pids = {};`, VEC_PUSH(&pids, 7), pids.v[0], pids.n,
 * VEC_DONE(&pids). Elements are moved by realloc, so nobody keeps a pointer to one across a push.
 */
#pragma once

#include "base/mem.h"

#define VEC(type)              \
        struct {               \
                type *v;       \
                size_t n, cap; \
        }

#define VEC_RESERVE(vec, extra)                                                           \
        do {                                                                              \
                if ((vec)->n + (extra) > (vec)->cap) {                                    \
                        (vec)->cap = MAX((vec)->cap * 2, (vec)->n + (extra));             \
                        (vec)->cap = MAX((vec)->cap, (size_t)8);                          \
                        (vec)->v = mem_realloc((vec)->v, (vec)->cap * sizeof(*(vec)->v)); \
                }                                                                         \
        } while (0)

#define VEC_PUSH(vec, ...)                            \
        do {                                          \
                VEC_RESERVE(vec, 1);                  \
                (vec)->v[(vec)->n++] = (__VA_ARGS__); \
        } while (0)

#define VEC_POP(vec) ((vec)->v[--(vec)->n])

/* Removes one element, keeping the order of the rest. */
#define VEC_REMOVE(vec, i)                                         \
        do {                                                       \
                size_t at_ = (i);                                  \
                memmove(&(vec)->v[at_], &(vec)->v[at_ + 1],        \
                        ((vec)->n - at_ - 1) * sizeof(*(vec)->v)); \
                (vec)->n--;                                        \
        } while (0)

#define VEC_DONE(vec)                      \
        do {                               \
                free((vec)->v);            \
                (vec)->v = NULL;           \
                (vec)->n = (vec)->cap = 0; \
        } while (0)

#define VEC_FOREACH(item, vec) \
        for (__typeof__((vec)->v) item = (vec)->v; item < (vec)->v + (vec)->n; item++)
