/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash map from strings to pointers; keys are copied, values are the caller's. Seeded per
 * process, so that a peer cannot choose colliding keys. Not locked. Embedded: `Map m
 * CLEANUP(map_done) = {};`.
 */
#pragma once

#include "base/macros.h"

typedef struct MapSlot {
        char *key; /* NULL: free */
        void *value;
        uint64_t hash;
} MapSlot;

typedef struct Map {
        MapSlot *slots;
        size_t n, cap;
} Map;

void map_done(Map *m); /* frees the keys, not the values */
void *map_find(const Map *m, const char *key);
/* Adds or replaces; value must not be NULL. Returns what was there before, or NULL. */
void *map_put(Map *m, const char *key, void *value);
/* Returns what was there, or NULL. */
void *map_remove(Map *m, const char *key);

/* Order is arbitrary; the body must not change the map. */
#define MAP_FOREACH(slot, m)                                                   \
        for (MapSlot *slot = (m)->slots; slot < (m)->slots + (m)->cap; slot++) \
                if (slot->key)
