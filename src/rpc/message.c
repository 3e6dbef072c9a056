/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unpacking in two passes. The first walks the bytes against the descriptor without allocating and
 * refuses what protobuf-c would take: nesting without end (it recurses on the C stack), fields
 * without number, text that is no UTF-8 or holds a NUL (C strings would be cut there). The second
 * is protobuf-c itself with an allocator over the arena, capped in proportion to the bytes: a field
 * of two bytes costs it 48.
 *
 * Nothing is freed on the way: the arena does that. protobuf-c's own temporaries count against the
 * cap, which is meant, they are as much the peer's doing as the message.
 */
#include "rpc/message.h"

#include "base/limits.h"
#include "base/mem.h"
#include "base/str.h"

enum { WIRE_VARINT = 0, WIRE_64BIT = 1, WIRE_BYTES = 2, WIRE_32BIT = 5 };

typedef struct Walk {
        size_t fields;
        Err *err;
} Walk;

static int malformed(Walk *w, const char *what)
{
        return err_set(w->err, INTERNAL, "proto: cannot parse invalid wire-format data: %s", what);
}

/* Returns the byte after the varint, or NULL. */
static const uint8_t *read_varint(const uint8_t *p, const uint8_t *end, uint64_t *ret)
{
        uint64_t v = 0;

        for (int shift = 0; shift < 70 && p < end; shift += 7) {
                uint8_t byte = *p++;

                if (shift == 63 && byte > 1)
                        return NULL;
                v |= (uint64_t)(byte & 0x7f) << shift;
                if (byte < 0x80) {
                        *ret = v;
                        return p;
                }
        }
        return NULL;
}

static int walk_message(Walk *w, const ProtobufCMessageDescriptor *desc, const uint8_t *p,
                        const uint8_t *end, int depth);

static int walk_bytes(Walk *w, const ProtobufCMessageDescriptor *desc,
                      const ProtobufCFieldDescriptor *field, const uint8_t *p, size_t n, int depth)
{
        if (!field)
                return 0;
        if (field->type == PROTOBUF_C_TYPE_MESSAGE)
                return walk_message(w, field->descriptor, p, p + n, depth + 1);
        if (field->type == PROTOBUF_C_TYPE_STRING && !str_is_utf8((const char *)p, n))
                return err_set(w->err, INTERNAL, "proto: field %s.%s contains %s", desc->name,
                               field->name, memchr(p, 0, n) ? "a NUL byte" : "invalid UTF-8");
        return 0;
}

static int walk_message(Walk *w, const ProtobufCMessageDescriptor *desc, const uint8_t *p,
                        const uint8_t *end, int depth)
{
        if (depth > LIMIT_PB_DEPTH)
                return err_set(w->err, RESOURCE_EXHAUSTED,
                               "proto: message %s nested deeper than %d", desc->name,
                               LIMIT_PB_DEPTH);

        while (p < end) {
                uint64_t tag, n = 0;
                int r;

                p = read_varint(p, end, &tag);
                if (!p || tag > UINT32_MAX || tag >> 3 == 0)
                        return malformed(w, "tag");
                if (++w->fields > LIMIT_PB_FIELDS)
                        return err_set(w->err, RESOURCE_EXHAUSTED,
                                       "proto: message has more than %d fields", LIMIT_PB_FIELDS);

                switch (tag & 7) {
                case WIRE_VARINT:
                        p = read_varint(p, end, &n);
                        if (!p)
                                return malformed(w, "varint");
                        continue;
                case WIRE_64BIT:
                        n = 8;
                        break;
                case WIRE_32BIT:
                        n = 4;
                        break;
                case WIRE_BYTES:
                        p = read_varint(p, end, &n);
                        if (!p)
                                return malformed(w, "length");
                        break;
                default:
                        return malformed(w, "wire type");
                }
                if (n > (size_t)(end - p))
                        return malformed(w, "unexpected EOF");
                if ((tag & 7) == WIRE_BYTES && n > 0) {
                        r = walk_bytes(
                                w, desc,
                                protobuf_c_message_descriptor_get_field(desc, (unsigned)(tag >> 3)),
                                p, n, depth);
                        if (r < 0)
                                return r;
                }
                p += n;
        }
        return 0;
}

typedef struct Capped {
        Arena *arena;
        int refused;
} Capped;

static void *capped_alloc(void *ctx, size_t n)
{
        Capped *c = ctx;
        void *p = arena_try(c->arena, n);

        c->refused |= !p;
        return p;
}

static void capped_free(void *ctx, void *p)
{
}

static int unpack_within(Arena *a, size_t cap, const ProtobufCMessageDescriptor *desc,
                         const void *bytes, size_t n, ProtobufCMessage **ret, Err *err)
{
        Capped capped = {.arena = a};
        ProtobufCAllocator alloc = {capped_alloc, capped_free, &capped};
        size_t own_cap = a->cap;
        ProtobufCMessage *msg;

        a->cap = own_cap ? MIN(own_cap, cap) : cap;
        msg = protobuf_c_message_unpack(desc, &alloc, n, bytes);
        a->cap = own_cap;

        if (!msg && capped.refused)
                return err_set(err, RESOURCE_EXHAUSTED,
                               "proto: message %s of %zu bytes takes too much memory", desc->name,
                               n);
        if (!msg)
                return err_set(err, INTERNAL,
                               "proto: cannot parse invalid wire-format data: message %s",
                               desc->name);
        *ret = msg;
        return 0;
}

int message_unpack(Arena *a, const ProtobufCMessageDescriptor *desc, const void *bytes, size_t n,
                   ProtobufCMessage **ret, Err *err)
{
        const uint8_t *p = n > 0 ? bytes : (const uint8_t *)"";
        Walk w = {.err = err};
        int r;

        r = walk_message(&w, desc, p, p + n, 1);
        if (r < 0)
                return r;
        return unpack_within(a, a->used + n * LIMIT_PB_ARENA_FACTOR + LIMIT_PB_ARENA_BASE, desc, p,
                             n, ret, err);
}

void *message_pack(Arena *a, const void *msg, size_t *ret_len)
{
        size_t n = protobuf_c_message_get_packed_size(msg);
        void *bytes = a ? arena_alloc(a, MAX(n, (size_t)1)) : mem_alloc(MAX(n, (size_t)1));

        protobuf_c_message_pack(msg, bytes);
        *ret_len = n;
        return bytes;
}

void *message_dup(Arena *a, const void *msg)
{
        uint8_t *bytes CLEANUP(cleanup_free) = NULL;
        ProtobufCMessage *copy = NULL;
        Err err;
        size_t n;
        int r;

        bytes = message_pack(NULL, msg, &n);
        r = unpack_within(a, SIZE_MAX, ((const ProtobufCMessage *)msg)->descriptor, bytes, n, &copy,
                          &err);
        assert(r == 0);
        return copy;
}

void *message_new(Arena *a, const ProtobufCMessageDescriptor *desc)
{
        void *msg = arena_alloc(a, desc->sizeof_message);

        protobuf_c_message_init(desc, msg);
        return msg;
}
