/* SPDX-License-Identifier: Apache-2.0 */
/* Sandboxes that run. There is one controller, "shim"; what a pod is, others know. */
#pragma once

#include "events/exchange.h"
#include "rpc/service.h"
#include "runtime/runtime.h"

typedef struct SandboxControllers {
        Runtime *runtime;
        Exchange *exchange;
} SandboxControllers;

extern const RpcService sandbox_controllers_service; /* context: SandboxControllers */
