/* SPDX-License-Identifier: Apache-2.0 */
/* grpc.health.v1: the server as a whole, "", is SERVING from the start; there are no others. No
 * context. */
#pragma once

#include "rpc/service.h"

extern const RpcService health_service;
