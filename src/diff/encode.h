/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compression: gzip by ISA-L where it exists, else zlib; zstd; or the bytes as they are. Writes a
 * descriptor, one thread.
 */
#pragma once

#include "base/cleanup.h"
#include "diff/decode.h"

typedef struct Encoder Encoder;

/* The fd stays the caller's. gzip chooses the library, for tests. */
Encoder *encoder_new(int fd, WorkerFormat format, DecodeGzip gzip);
Encoder *encoder_free(Encoder *e); /* takes NULL, returns NULL */
DEFINE_CLEANUP(Encoder *, encoder_free)

/* The class of errno for what cannot be written. */
int encoder_write(Encoder *e, const void *p, size_t n, Err *err);
/* The end of the stream; nothing may be written after it. */
int encoder_finish(Encoder *e, Err *err);
/* Bytes that went to the descriptor. */
uint64_t encoder_written(const Encoder *e);
