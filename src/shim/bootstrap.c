/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An Any often is a valid BootstrapParams as well (fields 1 and 2 are strings or bytes in both), so
 * decoding proves nothing. What tells them apart is that a daemon of 2.3 always names its version
 * and its ttrpc address, and that an instance id is never a type URL.
 */
#include <jansson.h>
#include "api/containerd/runtime/bootstrap/v1/bootstrap.pb-c.h"
#include "base/json.h"
#include "base/limits.h"
#include "rpc/message.h"
#include "shim/bootstrap.h"
#include "spec/bundle.h"

typedef struct Flag {
        const char *name;
        size_t offset;
        int is_bool;
} Flag;

#define TEXT_FLAG(name, member)                      \
        {                                            \
                name, offsetof(ShimFlags, member), 0 \
        }
#define BOOL_FLAG(name, member)                      \
        {                                            \
                name, offsetof(ShimFlags, member), 1 \
        }

static const Flag shim_flags[] = {
        TEXT_FLAG("namespace", ns),    TEXT_FLAG("id", id),
        TEXT_FLAG("address", address), TEXT_FLAG("publish-binary", publish_binary),
        TEXT_FLAG("bundle", bundle),   BOOL_FLAG("debug", debug),
        BOOL_FLAG("v", version),       BOOL_FLAG("version", version),
        BOOL_FLAG("info", info),
};

static const Flag *flag_find(const char *name, size_t n)
{
        for (size_t i = 0; i < ARRAY_LEN(shim_flags); i++)
                if (strlen(shim_flags[i].name) == n && memcmp(shim_flags[i].name, name, n) == 0)
                        return &shim_flags[i];
        return NULL;
}

int shim_flags_parse(int argc, const char *const *argv, ShimFlags *ret, Err *err)
{
        int i;

        *ret = (ShimFlags){.ns = "",
                           .id = "",
                           .address = "",
                           .publish_binary = "",
                           .bundle = "",
                           .action = ""};
        for (i = 1; i < argc && argv[i][0] == '-'; i++) {
                const char *name = argv[i] + (argv[i][1] == '-' ? 2 : 1);
                size_t n = strcspn(name, "=");
                const Flag *f = flag_find(name, n);
                void *member;

                if (!f)
                        return err_set(err, INVALID_ARGUMENT,
                                       "flag provided but not defined: -%.*s", (int)n, name);
                member = (char *)ret + f->offset;
                if (f->is_bool)
                        *(int *)member = name[n] != '=' || str_eq(name + n + 1, "true") ||
                                         str_eq(name + n + 1, "1");
                else if (name[n] == '=')
                        *(const char **)member = name + n + 1;
                else if (i + 1 < argc)
                        *(const char **)member = argv[++i];
                else
                        return err_set(err, INVALID_ARGUMENT, "flag needs an argument: -%s",
                                       f->name);
        }
        if (i < argc)
                ret->action = argv[i];
        return 0;
}

static int read_params(Arena *a, const void *input, size_t n, Bootstrap *ret)
{
        const Bootstrap__BootstrapParams *p;
        ProtobufCMessage *m;
        Err err;

        if (n == 0 ||
            message_unpack(a, &bootstrap__bootstrap_params__descriptor, input, n, &m, &err) < 0)
                return 0;
        p = (const Bootstrap__BootstrapParams *)m;
        if (str_empty(p->containerd_version) && str_empty(p->containerd_ttrpc_address))
                return 0;
        ret->modern = 1;
        ret->id = p->instance_id;
        ret->ns = p->namespace_;
        ret->grpc_address = p->containerd_grpc_address;
        ret->ttrpc_address = p->containerd_ttrpc_address;
        ret->debug = (int)p->log_level < BOOTSTRAP__LOG_LEVEL__LOG_LEVEL_INFO;
        if (p->socket_dir_presence_case ==
                    BOOTSTRAP__BOOTSTRAP_PARAMS__SOCKET_DIR_PRESENCE_SOCKET_DIR &&
            !str_empty(p->socket_dir))
                ret->socket_dir = p->socket_dir;
        for (size_t i = 0; i < p->n_extensions && !ret->options; i++)
                if (p->extensions[i]->value && !str_empty(p->extensions[i]->value->type_url))
                        ret->options = p->extensions[i]->value;
        return 1;
}

int bootstrap_read(Arena *a, const ShimFlags *flags, const char *env_ttrpc_address,
                   const void *input, size_t n, Bootstrap *ret, Err *err)
{
        ProtobufCMessage *m;
        Err ignored;

        *ret = (Bootstrap){};
        if (!read_params(a, input, n, ret)) {
                ret->id = flags->id;
                ret->ns = flags->ns;
                ret->grpc_address = flags->address;
                ret->ttrpc_address = env_ttrpc_address ? env_ttrpc_address : "";
                ret->debug = flags->debug;
                if (n > 0 &&
                    message_unpack(a, &google__protobuf__any__descriptor, input, n, &m, &ignored) ==
                            0 &&
                    !str_empty(((Google__Protobuf__Any *)m)->type_url))
                        ret->options = (Google__Protobuf__Any *)m;
        }
        /* The flags come with either dialect and are what ps and clean-up tools see. */
        if (str_empty(ret->id))
                ret->id = flags->id;
        if (str_empty(ret->ns))
                ret->ns = flags->ns;
        if (str_empty(ret->ns))
                return err_set(err, INVALID_ARGUMENT, "shim namespace cannot be empty");
        if (str_empty(ret->id))
                return err_set(err, INVALID_ARGUMENT, "shim id cannot be empty");
        return 0;
}

const void *bootstrap_answer(Arena *a, const Bootstrap *b, const char *address, size_t *ret_n)
{
        Bootstrap__BootstrapResult__MetadataEntry look =
                BOOTSTRAP__BOOTSTRAP_RESULT__METADATA_ENTRY__INIT;
        Bootstrap__BootstrapResult__MetadataEntry *metadata[] = {&look};
        Bootstrap__BootstrapResult result = BOOTSTRAP__BOOTSTRAP_RESULT__INIT;

        if (!b->modern) {
                *ret_n = strlen(address);
                return address;
        }
        result.version = 3;
        result.address = address;
        result.protocol = "ttrpc";
        look.key = BOOTSTRAP_LOOK;
        look.value = BOOTSTRAP_LOOK_V1;
        result.metadata = metadata;
        result.n_metadata = ARRAY_LEN(metadata);
        return message_pack(a, &result, ret_n);
}

int runc_options_read(Arena *a, const Google__Protobuf__Any *any, Runc__Options **ret, Err *err)
{
        const char *slash, *name;
        ProtobufCMessage *m;
        int r;

        *ret = message_make(a, runc__options);
        if (!any || any->value.len == 0)
                return 0;
        slash = strrchr(any->type_url, '/');
        name = slash ? slash + 1 : any->type_url;
        if (!str_eq(name, runc__options__descriptor.name))
                return err_set(err, INVALID_ARGUMENT,
                               "runtime options of type \"%s\" are not understood, only %s: "
                               "invalid argument",
                               any->type_url, runc__options__descriptor.name);
        r = message_unpack(a, &runc__options__descriptor, any->value.data, any->value.len, &m, err);
        if (r < 0)
                return err_wrap(err, "runtime options");
        *ret = (Runc__Options *)m;
        return 0;
}

static void put_text(json_t *o, const char *key, const char *value)
{
        if (!str_empty(value))
                json_object_set_new(o, key, json_string(value));
}

static void put_bool(json_t *o, const char *key, int value)
{
        if (value)
                json_object_set_new(o, key, json_true());
}

static void put_number(json_t *o, const char *key, uint32_t value)
{
        if (value)
                json_object_set_new(o, key, json_integer(value));
}

char *runc_options_json(const Runc__Options *o)
{
        json_t *j CLEANUP(json_decrefp) = json_object();

        put_bool(j, "no_pivot_root", o->no_pivot_root);
        put_bool(j, "no_new_keyring", o->no_new_keyring);
        put_text(j, "shim_cgroup", o->shim_cgroup);
        put_number(j, "io_uid", o->io_uid);
        put_number(j, "io_gid", o->io_gid);
        put_text(j, "binary_name", o->binary_name);
        put_text(j, "root", o->root);
        put_bool(j, "systemd_cgroup", o->systemd_cgroup);
        put_text(j, "criu_image_path", o->criu_image_path);
        put_text(j, "criu_work_path", o->criu_work_path);
        put_text(j, "task_api_address", o->task_api_address);
        put_number(j, "task_api_version", o->task_api_version);
        return json_text(j);
}
