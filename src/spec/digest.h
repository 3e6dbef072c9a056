/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content digests, "sha256:<64 hex>", and the running hash behind them (nettle).
 * https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests
 */
#pragma once

#include <nettle/sha2.h>
#include "base/err.h"

enum { DIGEST_TEXT_MAX = 136 };

typedef enum DigestAlg { DIGEST_NONE, DIGEST_SHA256, DIGEST_SHA384, DIGEST_SHA512 } DigestAlg;

typedef struct Digest {
        char text[DIGEST_TEXT_MAX]; /* "alg:hex"; "" for none */
} Digest;

/* INVALID_ARGUMENT. Only the algorithms above, lower-case hex of the right length. */
int digest_parse(const char *text, Digest *ret, Err *err);
DigestAlg digest_alg(const Digest *d);
const char *digest_alg_name(DigestAlg alg); /* "sha256" */
const char *digest_hex(const Digest *d);    /* the part after the colon */
int digest_eq(const Digest *a, const Digest *b);

typedef struct Hasher {
        DigestAlg alg;
        union {
                struct sha256_ctx sha256;
                struct sha512_ctx sha512; /* sha384 too */
        };
} Hasher;

void hasher_init(Hasher *h, DigestAlg alg);
void hasher_update(Hasher *h, const void *p, size_t n);
/* The digest so far; the hasher goes on. */
void hasher_digest(const Hasher *h, Digest *ret);

void digest_of(const void *p, size_t n, Digest *ret); /* sha256 */
