/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mount manager and its handlers. Its records and mount points lie in its state: they mean
 * nothing after a reboot. Clients' mkdir/ and mkfs/ may work below the daemon's root, as with
 * containerd.
 */
#include "base/log.h"
#include "base/vec.h"
#include "mount/mount_pb.h"
#include "runtime/mounts.h"
#include "plugins.h"
#include "services/mounts.h"

static void add_platform(PluginContext *pc)
{
        Platform platform = platform_host();

        plugin_platform(pc, &platform);
}

int mount_handler_erofs_init(PluginContext *pc, void **ret, Err *err)
{
        add_platform(pc);
        *ret = (void *)&erofs_handler;
        return 0;
}

int mount_handler_loop_init(PluginContext *pc, void **ret, Err *err)
{
        add_platform(pc);
        *ret = (void *)&loop_handler;
        return 0;
}

static const ConfigKey mount_manager_keys[] = {
        {"no_sync", CONFIG_UNSERVED, 0, "false", 0, 0}, /* nothing is ever synced here */
};
const ConfigSchema mount_manager_schema = CONFIG_SCHEMA(mount_manager_keys, char);

typedef VEC(const MountHandler *) Handlers;

static int add_handler(void *ctx, const char *id, void *instance)
{
        Handlers *handlers = ctx;

        VEC_PUSH(handlers, instance);
        return 0;
}

/* Collection starts before and is not required: without it mounts stay until somebody deactivates
 * them. */
static int add_collector(void *ctx, const char *id, void *instance)
{
        gc_add_collector(instance, &mounts_collector, ctx);
        return 0;
}

int mount_manager_init(PluginContext *pc, void **ret, Err *err)
{
        const Daemon *d = pc->host;
        const char *const roots[] = {d->settings->root};
        Handlers handlers = {};
        MountManagerOptions o = {.state = pc->state, .roots = roots, .n_roots = ARRAY_LEN(roots)};
        MountManager *m;
        int r;

        plugin_each(pc, PLUGIN_MOUNT_HANDLER, add_handler, &handlers);
        o.handlers = handlers.v;
        o.n_handlers = handlers.n;
        r = mount_manager_open(&o, &m, err);
        VEC_DONE(&handlers);
        if (r < 0)
                return r;
        plugin_each(pc, PLUGIN_GC, add_collector, m);
        *ret = m;
        return 0;
}

void mount_manager_close(void *instance)
{
        mount_manager_free(instance);
}

/* ---- root file systems of tasks ---- */

static int task_wanted(void *ctx, Types__Mount *const *rootfs, size_t n)
{
        Arena a CLEANUP(arena_done);
        MountsActivate what = {};

        arena_init(&a, SIZE_MAX);
        what.mounts = mounts_from_pb(&a, rootfs, n);
        return mounts_wanted(ctx, &what);
}

static int task_activate(void *ctx, Arena *a, const char *ns, const char *id,
                         const char *const *allow, size_t n_allow, Types__Mount ***rootfs,
                         size_t *n, Err *err)
{
        Types__ActivationInfo__LabelsEntry bref = TYPES__ACTIVATION_INFO__LABELS_ENTRY__INIT;
        const Types__ActivationInfo__LabelsEntry *labels[] = {&bref};
        MountsActivate what = {
                .ns = ns,
                .name = id,
                .mounts = mounts_from_pb(a, *rootfs, *n),
                .labels = labels,
                .n_labels = ARRAY_LEN(labels),
                .allow = allow,
                .n_allow = n_allow,
        };
        Types__ActivationInfo *info;
        int r;

        if (!mounts_wanted(ctx, &what)) /* its shim does all of it */
                return 0;
        bref.key = "containerd.io/gc.bref.container";
        bref.value = id;
        r = mounts_activate(ctx, &what, a, &info, err);
        if (r == -ALREADY_EXISTS) {
                /* No such task is there: what is left of an earlier one may be of other layers. */
                r = mounts_deactivate(ctx, ns, id, err);
                if (r == 0 || r == -NOT_FOUND)
                        r = mounts_activate(ctx, &what, a, &info, err);
        }
        if (r < 0)
                return r;
        *rootfs = info->system;
        *n = info->n_system;
        return 0;
}

static void task_deactivate(void *ctx, const char *ns, const char *id)
{
        Err err = {};
        int r = mounts_deactivate(ctx, ns, id, &err);

        if (r < 0 && r != -NOT_FOUND)
                log_warn("failed to deactivate mounts", "error", err.msg, "id", id, "namespace",
                         ns);
}

RuntimeMounts mounts_of_tasks(void *manager)
{
        return (RuntimeMounts){task_wanted, task_activate, task_deactivate, manager};
}

int mounts_init(PluginContext *pc, void **ret, Err *err)
{
        MountManager *m;
        int r = plugin_get(pc, PLUGIN_MOUNT_MANAGER, (void **)&m, err);

        return r < 0 ? r : plugins_serve(pc, &mounts_service, m);
}
