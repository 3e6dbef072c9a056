/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "api/containerd/task/v3/task.pb-c.h"
#include "shim/shim_priv.h"

/* Adds a process that is to be started. */
int task_exec(Call *call, const Task__ExecProcessRequest *req, Google__Protobuf__Empty *rsp);
/* Starts it. RPC_PENDING or an error. */
int exec_start(Process *p, Call *call);
