/* SPDX-License-Identifier: Apache-2.0 */
/* What main() owns and every plugin may use: PluginContext.host. Filled before the plugins start.
 */
#pragma once

#include "base/loop.h"
#include "base/pool.h"
#include "db/db.h"
#include "plugin/plugin.h"
#include "rpc/service.h"
#include "services/introspection.h"

typedef struct Daemon {
        Config *config;
        const ConfigDaemon *settings;
        Loop *loop;
        Pool *pool;
        RpcRegistry *grpc, *ttrpc; /* services, as the plugins register them */
        PluginSet *plugins;
        struct DbEnv *db; /* its plugin's, while that lives */
        IntrospectionService introspection;
} Daemon;

/* The table of everything lighterd is made of. */
extern const PluginRegistration plugin_table[];
extern const size_t n_plugin_table;

/* The database, or NULL when it could not be opened. */
DbEnv *plugins_db(const Daemon *d);
/* Tasks that are known, of all namespaces. */
size_t plugins_tasks(const Daemon *d);
/* Lets go of what outlives the daemon, before the pool ends; on the loop's thread. */
void plugins_stop(const Daemon *d);
