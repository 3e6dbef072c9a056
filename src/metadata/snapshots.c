/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of snapshots: their records, and what is read from them. A record is the client's view and
 * the backend key; kind and the snapshotter's own labels come from the snapshotter in the same
 * transaction.
 *
 * The number in a backend key counts per namespace and snapshotter. It is counted in memory,
 * because it is needed before the write transaction, and written with whatever that transaction
 * records.
 */
#include "metadata/snapshots_priv.h"

#include <endian.h>
#include "base/lock.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/vec.h"
#include "rpc/message.h"

#define LABEL_PREFIX "containerd.io/snapshot/"

struct Snapshots {
        Metadata *meta;
        VEC(Snapshotter *) list;
        Lock lock;    /* LOCK_LEAF */
        Map counters; /* uint64_t, by "<namespace>/<snapshotter>" */
};

Snapshots *snapshots_new(Metadata *m)
{
        Snapshots *s = mem_new(Snapshots);

        s->meta = m;
        lock_init(&s->lock, LOCK_LEAF);
        return s;
}

Snapshots *snapshots_free(Snapshots *s)
{
        if (!s)
                return NULL;
        MAP_FOREACH (slot, &s->counters)
                free(slot->value);
        map_done(&s->counters);
        VEC_DONE(&s->list);
        lock_done(&s->lock);
        free(s);
        return NULL;
}

static void sync_snapshotter(void *ctx, void (*done)(void *arg), void *arg)
{
        snapshotter_sync(ctx, done, arg);
}

void snapshots_add(Snapshots *s, Snapshotter *sn)
{
        VEC_PUSH(&s->list, sn);
        metadata_add_sync(s->meta, sync_snapshotter, sn);
}

Snapshotter *snapshots_find(Snapshots *s, const char *snapshotter)
{
        VEC_FOREACH (sn, &s->list)
                if (str_eq(snapshotter_name(*sn), snapshotter))
                        return *sn;
        return NULL;
}

int snapshot_where(Snapshots *s, const char *ns, const char *snapshotter, Where *ret, Err *err)
{
        *ret = (Where){.s = s, .meta = s->meta, .ns = ns, .sn = snapshots_find(s, snapshotter)};
        if (!ret->sn)
                return err_set(err, INVALID_ARGUMENT,
                               "snapshotter not loaded: %s: invalid argument", snapshotter);
        return 0;
}

/* ---- records ---- */

static DbKey *names_key(DbKey *k, MetaTxn *txn, const Where *w)
{
        return db_key_group(db_key(k, DB_SNAPSHOTS, meta_ns_find(txn, w->ns)),
                            snapshotter_name(w->sn));
}

static DbKey *children_key(DbKey *k, MetaTxn *txn, const Where *w, const char *parent)
{
        db_key_group(db_key(k, DB_SNAPSHOT_CHILDREN, meta_ns_find(txn, w->ns)),
                     snapshotter_name(w->sn));
        return db_key_group(k, parent);
}

SnapshotName *snapshot_find(MetaTxn *txn, const Where *w, const char *key)
{
        DbKey k;

        if (!meta_ns_find(txn, w->ns))
                return NULL;
        return meta_get(txn, db_key_name(names_key(&k, txn, w), key), &store__snapshot__descriptor);
}

static int not_there(const char *key, Err *err)
{
        return err_set(err, NOT_FOUND, "snapshot %s does not exist: not found", key);
}

int snapshot_get(MetaTxn *txn, const Where *w, const char *key, SnapshotName **ret, Err *err)
{
        *ret = snapshot_find(txn, w, key);
        if (meta_failed(txn))
                return meta_failed(txn);
        return *ret ? 0 : not_there(key, err);
}

void snapshot_put(MetaTxn *txn, const Where *w, const SnapshotName *rec)
{
        DbKey k;

        meta_put(txn, db_key_name(names_key(&k, txn, w), rec->info->name), rec);
        if (*rec->info->parent)
                db_put(&txn->db,
                       db_key_name(children_key(&k, txn, w, rec->info->parent), rec->info->name),
                       "", 0);
}

void snapshot_del(MetaTxn *txn, const Where *w, const SnapshotName *rec)
{
        DbKey k;

        db_del(&txn->db, db_key_name(names_key(&k, txn, w), rec->info->name));
        if (*rec->info->parent)
                db_del(&txn->db,
                       db_key_name(children_key(&k, txn, w, rec->info->parent), rec->info->name));
}

int snapshot_has_children(MetaTxn *txn, const Where *w, const char *key)
{
        DbKey k;

        return db_any(&txn->db, children_key(&k, txn, w, key));
}

/* ---- backend keys ---- */

static DbKey *counter_key(DbKey *k, MetaTxn *txn, const Where *w)
{
        return db_key_name(
                db_key_group(db_key(k, DB_SCHEMA, meta_ns_find(txn, w->ns)), "snapshot-keys"),
                snapshotter_name(w->sn));
}

static uint64_t stored_number(MetaTxn *txn, const Where *w, DbKey *k)
{
        uint64_t n;
        DbVal v;

        if (!db_get(&txn->db, counter_key(k, txn, w), &v) || v.n != sizeof(n))
                return 0;
        memcpy(&n, v.data, sizeof(n));
        return be64toh(n);
}

uint64_t snapshot_next_number(MetaTxn *txn, const Where *w)
{
        uint64_t stored = 0, *counter, n;
        char *name = arena_printf(txn->arena, "%s/%s", w->ns, snapshotter_name(w->sn));
        DbKey k;

        if (meta_ns_find(txn, w->ns))
                stored = stored_number(txn, w, &k);
        lock_take(&w->s->lock);
        counter = map_find(&w->s->counters, name);
        if (!counter) {
                counter = mem_new(uint64_t);
                map_put(&w->s->counters, name, counter);
        }
        n = *counter = MAX(*counter, stored) + 1;
        lock_drop(&w->s->lock);
        return n;
}

void snapshot_keep_number(MetaTxn *txn, const Where *w, uint64_t number)
{
        uint64_t n = htobe64(number);
        DbKey k;

        if (stored_number(txn, w, &k) < number)
                db_put(&txn->db, &k, &n, sizeof(n));
}

SnapshotLabel *snapshot_backend_labels(Arena *a, Snapshots__Info__LabelsEntry *const *labels,
                                       size_t n, size_t *ret_n)
{
        SnapshotLabel *out = arena_array(a, SnapshotLabel, n);

        *ret_n = 0;
        for (size_t i = 0; i < n; i++)
                if (str_starts(labels[i]->key, LABEL_PREFIX) || str_eq(labels[i]->key, LABEL_REF))
                        out[(*ret_n)++] =
                                (SnapshotLabel){.key = labels[i]->key, .value = labels[i]->value};
        return out;
}

/* ---- reading and labels ---- */

/* What the snapshotter knows, with our name, parent, times, and our labels over its own. */
static int make_info(MetaTxn *txn, const Where *w, Arena *a, const SnapshotName *rec,
                     Snapshots__Info **ret, Err *err)
{
        Snapshots__Info *info = message_dup(a, rec->info);
        SnapshotInfo backend;
        int r;

        r = snapshotter_stat(w->sn, &txn->db, a, rec->backend, &backend, err);
        if (r < 0)
                return r;
        info->kind = (Snapshots__Kind)backend.kind;
        for (size_t i = 0; i < backend.n_labels; i++)
                if (!labels_find(info->labels, info->n_labels, backend.labels[i].key))
                        labels_set(a, &info->labels, &info->n_labels,
                                   &snapshots__info__labels_entry__descriptor,
                                   backend.labels[i].key, backend.labels[i].value);
        *ret = info;
        return 0;
}

int snapshots_stat(Snapshots *s, const char *ns, Arena *a, const char *snapshotter, const char *key,
                   Snapshots__Info **ret, Err *err)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        SnapshotName *rec = NULL;
        Where w;
        int r;

        r = snapshot_where(s, ns, snapshotter, &w, err);
        if (r == 0)
                r = meta_begin_ro(s->meta, &txn, a, err);
        if (r == 0)
                r = snapshot_get(&txn, &w, key, &rec, err);
        return r < 0 ? r : make_info(&txn, &w, a, rec, ret, err);
}

int snapshots_mounts(Snapshots *s, const char *ns, Arena *a, const char *snapshotter,
                     const char *key, MountList *ret, Err *err)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        SnapshotName *rec = NULL;
        Where w;
        int r;

        r = snapshot_where(s, ns, snapshotter, &w, err);
        if (r == 0)
                r = meta_begin_ro(s->meta, &txn, a, err);
        if (r == 0)
                r = snapshot_get(&txn, &w, key, &rec, err);
        return r < 0 ? r : snapshotter_mounts(w.sn, &txn.db, a, rec->backend, ret, err);
}

int snapshots_usage(Snapshots *s, const char *ns, Arena *a, const char *snapshotter,
                    const char *key, SnapshotUsage *ret, Err *err)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        SnapshotName *rec = NULL;
        Where w;
        int r;

        r = snapshot_where(s, ns, snapshotter, &w, err);
        if (r == 0)
                r = meta_begin_ro(s->meta, &txn, a, err);
        if (r == 0)
                r = snapshot_get(&txn, &w, key, &rec, err);
        meta_txn_end(&txn);
        return r < 0 ? r : snapshotter_usage(w.sn, rec->backend, ret, err);
}

static int apply_mask(Arena *a, Snapshots__Info *to, const Snapshots__Info *from,
                      const char *const *paths, size_t n_paths, Err *err)
{
        const char *other = labels_mask(a, &to->labels, &to->n_labels, from->labels, from->n_labels,
                                        &snapshots__info__labels_entry__descriptor, paths, n_paths);

        if (other)
                return err_set(err, INVALID_ARGUMENT,
                               "cannot update \"%s\" field on snapshot \"%s\": invalid argument",
                               other, to->name);
        return labels_check(to->labels, to->n_labels, "info.Labels", err);
}

int snapshots_update(Snapshots *s, const char *ns, Arena *a, const char *snapshotter,
                     const Snapshots__Info *info, const char *const *paths, size_t n_paths,
                     Snapshots__Info **ret, Err *err)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        SnapshotLabel *labels;
        SnapshotName *rec = NULL;
        size_t n;
        Where w;
        int r;

        if (!*info->name)
                return err_set(err, INVALID_ARGUMENT,
                               "snapshot name is required: invalid argument");
        r = snapshot_where(s, ns, snapshotter, &w, err);
        if (r == 0)
                r = meta_begin_rw(s->meta, &txn, a, err);
        if (r == 0)
                r = snapshot_get(&txn, &w, info->name, &rec, err);
        if (r == 0)
                r = apply_mask(a, rec->info, info, paths, n_paths, err);
        if (r < 0)
                return r;
        rec->info->updated_at = time_to_pb(a, time_now());
        snapshot_put(&txn, &w, rec);
        labels = snapshot_backend_labels(a, rec->info->labels, rec->info->n_labels, &n);
        r = snapshotter_update(w.sn, &txn.db, rec->backend, labels, n, err);
        if (r == 0)
                r = make_info(&txn, &w, a, rec, ret, err);
        return r < 0 ? r : meta_commit(&txn);
}

static const char *info_field(void *ctx, const char *const *path, size_t n)
{
        const Snapshots__Info *info = ctx;

        if (n == 0)
                return NULL;
        if (str_eq(path[0], "labels"))
                return labels_field(info->labels, info->n_labels, path, n, 1);
        if (n != 1)
                return NULL;
        if (str_eq(path[0], "kind"))
                return snapshot_kind_name((SnapshotKind)info->kind);
        if (str_eq(path[0], "name"))
                return info->name;
        return str_eq(path[0], "parent") && *info->parent ? info->parent : NULL;
}

typedef struct Listing {
        MetaTxn *txn;
        const Where *where;
        const Filter *filter;
        int (*fn)(void *ctx, const Snapshots__Info *info, Err *err);
        void *ctx;
        Err *err;
} Listing;

static int list_one(void *ctx, DbVal stored)
{
        Listing *l = ctx;
        Arena a CLEANUP(arena_done);
        ProtobufCMessage *m;
        Snapshots__Info *info;
        int r;

        arena_init(&a, SIZE_MAX);
        r = message_unpack(&a, &store__snapshot__descriptor, stored.data, stored.n, &m, l->err);
        if (r < 0)
                return err_wrap(l->err, "a snapshot's record cannot be read");
        r = make_info(l->txn, l->where, &a, (SnapshotName *)(void *)m, &info, l->err);
        /* Without its backend it cannot be used; whoever asks for it by name is told. */
        if (r == -NOT_FOUND)
                return 0;
        if (r < 0 || !filter_match(l->filter, info_field, info))
                return r;
        return l->fn(l->ctx, info, l->err);
}

int snapshots_list(Snapshots *s, const char *ns, const char *snapshotter,
                   const char *const *filters, size_t n_filters,
                   int (*fn)(void *ctx, const Snapshots__Info *info, Err *err), void *ctx, Err *err)
{
        Filter *filter CLEANUP(filter_freep) = NULL;
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        Arena a CLEANUP(arena_done);
        Listing l = {.txn = &txn, .fn = fn, .ctx = ctx, .err = err};
        DbKey prefix;
        Where w;
        int r;

        arena_init(&a, SIZE_MAX);
        r = snapshot_where(s, ns, snapshotter, &w, err);
        if (r == 0)
                r = filter_parse(filters, n_filters, &filter, err);
        if (r == 0)
                r = meta_begin_ro(s->meta, &txn, &a, err);
        if (r < 0)
                return r;
        if (!meta_ns_find(&txn, ns))
                return meta_failed(&txn);
        l.where = &w;
        l.filter = filter;
        /* Filters ask for what the snapshotter knows as well, so list_one() applies them. */
        return meta_list(&txn, names_key(&prefix, &txn, &w), &store__snapshot__descriptor, NULL,
                         NULL, list_one, &l);
}
