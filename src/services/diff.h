/* SPDX-License-Identifier: Apache-2.0 */
/* Diff: Apply. Computing layers (Diff) answers UNIMPLEMENTED. */
#pragma once

#include "metadata/content.h"
#include "rpc/service.h"

/* The context to register with; borrowed, outlives the service. */
typedef struct DiffService {
        Blobs *blobs;
        const char *tmp_root; /* "<root>/tmpmounts" */
} DiffService;

extern const RpcService diff_service;
