/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing tar: ustar, and pax for what the old header cannot hold even with its name split. The
 * bytes are those of Go's archive/tar, so that a layer made here has the digest that it has
 * elsewhere. One thread.
 */
#pragma once

#include "diff/tar.h"

typedef int (*TarSinkFn)(void *ctx, const void *p, size_t n, Err *err);

typedef struct TarWriter {
        TarSinkFn sink;
        void *ctx;
        uint64_t data_left; /* of the entry that was begun */
        unsigned pad_left;
        Str pax;
} TarWriter;

void tar_writer_init(TarWriter *w, TarSinkFn sink, void *ctx);
void tar_writer_done(TarWriter *w);

/* The header; of a file, e->size bytes of data must follow. atime, sparse and the fraction of mtime
 * are left out. The sink's errors; INVALID_ARGUMENT for a device number that tar cannot hold. */
int tar_write_entry(TarWriter *w, const TarEntry *e, Err *err);
int tar_write_data(TarWriter *w, const void *p, size_t n, Err *err);
/* The two empty blocks. */
int tar_write_end(TarWriter *w, Err *err);
