/* SPDX-License-Identifier: Apache-2.0 */
/* What a shim says about itself. */
#pragma once

#include "api/google/protobuf/any.pb-c.h"
#include "base/arena.h"
#include "base/err.h"

/* Runs `SHIM -info` of the runtime with these options (NULL for none); *ret is the encoded
 * containerd.types.RuntimeInfo that it prints, checked, in the arena. Blocks as long as a shim may
 * take to start. UNKNOWN with containerd's texts, UNAVAILABLE while several others ask. */
int runtime_info(const char *runtime, const Google__Protobuf__Any *options, Arena *a,
                 ProtobufCBinaryData *ret, Err *err);
