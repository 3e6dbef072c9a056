/* SPDX-License-Identifier: Apache-2.0 */
/* Events: publishing, forwarding and subscribing. The context of both services is the Exchange. */
#pragma once

#include "rpc/service.h"

extern const RpcService events_service;       /* over gRPC */
extern const RpcService events_ttrpc_service; /* Forward for shims, over ttrpc */
