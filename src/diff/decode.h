/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decompression: gzip by ISA-L where it exists, else zlib; zstd; or the bytes as they are. Reads a
 * descriptor, one thread. Errors are worded as Go's libraries word them: they reach clients of
 * containerd.
 */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"
#include "worker/message.h"

typedef struct Decoder Decoder;

typedef enum DecodeGzip { DECODE_GZIP_BEST, DECODE_GZIP_ZLIB } DecodeGzip;

/* The fd stays the caller's. gzip chooses the library, for tests. */
Decoder *decoder_new(int fd, WorkerCodec codec, DecodeGzip gzip);
Decoder *decoder_free(Decoder *d); /* takes NULL, returns NULL */
DEFINE_CLEANUP(Decoder *, decoder_free)

/* Fills buf as far as the stream goes: *ret_n < n only at its end. UNKNOWN for a broken stream:
 * "unexpected EOF", "gzip: invalid checksum", ...; RESOURCE_EXHAUSTED for a zstd window that is too
 * large. */
int decoder_read(Decoder *d, void *buf, size_t n, size_t *ret_n, Err *err);
