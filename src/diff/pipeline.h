/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decompression, hashing and writing files side by side: a thread fills a ring of buffers, a second
 * hashes them, and the caller reads them. One caller's thread.
 */
#pragma once

#include "diff/decode.h"
#include "spec/digest.h"

typedef struct Pipeline Pipeline;

/* Reads the decoder, which stays the caller's, to its end or to max_bytes of output
 * (RESOURCE_EXHAUSTED then). */
int pipeline_start(Decoder *d, uint64_t max_bytes, Pipeline **ret, Err *err);
/* The next piece, valid until the next call; *ret_n 0 at the end. A TarSourceFn. */
int pipeline_next(void *pipeline, const uint8_t **ret, size_t *ret_n, Err *err);
/* Reads what nobody has read, to the end, and gives digest and size of the whole. */
int pipeline_finish(Pipeline *p, Digest *ret, uint64_t *ret_size, Err *err);
/* Ends the threads wherever they are: a decoder that waits for its descriptor is waited for. Takes
 * NULL. */
Pipeline *pipeline_free(Pipeline *p);
DEFINE_CLEANUP(Pipeline *, pipeline_free)
