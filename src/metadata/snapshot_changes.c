/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prepare, Commit, Remove. Each looks first in a read transaction, lets the snapshotter work on
 * disk, then records both its change and ours in one write transaction that looks again: what was
 * free may be taken by now.
 */
#include <inttypes.h>
#include "api/containerd/events/events.pb-c.h"
#include "metadata/leases.h"
#include "metadata/snapshots_priv.h"
#include "rpc/message.h"

static SnapshotName *new_record(Arena *a, const char *name, const char *parent, SnapshotKind kind,
                                const char *backend, Snapshots__Info__LabelsEntry **labels,
                                size_t n_labels)
{
        SnapshotName *rec = message_make(a, store__snapshot);

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

static char *backend_key(Arena *a, const Where *w, uint64_t number, const char *key)
{
        return arena_printf(a, "%s/%" PRIu64 "/%s", w->ns, number, key);
}

static int parent_missing(const char *parent, Err *err)
{
        return err_set(err, NOT_FOUND, "parent snapshot %s does not exist: not found", parent);
}

/* ---- leases ---- */

static void hold(MetaTxn *txn, const MetaCaller *who, const Where *w, const char *key)
{
        lease_add_resource(txn, who->ns, who->lease,
                           arena_printf(txn->arena, "snapshots/%s", snapshotter_name(w->sn)), key);
}

static void let_go(MetaTxn *txn, const MetaCaller *who, const Where *w, const char *key)
{
        lease_remove_resource(txn, who->ns, who->lease,
                              arena_printf(txn->arena, "snapshots/%s", snapshotter_name(w->sn)),
                              key);
}

/* containerd's words for an empty key come out of its database. */
static int check_key(const char *key, const MetaCaller *who, Err *err)
{
        if (*key)
                return 0;
        return err_set(err, UNKNOWN,
                       str_empty(who->lease) ? "bucket name required" : "key required");
}

/* Somebody has it already: the caller's lease holds it nevertheless, so that it cannot vanish under
 * the caller. 0 when it has just vanished. */
static int exists(const MetaCaller *who, const Where *w, Arena *a, const char *key, int is_target,
                  Err *err)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        int r;

        if (!str_empty(who->lease)) {
                r = meta_begin_rw(w->meta, &txn, a, err);
                if (r < 0)
                        return r;
                if (!snapshot_find(&txn, w, key))
                        return meta_failed(&txn);
                hold(&txn, who, w, key);
                r = meta_commit(&txn);
                if (r < 0)
                        return r;
        }
        return err_set(err, ALREADY_EXISTS, "%s \"%s\": already exists",
                       is_target ? "target snapshot" : "snapshot", key);
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
        SnapshotName *parent;

        p->taken = NULL;
        if (p->target && snapshot_find(txn, w, p->target))
                p->taken = p->target;
        else if (snapshot_find(txn, w, p->what->key))
                p->taken = p->what->key;
        if (meta_failed(txn) || p->taken)
                return meta_failed(txn);
        p->parent_backend = "";
        if (!str_empty(p->what->parent)) {
                parent = snapshot_find(txn, w, p->what->parent);
                if (meta_failed(txn))
                        return meta_failed(txn);
                if (!parent)
                        return parent_missing(p->what->parent, err);
                p->parent_backend = parent->backend;
        }
        return 0;
}

static int prepare_record(MetaTxn *txn, const MetaCaller *who, const Where *w, const Prepare *p,
                          const char *backend, SnapshotChange *ch, Err *err)
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
        snapshot_put(txn, w,
                     new_record(txn->arena, what->key, parent, what->kind, backend, what->labels,
                                what->n_labels));
        snapshot_keep_number(txn, w, p->number);
        hold(txn, who, w, what->key);
        if (what->kind == SNAPSHOT_ACTIVE) {
                event.key = what->key;
                event.parent = parent;
                event.snapshotter = snapshotter_name(w->sn);
                meta_event(txn, w->ns, "/snapshot/prepare", &event);
        }
        return meta_failed(txn);
}

/* 0 also when what stood in the way has just vanished, with *ret_again set. */
static int try_prepare(Snapshots *s, const MetaCaller *who, Arena *a, const SnapshotsPrepare *given,
                       MountList *ret, int *ret_again, Err *err)
{
        SnapshotChange *ch CLEANUP(snapshot_change_endp) = NULL;
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        SnapshotsPrepare what = *given;
        SnapshotSpec spec = {.kind = what.kind};
        Prepare p = {.what = &what};
        const char *seen;
        Where w;
        int r;

        r = snapshot_where(s, who->ns, what.snapshotter, &w, err);
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

        r = meta_begin_ro(w.meta, &txn, a, err);
        if (r < 0)
                return r;
        r = prepare_look(&txn, &w, &p, err);
        p.number = snapshot_next_number(&txn, &w);
        meta_txn_end(&txn);
        if (r < 0)
                return r;
        *ret_again = p.taken != NULL;
        if (p.taken)
                return exists(who, &w, a, p.taken, p.taken == p.target, err);

        spec.key = backend_key(a, &w, p.number, what.key);
        spec.parent = seen = p.parent_backend;
        spec.labels = snapshot_backend_labels(a, what.labels, what.n_labels, &spec.n_labels);
        r = snapshotter_prepare(w.sn, &spec, &ch, err);
        if (r < 0)
                return r;
        if (ret) {
                r = snapshot_change_mounts(ch, a, ret, err);
                if (r < 0)
                        return r;
        }

        r = meta_begin_rw(w.meta, &txn, a, err);
        if (r < 0)
                return r;
        r = prepare_look(&txn, &w, &p, err);
        if (r == 0 && p.taken) {
                meta_txn_end(&txn);
                *ret_again = 1;
                return exists(who, &w, a, p.taken, p.taken == p.target, err);
        }
        if (r == 0 && !str_eq(p.parent_backend, seen))
                return err_set(err, UNAVAILABLE, "parent snapshot %s has changed: unavailable",
                               what.parent);
        if (r == 0)
                r = prepare_record(&txn, who, &w, &p, spec.key, ch, err);
        if (r == 0)
                r = meta_commit(&txn);
        if (r == 0)
                snapshot_change_done(ch);
        return r;
}

int snapshots_prepare(Snapshots *s, const MetaCaller *who, Arena *a, const SnapshotsPrepare *what,
                      MountList *ret, Err *err)
{
        int again = 0, r;

        do
                r = try_prepare(s, who, a, what, ret, &again, err);
        while (r == 0 && again);
        return r;
}

/* ---- commit ---- */

typedef struct Commit {
        const SnapshotsCommit *what;
        SnapshotName *active;
        const char *parent, *parent_backend; /* the new snapshot's */
        uint64_t number;
} Commit;

static int commit_look(MetaTxn *txn, const Where *w, Commit *c, Err *err)
{
        SnapshotName *parent;
        int r;

        if (snapshot_find(txn, w, c->what->name))
                return err_set(err, ALREADY_EXISTS, "snapshot \"%s\": already exists",
                               c->what->name);
        r = snapshot_get(txn, w, c->what->key, &c->active, err);
        if (r < 0)
                return r;
        c->parent = c->active->info->parent;
        c->parent_backend = "";
        if (!*c->parent && !str_empty(c->what->parent)) {
                c->parent = c->what->parent;
                parent = snapshot_find(txn, w, c->parent);
                if (meta_failed(txn))
                        return meta_failed(txn);
                if (!parent)
                        return parent_missing(c->parent, err);
                c->parent_backend = parent->backend;
        }
        return 0;
}

static int commit_record(MetaTxn *txn, const MetaCaller *who, const Where *w, const Commit *c,
                         const char *backend, SnapshotChange *ch, Err *err)
{
        const SnapshotsCommit *what = c->what;
        Events__SnapshotCommit event = EVENTS__SNAPSHOT_COMMIT__INIT;
        int r;

        r = snapshot_change_record(ch, &txn->db, err);
        if (r < 0)
                return r;
        snapshot_del(txn, w, c->active);
        snapshot_put(txn, w,
                     new_record(txn->arena, what->name, c->parent, SNAPSHOT_COMMITTED, backend,
                                what->labels, what->n_labels));
        snapshot_keep_number(txn, w, c->number);
        let_go(txn, who, w, what->key);
        hold(txn, who, w, what->name);
        event.key = what->key;
        event.name = what->name;
        event.snapshotter = snapshotter_name(w->sn);
        meta_event(txn, w->ns, "/snapshot/commit", &event);
        return meta_failed(txn);
}

int snapshots_commit(Snapshots *s, const MetaCaller *who, Arena *a, const SnapshotsCommit *given,
                     Err *err)
{
        SnapshotChange *ch CLEANUP(snapshot_change_endp) = NULL;
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        SnapshotsCommit what = *given;
        Commit c = {.what = &what};
        SnapshotSpec spec = {};
        Where w;
        int r;

        r = snapshot_where(s, who->ns, what.snapshotter, &w, err);
        if (r == 0)
                r = labels_check(what.labels, what.n_labels, "info.Labels", err);
        if (r == 0)
                r = check_key(what.name, who, err);
        if (r < 0)
                return r;
        labels_normalise(what.labels, &what.n_labels);

        r = meta_begin_ro(w.meta, &txn, a, err);
        if (r < 0)
                return r;
        r = commit_look(&txn, &w, &c, err);
        c.number = snapshot_next_number(&txn, &w);
        meta_txn_end(&txn);
        if (r < 0)
                return r;

        spec.key = c.active->backend;
        spec.name = backend_key(a, &w, c.number, what.name);
        spec.parent = c.parent_backend;
        spec.labels = snapshot_backend_labels(a, what.labels, what.n_labels, &spec.n_labels);
        r = snapshotter_commit(w.sn, &spec, &ch, err);
        if (r < 0)
                return r;

        r = meta_begin_rw(w.meta, &txn, a, err);
        if (r < 0)
                return r;
        r = commit_look(&txn, &w, &c, err);
        if (r == 0 && !str_eq(c.active->backend, spec.key))
                return err_set(err, UNAVAILABLE, "snapshot %s has changed: unavailable", what.key);
        if (r == 0 && !str_eq(c.parent_backend, spec.parent))
                return err_set(err, UNAVAILABLE, "parent snapshot %s has changed: unavailable",
                               c.parent);
        if (r == 0)
                r = commit_record(&txn, who, &w, &c, spec.name, ch, err);
        if (r == 0)
                r = meta_commit(&txn);
        if (r == 0)
                snapshot_change_done(ch);
        return r;
}

/* ---- remove ---- */

static void remove_name(MetaTxn *txn, const Where *w, const SnapshotName *rec)
{
        Events__SnapshotRemove event = EVENTS__SNAPSHOT_REMOVE__INIT;

        snapshot_del(txn, w, rec);
        event.key = rec->info->name;
        event.snapshotter = snapshotter_name(w->sn);
        meta_event(txn, w->ns, "/snapshot/remove", &event);
}

int snapshot_forget(Snapshots *s, MetaTxn *txn, const char *ns, const char *snapshotter,
                    const SnapshotName *rec, SnapshotChange **ret, Err *err)
{
        SnapshotChange *ch CLEANUP(snapshot_change_endp) = NULL;
        Where w;
        int r;

        *ret = NULL;
        if (meta_failed(txn) || snapshot_where(s, ns, snapshotter, &w, err) < 0 ||
            snapshot_has_children(txn, &w, rec->info->name))
                return 0;
        r = snapshotter_remove(w.sn, rec->backend, &ch, err);
        if (r == 0)
                r = snapshot_change_record(ch, &txn->db, err);
        if (r < 0 && r != -NOT_FOUND)
                return 0;
        remove_name(txn, &w, rec);
        if (r == 0)
                *ret = TAKE(ch);
        return 1;
}

static int remove_record(MetaTxn *txn, const MetaCaller *who, const Where *w, const char *key,
                         const char *backend, SnapshotChange *ch, Err *err)
{
        SnapshotName *rec = NULL;
        int r;

        r = snapshot_get(txn, w, key, &rec, err);
        if (r < 0)
                return r;
        if (!str_eq(rec->backend, backend))
                return err_set(err, UNAVAILABLE, "snapshot %s has changed: unavailable", key);
        if (snapshot_has_children(txn, w, key))
                return err_set(err, FAILED_PRECONDITION,
                               "cannot remove snapshot with child: failed precondition");
        r = snapshot_change_record(ch, &txn->db, err);
        if (r < 0)
                return r;
        meta_dirty(txn);
        let_go(txn, who, w, key);
        remove_name(txn, w, rec);
        return meta_failed(txn);
}

int snapshots_remove(Snapshots *s, const MetaCaller *who, Arena *a, const char *snapshotter,
                     const char *key, Err *err)
{
        SnapshotChange *ch CLEANUP(snapshot_change_endp) = NULL;
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        const char *backend;
        SnapshotName *rec = NULL;
        Where w;
        int r;

        r = snapshot_where(s, who->ns, snapshotter, &w, err);
        if (r == 0)
                r = meta_begin_ro(w.meta, &txn, a, err);
        if (r < 0)
                return r;
        r = snapshot_get(&txn, &w, key, &rec, err);
        meta_txn_end(&txn);
        if (r < 0)
                return r;
        backend = rec->backend;
        r = snapshotter_remove(w.sn, backend, &ch, err);
        if (r < 0)
                return r;
        r = meta_begin_free(w.meta, &txn, a, err);
        if (r == 0)
                r = remove_record(&txn, who, &w, key, backend, ch, err);
        if (r == 0)
                r = meta_commit(&txn);
        if (r == 0)
                snapshot_change_done(ch);
        return r;
}
