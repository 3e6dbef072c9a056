/* SPDX-License-Identifier: Apache-2.0 */
/* Sandboxes: records, and the controller that runs them in shims. */
#include "plugins.h"
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
