/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker may ask of its parent, and on which folder. The folder is cloned as a mount of its
 * own, whose id nobody else has: a descriptor with that id lies in the folder, whoever sent it.
 * Parents act on descriptors only, never on a worker's paths; names are single components.
 */
#pragma once

#include "base/err.h"
#include "worker/message.h"

typedef struct Grant {
        int fd;         /* the folder, a detached mount; -1 while closed */
        uint64_t mount; /* its id */
        int overlay;    /* overlayfs' marks may be set */
        int *lowers;    /* folders to take attributes from, nearest first */
        size_t n_lowers;
} Grant;

/* lowers: "a:b:c" as overlay's lowerdir has it, or NULL. */
int grant_open(const char *dir, const char *lowers, int overlay, Grant *ret, Err *err);
void grant_done(Grant *g); /* copes with {.fd = -1} */

/* Each 0 or an errno value, what the worker is told. EPERM: not what it may ask for. */
int grant_xattr(const Grant *g, int fd, const char *name, const void *value, size_t n);
int grant_mknod(const Grant *g, int dir_fd, const WorkerMknodMsg *m);
int grant_implied(const Grant *g, int dir_fd, const char *path);
/* Whether a folder of overlayfs hides what is below it or stands for another folder: 1, 0; 1 also
 * when in doubt. */
int grant_is_opaque(const Grant *g, int dir_fd);
