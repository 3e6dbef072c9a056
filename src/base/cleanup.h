/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ownership in the declaration line: every local that owns something says how it is let go.
 *
 *         char *path CLEANUP(cleanup_free) = NULL;
 *         int fd CLEANUP(cleanup_fd) = -1;
 *         Foo *foo CLEANUP(foo_freep) = NULL;      with DEFINE_CLEANUP(Foo *, foo_free)
 *
 * Ownership is handed over with TAKE(ptr) and TAKE_FD(fd), which leave the local empty.
 */
#pragma once

#include <stdlib.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* Defines fn##p(), which calls fn on the variable's value; fn must take NULL. */
#define DEFINE_CLEANUP(type, fn)                                  \
        static inline __attribute__((unused)) void fn##p(type *p) \
        {                                                         \
                fn(*p);                                           \
        }

static inline void cleanup_free(void *p)
{
        free(*(void **)p);
}

#define TAKE(x)                             \
        ({                                  \
                __typeof__(x) taken_ = (x); \
                (x) = NULL;                 \
                taken_;                     \
        })

#define TAKE_FD(x)                \
        ({                        \
                int taken_ = (x); \
                (x) = -1;         \
                taken_;           \
        })
