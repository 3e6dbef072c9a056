/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <jansson.h>
#include "api/containerd/task/v3/task.pb-c.h"
#include "rpc/call.h"
#include "shim/op.h"

int task_create(Call *call, const Task__CreateTaskRequest *req, Task__CreateTaskResponse *rsp);

/*
 * Init by the runtime: its verb with what belongs to it (NULL-terminated), then what creating and
 * restoring have in common. In the op child: stdio, the runtime, its pid, its cgroup. In the shim:
 * takes over what the child has opened and the process, then looks out for its being killed for
 * memory.
 */
enum { INIT_ARGS = 24 };
int init_run(const Container *c, Arena *a, const char *what, const char *const *verb,
             OpReply *reply, Err *err);
int init_adopt(Container *c, OpReply *reply, Err *err);
void init_watch(Container *c, OpReply *reply);

/* Whether config.json asks for a pid namespace of the container's own. */
int spec_has_private_pid_ns(const json_t *spec);
