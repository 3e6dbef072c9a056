/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshotter's records in the database: DB_BACKEND by key, and DB_BACKEND_CHILDREN, an empty
 * value for each child of a key, so that "has it children" is one look-up.
 */
#include "base/mem.h"
#include "base/vec.h"
#include "rpc/message.h"
#include "snapshots/snapshotter_priv.h"

static DbKey *record_key(DbKey *k, const char *name, const char *key)
{
        return db_key_name(db_key_group(db_key(k, DB_BACKEND, 0), name), key);
}

static DbKey *children_key(DbKey *k, const char *name, const char *parent)
{
        return db_key_group(db_key_group(db_key(k, DB_BACKEND_CHILDREN, 0), name), parent);
}

static Record *decode(DbTxn *txn, Arena *a, DbVal v, Err *err)
{
        ProtobufCMessage *m;

        if (message_unpack(a, &store__backend_snapshot__descriptor, v.data, v.n, &m, err) < 0) {
                db_fail(txn, DATA_LOSS, "a snapshot's record cannot be read: %.300s", err->msg);
                return NULL;
        }
        return (Record *)(void *)m;
}

Record *record_get(DbTxn *txn, Arena *a, const char *name, const char *key, Err *err)
{
        DbKey k;
        DbVal v;

        if (!db_get(txn, record_key(&k, name, key), &v))
                return NULL;
        return decode(txn, a, v, err);
}

void record_put(DbTxn *txn, Arena *a, const char *name, const Record *rec)
{
        size_t n;
        void *bytes = message_pack(a, rec, &n);
        DbKey k;

        db_put(txn, record_key(&k, name, rec->key), bytes, n);
        if (*rec->parent)
                db_put(txn, db_key_name(children_key(&k, name, rec->parent), rec->key), "", 0);
}

void record_del(DbTxn *txn, const char *name, const Record *rec)
{
        DbKey k;

        db_del(txn, record_key(&k, name, rec->key));
        if (*rec->parent)
                db_del(txn, db_key_name(children_key(&k, name, rec->parent), rec->key));
}

int record_has_children(DbTxn *txn, const char *name, const char *key)
{
        DbKey k;

        return db_any(txn, children_key(&k, name, key));
}

int record_walk(DbTxn *txn, Arena *a, const char *name, int (*fn)(void *ctx, const Record *rec),
                void *ctx, Err *err)
{
        DbCursor c CLEANUP(db_cursor_done) = {};
        DbKey prefix;
        int r;

        db_cursor_init(&c, txn, db_key_group(db_key(&prefix, DB_BACKEND, 0), name));
        while (db_cursor_next(&c)) {
                Record *rec = decode(txn, a, c.value, err);

                if (!rec)
                        break;
                r = fn(ctx, rec);
                if (r != 0)
                        return r;
        }
        return txn->failed;
}

int record_chain(DbTxn *txn, Arena *a, const char *name, const char *parent, uint64_t **ret,
                 size_t *ret_n, Err *err)
{
        VEC(uint64_t) ids = {};

        while (*parent) {
                Record *rec = record_get(txn, a, name, parent, err);

                if (!rec) {
                        VEC_DONE(&ids);
                        if (txn->failed)
                                return txn->failed;
                        return err_set(err, NOT_FOUND,
                                       "parent snapshot %s does not exist: not found", parent);
                }
                VEC_PUSH(&ids, rec->id);
                parent = rec->parent;
        }
        *ret = arena_memdup(a, ids.v, ids.n * sizeof(uint64_t));
        *ret_n = ids.n;
        VEC_DONE(&ids);
        return 0;
}

static Time time_of(const Google__Protobuf__Timestamp *t)
{
        return t ? (Time){.sec = t->seconds, .nsec = t->nanos} : TIME_YEAR1;
}

void record_to_info(Arena *a, const Record *rec, SnapshotInfo *ret)
{
        SnapshotLabel *labels = arena_array(a, SnapshotLabel, rec->n_labels);

        for (size_t i = 0; i < rec->n_labels; i++)
                labels[i] =
                        (SnapshotLabel){.key = rec->labels[i]->key, .value = rec->labels[i]->value};
        *ret = (SnapshotInfo){
                .kind = (SnapshotKind)rec->kind,
                .key = rec->key,
                .parent = rec->parent,
                .created = time_of(rec->created_at),
                .updated = time_of(rec->updated_at),
                .labels = labels,
                .n_labels = rec->n_labels,
        };
}

void record_set_labels(Arena *a, Record *rec, const SnapshotLabel *labels, size_t n)
{
        Store__BackendSnapshot__LabelsEntry **v =
                arena_array(a, Store__BackendSnapshot__LabelsEntry *, n);

        for (size_t i = 0; i < n; i++) {
                v[i] = message_make(a, store__backend_snapshot__labels_entry);
                v[i]->key = labels[i].key;
                v[i]->value = labels[i].value;
        }
        rec->labels = v;
        rec->n_labels = n;
}

static Google__Protobuf__Timestamp *time_pb(Arena *a, Time t)
{
        Google__Protobuf__Timestamp *pb = message_make(a, google__protobuf__timestamp);

        pb->seconds = t.sec;
        pb->nanos = t.nsec;
        return pb;
}

void record_touch(Arena *a, Record *rec)
{
        rec->updated_at = time_pb(a, time_now());
        if (!rec->created_at)
                rec->created_at = rec->updated_at;
}
