/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a namespace calls its blobs, over the content store that all namespaces share. A blob is a
 * namespace's when it has a record there; the file goes when the last record goes. An ingest is a
 * namespace's by its backend ref,
 * "<namespace>/1/<ref>", and needs no record.
 *
 * Functions open their own transactions: the caller must hold none. All block on disk. Any thread;
 * an Ingest is used by one thread at a time. Messages they give back live in the arena.
 */
#pragma once

#include "api/containerd/services/content/v1/content.pb-c.h"
#include "content/store.h"
#include "metadata/metadata.h"

typedef struct Blobs Blobs;
typedef struct Ingest Ingest;

/* Who is asking. */
typedef struct MetaCaller {
        const char *ns;
        const char *lease; /* NULL for none: what the call makes is held by it */
} MetaCaller;

/* isolated: the other value of content_sharing_policy. Both are borrowed and outlive it. */
Blobs *blobs_new(Metadata *m, ContentStore *store, int isolated);
Blobs *blobs_free(Blobs *b); /* takes NULL, returns NULL */

/* NOT_FOUND "content D: not found". */
int blobs_info(Blobs *b, const char *ns, Arena *a, const char *digest, Content__Info **ret,
               Err *err);
/* Only labels; an empty mask replaces them. INVALID_ARGUMENT for another path. */
int blobs_update(Blobs *b, const char *ns, Arena *a, const Content__Info *info,
                 const char *const *paths, size_t n_paths, Content__Info **ret, Err *err);
/* fn gets each stored Content__Info that matches, encoded; see MetaListFn. */
int blobs_list(Blobs *b, const char *ns, Arena *a, const char *const *filters, size_t n_filters,
               MetaListFn fn, void *ctx, Err *err);
/* The record, and the file with it unless somebody else has a record. */
int blobs_delete(Blobs *b, const MetaCaller *who, Arena *a, const char *digest, Err *err);
/* For reading. NOT_FOUND if it is not this namespace's. */
int blobs_open(Blobs *b, const char *ns, Arena *a, const char *digest, int *ret_fd,
               uint64_t *ret_size, Err *err);

typedef struct IngestSpec {
        MetaCaller who;
        const char *ref;
        const char *expected; /* NULL or "" when unknown */
        int64_t total;        /* 0 when unknown */
} IngestSpec;

/* ALREADY_EXISTS if the namespace has expected (the lease holds it then), UNAVAILABLE while the ref
 * is somebody else's, NOT_FOUND "lease does not exist". */
int ingest_open(Blobs *b, const IngestSpec *spec, Arena *a, Ingest **ret, Err *err);
Ingest *ingest_close(Ingest *in); /* the ingest stays; takes NULL, returns NULL */
int ingest_write(Ingest *in, const void *data, size_t n, Err *err);
int ingest_truncate(Ingest *in, Err *err); /* to 0 */
int64_t ingest_offset(const Ingest *in);
void ingest_status(const Ingest *in, ContentStatus *ret); /* ref as the client has it, borrowed */
void ingest_digest(const Ingest *in, Digest *ret);        /* of what is written */
/* Whether the namespace has this digest (by now). */
int ingest_exists(Ingest *in, Arena *a, const char *digest, int *ret, Err *err);

typedef struct IngestCommit {
        int64_t size;         /* 0: any */
        const char *expected; /* NULL or "": any */
        Content__Info__LabelsEntry **labels;
        size_t n_labels;
} IngestCommit;

/* Durable when it returns. ALREADY_EXISTS if the namespace has the blob (nothing but the lease
 * changes then), FAILED_PRECONDITION for a wrong size or digest, INVALID_ARGUMENT for a label.
 * *ret_digest also with ALREADY_EXISTS. Only close is legal afterwards. */
int ingest_commit(Ingest *in, Arena *a, const IngestCommit *what, Digest *ret_digest, Err *err);

/* Open or left behind. NOT_FOUND "reference R: not found". */
int ingests_status(Blobs *b, const char *ns, Arena *a, const char *ref, Content__Status **ret,
                   Err *err);
int ingests_list(Blobs *b, const char *ns, Arena *a, const char *const *filters, size_t n_filters,
                 Content__Status ***ret, size_t *ret_n, Err *err);
int ingests_abort(Blobs *b, const MetaCaller *who, Arena *a, const char *ref, Err *err);

DEFINE_CLEANUP(Blobs *, blobs_free)
DEFINE_CLEANUP(Ingest *, ingest_close)
