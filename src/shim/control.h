/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to a container that exists, by running the runtime: each is RPC_PENDING or an error.
 */
#pragma once

#include "api/containerd/task/v3/task.pb-c.h"
#include "shim/shim_priv.h"

int init_start(Process *p, Call *call);
int task_kill(Call *call, const Task__KillRequest *req, Google__Protobuf__Empty *rsp);
int task_pause(Call *call, const Task__PauseRequest *req, Google__Protobuf__Empty *rsp);
int task_resume(Call *call, const Task__ResumeRequest *req, Google__Protobuf__Empty *rsp);
int task_update(Call *call, const Task__UpdateTaskRequest *req, Google__Protobuf__Empty *rsp);
int task_pids(Call *call, const Task__PidsRequest *req, Task__PidsResponse *rsp);
int task_stats(Call *call, const Task__StatsRequest *req, Task__StatsResponse *rsp);

/* What a runtime's words for a failed kill mean. Returns -code. */
int kill_error(Err *err);
