/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forgetting what is not marked, in small write transactions (batches), so that nobody waits long
 * for the turn.
 *
 * Why nothing goes that is wanted, although marking was done on a snapshot S and others have
 * written since: what may be forgotten in a batch W was there in S and was not reached in S. Each
 * batch first takes the log of what was written after S (gc_mark.c says why it is complete), takes
 * every logged record for a root, and marks from there with what W sees. Now let x be reachable in
 * W, by a path from a root. If no record on the path was written after S, the same path was there
 * in S and x is marked. Otherwise take the last record on the path that was: it is logged, hence
 * marked, and the rest of the path is as it was in S or as W shows it, so x is marked from there.
 * Edges that belong to their far end (bref) are kept from S: their holder either was not written
 * since, then the edge is right, or it was, then the holder is marked itself. Time moves on only
 * in one direction: expiry is judged by one time for the whole collection. What was deleted since
 * stays marked, and goes with the next collection.
 *
 * W has the turn, so nothing is written between the look and the deletion. What happens outside of
 * the database is looked at in W too (ingests that are open and expect the content), or is decided
 * by the collector in forget().
 *
 * Files go after the commit: a blob when it is not pinned and a fresh read, with nobody able to
 * pin, shows no record (content_remove()); a snapshot's folder, whose id is never used again, by
 * its snapshotter; an ingest while its ref is claimed, so that nobody can have it open, and after a
 * fresh look at leases. A crash before that leaves blobs without a record: the first collection
 * after a start walks the blobs on disk, as does one after a failed removal. Snapshotters clean up
 * themselves when they start; their records cannot outlive the names, because one transaction
 * removes both.
 */
#include "metadata/content_priv.h"
#include "api/containerd/services/images/v1/images.pb-c.h"
#include "metadata/gc_priv.h"
#include "metadata/leases.h"
#include "metadata/metadata_priv.h"
#include "metadata/snapshots_priv.h"

enum {
        BATCH_RECORDS = 128,
        BATCH_NS = 1000 * 1000,
        BATCH_RESOURCES = 256, /* of one lease */
};

typedef struct Sweep {
        GcRound *round;
        GcParts *parts;
        VEC(uint32_t) queue; /* nodes, later those whose last child has gone */
        size_t at, at_foreign;
} Sweep;

/* What one transaction forgets, and what follows its commit. */
typedef struct Batch {
        Sweep *sweep;
        MetaTxn txn;
        Arena arena;
        Err *err;
        size_t n, gone; /* looked at, and forgotten */
        VEC(SnapshotChange *) changes;
        VEC(Digest) blobs;
        int foreign;
} Batch;

/* ---- records ---- */

/* 1 when all of it is gone, 0 when some of what it holds is left. */
static int forget_lease(Batch *b, const DbKey *key, uint32_t ns, DbVal v)
{
        const Leases__Lease *lease = meta_decode(&b->txn, v, &leases__lease__descriptor);
        VEC(DbKey) keys = {};
        DbKey prefix;
        size_t n;

        if (!lease)
                return 1;
        lease_resources_key(&prefix, ns, lease->id);
        {
                DbCursor c CLEANUP(db_cursor_done) = {};

                db_cursor_init(&c, &b->txn.db, &prefix);
                while (keys.n < BATCH_RESOURCES && db_cursor_next(&c)) {
                        DbKey k = {.n = (uint16_t)c.key.n};

                        memcpy(k.data, c.key.data, c.key.n);
                        VEC_PUSH(&keys, k);
                }
        }
        VEC_FOREACH (k, &keys)
                db_del(&b->txn.db, k);
        n = keys.n;
        VEC_DONE(&keys);
        if (n == BATCH_RESOURCES)
                return 0;
        db_del(&b->txn.db, key);
        b->gone++;
        return 1;
}

static void forget_image(Batch *b, const DbKey *key, const char *ns, DbVal v)
{
        const Images__Image *image = meta_decode(&b->txn, v, &images__image__descriptor);
        Images__ImageDelete event = IMAGES__IMAGE_DELETE__INIT;

        if (!image)
                return;
        db_del(&b->txn.db, key);
        b->gone++;
        event.name = image->name;
        meta_event(&b->txn, ns, "/images/delete", &event);
}

/* Also one whose snapshotter is not there stays: it may come back. */
static void forget_snapshot(Batch *b, const DbKey *key, const char *ns, DbVal v)
{
        const Store__Snapshot *rec = meta_decode(&b->txn, v, &store__snapshot__descriptor);
        GcGraph *g = &b->sweep->round->graph;
        const char *snapshotter = (const char *)key->data + 5;
        SnapshotChange *ch = NULL;
        DbKey parent = *key;
        uint32_t node;

        if (!rec || !b->sweep->parts->snapshots ||
            snapshot_forget(b->sweep->parts->snapshots, &b->txn, ns, snapshotter, rec, &ch,
                            b->err) == 0)
                return;
        b->gone++;
        if (ch)
                VEC_PUSH(&b->changes, ch);
        if (str_empty(rec->info->parent))
                return;
        parent.n = (uint16_t)(5 + strlen(snapshotter) + 1);
        node = graph_find(g, db_key_name(&parent, rec->info->parent));
        if (node && (graph_at(g, node)->flags & GC_THERE))
                VEC_PUSH(&b->sweep->queue, node);
}

static void forget_blob(Batch *b, const DbKey *key, uint32_t ns, const char *ns_name)
{
        char text[DIGEST_TEXT_MAX + 1];
        size_t n = key->n - 5u;
        Err ignored;
        Digest d;

        if (n >= sizeof(text))
                return;
        memcpy(text, key->data + 5, n);
        text[n] = 0;
        if (digest_parse(text, &d, &ignored) < 0 ||
            (b->sweep->parts->blobs && ingest_expected(b->sweep->parts->blobs, ns_name, text)))
                return;
        blob_forget(&b->txn, ns, text);
        b->gone++;
        VEC_PUSH(&b->blobs, d);
}

/* 1, or 0: it is to be gone on with in the next batch. */
static int forget(Batch *b, uint32_t node)
{
        GcRound *r = b->sweep->round;
        const char *ns_name;
        uint32_t ns;
        DbKey key;
        DbVal v;

        if (graph_at(&r->graph, node)->flags & GC_LIVE)
                return 1;
        graph_key(&r->graph, node, &key);
        ns = gc_key_ns(&key);
        ns_name = round_ns(r, ns);
        if (!ns_name || !db_get(&b->txn.db, &key, &v))
                return 1;
        b->n++;
        switch (key.data[0]) {
        case DB_LEASES:
                return forget_lease(b, &key, ns, v);
        case DB_IMAGES:
                forget_image(b, &key, ns_name, v);
                break;
        case DB_SNAPSHOTS:
                forget_snapshot(b, &key, ns_name, v);
                break;
        case DB_BLOBS:
                forget_blob(b, &key, ns, ns_name);
                break;
        }
        return 1;
}

static void forget_foreign(Batch *b, const GcForeign *f)
{
        const GcAttached *a = &b->sweep->parts->collectors.v[f->collector];

        if (graph_at(&b->sweep->round->graph, f->node)->flags & GC_LIVE)
                return;
        b->n++;
        if (a->c->forget(a->ctx, f->ns, f->name, f->id))
                b->foreign = 1, b->gone++;
}

/* ---- one batch ---- */

static int stopped(const Sweep *s)
{
        return __atomic_load_n(&s->parts->stopped, __ATOMIC_ACQUIRE);
}

static int is_full(const Batch *b, uint64_t since)
{
        return b->n >= BATCH_RECORDS || time_mono_ns() - since > BATCH_NS || meta_failed(&b->txn);
}

static int batch_records(Batch *b)
{
        Sweep *s = b->sweep;
        uint64_t since = time_mono_ns();
        int r;

        r = meta_begin_free(s->parts->meta, &b->txn, &b->arena, b->err);
        if (r < 0)
                return r;
        b->txn.quiet = 1;
        since = time_mono_ns();
        gc_mark_touched(s->round, &b->txn);
        while (s->at < s->queue.n && !is_full(b, since))
                if (forget(b, s->queue.v[s->at]))
                        s->at++;
        while (s->at == s->queue.n && s->at_foreign < s->round->foreign.n && !is_full(b, since))
                forget_foreign(b, &s->round->foreign.v[s->at_foreign++]);
        s->round->stats.sweep_ns += time_mono_ns() - since;
        return meta_commit(&b->txn);
}

/* What a batch has freed. That a file could not be removed fails nothing: it is tried again. */
static void batch_files(Batch *b)
{
        GcParts *p = b->sweep->parts;
        Err ignored;

        VEC_FOREACH (ch, &b->changes)
                snapshot_change_done(*ch);
        for (size_t i = 0; p->blobs && i < b->blobs.n; i++)
                if (stopped(b->sweep) || blob_drop_file(p->blobs, &b->blobs.v[i], &ignored) < 0)
                        p->walk_failed = 1;
        for (size_t i = 0; b->foreign && i < p->collectors.n; i++)
                if (p->collectors.v[i].c->clean)
                        p->collectors.v[i].c->clean(p->collectors.v[i].ctx);
        b->sweep->round->stats.forgotten += b->gone;
        b->sweep->round->stats.files += b->blobs.n + b->changes.n;
}

static int batch(Sweep *s, Err *err)
{
        Batch b = {.sweep = s, .err = err};
        int r;

        arena_init(&b.arena, 0);
        r = batch_records(&b);
        meta_txn_end(&b.txn);
        if (r == 0)
                batch_files(&b);
        VEC_FOREACH (ch, &b.changes)
                snapshot_change_end(*ch);
        VEC_DONE(&b.changes);
        VEC_DONE(&b.blobs);
        arena_done(&b.arena);
        return r;
}

/* ---- what has no record ---- */

/* With the ref claimed: what leases say now counts. */
static int ingest_stale(void *ctx, const ContentStatus *st, Err *err)
{
        GcRound *r = ctx;
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        Arena a CLEANUP(arena_done) = {};
        const char *ref;
        char *ns;
        int rc;

        arena_init(&a, 0);
        rc = meta_begin_ro(gc_parts(r->gc)->meta, &txn, &a, err);
        if (rc < 0)
                return rc;
        ns = ingest_split(&a, st->ref, &ref);
        if (ns && leases_hold(&txn, ns, "ingests", ref))
                return 0;
        if (meta_failed(&txn))
                return meta_failed(&txn);
        return (ns && st->leased) || st->updated.sec + GC_INGEST_LIFE_SEC <= r->now.sec;
}

static int sweep_ingests(Sweep *s, Err *err)
{
        Time day_ago = {.sec = s->round->now.sec - GC_INGEST_LIFE_SEC};
        ContentStore *store = s->parts->blobs->store;
        int removed, r;

        VEC_FOREACH (ref, &s->round->refs) {
                r = content_collect(store, *ref, ingest_stale, s->round, &removed, err);
                if (r < 0)
                        return r;
                s->round->stats.files += (size_t)removed;
        }
        s->round->stats.files += content_collect_broken(store, day_ago);
        return 0;
}

typedef struct Orphans {
        DbTxn *txn;
        VEC(Digest) list;
} Orphans;

static int note_orphan(void *ctx, const Digest *d, Err *err)
{
        Orphans *o = ctx;

        if (!blob_has_owner(o->txn, d->text))
                VEC_PUSH(&o->list, *d);
        return o->txn->failed;
}

/* The look here only spares work: blob_drop_file() looks again. */
static int sweep_orphans(Sweep *s, Err *err)
{
        DbTxn txn CLEANUP(db_end) = {};
        Orphans o = {.txn = &txn};
        Err ignored;
        int r;

        r = db_begin_ro(metadata_db(s->parts->meta), &txn, err);
        if (r == 0)
                r = content_walk(s->parts->blobs->store, note_orphan, &o, err);
        db_end(&txn);
        for (size_t i = 0; r == 0 && i < o.list.n; i++) {
                if (stopped(s) || blob_drop_file(s->parts->blobs, &o.list.v[i], &ignored) < 0)
                        s->parts->walk_failed = 1;
                s->round->stats.files++;
        }
        VEC_DONE(&o.list);
        return r;
}

static int sweep_files(Sweep *s, Err *err)
{
        GcParts *p = s->parts;
        int r = sweep_ingests(s, err);

        if (r < 0 || !(p->walk_blobs || p->walk_failed))
                return r;
        p->walk_failed = 0;
        r = sweep_orphans(s, err);
        if (r < 0)
                p->walk_failed = 1;
        else
                p->walk_blobs = 0;
        return r;
}

int gc_sweep(GcRound *round, Err *err)
{
        Sweep s = {.round = round, .parts = gc_parts(round->gc)};
        size_t foreign = 0;
        int r = 0;

        VEC_FOREACH (node, &round->found)
                if (!(graph_at(&round->graph, *node)->flags & GC_LIVE))
                        VEC_PUSH(&s.queue, *node);
        VEC_FOREACH (f, &round->foreign)
                foreign += !(graph_at(&round->graph, f->node)->flags & GC_LIVE);
        if (!foreign)
                s.at_foreign = round->foreign.n;
        while (r == 0 && (s.at < s.queue.n || s.at_foreign < round->foreign.n) && !stopped(&s))
                r = batch(&s, err);
        VEC_DONE(&s.queue);
        metadata_touched_stop(s.parts->meta);
        if (r == 0 && s.parts->blobs && !stopped(&s))
                r = sweep_files(&s, err);
        return r;
}
