/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes by name in an open hash table, marks, and the queue of what is marked and not yet visited.
 * Tens of bytes for each node: a collection of a million names stays below a hundred megabytes. */
#include "base/hash.h"
#include "metadata/gc_priv.h"

void graph_init(GcGraph *g)
{
        *g = (GcGraph){};
        VEC_PUSH(&g->nodes, (GcNode){});
        VEC_PUSH(&g->edges, (GcEdge){});
        g->n_slots = 256;
        g->slots = mem_alloc(g->n_slots * sizeof(*g->slots));
}

void graph_done(GcGraph *g)
{
        VEC_DONE(&g->nodes);
        VEC_DONE(&g->edges);
        VEC_DONE(&g->names);
        VEC_DONE(&g->gray);
        free(g->slots);
        g->slots = NULL;
}

/* The slot that holds the node of that name, or the free one where it would be. */
static uint32_t *slot_of(const GcGraph *g, const DbKey *key, uint32_t hash)
{
        for (size_t i = hash & (g->n_slots - 1);; i = (i + 1) & (g->n_slots - 1)) {
                const GcNode *node = graph_at(g, g->slots[i]);

                if (g->slots[i] == GC_NONE ||
                    (node->hash == hash && node->n == key->n &&
                     memcmp(&g->names.v[node->name], key->data, key->n) == 0))
                        return &g->slots[i];
        }
}

static void grow(GcGraph *g)
{
        size_t n = g->n_slots * 2;
        uint32_t *slots = mem_alloc(n * sizeof(*slots));
        size_t at;

        for (uint32_t i = 1; i < g->nodes.n; i++) {
                for (at = g->nodes.v[i].hash & (n - 1); slots[at]; at = (at + 1) & (n - 1))
                        ;
                slots[at] = i;
        }
        free(g->slots);
        g->slots = slots;
        g->n_slots = n;
}

uint32_t graph_find(const GcGraph *g, const DbKey *key)
{
        return *slot_of(g, key, (uint32_t)hash_bytes(key->data, key->n));
}

uint32_t graph_node(GcGraph *g, const DbKey *key)
{
        GcNode node = {.hash = (uint32_t)hash_bytes(key->data, key->n), .n = key->n};
        uint32_t *slot = slot_of(g, key, node.hash), known = *slot;

        if (known != GC_NONE)
                return known;
        node.name = (uint32_t)g->names.n;
        VEC_RESERVE(&g->names, key->n);
        memcpy(g->names.v + g->names.n, key->data, key->n);
        g->names.n += key->n;
        *slot = (uint32_t)g->nodes.n;
        VEC_PUSH(&g->nodes, node);
        if (g->nodes.n * 2 > g->n_slots)
                grow(g);
        return (uint32_t)g->nodes.n - 1;
}

void graph_key(const GcGraph *g, uint32_t node, DbKey *ret)
{
        ret->n = graph_at(g, node)->n;
        memcpy(ret->data, &g->names.v[graph_at(g, node)->name], ret->n);
}

void graph_edge(GcGraph *g, uint32_t from, uint32_t to)
{
        GcNode *node = graph_at(g, from);

        VEC_PUSH(&g->edges, (GcEdge){.to = to, .next = node->edges});
        node->edges = (uint32_t)g->edges.n - 1;
}

void graph_mark(GcGraph *g, uint32_t node, int flat)
{
        uint8_t flag = flat ? GC_FLAT : GC_FULL;

        if (node == GC_NONE || (graph_at(g, node)->flags & flag))
                return;
        graph_at(g, node)->flags |= flag;
        VEC_PUSH(&g->gray, node * 2 + (uint32_t)(flat != 0));
}
