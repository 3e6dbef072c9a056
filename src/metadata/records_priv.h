/* SPDX-License-Identifier: Apache-2.0 */
/* Records as bytes, for those who look at all of them: check.c and rebuild.c. */
#pragma once

#include "api/lighter/store/v1/snapshots.pb-c.h"
#include "metadata/metadata.h"
#include "spec/digest.h"

enum { SHA256_BYTES = 32 };

typedef struct RecordKind {
        const char *what;
        const ProtobufCMessageDescriptor *desc; /* NULL: no message */
        size_t name;                            /* offset of the string that ends the key */
        int n_groups;                           /* parts of the key before it */
} RecordKind;

extern const RecordKind record_kinds[DB_TABLE_LAST + 1];

typedef struct Record {
        DbTable table;
        uint32_t ns, number; /* number: of a namespace's own record */
        const RecordKind *kind;
        size_t groups[2]; /* where each ends in the key */
        void *message;    /* in the arena */
        const char *name;
} Record;

/* Whether all it has is made from other records. */
static inline int record_is_index(DbTable table)
{
        return table == DB_SNAPSHOT_CHILDREN || table == DB_BACKEND_CHILDREN ||
               table == DB_BLOB_OWNERS;
}

/* NULL, or what is wrong with it: the end of a sentence. What was found out is in *ret all the
 * same; kind is NULL when the key is of no kind. */
const char *record_read(Arena *a, DbVal key, DbVal value, Record *ret);
/* The key of the entry by which others find a record that is whole: owner of a blob, child of a
 * snapshot. NULL when it has none. */
DbKey *record_index_key(DbKey *k, Arena *a, DbVal key, const Record *r);
/* What follows table and namespace, for people. */
const char *record_key_text(Arena *a, const void *key, size_t n);
/* The digest of a file, read from its start. */
int blob_hash(int fd, DigestAlg alg, Digest *ret, Err *err);
