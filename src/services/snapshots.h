/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots of every snapshotter. The context is Snapshots. */
#pragma once

#include "metadata/snapshots.h"
#include "rpc/service.h"

extern const RpcService snapshots_service;
