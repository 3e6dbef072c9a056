/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Protobuf messages at the border. Unpacking a peer's bytes first walks them against the
 * descriptor: depth, number of fields, well-formed UTF-8 without NUL; protobuf-c itself has none of
 * these limits. The unpacked message lives in the arena, whose cap bounds amplification.
 *
 * encoding: https://protobuf.dev/programming-guides/encoding/
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include "base/arena.h"
#include "base/err.h"

/* INTERNAL for malformed bytes (as grpc-go answers), RESOURCE_EXHAUSTED past a limit. */
int message_unpack(Arena *a, const ProtobufCMessageDescriptor *desc, const void *bytes, size_t n,
                   ProtobufCMessage **ret, Err *err);
/* Encoded into the arena (heap when a is NULL). */
void *message_pack(Arena *a, const void *msg, size_t *ret_len);
/* A copy in another arena. */
void *message_dup(Arena *a, const void *msg);
/* A message with every field at its default, in the arena. */
void *message_new(Arena *a, const ProtobufCMessageDescriptor *desc);

#define message_make(a, prefix) ((void *)message_new((a), &prefix##__descriptor))
