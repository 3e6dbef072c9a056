/* SPDX-License-Identifier: Apache-2.0 */
/* Between content.c (records of blobs) and ingests.c (how they come to be). */
#pragma once

#include "metadata/content.h"

struct Blobs {
        Metadata *meta;
        ContentStore *store;
        int isolated;
};

int blob_not_found(const char *digest, Err *err);
/* NULL when the namespace has none (or the transaction failed). */
Content__Info *blob_find(MetaTxn *txn, const char *ns, const char *digest);
int blob_exists(MetaTxn *txn, const char *ns, const char *digest);
/* Makes the record and queues the event. */
int blob_record(MetaTxn *txn, const char *ns, const Content__Info *info);
/* Removes the file unless somebody names or pins the blob. */
int blob_drop_file(Blobs *b, const Digest *d, Err *err);

/* Whether the ingest stands for a blob that is there already, with nothing to write. */
int ingest_is_virtual(const Ingest *in);
