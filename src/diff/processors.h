/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stream processors: programs that the configuration names for media types, for example to decrypt
 * layers. Each reads what comes before it and writes what comes after it; they are as trusted as
 * the configuration is.
 */
#pragma once

#include "base/cleanup.h"
#include "base/proc.h"
#include "config/config.h"

enum { PROCESSORS_MAX = 8 };

/* What a client sends along for the processor of that id. */
typedef struct DiffPayload {
        const char *id;
        const void *bytes;
        size_t n;
} DiffPayload;

typedef struct Processors {
        const ConfigProcessor *v[PROCESSORS_MAX]; /* in the order in which they run */
        const char *accepts[PROCESSORS_MAX];      /* the media type that each one is given */
        size_t n;
        Proc procs[PROCESSORS_MAX];
        int stderr_fds[PROCESSORS_MAX];
        size_t running;
        int out; /* what the last one writes; -1: none runs */
} Processors;

/* Chooses those for a media type; *ret_type is what comes out of the last. A chain of more than
 * PROCESSORS_MAX fails with UNKNOWN. */
int processors_choose(Processors *p, const ConfigProcessor *all, size_t n, const char *media_type,
                      const char **ret_type, Err *err);
/* Starts them all, the first reading fd, which stays the caller's. UNKNOWN for a program that is
 * not there. */
int processors_start(Processors *p, int fd, const DiffPayload *payloads, size_t n_payloads,
                     Err *err);
/* After everything has been read with result r, or reading has failed: the first program's failure
 * if there is one, else r. */
int processors_finish(Processors *p, int r, Err *err);
/* Kills what still runs. Copes with {.out = -1}. */
void processors_done(Processors *p);
