/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks: everything but Checkpoint. */
#pragma once

#include "metadata/metadata.h"
#include "rpc/service.h"
#include "runtime/runtime.h"

typedef struct TasksService {
        Runtime *runtime;
        Metadata *metadata;
} TasksService;

extern const RpcService tasks_service; /* context: TasksService */
