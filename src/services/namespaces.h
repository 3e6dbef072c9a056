/* SPDX-License-Identifier: Apache-2.0 */
/* The namespaces service. Its context is the Metadata. */
#pragma once

#include "rpc/service.h"

extern const RpcService namespaces_service;
