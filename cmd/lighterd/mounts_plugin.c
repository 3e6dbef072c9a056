/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mount manager and its handlers. Its records and mount points lie in its state: they mean
 * nothing after a reboot. Clients' mkdir/ and mkfs/ may work below the daemon's root, as with
 * containerd.
 */
#include "base/vec.h"
#include "mounts/manager.h"
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
        *ret = (void *)(uintptr_t)&erofs_handler;
        return 0;
}

int mount_handler_loop_init(PluginContext *pc, void **ret, Err *err)
{
        add_platform(pc);
        *ret = (void *)(uintptr_t)&loop_handler;
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

int mounts_init(PluginContext *pc, void **ret, Err *err)
{
        MountManager *m;
        int r = plugin_get(pc, PLUGIN_MOUNT_MANAGER, (void **)&m, err);

        return r < 0 ? r : plugins_serve(pc, &mounts_service, m);
}
