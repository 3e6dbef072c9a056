/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon is made of: its plugins and their states, its identity. */
#pragma once

#include "plugin/plugin.h"
#include "rpc/service.h"

/* Filled by the daemon before the first call; constant afterwards. */
typedef struct IntrospectionService {
        const PluginSet *plugins;
        char uuid[37]; /* of this installation, see introspection_uuid() */
} IntrospectionService;

extern const RpcService introspection_service;

/* Reads the file `uuid` in dir, which exists; makes it when it is absent or damaged. Blocks. */
int introspection_uuid(int dirfd, char ret[37], Err *err);
