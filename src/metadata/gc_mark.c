/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Marking. Roots are live leases with what they hold, images that have not expired, containers,
 * what labels of sandboxes name, ingests that have not expired, what carries gc.root, and what a
 * collector calls active. From there:
 *
 *         image      its target; labels          container  its snapshot; labels
 *         content    labels                      ingest     the content it is to become
 *         snapshot   its parent; labels          anything   what is labelled as kept by it (bref)
 *
 * A flat lease keeps what it holds and the parents of snapshots, but not what labels name.
 *
 * All of it is read on one read snapshot, so nobody waits. What is written meanwhile is in a log of
 * keys, which starts before the snapshot is taken: the log is switched on inside a write
 * transaction, and the snapshot begins when that has become durable. So each write is either seen
 * by the snapshot or in the log, and gc_mark_touched() marks by the log; see gc_sweep.c.
 */
#include <endian.h>
#include <stdio.h>
#include "api/lighter/store/v1/snapshots.pb-c.h"
#include "metadata/containers.h"
#include "metadata/content_priv.h"
#include "metadata/gc_priv.h"
#include "metadata/images.h"
#include "metadata/leases.h"
#include "metadata/metadata_priv.h"
#include "metadata/sandboxes.h"

enum { FOREIGN = 0xe0 }; /* tables of collectors' resources, never in the database */

/* ---- the round ---- */

void round_init(GcRound *r, Gc *gc)
{
        *r = (GcRound){.gc = gc, .now = time_now()};
        arena_init(&r->arena, 0);
        graph_init(&r->graph);
}

void round_done(GcRound *r)
{
        graph_done(&r->graph);
        VEC_DONE(&r->spaces);
        VEC_DONE(&r->foreign);
        VEC_DONE(&r->refs);
        VEC_DONE(&r->found);
        arena_done(&r->arena);
}

const char *round_ns(const GcRound *r, uint32_t number)
{
        for (size_t i = 0; i < r->spaces.n; i++)
                if (r->spaces.v[i].number == number)
                        return r->spaces.v[i].name;
        return NULL;
}

static uint32_t number_of(const GcRound *r, const char *ns)
{
        for (size_t i = 0; i < r->spaces.n; i++)
                if (str_eq(r->spaces.v[i].name, ns))
                        return r->spaces.v[i].number;
        return 0;
}

DbTable gc_table(size_t collector)
{
        return (DbTable)(FOREIGN + collector);
}

uint32_t round_node(GcRound *r, uint32_t ns, const char *type, const char *id)
{
        DbKey k;

        if (str_eq(type, "content"))
                db_key(&k, DB_BLOBS, ns);
        else if (str_eq(type, "images"))
                db_key(&k, DB_IMAGES, ns);
        else if (str_eq(type, "ingests"))
                db_key(&k, DB_INGESTS, ns);
        else if (str_starts(type, "snapshots/"))
                db_key_group(db_key(&k, DB_SNAPSHOTS, ns), type + strlen("snapshots/"));
        else
                return GC_NONE;
        return graph_node(&r->graph, db_key_name(&k, id));
}

static uint32_t key_node(GcRound *r, DbVal key)
{
        DbKey k = {.n = (uint16_t)key.n};

        memcpy(k.data, key.data, key.n);
        return graph_node(&r->graph, &k);
}

/* Labels of collection are rare: most records need not be decoded to know that they have none. */
static int has_labels(DbVal v)
{
        return v.n > 0 && memmem(v.data, v.n, "containerd.io/gc.", 17) != NULL;
}

static void mark_ref(GcRefs *refs, uint32_t node)
{
        graph_mark(&refs->round->graph, node, 0);
}

static void keep_by(GcRefs *refs, uint32_t node)
{
        if (node != GC_NONE)
                graph_edge(&refs->round->graph, node, refs->node);
}

static void keep_other(GcRefs *refs, uint32_t node)
{
        if (node != GC_NONE)
                graph_edge(&refs->round->graph, refs->node, node);
}

/* ---- what a record refers to ---- */

static void labels_of(GcRefs *refs, const void *labels, size_t n, int conds)
{
        gc_label_refs(refs, labels, n);
        if (conds)
                gc_label_conds(refs, labels, n);
}

static void visit_snapshot(GcRefs *refs, const DbKey *key, DbVal v, int flat)
{
        const Store__Snapshot *rec = meta_decode(refs->txn, v, &store__snapshot__descriptor);
        DbKey k = *key;

        if (!rec || !rec->info)
                return;
        if (!str_empty(rec->info->parent)) {
                k.n = (uint16_t)(5 + strnlen((const char *)k.data + 5, k.n - 5u) + 1);
                graph_mark(&refs->round->graph,
                           graph_node(&refs->round->graph, db_key_name(&k, rec->info->parent)),
                           flat);
        }
        if (!flat)
                labels_of(refs, rec->info->labels, rec->info->n_labels, 0);
}

static void visit_image(GcRefs *refs, DbVal v, int flat)
{
        const Images__Image *image = meta_decode(refs->txn, v, images_kind.desc);

        if (!image)
                return;
        if (image->target)
                graph_mark(&refs->round->graph,
                           round_node(refs->round, refs->ns, "content", image->target->digest),
                           flat);
        if (!flat)
                labels_of(refs, image->labels, image->n_labels, 1);
}

static void visit_content(GcRefs *refs, DbVal v, int flat)
{
        const Content__Info *info;

        if (flat || !has_labels(v))
                return;
        info = meta_decode(refs->txn, v, &content__info__descriptor);
        if (info)
                labels_of(refs, info->labels, info->n_labels, 1);
}

static void visit_container(GcRefs *refs, DbVal v)
{
        const Containers__Container *c = meta_decode_kind(refs->txn, &containers_kind, v);
        char type[200];

        if (!c)
                return;
        if (!str_empty(c->snapshotter) &&
            snprintf(type, sizeof(type), "snapshots/%s", c->snapshotter) < (int)sizeof(type))
                mark_ref(refs, round_node(refs->round, refs->ns, type, c->snapshot_key));
        labels_of(refs, c->labels, c->n_labels, 0);
}

static void visit_sandbox(GcRefs *refs, DbVal v)
{
        const Types__Sandbox *s =
                has_labels(v) ? meta_decode_kind(refs->txn, &sandboxes_kind, v) : NULL;

        if (s)
                labels_of(refs, s->labels, s->n_labels, 0);
}

/* Whether the thing exists; only then does what it keeps live. */
static int visit(GcRefs *refs, const DbKey *key, int flat)
{
        DbVal v;

        if (key->data[0] >= FOREIGN || key->data[0] == DB_INGESTS)
                return graph_at(&refs->round->graph, refs->node)->flags & GC_THERE;
        if (!db_get(&refs->txn->db, key, &v))
                return 0;
        switch (key->data[0]) {
        case DB_BLOBS:
                visit_content(refs, v, flat);
                break;
        case DB_IMAGES:
                visit_image(refs, v, flat);
                break;
        case DB_SNAPSHOTS:
                visit_snapshot(refs, key, v, flat);
                break;
        case DB_CONTAINERS:
                visit_container(refs, v);
                break;
        case DB_SANDBOXES:
                visit_sandbox(refs, v);
                break;
        }
        return 1;
}

uint32_t gc_key_ns(const DbKey *key)
{
        uint32_t ns;

        memcpy(&ns, key->data + 1, sizeof(ns));
        return be32toh(ns);
}

/* Until nothing is gray. txn's arena is emptied after each. */
static void visit_all(GcRound *r, MetaTxn *txn)
{
        GcGraph *g = &r->graph;
        Arena *outer = txn->arena, scratch CLEANUP(arena_done) = {};
        DbKey key;

        arena_init(&scratch, 0);
        txn->arena = &scratch;
        while (g->gray.n > 0 && !meta_failed(txn)) {
                uint32_t item = VEC_POP(&g->gray), node = item / 2;
                GcRefs refs = {.round = r, .txn = txn, .ref = mark_ref, .node = node};

                graph_key(g, node, &key);
                refs.ns = gc_key_ns(&key);
                if (visit(&refs, &key, item & 1))
                        for (uint32_t e = graph_at(g, node)->edges; e; e = g->edges.v[e].next)
                                graph_mark(g, g->edges.v[e].to, 0);
                arena_done(&scratch);
        }
        txn->arena = outer;
}

/* ---- roots ---- */

static uint32_t found(GcRound *r, DbVal key)
{
        uint32_t node = key_node(r, key);

        graph_at(&r->graph, node)->flags |= GC_THERE;
        VEC_PUSH(&r->found, node);
        return node;
}

static void note_brefs(GcRound *r, MetaTxn *txn, uint32_t ns, uint32_t node, const void *labels,
                       size_t n)
{
        GcRefs refs = {.round = r, .txn = txn, .ns = ns, .ref = keep_by, .node = node};

        gc_label_brefs(&refs, labels, n);
}

static void held(GcRound *r, MetaTxn *txn, uint32_t ns, const Leases__Lease *lease)
{
        int flat = !str_empty(labels_find(lease->labels, lease->n_labels, "containerd.io/gc.flat"));
        DbCursor c CLEANUP(db_cursor_done) = {};
        DbKey k;

        db_cursor_init(&c, &txn->db, lease_resources_key(&k, ns, lease->id));
        while (db_cursor_next(&c)) {
                const Leases__Resource *res =
                        meta_decode(txn, c.value, &leases__resource__descriptor);

                if (res)
                        graph_mark(&r->graph, round_node(r, ns, res->type, res->id),
                                   flat && !str_eq(res->type, "ingests"));
        }
}

static void walk_lease(GcRound *r, MetaTxn *txn, uint32_t ns, DbVal key, DbVal v)
{
        const Leases__Lease *lease = meta_decode(txn, v, &leases__lease__descriptor);
        uint32_t node = found(r, key);

        if (!lease || gc_label_expired(lease->labels, lease->n_labels, r->now))
                return;
        graph_mark(&r->graph, node, 0);
        held(r, txn, ns, lease);
}

static void walk_image(GcRound *r, MetaTxn *txn, uint32_t ns, DbVal key, DbVal v)
{
        const Images__Image *image;
        uint32_t node = key_node(r, key);

        if (has_labels(v)) {
                image = meta_decode(txn, v, images_kind.desc);
                if (!image)
                        return;
                note_brefs(r, txn, ns, node, image->labels, image->n_labels);
                if (gc_label_expired(image->labels, image->n_labels, r->now)) {
                        found(r, key);
                        return;
                }
        }
        graph_mark(&r->graph, node, 0);
}

static void walk_root(GcRound *r, MetaTxn *txn, uint32_t ns, DbVal key, DbVal v)
{
        graph_mark(&r->graph, key_node(r, key), 0);
}

static void walk_labelled(GcRound *r, MetaTxn *txn, uint32_t ns, uint32_t node, const void *labels,
                          size_t n)
{
        note_brefs(r, txn, ns, node, labels, n);
        if (gc_label_root(labels, n))
                graph_mark(&r->graph, node, 0);
}

static void walk_content(GcRound *r, MetaTxn *txn, uint32_t ns, DbVal key, DbVal v)
{
        uint32_t node = found(r, key);
        const Content__Info *info =
                has_labels(v) ? meta_decode(txn, v, &content__info__descriptor) : NULL;

        if (info)
                walk_labelled(r, txn, ns, node, info->labels, info->n_labels);
}

static void walk_snapshot(GcRound *r, MetaTxn *txn, uint32_t ns, DbVal key, DbVal v)
{
        uint32_t node = found(r, key);
        const Store__Snapshot *rec =
                has_labels(v) ? meta_decode(txn, v, &store__snapshot__descriptor) : NULL;

        if (rec && rec->info)
                walk_labelled(r, txn, ns, node, rec->info->labels, rec->info->n_labels);
}

static const struct {
        DbTable table;
        void (*walk)(GcRound *r, MetaTxn *txn, uint32_t ns, DbVal key, DbVal v);
} walks[] = {
        {DB_LEASES, walk_lease},   {DB_IMAGES, walk_image},       {DB_CONTAINERS, walk_root},
        {DB_SANDBOXES, walk_root}, {DB_SNAPSHOTS, walk_snapshot}, {DB_BLOBS, walk_content},
};

static void walk_space(GcRound *r, MetaTxn *txn, uint32_t ns)
{
        DbKey k;

        for (size_t i = 0; i < ARRAY_LEN(walks); i++) {
                DbCursor c CLEANUP(db_cursor_done) = {};

                db_cursor_init(&c, &txn->db, db_key(&k, walks[i].table, ns));
                while (db_cursor_next(&c)) {
                        walks[i].walk(r, txn, ns, c.key, c.value);
                        arena_done(txn->arena);
                }
        }
}

static void walk_spaces(GcRound *r, MetaTxn *txn)
{
        DbCursor c CLEANUP(db_cursor_done) = {};
        Namespaces__Namespace *ns;
        uint32_t number;
        DbKey k;
        DbVal v;

        db_cursor_init(&c, &txn->db, db_key(&k, DB_NAMESPACES, 0));
        while (db_cursor_next(&c)) {
                number = ns_record_number(c.value);
                if (number == 0)
                        continue;
                v = (DbVal){(const uint8_t *)c.value.data + NS_NUMBER_BYTES,
                            c.value.n - NS_NUMBER_BYTES};
                ns = meta_decode(txn, v, &namespaces__namespace__descriptor);
                if (ns)
                        VEC_PUSH(&r->spaces, (GcNs){number, arena_strdup(&r->arena, ns->name)});
                arena_done(txn->arena);
        }
}

/* ---- what is not in the database ---- */

/* An ingest that somebody opened with a lease lives as long as leases hold it, another one a day.
 */
static void walk_ingests(GcRound *r, const ContentStatus *st, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                const char *ref;
                char *ns = ingest_split(&r->arena, st[i].ref, &ref);
                uint32_t number = ns ? number_of(r, ns) : 0, node;

                VEC_PUSH(&r->refs, st[i].ref);
                if (!number)
                        continue;
                node = round_node(r, number, "ingests", ref);
                graph_at(&r->graph, node)->flags |= GC_THERE;
                if (st[i].expected)
                        graph_edge(&r->graph, node,
                                   round_node(r, number, "content", st[i].expected));
                if (!st[i].leased && st[i].updated.sec + GC_INGEST_LIFE_SEC > r->now.sec)
                        graph_mark(&r->graph, node, 0);
        }
}

/* Copied as they are listed, because they are looked at when the namespaces are known. */
typedef struct Listed {
        GcRound *round;
        size_t collector;
        VEC(GcResource) list;
        VEC(size_t) collectors;
} Listed;

static void listed(void *arg, const GcResource *given)
{
        Listed *l = arg;
        Arena *a = &l->round->arena;
        GcResource res = *given;
        LabelEntry **labels = arena_array(a, LabelEntry *, given->n_labels);

        for (size_t i = 0; i < given->n_labels; i++) {
                const LabelEntry *from = ((const LabelEntry *const *)given->labels)[i];

                labels[i] = arena_new(a, LabelEntry);
                labels[i]->key = arena_strdup(a, from->key);
                labels[i]->value = arena_strdup(a, from->value);
        }
        res.labels = labels;
        res.ns = arena_strdup(a, given->ns);
        res.name = arena_strdup(a, given->name);
        res.lease = str_empty(given->lease) ? NULL : arena_strdup(a, given->lease);
        VEC_PUSH(&l->list, res);
        VEC_PUSH(&l->collectors, l->collector);
}

static int list_foreign(Listed *l, Err *err)
{
        GcParts *p = gc_parts(l->round->gc);
        int r;

        for (size_t i = 0; i < p->collectors.n; i++) {
                l->collector = i;
                r = p->collectors.v[i].c->list(p->collectors.v[i].ctx, listed, l, err);
                if (r < 0)
                        return err_wrap(err, "list of %s", p->collectors.v[i].c->label);
        }
        return 0;
}

/* After leases have been walked: those that live are marked. */
static void walk_foreign(GcRound *r, MetaTxn *txn, const Listed *l)
{
        GcGraph *g = &r->graph;
        DbKey k;

        for (size_t i = 0; i < l->list.n; i++) {
                const GcResource *res = &l->list.v[i];
                uint32_t ns = number_of(r, res->ns), lease = GC_NONE, node;
                GcRefs refs = {.round = r, .txn = txn, .ns = ns, .ref = keep_other};

                /* A namespace that is not known here has its name in front instead. */
                db_key(&k, gc_table(l->collectors.v[i]), ns);
                if (!ns)
                        db_key_group(&k, res->ns);
                node = refs.node = graph_node(g, db_key_name(&k, res->name));
                graph_at(g, node)->flags |= GC_THERE;
                VEC_PUSH(&r->foreign, (GcForeign){.collector = l->collectors.v[i],
                                                  .ns = res->ns,
                                                  .name = res->name,
                                                  .id = res->id,
                                                  .node = node});
                note_brefs(r, txn, ns, node, res->labels, res->n_labels);
                gc_label_refs(&refs, res->labels, res->n_labels);
                if (res->lease && ns)
                        lease = graph_find(g, db_key_name(db_key(&k, DB_LEASES, ns), res->lease));
                if (res->lease ? lease && (graph_at(g, lease)->flags & GC_LIVE) : res->active)
                        graph_mark(g, node, 0);
        }
}

/* ---- the whole ---- */

static int mark(GcRound *r, const ContentStatus *ingests, size_t n_ingests, const Listed *l,
                Err *err)
{
        Arena scratch CLEANUP(arena_done) = {};
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        int rc;

        arena_init(&scratch, 0);
        rc = meta_begin_ro(gc_parts(r->gc)->meta, &txn, &scratch, err);
        if (rc < 0)
                return rc;
        walk_spaces(r, &txn);
        VEC_FOREACH (s, &r->spaces)
                walk_space(r, &txn, s->number);
        walk_ingests(r, ingests, n_ingests);
        walk_foreign(r, &txn, l);
        visit_all(r, &txn);
        return meta_failed(&txn);
}

int gc_mark(GcRound *r, Err *err)
{
        GcParts *p = gc_parts(r->gc);
        ContentStatus *ingests = NULL;
        Listed l = {.round = r};
        size_t n = 0;
        int rc;

        rc = metadata_touched_start(p->meta, err);
        if (rc == 0)
                rc = list_foreign(&l, err);
        if (rc == 0 && p->blobs)
                rc = content_statuses(p->blobs->store, &r->arena, "", &ingests, &n, err);
        if (rc == 0)
                rc = mark(r, ingests, n, &l, err);
        VEC_DONE(&l.list);
        VEC_DONE(&l.collectors);
        r->stats.nodes = r->graph.nodes.n - 1;
        return rc;
}

/* ---- what has been written since ---- */

static void touched(GcRound *r, MetaTxn *txn, const DbKey *key)
{
        const Leases__Resource *res;
        GcGraph *g = &r->graph;
        uint32_t node;
        DbVal v;

        switch (key->data[0]) {
        case DB_LEASE_RESOURCES:
                if (!db_get(&txn->db, key, &v))
                        return;
                res = meta_decode(txn, v, &leases__resource__descriptor);
                if (res)
                        graph_mark(g, round_node(r, gc_key_ns(key), res->type, res->id), 0);
                return;
        case DB_LEASES:
        case DB_IMAGES:
        case DB_CONTAINERS:
        case DB_SANDBOXES:
        case DB_SNAPSHOTS:
        case DB_BLOBS:
                /* Also one that was visited before: it may refer to something else by now. */
                node = graph_node(g, key);
                graph_at(g, node)->flags |= GC_FULL;
                VEC_PUSH(&g->gray, node * 2);
                return;
        }
}

void gc_mark_touched(GcRound *r, MetaTxn *txn)
{
        uint8_t *log CLEANUP(cleanup_free) = NULL;
        size_t n = metadata_touched_take(gc_parts(r->gc)->meta, &log);
        DbKey key;

        for (size_t at = 0; at < n; at += sizeof(key.n) + key.n) {
                memcpy(&key.n, log + at, sizeof(key.n));
                memcpy(key.data, log + at + sizeof(key.n), key.n);
                touched(r, txn, &key);
        }
        visit_all(r, txn);
}
