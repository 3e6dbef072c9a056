/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Maps of strings, which protobuf-c gives as arrays of entries in whatever order and with whatever
 * doubles the peer sent: the last of a key counts. What is stored is in order and has no empty
 * values: setting a label to "" removes it.
 */
#include "base/limits.h"
#include "base/mem.h"
#include "metadata/metadata.h"
#include "spec/identifier.h"

#include <stdlib.h>

int labels_check(const void *entries, size_t n, const char *what, Err *err)
{
        const LabelEntry *const *v = entries;
        int r;

        for (size_t i = 0; i < n; i++) {
                r = label_check(v[i]->key, v[i]->value, err);
                if (r < 0)
                        return err_wrap(err, "%s", what);
        }
        return 0;
}

typedef struct Place {
        LabelEntry *entry;
        size_t i;
} Place;

static int by_key(const void *a, const void *b)
{
        const Place *x = a, *y = b;
        int r = strcmp(x->entry->key, y->entry->key);

        return r ? r : x->i < y->i ? -1 : 1;
}

void labels_normalise(void *entries, size_t *n)
{
        LabelEntry **v = entries;
        Place *order CLEANUP(cleanup_free) = NULL;
        size_t out = 0;

        if (*n == 0)
                return;
        order = mem_alloc(*n * sizeof(*order));
        for (size_t i = 0; i < *n; i++)
                order[i] = (Place){v[i], i};
        qsort(order, *n, sizeof(*order), by_key);
        for (size_t i = 0; i < *n; i++) {
                if (i + 1 < *n && strcmp(order[i].entry->key, order[i + 1].entry->key) == 0)
                        continue;
                if (order[i].entry->value[0] != '\0')
                        v[out++] = order[i].entry;
        }
        *n = out;
}

const char *labels_find(const void *entries, size_t n, const char *key)
{
        const LabelEntry *const *v = entries;

        while (n-- > 0)
                if (strcmp(v[n]->key, key) == 0)
                        return v[n]->value;
        return NULL;
}

void labels_set(Arena *a, void *entries, size_t *n, const ProtobufCMessageDescriptor *entry_desc,
                const char *key, const char *value)
{
        LabelEntry ***at = entries, **old = *at, **v, *e;
        size_t out = 0;

        v = arena_array(a, LabelEntry *, *n + 1);
        for (size_t i = 0; i < *n; i++)
                if (strcmp(old[i]->key, key) != 0)
                        v[out++] = old[i];
        if (!str_empty(value)) {
                e = arena_alloc(a, entry_desc->sizeof_message);
                entry_desc->message_init((ProtobufCMessage *)e);
                e->key = key;
                e->value = value;
                v[out++] = e;
        }
        *at = v;
        *n = out;
}

const char *labels_field(const void *entries, size_t n, const char *const *path, size_t n_path,
                         size_t from)
{
        const LabelEntry *const *v = entries;

        while (n-- > 0)
                if (filter_path_is(path, n_path, from, v[n]->key))
                        return v[n]->value;
        return NULL;
}

const char *mask_key(const char *path, const char *prefix)
{
        return str_starts(path, prefix) ? path + strlen(prefix) : NULL;
}

static int mask_fits(size_t n_paths, size_t n_entries)
{
        return n_paths <= LIMIT_MASK_WORK / (n_entries + 1);
}

int mask_check(MetaTxn *txn, size_t n_paths, size_t n_entries, const char *name)
{
        if (meta_failed(txn) || mask_fits(n_paths, n_entries))
                return meta_failed(txn);
        return meta_fail(txn, RESOURCE_EXHAUSTED,
                         "cannot update %zu fields on \"%s\", which has %zu: resource exhausted",
                         n_paths, name, n_entries);
}

const char *labels_mask(Arena *a, void *to, size_t *n_to, const void *from, size_t n_from,
                        const ProtobufCMessageDescriptor *entry_desc, const char *const *paths,
                        size_t n_paths)
{
        static const char *const all[] = {"labels"};

        if (n_paths == 0) {
                paths = all;
                n_paths = 1;
        }
        if (!mask_fits(n_paths, *n_to + n_from))
                return "labels.* (too many)";
        for (size_t i = 0; i < n_paths; i++) {
                const char *key = mask_key(paths[i], "labels.");

                if (str_eq(paths[i], "labels")) {
                        LabelEntry **v = arena_memdup(a, from, n_from * sizeof(*v));

                        *n_to = n_from;
                        labels_normalise(v, n_to);
                        *(LabelEntry ***)to = v;
                } else if (key) {
                        labels_set(a, to, n_to, entry_desc, key, labels_find(from, n_from, key));
                } else {
                        return paths[i];
                }
        }
        return NULL;
}

Google__Protobuf__Timestamp *time_to_pb(Arena *a, Time t)
{
        Google__Protobuf__Timestamp *pb = arena_new(a, Google__Protobuf__Timestamp);

        google__protobuf__timestamp__init(pb);
        pb->seconds = t.sec;
        pb->nanos = t.nsec;
        return pb;
}

Time time_from_pb(const Google__Protobuf__Timestamp *t)
{
        return t ? (Time){.sec = t->seconds, .nsec = t->nanos} : TIME_YEAR1;
}
