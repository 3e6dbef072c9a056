/* SPDX-License-Identifier: Apache-2.0 */
/* What filters can see of an event: namespace, topic and, for the types we know, event.<path>. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include "base/arena.h"

typedef struct EventView {
        const char *ns, *topic, *type_url;
        const void *value;
        size_t n;
        /* the event decoded on first use; begin as zero */
        Arena arena;
        ProtobufCMessage *message;
        int tried;
} EventView;

void event_view_done(EventView *v);
/* NULL when the path names nothing, or an empty string outside a map. */
const char *event_view_field(EventView *v, const char *const *path, size_t n);
/* The descriptor for a type_url, with or without a "host/" before the name; NULL for types we do
 * not know. */
const ProtobufCMessageDescriptor *event_type_find(const char *type_url);
