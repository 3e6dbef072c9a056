/* SPDX-License-Identifier: Apache-2.0 */
/* Content: blobs and their ingests. The context is Blobs. */
#pragma once

#include "metadata/content.h"
#include "rpc/service.h"

extern const RpcService content_service;
