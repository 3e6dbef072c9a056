/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading tar: ustar, pax and GNU, with the same idea of what an archive means as Go's archive/tar,
 * which is what decides for containerd: which typeflags carry data, what a pax record overrides,
 * when an archive has ended. A library that reads more dialects gives no typeflag back, so an
 * unknown one could not be refused; it also costs a tenth of the time of a layer of small files.
 *
 * Bytes are pulled from a source in blocks of any size and handed on without a copy. One thread;
 * strings of an entry live until the next tar_next().
 */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "base/vec.h"

/* The next bytes of the stream, valid until the next call; *ret_n 0 at the end. */
typedef int (*TarSourceFn)(void *ctx, const uint8_t **ret, size_t *ret_n, Err *err);

typedef enum TarType {
        TAR_FILE = '0',
        TAR_LINK = '1',
        TAR_SYMLINK = '2',
        TAR_CHAR = '3',
        TAR_BLOCK = '4',
        TAR_DIR = '5',
        TAR_FIFO = '6',
        TAR_GLOBAL = 'g', /* a pax header for what follows; means nothing here */
} TarType;

typedef struct TarXattr {
        const char *name;
        const uint8_t *value;
        size_t n_value;
} TarXattr;

/* Where data lies in a sparse file; the rest is holes. */
typedef struct TarRegion {
        uint64_t offset, size;
} TarRegion;

typedef struct TarEntry {
        char type; /* a TarType or what else the header says */
        const char *name, *link;
        uint32_t mode; /* 07777 */
        int64_t uid, gid;
        uint64_t size;     /* of the file as it shall be, holes included */
        Time mtime, atime; /* atime is {} when the archive has none */
        uint32_t major, minor;
        const TarXattr *xattrs;
        size_t n_xattrs;
        int sparse;
} TarEntry;

typedef struct TarReader {
        TarSourceFn source;
        void *ctx;
        const uint8_t *chunk; /* what is left of the source's last answer */
        size_t n_chunk;
        int ended;                    /* the source has */
        uint64_t data_left, pad_left; /* of the entry in the stream */
        uint8_t block[512];

        Str pax, name, link; /* buffers of the entry's strings */
        VEC(TarXattr) xattrs;
        VEC(TarRegion) regions;
        size_t region;        /* next one of a sparse file */
        uint64_t region_done; /* bytes of it that were handed out */
        uint64_t sparse_pos;
        int sparse;
} TarReader;

void tar_reader_init(TarReader *t, TarSourceFn source, void *ctx);
void tar_reader_done(TarReader *t);

/* 1 with an entry, 0 at the end of the archive; skips what was not read of the last entry. UNKNOWN
 * "archive/tar: invalid tar header", "unexpected EOF"; RESOURCE_EXHAUSTED past a limit; the
 * source's errors. */
int tar_next(TarReader *t, TarEntry *ret, Err *err);
/* The next piece of the entry's data and its place in the file; *ret_n 0 at the end. */
int tar_data(TarReader *t, const uint8_t **ret, size_t *ret_n, uint64_t *ret_offset, Err *err);
