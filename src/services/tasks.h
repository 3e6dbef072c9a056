/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks. */
#pragma once

#include "metadata/metadata.h"
#include "rpc/service.h"
#include "runtime/runtime.h"
#include "services/diff.h"

typedef struct TasksService {
        Runtime *runtime;
        Metadata *metadata;
        const DiffService *diff; /* checkpoints are made into blobs, and out of them */
} TasksService;

extern const RpcService tasks_service; /* context: TasksService */
