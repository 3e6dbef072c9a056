/* SPDX-License-Identifier: Apache-2.0 */
/* Inside collection: the graph (gc_graph.c), what refers to what (gc_mark.c), forgetting
 * (gc_sweep.c), when (gc.c). */
#pragma once

#include "base/vec.h"
#include "metadata/gc.h"

/* ---- the graph ---- */

enum {
        GC_THERE = 1, /* seen in the walk: goes unless marked */
        GC_FULL = 2,  /* marked, with all it refers to */
        GC_FLAT = 4,  /* marked by a flat lease: without what its labels refer to */
        GC_LIVE = GC_FULL | GC_FLAT,
        GC_NONE = 0, /* no node */
};

/* A node is a thing that may refer or be referred to. Its name is the key of its record; what has
 * no record here has a key made up in the same way, in a table of its own (gc_table()). */
typedef struct GcNode {
        uint32_t name, edges, hash;
        uint16_t n;
        uint8_t flags;
} GcNode;

/* Beside what a node's record says: while `from` lives, so does `to`. */
typedef struct GcEdge {
        uint32_t to, next;
} GcEdge;

typedef struct GcGraph {
        VEC(GcNode) nodes; /* the first is none */
        VEC(GcEdge) edges; /* likewise */
        VEC(uint8_t) names;
        VEC(uint32_t) gray; /* marked and not yet visited: node * 2, + 1 for flat */
        uint32_t *slots;
        size_t n_slots;
} GcGraph;

void graph_init(GcGraph *g);
void graph_done(GcGraph *g);
uint32_t graph_node(GcGraph *g, const DbKey *key);       /* made if absent */
uint32_t graph_find(const GcGraph *g, const DbKey *key); /* or GC_NONE */
void graph_key(const GcGraph *g, uint32_t node, DbKey *ret);
void graph_edge(GcGraph *g, uint32_t from, uint32_t to);
/* Marks it, to be visited if it was not marked so before. */
void graph_mark(GcGraph *g, uint32_t node, int flat);
static inline GcNode *graph_at(const GcGraph *g, uint32_t node)
{
        return &g->nodes.v[node];
}

/* ---- one collection ---- */

enum { GC_INGEST_LIFE_SEC = 24 * 60 * 60 }; /* of one without a lease, since its last write */

typedef struct GcNs {
        uint32_t number;
        const char *name;
} GcNs;

/* A resource of a collector, as it was listed. */
typedef struct GcForeign {
        size_t collector;
        const char *ns, *name;
        uint64_t id;
        uint32_t node;
} GcForeign;

typedef struct GcRound {
        Gc *gc;
        GcGraph graph;
        Arena arena; /* names and what else lives as long */
        Time now;    /* by which expiry is judged, throughout */
        VEC(GcNs) spaces;
        VEC(GcForeign) foreign;
        VEC(const char *) refs; /* of ingests on disk, as the store has them */
        VEC(uint32_t) found;    /* nodes that are GC_THERE, in order of the walk */
        GcStats stats;
} GcRound;

typedef struct GcAttached {
        const GcCollector *c;
        void *ctx;
} GcAttached;

/* What gc.c shares with the others. */
typedef struct GcParts {
        Metadata *meta;
        Blobs *blobs;
        Snapshots *snapshots;
        VEC(GcAttached) collectors;
        int stopped;     /* atomic */
        int walk_blobs;  /* files without records may be there */
        int walk_failed; /* something could not be removed: look again next time */
} GcParts;
GcParts *gc_parts(Gc *gc);

void round_init(GcRound *r, Gc *gc);
void round_done(GcRound *r);
const char *round_ns(const GcRound *r, uint32_t number); /* NULL when unknown */
/* The table of a collector's resources, by its place in the list. */
DbTable gc_table(size_t collector);
uint32_t gc_key_ns(const DbKey *key); /* the namespace's number */
/* The node of a content digest, an image, ... by kind of resource as leases have it: "content",
 * "images", "ingests", "snapshots/NAME". GC_NONE for another kind. */
uint32_t round_node(GcRound *r, uint32_t ns, const char *type, const char *id);

/* gc_mark.c. Starts the log of changes, reads everything on one snapshot, marks. */
int gc_mark(GcRound *r, Err *err);
/* In a write transaction: marks what has been written since, and what that refers to. */
void gc_mark_touched(GcRound *r, MetaTxn *txn);
/* gc_sweep.c. What is not marked goes. */
int gc_sweep(GcRound *r, Err *err);

/* gc_labels.c: calls back for each thing that labels refer to. */
typedef struct GcRefs {
        GcRound *round;
        MetaTxn *txn;
        uint32_t ns;
        /* What a label `containerd.io/gc.KIND...` names; node may be GC_NONE (then nothing). */
        void (*ref)(struct GcRefs *refs, uint32_t node);
        uint32_t node; /* the holder */
} GcRefs;
void gc_label_refs(GcRefs *refs, const void *labels, size_t n);  /* gc.ref.* */
void gc_label_brefs(GcRefs *refs, const void *labels, size_t n); /* gc.bref.* */
void gc_label_conds(GcRefs *refs, const void *labels, size_t n); /* gc.cond.*, those that hold */
int gc_label_root(const void *labels, size_t n);
/* Whether there is a time in gc.expire, and it has passed. */
int gc_label_expired(const void *labels, size_t n, Time now);
