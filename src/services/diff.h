/* SPDX-License-Identifier: Apache-2.0 */
/* Diff: Apply, which unpacks layers, and Diff, which makes them. */
#pragma once

#include <limits.h>
#include "config/config.h"
#include "metadata/content.h"
#include "runtime/mounts.h"
#include "rpc/service.h"

/* How the references of Diff begin that no client has named. */
#define DIFF_REF_PREFIX "diff-"

/* The context to register with; borrowed, outlives the service. */
typedef struct DiffService {
        Blobs *blobs;
        MountManager *mounts;
        const ConfigDaemon *config; /* its stream processors */
        char tmp_root[PATH_MAX];    /* "<root>/tmpmounts" */
} DiffService;

/* Removes ingests that a killed daemon has left under references of its own. At start. */
int diff_service_cleanup(ContentStore *store, Err *err);

extern const RpcService diff_service;
