/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fields of events by path, read off the descriptors of the event types we know: strings, bools,
 * maps named "labels" (whose key may hold dots: the rest of the path is the key) and messages of
 * ours inside messages. Numbers, times, lists and Any have no paths.
 *
 * An event is decoded at most once, and only when some filter asks for one of its fields.
 */
#include "events/fields.h"
#include "base/limits.h"
#include "db/filter.h"
#include "rpc/message.h"
#include "api/containerd/events/events.pb-c.h"
#include "api/containerd/services/images/v1/images.pb-c.h"

static const ProtobufCMessageDescriptor *const types[] = {
        &events__container_create__descriptor,  &events__container_delete__descriptor,
        &events__container_update__descriptor,  &events__content_create__descriptor,
        &events__content_delete__descriptor,    &events__namespace_create__descriptor,
        &events__namespace_delete__descriptor,  &events__namespace_update__descriptor,
        &events__sandbox_create__descriptor,    &events__sandbox_exit__descriptor,
        &events__sandbox_start__descriptor,     &events__snapshot_commit__descriptor,
        &events__snapshot_prepare__descriptor,  &events__snapshot_remove__descriptor,
        &events__task_checkpointed__descriptor, &events__task_create__descriptor,
        &events__task_delete__descriptor,       &events__task_exec_added__descriptor,
        &events__task_exec_started__descriptor, &events__task_exit__descriptor,
        &events__task_oom__descriptor,          &events__task_paused__descriptor,
        &events__task_resumed__descriptor,      &events__task_start__descriptor,
        &images__image_create__descriptor,      &images__image_delete__descriptor,
        &images__image_update__descriptor,
};

const ProtobufCMessageDescriptor *event_type_find(const char *type_url)
{
        const char *slash = strrchr(type_url, '/');
        const char *name = slash ? slash + 1 : type_url;

        for (size_t i = 0; i < ARRAY_LEN(types); i++)
                if (str_eq(types[i]->name, name))
                        return types[i];
        return NULL;
}

void event_view_done(EventView *v)
{
        if (v->tried)
                arena_done(&v->arena);
        v->tried = 0;
        v->message = NULL;
}

static const ProtobufCMessage *decoded(EventView *v)
{
        const ProtobufCMessageDescriptor *desc;
        Err err = {};

        if (v->tried)
                return v->message;
        v->tried = 1;
        arena_init(&v->arena, LIMIT_PB_ARENA_BASE + v->n * LIMIT_PB_ARENA_FACTOR);
        desc = v->type_url ? event_type_find(v->type_url) : NULL;
        if (desc && message_unpack(&v->arena, desc, v->value, v->n, &v->message, &err) < 0)
                v->message = NULL;
        return v->message;
}

static const char *label(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
                         const char *const *path, size_t n)
{
        const char *base = (const char *)m;
        size_t count = *(const size_t *)(const void *)(base + f->quantifier_offset);
        ProtobufCMessage *const *entries =
                *(ProtobufCMessage *const *const *)(const void *)(base + f->offset);
        const ProtobufCMessageDescriptor *desc = f->descriptor;
        const ProtobufCFieldDescriptor *key = protobuf_c_message_descriptor_get_field(desc, 1);
        const ProtobufCFieldDescriptor *value = protobuf_c_message_descriptor_get_field(desc, 2);
        const char *found = NULL;

        if (!key || !value || key->type != PROTOBUF_C_TYPE_STRING ||
            value->type != PROTOBUF_C_TYPE_STRING)
                return NULL;
        for (size_t i = 0; i < count; i++) {
                const char *entry = (const char *)entries[i];
                const char *k = *(const char *const *)(const void *)(entry + key->offset);

                if (filter_path_is(path, n, 0,
                                   k)) /* the last of two wins, as in any map on the wire */
                        found = *(const char *const *)(const void *)(entry + value->offset);
        }
        return found;
}

static const char *field(const ProtobufCMessage *m, const char *const *path, size_t n)
{
        while (m && n > 0) {
                const ProtobufCFieldDescriptor *f =
                        protobuf_c_message_descriptor_get_field_by_name(m->descriptor, path[0]);
                const void *at;

                if (!f)
                        return NULL;
                at = (const char *)m + f->offset;
                if (f->label == PROTOBUF_C_LABEL_REPEATED)
                        return str_eq(f->name, "labels") && f->type == PROTOBUF_C_TYPE_MESSAGE &&
                                               n > 1
                                       ? label(m, f, path + 1, n - 1)
                                       : NULL;
                if (f->type == PROTOBUF_C_TYPE_STRING && n == 1) {
                        const char *s = *(const char *const *)at;

                        return str_empty(s) ? NULL : s;
                }
                if (f->type == PROTOBUF_C_TYPE_BOOL && n == 1)
                        return *(const protobuf_c_boolean *)at ? "true" : "false";
                if (f->type != PROTOBUF_C_TYPE_MESSAGE)
                        return NULL;
                if (!str_starts(((const ProtobufCMessageDescriptor *)f->descriptor)->name,
                                "containerd."))
                        return NULL;
                m = *(const ProtobufCMessage *const *)at;
                path++;
                n--;
        }
        return NULL;
}

const char *event_view_field(EventView *v, const char *const *path, size_t n)
{
        if (n == 1 && str_eq(path[0], "namespace"))
                return str_empty(v->ns) ? NULL : v->ns;
        if (n == 1 && str_eq(path[0], "topic"))
                return str_empty(v->topic) ? NULL : v->topic;
        if (n > 1 && str_eq(path[0], "event"))
                return field(decoded(v), path + 1, n - 1);
        return NULL;
}
