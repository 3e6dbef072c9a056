/* SPDX-License-Identifier: Apache-2.0 */
/* Plugins are read straight from the set: it is constant once the daemon serves. */
#include "services/introspection.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/hash.h"
#include "db/filter.h"
#include "metadata/metadata.h"
#include "rpc/message.h"
#include "runtime/info.h"
#include "services/warnings.h"
#include "api/containerd/services/introspection/v1/introspection.pb-c.h"
#include "api/containerd/types/types.pb-c.h"
#include "api/google/protobuf/empty.pb-c.h"

static const char **copy_strings(Arena *a, const char *const *v, size_t n)
{
        return n ? arena_memdup(a, v, n * sizeof(*v)) : NULL;
}

static void fill_platforms(Arena *a, const PluginInfo *info, Introspection__Plugin *p)
{
        p->platforms = arena_array(a, Types__Platform *, info->n_platforms);
        for (size_t i = 0; i < info->n_platforms; i++) {
                Types__Platform *platform = message_make(a, types__platform);

                platform->os = info->platforms[i].os;
                platform->architecture = info->platforms[i].arch;
                platform->variant = info->platforms[i].variant;
                p->platforms[p->n_platforms++] = platform;
        }
}

static void fill_exports(Arena *a, const PluginInfo *info, Introspection__Plugin *p)
{
        p->exports = arena_array(a, Introspection__Plugin__ExportsEntry *, info->n_exports);
        for (size_t i = 0; i < info->n_exports; i++) {
                Introspection__Plugin__ExportsEntry *e =
                        message_make(a, introspection__plugin__exports_entry);

                e->key = info->export_keys[i];
                e->value = info->export_values[i];
                p->exports[p->n_exports++] = e;
        }
}

static Introspection__Plugin *plugin_to_pb(Arena *a, const PluginInfo *info)
{
        Introspection__Plugin *p = message_make(a, introspection__plugin);

        p->type = info->type;
        p->id = info->id;
        for (const char *const *r = info->requires; r && *r; r++)
                p->n_requires++;
        p->requires = copy_strings(a, info->requires, p->n_requires);
        p->capabilities = copy_strings(a, info->capabilities, info->n_capabilities);
        p->n_capabilities = info->n_capabilities;
        fill_platforms(a, info, p);
        fill_exports(a, info, p);
        if (info->err) {
                p->init_err = message_make(a, rpc_status__status);
                /* Clients tell a skip by its text; containerd's code for it is Unknown. */
                p->init_err->code = info->state == PLUGIN_SKIPPED ? UNKNOWN : info->err->code;
                p->init_err->message = info->err->msg;
        }
        return p;
}

static const char *plugin_field(void *ctx, const char *const *path, size_t n)
{
        const PluginInfo *info = ctx;

        /* only the first part is looked at */
        if (n > 0 && str_eq(path[0], "type"))
                return info->type;
        if (n > 0 && str_eq(path[0], "id"))
                return info->id;
        return NULL;
}

static int plugins(Call *c, const Introspection__PluginsRequest *req,
                   Introspection__PluginsResponse *rsp)
{
        const IntrospectionService *s = c->ctx;
        size_t n = plugin_set_count(s->plugins);
        Filter *filter CLEANUP(filter_freep) = NULL;
        int r;

        r = filter_parse((const char *const *)req->filters, req->n_filters, &filter, c->err);
        if (r < 0)
                return err_wrap(c->err, "invalid argument");
        rsp->plugins = arena_array(c->arena, Introspection__Plugin *, n);
        for (size_t i = 0; i < n; i++) {
                PluginInfo info = plugin_set_at(s->plugins, i);

                if (filter_match(filter, plugin_field, &info))
                        rsp->plugins[rsp->n_plugins++] = plugin_to_pb(c->arena, &info);
        }
        return 0;
}

static int server(Call *c, const Google__Protobuf__Empty *req, Introspection__ServerResponse *rsp)
{
        const IntrospectionService *s = c->ctx;
        struct stat st;

        if (stat("/proc/self/ns/pid", &st) < 0)
                st.st_ino = 0; /* a kernel without pid namespaces has one for all */
        rsp->uuid = s->uuid;
        rsp->pid = (uint64_t)getpid();
        rsp->pidns = st.st_ino;
        rsp->deprecations =
                arena_array(c->arena, Introspection__DeprecationWarning *, DEPRECATION_COUNT);
        for (int d = 0; d < DEPRECATION_COUNT; d++) {
                Introspection__DeprecationWarning *w =
                        message_make(c->arena, introspection__deprecation_warning);
                Time last;

                if (!deprecation_get(d, &w->id, &w->message, &last))
                        continue;
                w->last_occurrence = time_to_pb(c->arena, last);
                rsp->deprecations[rsp->n_deprecations++] = w;
        }
        return 0;
}

/* What the plugin itself has to say, which is asked for with a message that it knows. Only the
 * runtime has something: what a shim can do. */
static int extra_info(Call *c, const PluginInfo *info, const Google__Protobuf__Any *options,
                      Introspection__PluginInfoResponse *rsp)
{
        const char *slash = strrchr(options->type_url, '/');
        const char *type = slash ? slash + 1 : options->type_url;
        ProtobufCMessage *m;
        const Types__RuntimeRequest *req;
        int r;

        if (info->err)
                return err_set(c->err, FAILED_PRECONDITION,
                               "cannot get extra info, plugin not successfully loaded: "
                               "failed precondition");
        if (!str_eq(info->type, PLUGIN_RUNTIME))
                return err_set(c->err, UNIMPLEMENTED,
                               "plugin does not provided extra information: not implemented");
        if (!str_eq(type, types__runtime_request__descriptor.name))
                return err_set(c->err, UNIMPLEMENTED, "unknown request type %s: not implemented",
                               options->type_url);
        r = message_unpack(c->arena, &types__runtime_request__descriptor, options->value.data,
                           options->value.len, &m, c->err);
        if (r < 0)
                return err_wrap(c->err, "failed to unmarshal plugin info Options");
        req = (const Types__RuntimeRequest *)m;
        rsp->extra = message_make(c->arena, google__protobuf__any);
        rsp->extra->type_url = (char *)(uintptr_t)types__runtime_info__descriptor.name;
        return runtime_info(req->runtime_path, req->options, c->arena, &rsp->extra->value, c->err);
}

static int plugin_info(Call *c, const Introspection__PluginInfoRequest *req,
                       Introspection__PluginInfoResponse *rsp)
{
        const IntrospectionService *s = c->ctx;

        for (size_t i = 0; i < plugin_set_count(s->plugins); i++) {
                PluginInfo info = plugin_set_at(s->plugins, i);

                if (!str_eq(info.type, req->type) || !str_eq(info.id, req->id))
                        continue;
                rsp->plugin = plugin_to_pb(c->arena, &info);
                return req->options ? extra_info(c, &info, req->options, rsp) : 0;
        }
        return err_set(c->err, NOT_FOUND, "plugin %s.%s not found: not found", req->type, req->id);
}

static const RpcMethod methods[] = {
        RPC_UNARY_METHOD("Plugins", plugins, introspection__plugins_request,
                         introspection__plugins_response),
        RPC_UNARY_METHOD("Server", server, google__protobuf__empty, introspection__server_response),
        RPC_UNARY_METHOD("PluginInfo", plugin_info, introspection__plugin_info_request,
                         introspection__plugin_info_response),
};

const RpcService introspection_service =
        RPC_SERVICE("containerd.services.introspection.v1.Introspection", methods);

/* Version 4, https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-4 */
static void new_uuid(char ret[37])
{
        unsigned char b[16];

        random_bytes(b, sizeof(b));
        b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
        b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
        snprintf(ret, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                 b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
                 b[13], b[14], b[15]);
}

int introspection_uuid(int dirfd, char ret[37], Err *err)
{
        char *text CLEANUP(cleanup_free) = NULL;
        size_t n = 0;
        int r;

        r = file_read(NULL, dirfd, "uuid", 64, &text, &n, err);
        if (r == 0 && n == 36 && strspn(text, "0123456789abcdefABCDEF-") == 36) {
                memcpy(ret, text, 37);
                return 0;
        }
        if (r < 0 && r != -NOT_FOUND && r != -RESOURCE_EXHAUSTED)
                return r;
        new_uuid(ret);
        /* Not flushed: whoever loses power now gets another one, and nobody waits for a disk. */
        r = file_write(dirfd, "uuid.new", ret, 36, 0644, err);
        if (r == 0 && renameat(dirfd, "uuid.new", dirfd, "uuid") < 0)
                r = err_sys(err, errno, "rename to uuid");
        return r;
}
