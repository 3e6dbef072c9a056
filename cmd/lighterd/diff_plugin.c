/* SPDX-License-Identifier: Apache-2.0 */
/* Layers: what killed daemons have left behind goes first. */
#include <stdio.h>
#include "base/mem.h"
#include "cmd/lighterd/plugins.h"
#include "diff/apply.h"
#include "services/diff.h"
#include "spec/platform.h"

int walking_init(PluginContext *pc, void **ret, Err *err)
{
        DiffService *s CLEANUP(cleanup_free) = mem_new(DiffService);
        const Daemon *d = pc->host;
        Platform platform = platform_host();
        ContentStore *content;
        Stores *stores;
        int r;

        r = plugins_stores(pc, &stores, err);
        if (r == 0)
                r = plugin_get(pc, PLUGIN_CONTENT, (void **)&content, err);
        if (r == 0)
                r = plugin_get(pc, PLUGIN_MOUNT_MANAGER, (void **)&s->mounts, err);
        if (r < 0)
                return r;
        s->blobs = stores->blobs;
        s->config = d->settings;
        snprintf(s->tmp_root, sizeof(s->tmp_root), "%s/tmpmounts", d->settings->root);
        r = diff_cleanup(s->tmp_root, err);
        if (r == 0)
                r = diff_service_cleanup(content, err);
        if (r < 0)
                return r;
        plugin_platform(pc, &platform);
        *ret = TAKE(s);
        return 0;
}
