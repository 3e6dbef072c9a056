/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages as JSON, by their descriptors, in the spelling that containerd's own JSON has:
 * snake_case names, fields at their default left out, bytes in base64, times in RFC 3339, maps as
 * objects.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include "base/json.h"

/* A new reference. */
json_t *message_json(const ProtobufCMessage *m);
/* The message inside an Any when its type is known (events, task options, metrics), the JSON itself
 * when the type is an OCI document, else {"type_url", "value"}. A new reference. */
json_t *any_json(const char *type_url, ProtobufCBinaryData value);
/* NULL for a type that is not known. */
const ProtobufCMessageDescriptor *any_descriptor(const char *type_url);
/* Standard base64; heap. */
char *base64_encode(const void *p, size_t n);
