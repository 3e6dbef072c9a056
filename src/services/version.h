/* SPDX-License-Identifier: Apache-2.0 */
/* The version service; it needs no context. */
#pragma once

#include "rpc/service.h"

/* The API level clients may rely on, and ours as build metadata. */
#define API_VERSION  "2.3.4"
#define VERSION_TEXT API_VERSION "+lighter." LIGHTER_VERSION

extern const RpcService version_service;
