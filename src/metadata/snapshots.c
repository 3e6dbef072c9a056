/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of snapshots. Each operation looks first in a read transaction, lets the snapshotter work on disk, then records
 * both its change and ours in one write transaction that looks again: what was free may be taken by now.
 *
 * The number in a backend key counts per namespace and snapshotter. It is counted in memory, because it is needed before
 * the write transaction, and written with whatever that transaction records.
 */
#include "metadata/snapshots.h"

#include <inttypes.h>
#include "api/containerd/events/events.pb-c.h"
#include "api/lighter/store/v1/snapshots.pb-c.h"
#include "base/lock.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/vec.h"
#include "metadata/leases.h"
#include "rpc/message.h"

#define LABEL_REF    "containerd.io/snapshot.ref"
#define LABEL_PREFIX "containerd.io/snapshot/"

typedef Store__Snapshot Record;

struct Snapshots {
        Metadata *meta;
        VEC(Snapshotter *) list;
        Lock lock; /* LOCK_LEAF */
        Map counters; /* uint64_t, by "<namespace>/<snapshotter>" */
};

/* What one call is about. */
typedef struct Where {
        Snapshots *s;
        Snapshotter *sn;
        const char *ns;
} Where;

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
        MAP_FOREACH(slot, &s->counters)
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
        VEC_FOREACH(sn, &s->list)
                if (str_eq(snapshotter_name(*sn), snapshotter))
                        return *sn;
        return NULL;
}

static int find_where(Snapshots *s, const char *ns, const char *snapshotter, Where *ret, Err *err)
{
        *ret = (Where){.s = s, .ns = ns, .sn = snapshots_find(s, snapshotter)};
        if (!ret->sn)
                return err_set(err, INVALID_ARGUMENT, "snapshotter not loaded: %s: invalid argument", snapshotter);
        return 0;
}

/* ---- records ---- */

static DbKey *names_key(DbKey *k, MetaTxn *txn, const Where *w)
{
        return db_key_group(db_key(k, DB_SNAPSHOTS, meta_ns_find(txn, w->ns)), snapshotter_name(w->sn));
}

static DbKey *children_key(DbKey *k, MetaTxn *txn, const Where *w, const char *parent)
{
        db_key_group(db_key(k, DB_SNAPSHOT_CHILDREN, meta_ns_find(txn, w->ns)), snapshotter_name(w->sn));
        return db_key_group(k, parent);
}

static Record *find_record(MetaTxn *txn, const Where *w, const char *key)
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

/* find_record() for what must exist. */
static int get_record(MetaTxn *txn, const Where *w, const char *key, Record **ret, Err *err)
{
        *ret = find_record(txn, w, key);
        if (meta_failed(txn))
                return meta_failed(txn);
        return *ret ? 0 : not_there(key, err);
}

static int parent_missing(const char *parent, Err *err)
{
        return err_set(err, NOT_FOUND, "parent snapshot %s does not exist: not found", parent);
}

static void put_record(MetaTxn *txn, const Where *w, const Record *rec)
{
        DbKey k;

        meta_put(txn, db_key_name(names_key(&k, txn, w), rec->info->name), rec);
        if (*rec->info->parent)
                db_put(&txn->db, db_key_name(children_key(&k, txn, w, rec->info->parent), rec->info->name), "", 0);
}

static void del_record(MetaTxn *txn, const Where *w, const Record *rec)
{
        DbKey k;

        db_del(&txn->db, db_key_name(names_key(&k, txn, w), rec->info->name));
        if (*rec->info->parent)
                db_del(&txn->db, db_key_name(children_key(&k, txn, w, rec->info->parent), rec->info->name));
}

static Record *new_record(Arena *a, const char *name, const char *parent, SnapshotKind kind, const char *backend,
                          Snapshots__Info__LabelsEntry **labels, size_t n_labels)
{
        Record *rec = message_make(a, store__snapshot);

        rec->info = message_make(a, snapshots__info);
        rec->info->name = name;
        rec->info->parent = parent;
        rec->info->kind = (Snapshots__Kind)kind;
        rec->info->created_at = rec->info->updated_at = time_to_pb(a, time_now());
        rec->info->labels = labels;
        rec->info->n_labels = n_labels;
        rec->backend = backend;
        return rec;
}

/* ---- backend keys ---- */

static DbKey *counter_key(DbKey *k, MetaTxn *txn, const Where *w)
{
        return db_key_name(db_key_group(db_key(k, DB_SCHEMA, meta_ns_find(txn, w->ns)), "snapshot-keys"),
                           snapshotter_name(w->sn));
}

/* The next number, at least one above what the transaction shows. */
static uint64_t next_number(MetaTxn *txn, const Where *w)
{
        uint64_t stored = 0, *counter, n;
        char *name = arena_printf(txn->arena, "%s/%s", w->ns, snapshotter_name(w->sn));
        DbKey k;
        DbVal v;

        if (meta_ns_find(txn, w->ns) && db_get(&txn->db, counter_key(&k, txn, w), &v) && v.n == sizeof(stored))
                memcpy(&stored, v.data, sizeof(stored));
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

static void keep_number(MetaTxn *txn, const Where *w, uint64_t number)
{
        uint64_t stored = 0;
        DbKey k;
        DbVal v;

        if (db_get(&txn->db, counter_key(&k, txn, w), &v) && v.n == sizeof(stored))
                memcpy(&stored, v.data, sizeof(stored));
        if (stored < number)
                db_put(&txn->db, &k, &number, sizeof(number));
}

static char *backend_key(Arena *a, const Where *w, uint64_t number, const char *key)
{
        return arena_printf(a, "%s/%" PRIu64 "/%s", w->ns, number, key);
}

/* Labels that are for the snapshotter too. */
static SnapshotLabel *backend_labels(Arena *a, Snapshots__Info__LabelsEntry *const *labels, size_t n, size_t *ret_n)
{
        SnapshotLabel *out = arena_array(a, SnapshotLabel, n);

        *ret_n = 0;
        for (size_t i = 0; i < n; i++)
                if (str_starts(labels[i]->key, LABEL_PREFIX) || str_eq(labels[i]->key, LABEL_REF))
                        out[(*ret_n)++] = (SnapshotLabel){.key = labels[i]->key, .value = labels[i]->value};
        return out;
}

/* ---- leases ---- */

static void hold(MetaTxn *txn, const MetaCaller *who, const Where *w, const char *key)
{
        lease_add_resource(txn, who->ns, who->lease, arena_printf(txn->arena, "snapshots/%s", snapshotter_name(w->sn)),
                           key);
}

static void let_go(MetaTxn *txn, const MetaCaller *who, const Where *w, const char *key)
{
        lease_remove_resource(txn, who->ns, who->lease,
                              arena_printf(txn->arena, "snapshots/%s", snapshotter_name(w->sn)), key);
}

/* containerd's words for an empty key come out of its database. */
static int check_key(const char *key, const MetaCaller *who, Err *err)
{
        if (*key)
                return 0;
        return err_set(err, UNKNOWN, str_empty(who->lease) ? "bucket name required" : "key required");
}

/* Somebody has it already: the caller's lease holds it nevertheless, so that it cannot vanish under the caller. */
static int exists(const MetaCaller *who, const Where *w, Arena *a, const char *key, int is_target, Err *err)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        int r;

        if (!str_empty(who->lease)) {
                r = meta_begin_rw(w->s->meta, &txn, a, err);
                if (r < 0)
                        return r;
                hold(&txn, who, w, key);
                r = meta_commit(&txn);
                if (r < 0)
                        return r;
        }
        return err_set(err, ALREADY_EXISTS, "%s \"%s\": already exists", is_target ? "target snapshot" : "snapshot", key);
}

/* ---- prepare ---- */

typedef struct Prepare {
        const SnapshotsPrepare *what;
        const char *target; /* label containerd.io/snapshot.ref, or NULL */
        const char *taken;  /* of key and target, the one that exists */
        const char *parent_backend;
        uint64_t number;
} Prepare;

/* 0 with p->taken set or not, or -code. */
static int prepare_look(MetaTxn *txn, const Where *w, Prepare *p, Err *err)
{
        Record *parent;

        p->taken = NULL;
        if (p->target && find_record(txn, w, p->target))
                p->taken = p->target;
        else if (find_record(txn, w, p->what->key))
                p->taken = p->what->key;
        if (meta_failed(txn) || p->taken)
                return meta_failed(txn);
        p->parent_backend = "";
        if (!str_empty(p->what->parent)) {
                parent = find_record(txn, w, p->what->parent);
                if (meta_failed(txn))
                        return meta_failed(txn);
                if (!parent)
                        return parent_missing(p->what->parent, err);
                p->parent_backend = parent->backend;
        }
        return 0;
}

static int prepare_record(MetaTxn *txn, const MetaCaller *who, const Where *w, const Prepare *p, const char *backend,
                          SnapshotChange *ch, Err *err)
{
        const SnapshotsPrepare *what = p->what;
        const char *parent = what->parent ? what->parent : "";
        Events__SnapshotPrepare event = EVENTS__SNAPSHOT_PREPARE__INIT;
        int r;

        if (!meta_ns_ensure(txn, w->ns))
                return meta_failed(txn);
        r = snapshot_change_record(ch, &txn->db, err);
        if (r < 0)
                return r;
        put_record(txn, w,
                   new_record(txn->arena, what->key, parent, what->kind, backend, what->labels, what->n_labels));
        keep_number(txn, w, p->number);
        hold(txn, who, w, what->key);
        if (what->kind == SNAPSHOT_ACTIVE) {
                event.key = what->key;
                event.parent = parent;
                event.snapshotter = snapshotter_name(w->sn);
                meta_event(txn, w->ns, "/snapshot/prepare", &event);
        }
        return meta_failed(txn);
}

int snapshots_prepare(Snapshots *s, const MetaCaller *who, Arena *a, const SnapshotsPrepare *given, MountList *ret,
                      Err *err)
{
        SnapshotChange *ch CLEANUP(snapshot_change_endp) = NULL;
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        SnapshotsPrepare what = *given;
        SnapshotSpec spec = {.kind = what.kind};
        Prepare p = {.what = &what};
        const char *seen;
        Where w;
        int r;

        r = find_where(s, who->ns, what.snapshotter, &w, err);
        if (r == 0)
                r = check_key(what.key, who, err);
        if (r == 0)
                r = labels_check(what.labels, what.n_labels, "info.Labels", err);
        if (r < 0)
                return r;
        p.target = labels_find(what.labels, what.n_labels, LABEL_REF);
        if (str_empty(p.target))
                p.target = NULL;
        labels_normalise(what.labels, &what.n_labels);

        r = meta_begin_ro(s->meta, &txn, a, err);
        if (r < 0)
                return r;
        r = prepare_look(&txn, &w, &p, err);
        p.number = next_number(&txn, &w);
        meta_txn_end(&txn);
        if (r < 0)
                return r;
        if (p.taken)
                return exists(who, &w, a, p.taken, p.taken == p.target, err);

        spec.key = backend_key(a, &w, p.number, what.key);
        spec.parent = seen = p.parent_backend;
        spec.labels = backend_labels(a, what.labels, what.n_labels, &spec.n_labels);
        r = snapshotter_prepare(w.sn, &spec, &ch, err);
        if (r < 0)
                return r;
        if (ret) {
                r = snapshot_change_mounts(ch, a, ret, err);
                if (r < 0)
                        return r;
        }

        r = meta_begin_rw(s->meta, &txn, a, err);
        if (r < 0)
                return r;
        r = prepare_look(&txn, &w, &p, err);
        if (r == 0 && p.taken) {
                meta_txn_end(&txn);
                return exists(who, &w, a, p.taken, p.taken == p.target, err);
        }
        if (r == 0 && !str_eq(p.parent_backend, seen))
                return err_set(err, UNAVAILABLE, "parent snapshot %s has changed: unavailable", what.parent);
        if (r == 0)
                r = prepare_record(&txn, who, &w, &p, spec.key, ch, err);
        if (r == 0)
                r = meta_commit(&txn);
        if (r == 0)
                snapshot_change_done(ch);
        return r;
}

/* ---- commit ---- */

typedef struct Commit {
        const SnapshotsCommit *what;
        Record *active;
        const char *parent, *parent_backend; /* the new snapshot's */
        uint64_t number;
} Commit;

static int commit_look(MetaTxn *txn, const Where *w, Commit *c, Err *err)
{
        Record *parent;
        int r;

        if (find_record(txn, w, c->what->name))
                return err_set(err, ALREADY_EXISTS, "snapshot \"%s\": already exists", c->what->name);
        r = get_record(txn, w, c->what->key, &c->active, err);
        if (r < 0)
                return r;
        c->parent = c->active->info->parent;
        c->parent_backend = "";
        if (!*c->parent && !str_empty(c->what->parent)) {
                c->parent = c->what->parent;
                parent = find_record(txn, w, c->parent);
                if (meta_failed(txn))
                        return meta_failed(txn);
                if (!parent)
                        return parent_missing(c->parent, err);
                c->parent_backend = parent->backend;
        }
        return 0;
}

static int commit_record(MetaTxn *txn, const MetaCaller *who, const Where *w, const Commit *c, const char *backend,
                         SnapshotChange *ch, Err *err)
{
        const SnapshotsCommit *what = c->what;
        Events__SnapshotCommit event = EVENTS__SNAPSHOT_COMMIT__INIT;
        int r;

        r = snapshot_change_record(ch, &txn->db, err);
        if (r < 0)
                return r;
        del_record(txn, w, c->active);
        put_record(txn, w, new_record(txn->arena, what->name, c->parent, SNAPSHOT_COMMITTED, backend, what->labels,
                                      what->n_labels));
        keep_number(txn, w, c->number);
        let_go(txn, who, w, what->key);
        hold(txn, who, w, what->name);
        event.key = what->key;
        event.name = what->name;
        event.snapshotter = snapshotter_name(w->sn);
        meta_event(txn, w->ns, "/snapshot/commit", &event);
        return meta_failed(txn);
}

int snapshots_commit(Snapshots *s, const MetaCaller *who, Arena *a, const SnapshotsCommit *given, Err *err)
{
        SnapshotChange *ch CLEANUP(snapshot_change_endp) = NULL;
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        SnapshotsCommit what = *given;
        Commit c = {.what = &what};
        SnapshotSpec spec = {};
        Where w;
        int r;

        r = find_where(s, who->ns, what.snapshotter, &w, err);
        if (r == 0)
                r = labels_check(what.labels, what.n_labels, "info.Labels", err);
        if (r == 0)
                r = check_key(what.name, who, err);
        if (r < 0)
                return r;
        labels_normalise(what.labels, &what.n_labels);

        r = meta_begin_ro(s->meta, &txn, a, err);
        if (r < 0)
                return r;
        r = commit_look(&txn, &w, &c, err);
        c.number = next_number(&txn, &w);
        meta_txn_end(&txn);
        if (r < 0)
                return r;

        spec.key = c.active->backend;
        spec.name = backend_key(a, &w, c.number, what.name);
        spec.parent = c.parent_backend;
        spec.labels = backend_labels(a, what.labels, what.n_labels, &spec.n_labels);
        r = snapshotter_commit(w.sn, &spec, &ch, err);
        if (r < 0)
                return r;

        r = meta_begin_rw(s->meta, &txn, a, err);
        if (r < 0)
                return r;
        r = commit_look(&txn, &w, &c, err);
        if (r == 0 && !str_eq(c.active->backend, spec.key))
                return err_set(err, UNAVAILABLE, "snapshot %s has changed: unavailable", what.key);
        if (r == 0 && !str_eq(c.parent_backend, spec.parent))
                return err_set(err, UNAVAILABLE, "parent snapshot %s has changed: unavailable", c.parent);
        if (r == 0)
                r = commit_record(&txn, who, &w, &c, spec.name, ch, err);
        if (r == 0)
                r = meta_commit(&txn);
        if (r == 0)
                snapshot_change_done(ch);
        return r;
}

/* ---- remove ---- */

static int remove_record(MetaTxn *txn, const MetaCaller *who, const Where *w, const char *key, const char *backend,
                         SnapshotChange *ch, Err *err)
{
        Events__SnapshotRemove event = EVENTS__SNAPSHOT_REMOVE__INIT;
        Record *rec = NULL;
        DbKey k;
        int r;

        r = get_record(txn, w, key, &rec, err);
        if (r < 0)
                return r;
        if (!str_eq(rec->backend, backend))
                return err_set(err, UNAVAILABLE, "snapshot %s has changed: unavailable", key);
        if (db_any(&txn->db, children_key(&k, txn, w, key)))
                return err_set(err, FAILED_PRECONDITION, "cannot remove snapshot with child: failed precondition");
        r = snapshot_change_record(ch, &txn->db, err);
        if (r < 0)
                return r;
        del_record(txn, w, rec);
        let_go(txn, who, w, key);
        event.key = key;
        event.snapshotter = snapshotter_name(w->sn);
        meta_event(txn, w->ns, "/snapshot/remove", &event);
        return meta_failed(txn);
}

int snapshots_remove(Snapshots *s, const MetaCaller *who, Arena *a, const char *snapshotter, const char *key, Err *err)
{
        SnapshotChange *ch CLEANUP(snapshot_change_endp) = NULL;
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        const char *backend;
        Record *rec = NULL;
        Where w;
        int r;

        r = find_where(s, who->ns, snapshotter, &w, err);
        if (r == 0)
                r = meta_begin_ro(s->meta, &txn, a, err);
        if (r < 0)
                return r;
        r = get_record(&txn, &w, key, &rec, err);
        meta_txn_end(&txn);
        if (r < 0)
                return r;
        backend = rec->backend;
        r = snapshotter_remove(w.sn, backend, &ch, err);
        if (r < 0)
                return r;
        r = meta_begin_free(s->meta, &txn, a, err);
        if (r == 0)
                r = remove_record(&txn, who, &w, key, backend, ch, err);
        if (r == 0)
                r = meta_commit(&txn);
        if (r == 0)
                snapshot_change_done(ch);
        return r;
}

/* ---- reading and labels ---- */

/* What the snapshotter knows, with our name, parent, times, and our labels over its own. */
static int make_info(MetaTxn *txn, const Where *w, Arena *a, const Record *rec, Snapshots__Info **ret, Err *err)
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
                        labels_set(a, &info->labels, &info->n_labels, &snapshots__info__labels_entry__descriptor,
                                   backend.labels[i].key, backend.labels[i].value);
        *ret = info;
        return 0;
}

int snapshots_stat(Snapshots *s, const char *ns, Arena *a, const char *snapshotter, const char *key,
                   Snapshots__Info **ret, Err *err)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        Record *rec = NULL;
        Where w;
        int r;

        r = find_where(s, ns, snapshotter, &w, err);
        if (r == 0)
                r = meta_begin_ro(s->meta, &txn, a, err);
        if (r == 0)
                r = get_record(&txn, &w, key, &rec, err);
        return r < 0 ? r : make_info(&txn, &w, a, rec, ret, err);
}

int snapshots_mounts(Snapshots *s, const char *ns, Arena *a, const char *snapshotter, const char *key, MountList *ret,
                     Err *err)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        Record *rec = NULL;
        Where w;
        int r;

        r = find_where(s, ns, snapshotter, &w, err);
        if (r == 0)
                r = meta_begin_ro(s->meta, &txn, a, err);
        if (r == 0)
                r = get_record(&txn, &w, key, &rec, err);
        return r < 0 ? r : snapshotter_mounts(w.sn, &txn.db, a, rec->backend, ret, err);
}

int snapshots_usage(Snapshots *s, const char *ns, Arena *a, const char *snapshotter, const char *key,
                    SnapshotUsage *ret, Err *err)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        Record *rec = NULL;
        Where w;
        int r;

        r = find_where(s, ns, snapshotter, &w, err);
        if (r == 0)
                r = meta_begin_ro(s->meta, &txn, a, err);
        if (r == 0)
                r = get_record(&txn, &w, key, &rec, err);
        meta_txn_end(&txn);
        return r < 0 ? r : snapshotter_usage(w.sn, rec->backend, ret, err);
}

static int apply_mask(Arena *a, Snapshots__Info *to, const Snapshots__Info *from, const char *const *paths,
                      size_t n_paths, Err *err)
{
        static const char *const all[] = {"labels"};

        if (n_paths == 0) {
                paths = all;
                n_paths = 1;
        }
        for (size_t i = 0; i < n_paths; i++) {
                const char *key = mask_key(paths[i], "labels.");

                if (str_eq(paths[i], "labels")) {
                        to->labels = arena_memdup(a, from->labels, from->n_labels * sizeof(*from->labels));
                        to->n_labels = from->n_labels;
                        labels_normalise(to->labels, &to->n_labels);
                } else if (key) {
                        labels_set(a, &to->labels, &to->n_labels, &snapshots__info__labels_entry__descriptor, key,
                                   labels_find(from->labels, from->n_labels, key));
                } else {
                        return err_set(err, INVALID_ARGUMENT, "cannot update \"%s\" field on snapshot \"%s\": invalid argument",
                                       paths[i], to->name);
                }
        }
        return labels_check(to->labels, to->n_labels, "info.Labels", err);
}

int snapshots_update(Snapshots *s, const char *ns, Arena *a, const char *snapshotter, const Snapshots__Info *info,
                     const char *const *paths, size_t n_paths, Snapshots__Info **ret, Err *err)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        SnapshotLabel *labels;
        Record *rec = NULL;
        size_t n;
        Where w;
        int r;

        if (!*info->name)
                return err_set(err, INVALID_ARGUMENT, "snapshot name is required: invalid argument");
        r = find_where(s, ns, snapshotter, &w, err);
        if (r == 0)
                r = meta_begin_rw(s->meta, &txn, a, err);
        if (r == 0)
                r = get_record(&txn, &w, info->name, &rec, err);
        if (r == 0)
                r = apply_mask(a, rec->info, info, paths, n_paths, err);
        if (r < 0)
                return r;
        rec->info->updated_at = time_to_pb(a, time_now());
        put_record(&txn, &w, rec);
        labels = backend_labels(a, rec->info->labels, rec->info->n_labels, &n);
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
        r = make_info(l->txn, l->where, &a, (Record *)(void *)m, &info, l->err);
        /* Without its backend it cannot be used; whoever asks for it by name is told. */
        if (r == -NOT_FOUND)
                return 0;
        if (r < 0 || !filter_match(l->filter, info_field, info))
                return r;
        return l->fn(l->ctx, info, l->err);
}

int snapshots_list(Snapshots *s, const char *ns, const char *snapshotter, const char *const *filters, size_t n_filters,
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
        r = find_where(s, ns, snapshotter, &w, err);
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
        return meta_list(&txn, names_key(&prefix, &txn, &w), &store__snapshot__descriptor, NULL, NULL, list_one, &l);
}
