/* SPDX-License-Identifier: Apache-2.0 */
/* Diff: Apply. Computing layers (Diff) answers UNIMPLEMENTED. */
#pragma once

#include <limits.h>
#include "metadata/content.h"
#include "rpc/service.h"

/* The context to register with; borrowed, outlives the service. */
typedef struct DiffService {
        Blobs *blobs;
        char tmp_root[PATH_MAX]; /* "<root>/tmpmounts" */
} DiffService;

extern const RpcService diff_service;
