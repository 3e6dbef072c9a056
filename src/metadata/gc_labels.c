/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The labels of collection:
 *
 *         containerd.io/gc.root...                         stays
 *         containerd.io/gc.expire = TIME                   goes after it
 *         containerd.io/gc.ref.KIND[./X] = NAME            keeps NAME
 *         containerd.io/gc.bref.KIND[./X] = NAME           is kept by NAME
 *         containerd.io/gc.cond.snapshot.SN[/X] = COND|KEY keeps the snapshot while COND holds
 *
 * KIND is content, image, container (bref), snapshot.SN, or a collector's; for a snapshot the
 * snapshotter's name ends at a slash. What is written otherwise refers to nothing.
 */
#include <stdio.h>
#include "api/lighter/store/v1/snapshots.pb-c.h"
#include "metadata/gc_priv.h"

#define PREFIX "containerd.io/gc."

typedef const LabelEntry *const *Labels;

int gc_label_root(const void *labels, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (str_starts(((Labels)labels)[i]->key, PREFIX "root"))
                        return 1;
        return 0;
}

static int before(Time a, Time b)
{
        return a.sec < b.sec || (a.sec == b.sec && a.nsec < b.nsec);
}

int gc_label_expired(const void *labels, size_t n, Time now)
{
        const char *text = labels_find(labels, n, PREFIX "expire");
        Time t;

        return text && time_parse(text, &t) == 0 && before(t, now);
}

/* What follows "KIND" when the rest of a key is KIND, KIND.X or KIND/X. */
static int is_kind(const char *rest, const char *kind)
{
        const char *end = str_starts(rest, kind) ? rest + strlen(kind) : NULL;

        return end && (*end == '\0' || *end == '.' || *end == '/');
}

/* rest is what stands behind "containerd.io/gc.ref.". */
static uint32_t target(const GcRefs *refs, const char *rest, const char *value)
{
        GcRound *r = refs->round;
        GcParts *p = gc_parts(r->gc);
        char type[200]; /* no snapshotter has a longer name */
        DbKey k;

        if (is_kind(rest, "content"))
                return round_node(r, refs->ns, "content", value);
        if (is_kind(rest, "image"))
                return round_node(r, refs->ns, "images", value);
        if (str_starts(rest, "snapshot.")) {
                const char *name = rest + strlen("snapshot.");
                int n = snprintf(type, sizeof(type), "snapshots/%.*s", (int)strcspn(name, "/"),
                                 name);

                return n < (int)sizeof(type) ? round_node(r, refs->ns, type, value) : GC_NONE;
        }
        for (size_t i = 0; i < p->collectors.n; i++)
                if (is_kind(rest, p->collectors.v[i].c->label))
                        return graph_node(&r->graph,
                                          db_key_name(db_key(&k, gc_table(i), refs->ns), value));
        return GC_NONE;
}

void gc_label_refs(GcRefs *refs, const void *labels, size_t n)
{
        Labels v = labels;

        for (size_t i = 0; i < n; i++)
                if (str_starts(v[i]->key, PREFIX "ref."))
                        refs->ref(refs,
                                  target(refs, v[i]->key + strlen(PREFIX "ref."), v[i]->value));
}

void gc_label_brefs(GcRefs *refs, const void *labels, size_t n)
{
        Labels v = labels;
        DbKey k;

        for (size_t i = 0; i < n; i++) {
                const char *rest = mask_key(v[i]->key, PREFIX "bref.");

                if (!rest)
                        continue;
                if (is_kind(rest, "container"))
                        refs->ref(refs, graph_node(&refs->round->graph,
                                                   db_key_name(db_key(&k, DB_CONTAINERS, refs->ns),
                                                               v[i]->value)));
                else
                        refs->ref(refs, target(refs, rest, v[i]->value));
        }
}

/* ---- conditions ---- */

/* "usedat<2h": used less than two hours ago; "usedat>2h": not. */
static int holds(const char *cond, size_t n, int64_t age_ns)
{
        char text[64];
        int64_t limit;

        if (n >= sizeof(text) || strncmp(cond, "usedat", MIN(n, (size_t)6)) != 0 || n < 8)
                return 0;
        memcpy(text, cond + 7, n - 7);
        text[n - 7] = 0;
        if (duration_parse(text, &limit) < 0)
                return 0;
        return cond[6] == '<' ? age_ns < limit : cond[6] == '>' && age_ns > limit;
}

static int any_holds(const char *conds, const char *end, int64_t age_ns)
{
        for (const char *at = conds; at < end;) {
                size_t n = strcspn(at, ",|");

                if (holds(at, n, age_ns))
                        return 1;
                at += n + 1;
        }
        return 0;
}

/* How long ago the snapshot was used; 0 when it does not say, or there is no such snapshotter. */
static int used_ago(const GcRefs *refs, uint32_t node, int64_t *ret_ns)
{
        const Time *now = &refs->round->now;
        const Store__Snapshot *rec;
        const char *text = NULL;
        DbKey k;
        Time t;

        if (node == GC_NONE)
                return 0;
        graph_key(&refs->round->graph, node, &k);
        rec = meta_get(refs->txn, &k, &store__snapshot__descriptor);
        if (rec && rec->info)
                text = labels_find(rec->info->labels, rec->info->n_labels,
                                   PREFIX "cond.value-usedat");
        if (!text || time_parse(text, &t) < 0)
                return 0;
        if (__builtin_mul_overflow(now->sec - t.sec, (int64_t)NS_PER_SEC, ret_ns) ||
            __builtin_add_overflow(*ret_ns, now->nsec - t.nsec, ret_ns))
                *ret_ns = now->sec > t.sec ? INT64_MAX : INT64_MIN;
        return 1;
}

void gc_label_conds(GcRefs *refs, const void *labels, size_t n)
{
        Labels v = labels;

        for (size_t i = 0; i < n; i++) {
                const char *key = v[i]->key, *bar = strchr(v[i]->value, '|');
                uint32_t node;
                int64_t age;

                if (!str_starts(key, PREFIX "cond.snapshot.") || !bar)
                        continue;
                node = target(refs, key + strlen(PREFIX "cond."), bar + 1);
                if (used_ago(refs, node, &age) && any_holds(v[i]->value, bar, age))
                        refs->ref(refs, node);
        }
}
