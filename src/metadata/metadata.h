/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata store: what a namespace contains, as records in the database. One transaction
 * changes any number of records of any kind and carries the events about it, which are published
 * when it is durable, in the order of commits. Files beside this one give each kind its rules:
 * namespaces.h, images.h, containers.h, leases.h, content.h, snapshots.h.
 *
 *         MetaTxn txn CLEANUP(meta_txn_end) = {};           aborts unless committed
 *         r = meta_begin_rw(meta, &txn, arena, err);
 *         if (r < 0)
 *                 return r;
 *         containers_create(&txn, ns, container);           ALREADY_EXISTS sticks in txn
 *         meta_event(&txn, ns, "/containers/create", &event);
 *         return meta_commit(&txn);                         durable and published; nothing fails
 * after it
 *
 * Errors stick as db/db.h has it: functions with a MetaTxn do nothing once it has failed and return
 * what sticks. Their lookups answer NULL or 0. A record's value is the wire message, encoded, so
 * that lists are copied and not decoded; MetaTxn.arena (the call's) holds what is decoded.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include "api/google/protobuf/timestamp.pb-c.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "db/db.h"
#include "db/filter.h"
#include "events/exchange.h"

typedef struct Metadata Metadata;
typedef struct MetaEvent MetaEvent;

/* Both are borrowed and outlive it; ex may be NULL: nobody listens. */
Metadata *metadata_new(DbEnv *db, Exchange *ex);
Metadata *metadata_free(Metadata *m); /* takes NULL, returns NULL */
DbEnv *metadata_db(Metadata *m);

typedef struct MetaTxn { /* zero-initialise */
        DbTxn db;        /* for those who keep records of their own */
        Metadata *meta;
        Arena *arena;
        Err *err;
        MetaEvent *events, **events_tail;
        char ns[80]; /* the namespace that was looked up last, and its number */
        uint32_t ns_number;
        int dirty; /* something was deleted that may have kept others: see meta_dirty() */
        int quiet; /* of collection itself */
} MetaTxn;

int meta_begin_ro(Metadata *m, MetaTxn *txn, Arena *a, Err *err);
int meta_begin_rw(Metadata *m, MetaTxn *txn, Arena *a, Err *err);
/* For a transaction that only deletes: works on a full disk. */
int meta_begin_free(Metadata *m, MetaTxn *txn, Arena *a, Err *err);
int meta_commit(MetaTxn *txn);
void meta_txn_end(MetaTxn *txn);
#define meta_fail(txn, code, ...) db_fail_at(&(txn)->db, code, __FILE__, __LINE__, __VA_ARGS__)
static inline int meta_failed(const MetaTxn *txn) /* 0, or what sticks */
{
        return txn->db.failed;
}

/* What others are kept by goes: once it is durable, collection hears of more than a change. */
static inline void meta_dirty(MetaTxn *txn)
{
        txn->dirty = 1;
}

/* Queues an event; the message is encoded at once, its descriptor gives the type. Several go out in
 * this order. */
void meta_event(MetaTxn *txn, const char *ns, const char *topic, const void *message);

/* ---- namespaces as numbers: the second part of a key ---- */

/* The number of a namespace, or 0 when there is no such namespace (then it has no records either).
 */
uint32_t meta_ns_find(MetaTxn *txn, const char *ns);
/* The same for who is about to write into it: makes the namespace. 0 only when failed. */
uint32_t meta_ns_ensure(MetaTxn *txn, const char *ns);

/* ---- records that are messages ---- */

/* Decoded into the arena, or NULL: not there (or failed). DATA_LOSS sticks for what does not
 * decode. */
void *meta_get(MetaTxn *txn, const DbKey *key, const ProtobufCMessageDescriptor *desc);
void *meta_decode(MetaTxn *txn, DbVal value, const ProtobufCMessageDescriptor *desc);
void meta_put(MetaTxn *txn, const DbKey *key, const void *message);
/* 1, or 0: there was one (or failed). */
int meta_put_new(MetaTxn *txn, const DbKey *key, const void *message);

/* What lists need to know of a kind of record. */
typedef struct MetaKind {
        const ProtobufCMessageDescriptor *desc;
        FilterFieldFn field; /* its ctx is the decoded message ... */
        uint64_t skip;       /* ... in which the fields with these numbers (bit n: number n) may be
                                missing */
} MetaKind;

/*
 * Walks the records below prefix that match, in order of their names, and hands the stored bytes to
 * fn; without filters nothing is decoded, with them only what the kind's fields need. fn returns 0
 * to go on, 1 to stop, -code (err set) to fail. 0, or -code.
 */
typedef int (*MetaListFn)(void *ctx, DbVal stored);
int meta_list_kind(MetaTxn *txn, const DbKey *prefix, const MetaKind *kind, const Filter *filter,
                   MetaListFn fn, void *ctx);
/* The same for a kind that skips nothing. */
int meta_list(MetaTxn *txn, const DbKey *prefix, const ProtobufCMessageDescriptor *desc,
              const Filter *filter, FilterFieldFn field, MetaListFn fn, void *ctx);
/* A stored record without the fields that the kind skips. NULL as meta_decode(). */
void *meta_decode_kind(MetaTxn *txn, const MetaKind *kind, DbVal stored);
/* Whether one stored record matches: 1, 0 or -code. */
int meta_match(MetaTxn *txn, const MetaKind *kind, const Filter *filter, DbVal stored);
/* A MetaListFn whose ctx is MetaListOut: appends the record as a repeated message field of a list
 * response. */
typedef struct MetaListOut {
        Str bytes;
        unsigned field; /* its number, 1 to 15 */
} MetaListOut;
int meta_list_append(void *ctx, DbVal stored);
static inline void meta_list_out_done(MetaListOut *out)
{
        str_done(&out->bytes);
}

/* ---- maps, masks and times of wire messages ---- */

/* Every ...LabelsEntry of the API has this shape: a message with key and value. */
typedef struct LabelEntry {
        ProtobufCMessage base;
        const char *key, *value;
} LabelEntry;

/* INVALID_ARGUMENT "WHAT: label key and value length ...: invalid argument". entries as the message
 * has them. */
int labels_check(const void *entries, size_t n, const char *what, Err *err);
/* In order of keys, without those whose value is empty, of several with a key the last; in place.
 */
void labels_normalise(void *entries, size_t *n);
/* NULL when there is no such key. */
const char *labels_find(const void *entries, size_t n, const char *key);
/* Sets one key; NULL or "" removes it. *entries is replaced by a longer array in the arena where
 * needed. */
void labels_set(Arena *a, void *entries, size_t *n, const ProtobufCMessageDescriptor *entry_desc,
                const char *key, const char *value);
/* What a filter's path means, from its part `from` on ("labels.a.b" from 1); for FilterFieldFn. */
const char *labels_field(const void *entries, size_t n, const char *const *path, size_t n_path,
                         size_t from);
/* PREFIX of "labels.KEY" is "labels."; the key, or NULL when the path is another. */
const char *mask_key(const char *path, const char *prefix);
/* Each path of a mask walks the map that it changes, so both together are limited: 0, or
 * RESOURCE_EXHAUSTED sticks, naming the object. entries: of the old and the new maps together. */
int mask_check(MetaTxn *txn, size_t n_paths, size_t n_entries, const char *name);
/* Takes over what the paths of a mask name, where only labels may change; no path means all of
 * them. to: a pointer to the array. Returns the path that names something else, or says what is too
 * much, or NULL. */
const char *labels_mask(Arena *a, void *to, size_t *n_to, const void *from, size_t n_from,
                        const ProtobufCMessageDescriptor *entry_desc, const char *const *paths,
                        size_t n_paths);

/* A google.protobuf.Timestamp in the arena; to and from base/clock.h. */
Google__Protobuf__Timestamp *time_to_pb(Arena *a, Time t);
Time time_from_pb(const Google__Protobuf__Timestamp *t); /* NULL: TIME_YEAR1 */

/* ---- collection, and what else is removed in the background ---- */

/* What metadata/gc.h plugs in: collect() as metadata_collect(); note() after each durable change,
 * on the thread that made it, and must not block. One; on NULL there is none. */
typedef struct MetaCollection {
        void (*note)(void *ctx, int dirty);
        void (*collect)(void *ctx, void (*done)(void *arg, int r), void *arg);
        void *ctx;
} MetaCollection;
void metadata_set_collection(Metadata *m, const MetaCollection *c);

/* Calls done(arg) once, on any thread and possibly before it returns, when everything whose record
 * was gone before this call is gone from disk as well. */
typedef void (*MetaSyncFn)(void *ctx, void (*done)(void *arg), void *arg);
/* While plugins start, before calls are served. */
void metadata_add_sync(Metadata *m, MetaSyncFn fn, void *ctx);
/* done(arg) once, when all of them are through. Does not block. */
void metadata_sync(Metadata *m, void (*done)(void *arg), void *arg);
/* done(arg, r) once, on any thread, when everything that nothing refers to now is gone, records and
 * files; r: 0, or -code when that failed. Does not block. Without a collection it is
 * metadata_sync(). */
void metadata_collect(Metadata *m, void (*done)(void *arg, int r), void *arg);
