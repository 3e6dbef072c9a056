/* SPDX-License-Identifier: Apache-2.0 */
/* Open addressing with linear probing, at most three quarters full; removal shifts back, so there
 * are no tombstones. */
#include "base/map.h"

#include "base/hash.h"
#include "base/mem.h"

enum { CAP_MIN = 16 };

void map_done(Map *m)
{
        for (size_t i = 0; i < m->cap; i++)
                free(m->slots[i].key);
        free(m->slots);
        *m = (Map){};
}

/* The slot of the key, or the free one where it would go. */
static MapSlot *find_slot(const Map *m, const char *key, uint64_t hash)
{
        for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
                MapSlot *s = &m->slots[i];

                if (!s->key || (s->hash == hash && strcmp(s->key, key) == 0))
                        return s;
        }
}

static void grow(Map *m)
{
        Map bigger = {.cap = MAX(m->cap * 2, (size_t)CAP_MIN), .n = m->n};

        bigger.slots = mem_alloc(bigger.cap * sizeof(MapSlot));
        for (size_t i = 0; i < m->cap; i++)
                if (m->slots[i].key)
                        *find_slot(&bigger, m->slots[i].key, m->slots[i].hash) = m->slots[i];
        free(m->slots);
        *m = bigger;
}

void *map_find(const Map *m, const char *key)
{
        return m->n ? find_slot(m, key, hash_str(key))->value : NULL;
}

void *map_put(Map *m, const char *key, void *value)
{
        uint64_t hash = hash_str(key);
        void *old = NULL;
        MapSlot *s;

        assert(value);
        if ((m->n + 1) * 4 > m->cap * 3)
                grow(m);
        s = find_slot(m, key, hash);
        if (s->key) {
                old = s->value;
        } else {
                s->key = mem_strdup(key);
                s->hash = hash;
                m->n++;
        }
        s->value = value;
        return old;
}

void *map_remove(Map *m, const char *key)
{
        size_t hole, i;
        MapSlot *s;
        void *old;

        if (!m->n)
                return NULL;
        s = find_slot(m, key, hash_str(key));
        if (!s->key)
                return NULL;
        old = s->value;
        free(s->key);
        m->n--;

        hole = (size_t)(s - m->slots);
        for (i = (hole + 1) & (m->cap - 1); m->slots[i].key; i = (i + 1) & (m->cap - 1)) {
                size_t home = m->slots[i].hash & (m->cap - 1);

                /* May it move into the hole without passing its home? */
                if (((i - home) & (m->cap - 1)) >= ((i - hole) & (m->cap - 1))) {
                        m->slots[hole] = m->slots[i];
                        hole = i;
                }
        }
        m->slots[hole] = (MapSlot){};
        return old;
}
