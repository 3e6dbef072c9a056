/* SPDX-License-Identifier: Apache-2.0 */
#include "metadata/extensions.h"

#include <stdlib.h>

typedef struct Place {
        ExtensionEntry *e;
        size_t i;
} Place;

static int by_key(const void *a, const void *b)
{
        const Place *x = a, *y = b;
        int r = strcmp(x->e->key, y->e->key);

        return r ? r : x->i < y->i ? -1 : 1;
}

void extensions_normalise(Arena *a, void *entries, size_t *n)
{
        ExtensionEntry **v = entries;
        Place *order = arena_array(a, Place, *n);
        size_t out = 0;

        for (size_t i = 0; i < *n; i++)
                order[i] = (Place){v[i], i};
        if (*n > 0)
                qsort(order, *n, sizeof(*order), by_key);
        for (size_t i = 0; i < *n; i++) {
                if (i + 1 < *n && strcmp(order[i].e->key, order[i + 1].e->key) == 0)
                        continue;
                if (order[i].e->value)
                        v[out++] = order[i].e;
        }
        *n = out;
}

void extensions_set(Arena *a, void *to, size_t *n_to, const void *from, size_t n_from,
                    const char *key)
{
        ExtensionEntry *const *source = from;
        ExtensionEntry ***at = to, **v = arena_array(a, ExtensionEntry *, *n_to + 1);
        size_t n = 0;

        for (size_t i = 0; i < *n_to; i++)
                if (strcmp((*at)[i]->key, key) != 0)
                        v[n++] = (*at)[i];
        while (n_from-- > 0)
                if (strcmp(source[n_from]->key, key) == 0) {
                        v[n++] = source[n_from];
                        break;
                }
        *at = v;
        *n_to = n;
}
