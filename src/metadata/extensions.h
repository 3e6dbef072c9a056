/* SPDX-License-Identifier: Apache-2.0 */
/* The extensions of a record: a map of messages, kept as labels are. */
#pragma once

#include "api/google/protobuf/any.pb-c.h"
#include "metadata/metadata.h"

/* Every ...ExtensionsEntry of the API has this shape. */
typedef struct ExtensionEntry {
        ProtobufCMessage base;
        const char *key;
        Google__Protobuf__Any *value;
} ExtensionEntry;

/* In order of keys, of several with a key the last, without those that have no value; in place. */
void extensions_normalise(Arena *a, void *entries, size_t *n);
/* One key becomes what it is in from, or goes. *to is replaced by a longer array in the arena. */
void extensions_set(Arena *a, void *to, size_t *n_to, const void *from, size_t n_from,
                    const char *key);
