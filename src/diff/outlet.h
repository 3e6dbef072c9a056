/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walking, hashing and compressing side by side: the caller fills a ring of buffers, one thread
 * compresses them into a descriptor, and another hashes them. One caller's thread.
 */
#pragma once

#include "diff/encode.h"
#include "spec/digest.h"

typedef struct Outlet Outlet;

/* The encoder stays the caller's. hash 0: nobody wants the digest. */
int outlet_start(Encoder *e, int hash, Outlet **ret, Err *err);
/* A TarSinkFn. Fails with what the encoder has failed with. */
int outlet_write(void *outlet, const void *p, size_t n, Err *err);
/* Waits until everything is compressed and written; *ret is "" without hash. */
int outlet_finish(Outlet *o, Digest *ret, uint64_t *ret_size, Err *err);
/* Ends the threads wherever they are: an encoder that waits for its descriptor is waited for. Takes
 * NULL. */
Outlet *outlet_free(Outlet *o);
DEFINE_CLEANUP(Outlet *, outlet_free)
