/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ttrpc frames: a ten byte header (length, stream, type, flags; big-endian) and at most 4 MiB of
 * data. A pure engine: bytes in, frames out, no sockets.
 * https://github.com/containerd/ttrpc/blob/main/PROTOCOL.md
 */
#pragma once

#include "base/limits.h"
#include "base/str.h"

enum { TTRPC_HEADER = 10 };
enum { TTRPC_REQUEST = 1, TTRPC_RESPONSE = 2, TTRPC_DATA = 3 };
enum { TTRPC_REMOTE_CLOSED = 1, TTRPC_REMOTE_OPEN = 2, TTRPC_NO_DATA = 4 };

typedef struct TtrpcFrame {
        uint32_t length; /* as announced; data is NULL when it is beyond the limit */
        uint32_t stream;
        uint8_t type, flags;
        const uint8_t *data; /* valid until the next call on the reader, or the end of the bytes
                                handed in */
} TtrpcFrame;

typedef struct TtrpcReader {
        uint8_t header[TTRPC_HEADER];
        uint8_t *data; /* grows with what has arrived, not with what was announced */
        size_t n_header, n_data, cap, skip;
        int skipping;
} TtrpcReader;

void ttrpc_reader_done(TtrpcReader *r);
/*
 * Takes bytes, at most up to the end of one frame; *ret_used is how many. 1: a frame is in *ret; 0:
 * more is needed; -1: out of memory, the connection cannot go on. A frame beyond the limit is read
 * and thrown away, and then handed out without data.
 */
int ttrpc_reader_feed(TtrpcReader *r, const void *bytes, size_t n, size_t *ret_used,
                      TtrpcFrame *ret);

void ttrpc_header_put(uint8_t header[TTRPC_HEADER], uint32_t length, uint32_t stream, uint8_t type,
                      uint8_t flags);
