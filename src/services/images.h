/* SPDX-License-Identifier: Apache-2.0 */
/* The images service. Its context is the Metadata. */
#pragma once

#include "rpc/service.h"

extern const RpcService images_service;
