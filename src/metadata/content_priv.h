/* SPDX-License-Identifier: Apache-2.0 */
/* Between content.c (records of blobs) and ingests.c (how they come to be). */
#pragma once

#include "base/lock.h"
#include "base/map.h"
#include "metadata/content.h"

struct Blobs {
        Metadata *meta;
        ContentStore *store;
        int isolated;
        Lock lock;    /* LOCK_LEAF */
        Map expected; /* unsigned, by "<namespace>/<digest>": of ingests that are open */
};

int blob_not_found(const char *digest, Err *err);
/* NULL when the namespace has none (or the transaction failed). */
Content__Info *blob_find(MetaTxn *txn, const char *ns, const char *digest);
int blob_exists(MetaTxn *txn, const char *ns, const char *digest);
DbKey *blob_key(DbKey *k, uint32_t ns, const char *digest);
/* Only what is in the database. */
void blob_forget(MetaTxn *txn, uint32_t ns, const char *digest);
int blob_has_owner(DbTxn *txn, const char *digest);
/* Makes the record and queues the event. */
int blob_record(MetaTxn *txn, const char *ns, const Content__Info *info);
/* Removes the file unless somebody names or pins the blob. */
int blob_drop_file(Blobs *b, const Digest *d, Err *err);

/* Whether the ingest stands for a blob that is there already, with nothing to write. */
int ingest_is_virtual(const Ingest *in);
/* Whether an open ingest of the namespace is to become that content. Any thread, any time. */
int ingest_expected(Blobs *b, const char *ns, const char *digest);
/* The namespace of a store's ref, in the arena, and the ref as clients have it; NULL for another
 * form. */
char *ingest_split(Arena *a, const char *backend, const char **ret_ref);
