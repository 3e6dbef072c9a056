/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lighterd is made of: one row for each part, with what it needs. The set starts them in the
 * order that the requirements ask for; a service is a row that puts its table of methods into the
 * registry of a server.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include "base/clock.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "daemon.h"
#include "metadata/containers.h"
#include "metadata/content.h"
#include "metadata/gc.h"
#include "metadata/metadata.h"
#include "metadata/snapshots.h"
#include "plugins.h"
#include "runtime/runtime.h"
#include "services/containers.h"
#include "services/content.h"
#include "services/diff.h"
#include "services/events.h"
#include "services/health.h"
#include "services/images.h"
#include "services/introspection.h"
#include "services/leases.h"
#include "services/namespaces.h"
#include "services/snapshots.h"
#include "services/tasks.h"
#include "services/version.h"

static Daemon *host(const PluginContext *pc)
{
        return pc->host;
}

int plugins_stores(PluginContext *pc, Stores **ret, Err *err)
{
        return plugin_get(pc, PLUGIN_METADATA, (void **)ret, err);
}

int plugins_serve(PluginContext *pc, const RpcService *service, void *ctx)
{
        rpc_registry_add(host(pc)->grpc, service, ctx);
        return 0;
}

/* ---- stores ---- */

static int content_init(PluginContext *pc, void **ret, Err *err)
{
        ContentStore *store;
        int r;

        r = path_mkdirs(pc->root, 0755, err);
        if (r == 0)
                r = content_store_open(pc->root, &store, err);
        if (r < 0)
                return r;
        plugin_export(pc, "root", pc->root);
        *ret = store;
        return 0;
}

static void content_close(void *instance)
{
        content_store_free(instance);
}

static int exchange_init(PluginContext *pc, void **ret, Err *err)
{
        *ret = exchange_new();
        return 0;
}

static void exchange_close(void *instance)
{
        exchange_free(instance);
}

/* Calls that only change records share what a change costs. */
static void *batch_begin(void *ctx, Err *err)
{
        DbBatch *b = mem_new(DbBatch);

        db_batch_begin(ctx, b, err);
        return b;
}

static int batch_full(const void *batch)
{
        return db_batch_full(batch);
}

static int batch_commit(void *batch)
{
        int r = db_batch_commit(batch);

        free(batch);
        return r;
}

static const RpcBatchOps db_batch_ops = {batch_begin, batch_full, batch_commit};

/* The database comes before the snapshotters, which keep their records in it; metadata comes after
 * them. */
static int db_init(PluginContext *pc, void **ret, Err *err)
{
        Daemon *d = host(pc);
        DbStats stats;
        DbEnv *env;
        int r;

        r = db_env_open(pc->root, NULL, &env, err);
        if (r < 0)
                return r;
        db_env_stats(env, &stats);
        if (stats.migrated_from)
                log_info("the database has been migrated", "from", log_num(stats.migrated_from),
                         "to", log_num(DB_SCHEMA_VERSION));
        rpc_registry_set_batch(d->grpc, &db_batch_ops, env);
        *ret = d->db = env;
        return 0;
}

static void db_close(void *instance)
{
        db_env_close(instance);
}

typedef struct OverlayfsConfig {
        const char *root_path;
        int upperdir_label, sync_remove;
        ConfigStrings mount_options;
} OverlayfsConfig;

static const ConfigKey overlayfs_keys[] = {
        {"root_path", CONFIG_STRING, offsetof(OverlayfsConfig, root_path), "", 0, 0},
        {"upperdir_label", CONFIG_BOOL, offsetof(OverlayfsConfig, upperdir_label), "false", 0, 0},
        {"sync_remove", CONFIG_BOOL, offsetof(OverlayfsConfig, sync_remove), "false", 0, 0},
        {"slow_chown", CONFIG_UNSERVED, 0, "false", 0, 0},
        {"mount_options", CONFIG_STRINGS, offsetof(OverlayfsConfig, mount_options), "", 0, 0},
};
static const ConfigSchema overlayfs_schema = CONFIG_SCHEMA(overlayfs_keys, OverlayfsConfig);

static int snapshotter_ready(PluginContext *pc, Snapshotter *sn, void **ret)
{
        Platform platform = platform_host();

        plugin_platform(pc, &platform);
        plugin_export(pc, "root", snapshotter_root(sn));
        for (const char *const *c = snapshotter_capabilities(sn); c && *c; c++)
                plugin_capability(pc, *c);
        *ret = sn;
        return 0;
}

static int overlayfs_init(PluginContext *pc, void **ret, Err *err)
{
        const OverlayfsConfig *config = pc->settings;
        const OverlayfsOptions options = {
                .mount_options = config->mount_options.v,
                .upperdir_label = config->upperdir_label,
                .sync_remove = config->sync_remove,
        };
        const char *root = str_empty(config->root_path) ? pc->root : config->root_path;
        Snapshotter *sn;
        DbEnv *env;
        int r;

        r = plugin_get_id(pc, PLUGIN_INTERNAL, "db", (void **)&env, err);
        if (r == 0)
                r = path_mkdirs(root, 0700, err);
        if (r == 0)
                r = overlayfs_open(env, root, &options, &sn, err);
        if (r == -UNIMPLEMENTED) {
                char *why CLEANUP(cleanup_free) = mem_strdup(err->msg);

                return plugin_skip(err, why);
        }
        return r < 0 ? r : snapshotter_ready(pc, sn, ret);
}

typedef struct NativeConfig {
        const char *root_path;
} NativeConfig;

static const ConfigKey native_keys[] = {
        {"root_path", CONFIG_STRING, offsetof(NativeConfig, root_path), "", 0, 0},
};
static const ConfigSchema native_schema = CONFIG_SCHEMA(native_keys, NativeConfig);

static int native_init(PluginContext *pc, void **ret, Err *err)
{
        const NativeConfig *config = pc->settings;
        const char *root = str_empty(config->root_path) ? pc->root : config->root_path;
        Snapshotter *sn;
        DbEnv *env;
        int r;

        r = plugin_get_id(pc, PLUGIN_INTERNAL, "db", (void **)&env, err);
        if (r == 0)
                r = path_mkdirs(root, 0700, err);
        if (r == 0)
                r = native_open(env, root, &sn, err);
        return r < 0 ? r : snapshotter_ready(pc, sn, ret);
}

static void snapshotter_close(void *instance)
{
        snapshotter_free(instance);
}

/* ---- metadata: names per namespace over all of the above ---- */

typedef struct MetadataConfig {
        const char *content_sharing_policy;
} MetadataConfig;

static const ConfigKey metadata_keys[] = {
        {"content_sharing_policy", CONFIG_STRING, offsetof(MetadataConfig, content_sharing_policy),
         "shared", 0, 0},
        {"no_sync", CONFIG_UNSERVED, 0, "false", 0, 0},
};
static const ConfigSchema metadata_schema = CONFIG_SCHEMA(metadata_keys, MetadataConfig);

static int add_snapshotter(void *ctx, const char *id, void *instance)
{
        Stores *s = ctx;

        snapshots_add(s->snapshots, instance);
        return 0;
}

static int metadata_init(PluginContext *pc, void **ret, Err *err)
{
        const MetadataConfig *config = pc->settings;
        int isolated = str_eq(config->content_sharing_policy, "isolated");
        ContentStore *content;
        Exchange *exchange;
        DbEnv *env;
        Stores *s;
        int r;

        if (!isolated && !str_eq(config->content_sharing_policy, "shared"))
                return err_set(err, INVALID_ARGUMENT,
                               "content_sharing_policy: unknown policy \"%s\": shared or isolated",
                               config->content_sharing_policy);
        r = plugin_get_id(pc, PLUGIN_INTERNAL, "db", (void **)&env, err);
        if (r == 0)
                r = plugin_get(pc, PLUGIN_CONTENT, (void **)&content, err);
        if (r == 0)
                r = plugin_get(pc, PLUGIN_EVENT, (void **)&exchange, err);
        if (r < 0)
                return r;
        s = mem_new(Stores);
        s->metadata = metadata_new(env, exchange);
        s->blobs = blobs_new(s->metadata, content, isolated);
        s->snapshots = snapshots_new(s->metadata);
        plugin_each(pc, PLUGIN_SNAPSHOTTER, add_snapshotter, s);
        plugin_export(pc, "policy", config->content_sharing_policy);
        plugin_export(pc, "path", pc->root);
        *ret = s;
        return 0;
}

static void metadata_close(void *instance)
{
        Stores *s = instance;

        snapshots_free(s->snapshots);
        blobs_free(s->blobs);
        metadata_free(s->metadata);
        free(s);
}

/* ---- running containers ---- */

typedef struct ShimConfig {
        ConfigStrings env;
        const char *socket_dir;
} ShimConfig;

static const ConfigKey shim_keys[] = {
        {"env", CONFIG_STRINGS, offsetof(ShimConfig, env), "", 0, 0},
        {"socket_dir", CONFIG_STRING, offsetof(ShimConfig, socket_dir), "", 0, 0},
};
static const ConfigSchema shim_schema = CONFIG_SCHEMA(shim_keys, ShimConfig);

/* How shims are started; the runtime does it. */
static int shim_init(PluginContext *pc, void **ret, Err *err)
{
        const ShimConfig *config = pc->settings;

        for (size_t i = 0; i < config->env.n; i++)
                if (!strchr(config->env.v[i], '='))
                        return err_set(err, INVALID_ARGUMENT, "env: \"%s\" is not KEY=VALUE",
                                       config->env.v[i]);
        *ret = (void *)pc->settings;
        return 0;
}

/* For bundles of an earlier daemon that do not say which shim made them. */
static char *runtime_name_of(void *ctx, const char *ns, const char *id)
{
        Arena arena CLEANUP(arena_done) = {};
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        const Containers__Container *c;
        Err err;

        if (meta_begin_ro(ctx, &txn, &arena, &err) < 0)
                return NULL;
        c = containers_get(&txn, ns, id);
        return c && c->runtime ? mem_strdup(c->runtime->name) : NULL;
}

/* A shim that gets no time at all could never be used, so there is at least a millisecond. */
static int shim_timeout(const Daemon *d, const char *name, int fallback_ms)
{
        const int64_t ms = (int64_t)NS_PER_MS;
        int64_t n = config_timeout(d->config, name, fallback_ms * ms) / ms;

        return (int)MIN(MAX(n, 1), INT_MAX);
}

static int runtime_init(PluginContext *pc, void **ret, Err *err)
{
        const Daemon *d = host(pc);
        char *self CLEANUP(cleanup_free) = mem_printf("%s/lighterd", path_self_dir());
        RuntimeOptions options = {
                .root = d->settings->root,
                .state = d->settings->state,
                .grpc_address = d->settings->grpc.address,
                .ttrpc_address = d->settings->ttrpc.address,
                .daemon_path = self,
                .version = API_VERSION,
                .runtime_name = runtime_name_of,
                .sandbox_known = sandbox_known,
                .timeouts =
                        {
                                .load = shim_timeout(d, "io.containerd.timeout.shim.load",
                                                     LIMIT_SHIM_LOAD_MS),
                                .cleanup = shim_timeout(d, "io.containerd.timeout.shim.cleanup",
                                                        LIMIT_SHIM_CLEANUP_MS),
                                .shutdown = shim_timeout(d, "io.containerd.timeout.shim.shutdown",
                                                         LIMIT_SHIM_SHUTDOWN_MS),
                                .state = shim_timeout(d, "io.containerd.timeout.task.state",
                                                      LIMIT_TASK_STATE_MS),
                        },
        };
        Platform platform = platform_host();
        const ShimConfig *shim;
        void *mounts;
        Exchange *exchange;
        Runtime *rt;
        Stores *stores;
        int r;

        r = plugin_get(pc, PLUGIN_EVENT, (void **)&exchange, err);
        if (r == 0)
                r = plugin_get(pc, PLUGIN_METADATA, (void **)&stores, err);
        if (r == 0)
                r = plugin_get(pc, PLUGIN_SHIM, (void **)&shim, err);
        if (r == 0)
                r = plugin_get(pc, PLUGIN_MOUNT_MANAGER, &mounts, err);
        if (r < 0)
                return r;
        options.mounts = mounts_of_tasks(mounts);
        options.env = shim->env.v;
        options.socket_dir = str_empty(shim->socket_dir) ? NULL : shim->socket_dir;
        options.records_ctx = stores->metadata;
        r = runtime_new(&options, d->loop, d->pool, exchange, &rt, err);
        if (r < 0)
                return r;
        r = runtime_start(rt, err);
        if (r < 0) {
                runtime_stop(rt);
                return r;
        }
        plugin_platform(pc, &platform);
        plugin_export(pc, "log-uri-schemes", "fifo,binary,binary-v2,file");
        *ret = rt;
        return 0;
}

static void runtime_close(void *instance)
{
        runtime_free(instance);
}

DbEnv *plugins_db(const Daemon *d)
{
        for (size_t i = 0; d->plugins && i < plugin_set_count(d->plugins); i++) {
                PluginInfo info = plugin_set_at(d->plugins, i);

                if (str_eq(info.type, PLUGIN_INTERNAL) && str_eq(info.id, "db"))
                        return info.instance;
        }
        return NULL;
}

size_t plugins_tasks(const Daemon *d)
{
        size_t n = 0;

        for (size_t i = 0; d->plugins && i < plugin_set_count(d->plugins); i++) {
                PluginInfo info = plugin_set_at(d->plugins, i);

                if (info.instance && str_eq(info.type, PLUGIN_RUNTIME))
                        n += runtime_count(info.instance);
        }
        return n;
}

void plugins_stop(const Daemon *d)
{
        for (size_t i = 0; d->plugins && i < plugin_set_count(d->plugins); i++) {
                PluginInfo info = plugin_set_at(d->plugins, i);

                if (info.instance && str_eq(info.type, PLUGIN_RUNTIME))
                        runtime_stop(info.instance);
                if (info.instance && str_eq(info.type, PLUGIN_GC))
                        gc_stop(info.instance);
        }
}

/* ---- services ---- */

static int version_init(PluginContext *pc, void **ret, Err *err)
{
        return plugins_serve(pc, &version_service, NULL);
}

static int health_init(PluginContext *pc, void **ret, Err *err)
{
        return plugins_serve(pc, &health_service, NULL);
}

/* The table of warnings is the process's (services/warnings.h): this says that there is one. */
static int deprecations_init(PluginContext *pc, void **ret, Err *err)
{
        return 0;
}

static int introspection_init(PluginContext *pc, void **ret, Err *err)
{
        IntrospectionService *s = &host(pc)->introspection;
        int dir CLEANUP(cleanup_fd) = -1;
        int r;

        r = path_mkdirs(pc->root, 0711, err);
        if (r < 0)
                return r;
        dir = path_open_dir(AT_FDCWD, pc->root, 0711, err);
        if (dir < 0)
                return dir;
        r = introspection_uuid(dir, s->uuid, err);
        return r < 0 ? r : plugins_serve(pc, &introspection_service, s);
}

static int events_init(PluginContext *pc, void **ret, Err *err)
{
        Exchange *exchange;
        int r;

        r = plugin_get(pc, PLUGIN_EVENT, (void **)&exchange, err);
        if (r < 0)
                return r;
        rpc_registry_add(host(pc)->ttrpc, &events_ttrpc_service, exchange);
        return plugins_serve(pc, &events_service, exchange);
}

/* The services over the stores differ only in which of them they see. */
static int serve_records(PluginContext *pc, const RpcService *service, Err *err)
{
        Stores *s;
        int r = plugins_stores(pc, &s, err);

        return r < 0 ? r : plugins_serve(pc, service, s->metadata);
}

static int namespaces_init(PluginContext *pc, void **ret, Err *err)
{
        return serve_records(pc, &namespaces_service, err);
}

static int images_init(PluginContext *pc, void **ret, Err *err)
{
        return serve_records(pc, &images_service, err);
}

static int containers_init(PluginContext *pc, void **ret, Err *err)
{
        return serve_records(pc, &containers_service, err);
}

static int leases_init(PluginContext *pc, void **ret, Err *err)
{
        return serve_records(pc, &leases_service, err);
}

static int content_service_init(PluginContext *pc, void **ret, Err *err)
{
        Stores *s;
        int r = plugins_stores(pc, &s, err);

        return r < 0 ? r : plugins_serve(pc, &content_service, s->blobs);
}

static int snapshots_init(PluginContext *pc, void **ret, Err *err)
{
        Stores *s;
        int r = plugins_stores(pc, &s, err);

        return r < 0 ? r : plugins_serve(pc, &snapshots_service, s->snapshots);
}

static int tasks_init(PluginContext *pc, void **ret, Err *err)
{
        TasksService *t = mem_new(TasksService);
        Stores *s;
        int r;

        *ret = t;
        r = plugins_stores(pc, &s, err);
        if (r == 0)
                r = plugin_get(pc, PLUGIN_RUNTIME, (void **)&t->runtime, err);
        if (r == 0)
                r = plugin_get(pc, PLUGIN_DIFFER, (void **)&t->diff, err);
        if (r < 0) {
                free(t);
                return r;
        }
        t->metadata = s->metadata;
        return plugins_serve(pc, &tasks_service, t);
}

static int diff_init(PluginContext *pc, void **ret, Err *err)
{
        DiffService *s;
        int r = plugin_get(pc, PLUGIN_DIFFER, (void **)&s, err);

        return r < 0 ? r : plugins_serve(pc, &diff_service, s);
}

#define REQUIRES(...) ((const char *const[]){__VA_ARGS__, NULL})

const PluginRegistration plugin_table[] = {
        /* type, id, requires, configuration, init, close */
        {PLUGIN_CONTENT, "content", NULL, NULL, content_init, content_close},
        {PLUGIN_EVENT, "exchange", NULL, NULL, exchange_init, exchange_close},
        {PLUGIN_WARNING, "deprecations", NULL, NULL, deprecations_init, NULL},
        {PLUGIN_INTERNAL, "db", NULL, NULL, db_init, db_close},
        {PLUGIN_SNAPSHOTTER, "overlayfs", REQUIRES(PLUGIN_INTERNAL), &overlayfs_schema,
         overlayfs_init, snapshotter_close},
        {PLUGIN_SNAPSHOTTER, "native", REQUIRES(PLUGIN_INTERNAL), &native_schema, native_init,
         snapshotter_close},
        {PLUGIN_METADATA, "bolt",
         REQUIRES(PLUGIN_CONTENT, PLUGIN_EVENT, PLUGIN_INTERNAL, PLUGIN_SNAPSHOTTER),
         &metadata_schema, metadata_init, metadata_close},
        {PLUGIN_GC, "scheduler", REQUIRES(PLUGIN_METADATA), &gc_schema, gc_init, gc_close},
        {PLUGIN_MOUNT_HANDLER, "erofs", NULL, NULL, mount_handler_erofs_init, NULL},
        {PLUGIN_MOUNT_HANDLER, "loop", NULL, NULL, mount_handler_loop_init, NULL},
        {PLUGIN_MOUNT_MANAGER, "bolt", REQUIRES(PLUGIN_METADATA, PLUGIN_MOUNT_HANDLER),
         &mount_manager_schema, mount_manager_init, mount_manager_close},
        {PLUGIN_DIFFER, "walking", REQUIRES(PLUGIN_CONTENT, PLUGIN_METADATA, PLUGIN_MOUNT_MANAGER),
         NULL, walking_init, free},
        {PLUGIN_SHIM, "manager", NULL, &shim_schema, shim_init, NULL},
        {PLUGIN_RUNTIME, "task",
         REQUIRES(PLUGIN_EVENT, PLUGIN_METADATA, PLUGIN_SHIM, PLUGIN_MOUNT_MANAGER), NULL,
         runtime_init, runtime_close},
        {PLUGIN_GRPC, "version", NULL, NULL, version_init, NULL},
        {PLUGIN_GRPC, "healthcheck", NULL, NULL, health_init, NULL},
        {PLUGIN_GRPC, "introspection", REQUIRES(PLUGIN_WARNING), NULL, introspection_init, NULL},
        {PLUGIN_GRPC, "events", REQUIRES(PLUGIN_EVENT), NULL, events_init, NULL},
        {PLUGIN_GRPC, "namespaces", REQUIRES(PLUGIN_METADATA), NULL, namespaces_init, NULL},
        {PLUGIN_GRPC, "images", REQUIRES(PLUGIN_METADATA, PLUGIN_WARNING), NULL, images_init, NULL},
        {PLUGIN_GRPC, "containers", REQUIRES(PLUGIN_METADATA), NULL, containers_init, NULL},
        {PLUGIN_SANDBOX_STORE, "local", REQUIRES(PLUGIN_METADATA), NULL, sandbox_store_init, NULL},
        {PLUGIN_SANDBOX_CONTROLLER, "shim", REQUIRES(PLUGIN_SHIM, PLUGIN_EVENT, PLUGIN_RUNTIME),
         NULL, sandbox_controller_init, NULL},
        {PLUGIN_GRPC, "sandbox-controllers", REQUIRES(PLUGIN_SANDBOX_CONTROLLER, PLUGIN_EVENT),
         NULL, sandbox_controllers_init, free},
        {PLUGIN_GRPC, "sandboxes", REQUIRES(PLUGIN_SANDBOX_STORE), NULL, sandboxes_init, NULL},
        {PLUGIN_GRPC, "leases", REQUIRES(PLUGIN_METADATA), NULL, leases_init, NULL},
        {PLUGIN_GRPC, "content", REQUIRES(PLUGIN_METADATA), NULL, content_service_init, NULL},
        {PLUGIN_GRPC, "snapshots", REQUIRES(PLUGIN_METADATA), NULL, snapshots_init, NULL},
        {PLUGIN_GRPC, "diff", REQUIRES(PLUGIN_METADATA), NULL, diff_init, NULL},
        {PLUGIN_GRPC, "mounts", REQUIRES(PLUGIN_MOUNT_MANAGER), NULL, mounts_init, NULL},
        {PLUGIN_GRPC, "tasks", REQUIRES(PLUGIN_METADATA, PLUGIN_RUNTIME, PLUGIN_DIFFER), NULL,
         tasks_init, free},
};
const size_t n_plugin_table = ARRAY_LEN(plugin_table);
