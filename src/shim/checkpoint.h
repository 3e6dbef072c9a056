/* SPDX-License-Identifier: Apache-2.0 */
/* Containers written to disk by criu and read from there again; the runtime runs it. */
#pragma once

#include "api/containerd/task/v3/task.pb-c.h"
#include "shim/op.h"

int task_checkpoint(Call *call, const Task__CheckpointTaskRequest *req,
                    Google__Protobuf__Empty *rsp);
/* Start of a container with a checkpoint: it gets its process. */
extern const OpKind restore_op;
