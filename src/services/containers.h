/* SPDX-License-Identifier: Apache-2.0 */
/* The containers service. Its context is the Metadata. */
#pragma once

#include "rpc/service.h"

extern const RpcService containers_service;
