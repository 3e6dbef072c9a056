// SPDX-License-Identifier: Apache-2.0
/*
 * One walk over a message's descriptor. Maps arrive as repeated entries {key, value}: an entry is
 * known by its two fields of these names and a message name that ends in "Entry".
 */
#include "client/any.h"

#include "api/containerd/events/events.pb-c.h"
#include "api/containerd/runc/v1/options.pb-c.h"
#include "api/containerd/services/images/v1/images.pb-c.h"
#include "api/google/protobuf/any.pb-c.h"
#include "api/google/protobuf/timestamp.pb-c.h"
#include "api/io/containerd/cgroups/v1/metrics.pb-c.h"
#include "api/io/containerd/cgroups/v2/metrics.pb-c.h"
#include "api/runtimeoptions/v1/options.pb-c.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "rpc/message.h"

static const ProtobufCMessageDescriptor *const known[] = {
        &events__container_create__descriptor,  &events__container_update__descriptor,
        &events__container_delete__descriptor,  &events__content_create__descriptor,
        &events__content_delete__descriptor,    &images__image_create__descriptor,
        &images__image_update__descriptor,      &images__image_delete__descriptor,
        &events__namespace_create__descriptor,  &events__namespace_update__descriptor,
        &events__namespace_delete__descriptor,  &events__snapshot_prepare__descriptor,
        &events__snapshot_commit__descriptor,   &events__snapshot_remove__descriptor,
        &events__task_create__descriptor,       &events__task_start__descriptor,
        &events__task_delete__descriptor,       &events__task_exit__descriptor,
        &events__task_oom__descriptor,          &events__task_exec_added__descriptor,
        &events__task_exec_started__descriptor, &events__task_paused__descriptor,
        &events__task_resumed__descriptor,      &events__task_checkpointed__descriptor,
        &events__sandbox_create__descriptor,    &events__sandbox_start__descriptor,
        &events__sandbox_exit__descriptor,      &runc__options__descriptor,
        &runc__process_details__descriptor,     &runc__checkpoint_options__descriptor,
        &cgroups1__metrics__descriptor,         &cgroups2__metrics__descriptor,
        &runtimeoptions__options__descriptor,
};

const ProtobufCMessageDescriptor *any_descriptor(const char *type_url)
{
        const char *slash = strrchr(type_url, '/');
        const char *name = slash ? slash + 1 : type_url;

        for (size_t i = 0; i < ARRAY_LEN(known); i++)
                if (str_eq(known[i]->name, name))
                        return known[i];
        return NULL;
}

char *base64_encode(const void *p, size_t n)
{
        static const char digits[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const uint8_t *in = p;
        char *out = mem_alloc((n + 2) / 3 * 4 + 1), *o = out;

        for (size_t i = 0; i < n; i += 3) {
                uint32_t v = (uint32_t)in[i] << 16 | (i + 1 < n ? (uint32_t)in[i + 1] << 8 : 0) |
                             (i + 2 < n ? in[i + 2] : 0);

                *o++ = digits[v >> 18];
                *o++ = digits[v >> 12 & 63];
                *o++ = i + 1 < n ? digits[v >> 6 & 63] : '=';
                *o++ = i + 2 < n ? digits[v & 63] : '=';
        }
        return out;
}

static json_t *bytes_json(ProtobufCBinaryData b)
{
        char *text CLEANUP(cleanup_free) = base64_encode(b.data, b.len);

        return json_string(text);
}

static json_t *text_json(const char *s)
{
        json_t *j = json_string(s);

        return j ? j : json_string("(not UTF-8)");
}

static json_t *value_json(const ProtobufCFieldDescriptor *f, const void *at)
{
        switch (f->type) {
        case PROTOBUF_C_TYPE_INT32:
        case PROTOBUF_C_TYPE_SINT32:
        case PROTOBUF_C_TYPE_SFIXED32:
                return json_integer(*(const int32_t *)at);
        case PROTOBUF_C_TYPE_INT64:
        case PROTOBUF_C_TYPE_SINT64:
        case PROTOBUF_C_TYPE_SFIXED64:
                return json_integer(*(const int64_t *)at);
        case PROTOBUF_C_TYPE_UINT32:
        case PROTOBUF_C_TYPE_FIXED32:
                return json_integer(*(const uint32_t *)at);
        case PROTOBUF_C_TYPE_UINT64:
        case PROTOBUF_C_TYPE_FIXED64:
                return json_u64(*(const uint64_t *)at);
        case PROTOBUF_C_TYPE_FLOAT:
                return json_real((double)*(const float *)at);
        case PROTOBUF_C_TYPE_DOUBLE:
                return json_real(*(const double *)at);
        case PROTOBUF_C_TYPE_BOOL:
                return json_boolean(*(const protobuf_c_boolean *)at);
        case PROTOBUF_C_TYPE_ENUM:
                return json_integer(*(const int *)at);
        case PROTOBUF_C_TYPE_STRING:
                return text_json(*(const char *const *)at);
        case PROTOBUF_C_TYPE_BYTES:
                return bytes_json(*(const ProtobufCBinaryData *)at);
        case PROTOBUF_C_TYPE_MESSAGE:
                return message_json(*(const ProtobufCMessage *const *)at);
        }
        return json_null();
}

static size_t type_size(const ProtobufCFieldDescriptor *f)
{
        switch (f->type) {
        case PROTOBUF_C_TYPE_BYTES:
                return sizeof(ProtobufCBinaryData);
        case PROTOBUF_C_TYPE_STRING:
        case PROTOBUF_C_TYPE_MESSAGE:
                return sizeof(void *);
        case PROTOBUF_C_TYPE_BOOL:
                return sizeof(protobuf_c_boolean);
        case PROTOBUF_C_TYPE_INT64:
        case PROTOBUF_C_TYPE_SINT64:
        case PROTOBUF_C_TYPE_SFIXED64:
        case PROTOBUF_C_TYPE_UINT64:
        case PROTOBUF_C_TYPE_FIXED64:
        case PROTOBUF_C_TYPE_DOUBLE:
                return 8;
        default:
                return 4;
        }
}

static int is_map(const ProtobufCFieldDescriptor *f)
{
        const ProtobufCMessageDescriptor *d = f->descriptor;

        return f->label == PROTOBUF_C_LABEL_REPEATED && f->type == PROTOBUF_C_TYPE_MESSAGE &&
               d->n_fields == 2 && str_ends(d->short_name, "Entry") &&
               str_eq(d->fields[0].name, "key") && d->fields[0].type == PROTOBUF_C_TYPE_STRING;
}

static json_t *repeated_json(const ProtobufCFieldDescriptor *f, const uint8_t *m)
{
        size_t n = *(const size_t *)(const void *)(m + f->quantifier_offset);
        const uint8_t *v = *(uint8_t *const *)(const void *)(m + f->offset);
        json_t *j;

        if (n == 0)
                return NULL;
        if (!is_map(f)) {
                j = json_array();
                for (size_t i = 0; i < n; i++)
                        json_array_append_new(j, value_json(f, v + i * type_size(f)));
                return j;
        }
        j = json_object();
        for (size_t i = 0; i < n; i++) {
                const ProtobufCMessageDescriptor *d = f->descriptor;
                const uint8_t *entry = ((uint8_t *const *)(const void *)v)[i];

                json_object_set_new(
                        j, *(const char *const *)(const void *)(entry + d->fields[0].offset),
                        value_json(&d->fields[1], entry + d->fields[1].offset));
        }
        return j;
}

static int is_default(const ProtobufCFieldDescriptor *f, const void *at)
{
        static const uint8_t zero[8];

        switch (f->type) {
        case PROTOBUF_C_TYPE_STRING:
                return str_empty(*(const char *const *)at);
        case PROTOBUF_C_TYPE_BYTES:
                return ((const ProtobufCBinaryData *)at)->len == 0;
        case PROTOBUF_C_TYPE_MESSAGE:
                return *(const ProtobufCMessage *const *)at == NULL;
        default:
                return memcmp(at, zero, type_size(f)) == 0;
        }
}

json_t *message_json(const ProtobufCMessage *m)
{
        const uint8_t *base = (const uint8_t *)m;
        json_t *j;

        if (m->descriptor == &google__protobuf__timestamp__descriptor) {
                const Google__Protobuf__Timestamp *t = (const void *)m;
                char buf[TIME_TEXT_MAX];

                return json_string(time_format((Time){.sec = t->seconds, .nsec = t->nanos}, buf));
        }
        if (m->descriptor == &google__protobuf__any__descriptor) {
                const Google__Protobuf__Any *any = (const void *)m;

                return any_json(any->type_url, any->value);
        }
        j = json_object();
        for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
                const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
                json_t *v = NULL;

                if (f->label == PROTOBUF_C_LABEL_REPEATED)
                        v = repeated_json(f, base);
                else if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
                         *(const uint32_t *)(const void *)(base + f->quantifier_offset) != f->id)
                        continue;
                else if (!is_default(f, base + f->offset))
                        v = value_json(f, base + f->offset);
                if (v)
                        json_object_set_new(j, f->name, v);
        }
        return j;
}

json_t *any_json(const char *type_url, ProtobufCBinaryData value)
{
        const ProtobufCMessageDescriptor *d = any_descriptor(type_url);
        ProtobufCMessage *m;
        json_t *j = NULL;
        Err err = {};
        Arena a;

        arena_init(&a, (size_t)LIMIT_PB_ARENA_BASE + value.len * LIMIT_PB_ARENA_FACTOR);
        if (d && message_unpack(&a, d, value.data, value.len, &m, &err) == 0)
                j = message_json(m);
        else if (strstr(type_url, "opencontainers/runtime-spec/"))
                (void)json_read((const char *)value.data, value.len, LIMIT_DOCUMENT, type_url, &j,
                                &err);
        arena_done(&a);
        if (!j) {
                j = json_object();
                json_object_set_new(j, "type_url", text_json(type_url));
                json_object_set_new(j, "value", bytes_json(value));
        }
        return j;
}
