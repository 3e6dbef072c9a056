/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blobs over the wire. A download calls back for each chunk; an upload is one Write stream: the
 * ingest stays when it is freed before its commit, so that a later upload under the same reference
 * goes on.
 */
#pragma once

#include "client/conn.h"
#include "spec/digest.h"

enum { BLOB_CHUNK = 1024 * 1024 };

/* NOT_FOUND and what write() returns. */
int blob_read(Client *c, const char *digest,
              int (*write)(void *ctx, const void *p, size_t n, Err *err), void *ctx, Err *err);
/* A whole document into the arena, NUL-terminated; RESOURCE_EXHAUSTED beyond max. The bytes are
 * checked against the digest: DATA_LOSS. */
int blob_load(Client *c, Arena *a, const char *digest, size_t max, char **ret, size_t *ret_len,
              Err *err);
/* One label; "" removes it. */
int blob_label(Client *c, const char *digest, const char *key, const char *value, Err *err);

typedef struct BlobUpload BlobUpload;
typedef struct BlobLabel {
        const char *key, *value;
} BlobLabel;

/* Starts at offset 0 whatever the ingest has. ALREADY_EXISTS when the namespace has the expected
 * digest; UNAVAILABLE while somebody else writes it. total 0 and expected "" mean unknown. */
int blob_upload_open(Client *c, const char *ref, int64_t total, const char *expected,
                     BlobUpload **ret, Err *err);
int blob_upload_write(BlobUpload *u, const void *p, size_t n, Err *err);
/* ALREADY_EXISTS */
int blob_upload_commit(BlobUpload *u, int64_t total, const char *expected, const BlobLabel *labels,
                       size_t n_labels, Err *err);
/* What the daemon last said the digest of its bytes is. */
const char *blob_upload_digest(const BlobUpload *u);
BlobUpload *blob_upload_free(BlobUpload *u); /* takes NULL, returns NULL */

static inline void blob_upload_freep(BlobUpload **u)
{
        blob_upload_free(*u);
}
