/* SPDX-License-Identifier: Apache-2.0 */
/* /proc/PID/mountinfo, see proc_pid_mountinfo(5). Strings are unescaped and live in the arena. */
#pragma once

#include "base/arena.h"
#include "base/err.h"

typedef struct MountInfo {
        int id, parent;
        unsigned major, minor;
        const char *root; /* of the mount within its file system */
        const char *point;
        const char *options;  /* per mount */
        const char *optional; /* "shared:1 master:2", "" for none */
        const char *type;
        const char *source;
        const char *super_options;
} MountInfo;

/* Reads path (NULL: /proc/self/mountinfo), in the kernel's order. */
int mountinfo_read(Arena *a, const char *path, MountInfo **ret, size_t *ret_n, Err *err);
/* Parses text, which is overwritten. INVALID_ARGUMENT names the line. */
int mountinfo_parse(Arena *a, char *text, MountInfo **ret, size_t *ret_n, Err *err);
