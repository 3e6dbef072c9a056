/* SPDX-License-Identifier: Apache-2.0 */
/* containerd.services.mounts.v1.Mounts; Call.ctx is the MountManager. */
#pragma once

#include "rpc/service.h"

extern const RpcService mounts_service;
