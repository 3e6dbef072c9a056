/* SPDX-License-Identifier: Apache-2.0 */
/* Sandbox records. */
#pragma once

#include "rpc/service.h"

extern const RpcService sandboxes_service; /* context: Metadata */
