/* SPDX-License-Identifier: Apache-2.0 */
/* Sandboxes: records, and the controller that runs them in shims. */
#include "base/mem.h"
#include "metadata/sandboxes.h"
#include "plugins.h"
#include "services/sandbox_controllers.h"
#include "services/sandboxes.h"

/* The store is the metadata's; a plugin of its own because clients look for it. */
int sandbox_store_init(PluginContext *pc, void **ret, Err *err)
{
        Stores *s;
        int r = plugins_stores(pc, &s, err);

        if (r == 0)
                *ret = s->metadata;
        return r;
}

int sandboxes_init(PluginContext *pc, void **ret, Err *err)
{
        Metadata *m;
        int r = plugin_get(pc, PLUGIN_SANDBOX_STORE, (void **)&m, err);

        return r < 0 ? r : plugins_serve(pc, &sandboxes_service, m);
}

/* What cannot be told is not thrown away. */
int sandbox_known(void *metadata, const char *ns, const char *id)
{
        Arena arena CLEANUP(arena_done) = {};
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        Err err;
        int known;

        if (meta_begin_ro(metadata, &txn, &arena, &err) < 0)
                return 1;
        known = sandboxes_exist(&txn, ns, id);
        return known || meta_failed(&txn);
}

/* The runtime has both tasks and sandboxes, for their shims are of one kind. */
int sandbox_controller_init(PluginContext *pc, void **ret, Err *err)
{
        return plugin_get(pc, PLUGIN_RUNTIME, ret, err);
}

int sandbox_controllers_init(PluginContext *pc, void **ret, Err *err)
{
        SandboxControllers *s = mem_new(SandboxControllers);
        int r;

        *ret = s;
        r = plugin_get_id(pc, PLUGIN_SANDBOX_CONTROLLER, "shim", (void **)&s->runtime, err);
        if (r == 0)
                r = plugin_get(pc, PLUGIN_EVENT, (void **)&s->exchange, err);
        if (r < 0) {
                free(s);
                return r;
        }
        return plugins_serve(pc, &sandbox_controllers_service, s);
}
