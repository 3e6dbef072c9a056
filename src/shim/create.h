/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <jansson.h>
#include "api/containerd/task/v3/task.pb-c.h"
#include "rpc/call.h"

int task_create(Call *call, const Task__CreateTaskRequest *req, Task__CreateTaskResponse *rsp);

/* Whether config.json asks for a pid namespace of the container's own. */
int spec_has_private_pid_ns(const json_t *spec);
