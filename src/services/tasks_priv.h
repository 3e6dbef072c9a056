/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the Tasks service share. A handler here runs with the call claimed (but
 * Wait's), see claimed_priv.h.
 */
#pragma once

#include "api/containerd/services/tasks/v1/tasks.pb-c.h"
#include "api/containerd/services/containers/v1/containers.pb-c.h"
#include "services/claimed_priv.h"
#include "services/tasks.h"

/* 0 with a reference; RPC_PENDING when it is being recovered and the handler will run again;
 * NOT_FOUND. */
int tasks_find(Call *c, const char *id, Task **ret);
/* 1 when t is being recovered and the handler will run again. */
int tasks_defer(Call *c, Task *t);
/* The container's record, and, unless ret_sandbox is NULL, its sandbox if that has one too: those
 * of containerd 1.x have none, and their containers get shims of their own. NOT_FOUND. */
int tasks_container(Call *c, const char *ns, const char *id, Containers__Container **ret,
                    const char **ret_sandbox);
/* Why there is no such task: the container's record is missing, or it is not running. Returns
 * -NOT_FOUND. */
int tasks_not_found(Call *c, const char *ns, const char *id);
Google__Protobuf__Timestamp *tasks_time(Arena *a, int64_t sec, int32_t nsec);

int tasks_create(Call *c, const Tasks__CreateTaskRequest *req, void *rsp);
int tasks_checkpoint(Call *c, const Tasks__CheckpointTaskRequest *req, void *rsp);
int tasks_delete(Call *c, const Tasks__DeleteTaskRequest *req, void *rsp);
int tasks_list(Call *c, const Tasks__ListTasksRequest *req, Tasks__ListTasksResponse *rsp);
int tasks_metrics(Call *c, const Tasks__MetricsRequest *req, Tasks__MetricsResponse *rsp);
int tasks_wait(Call *c, const Tasks__WaitRequest *req, void *rsp);
/* What Create restores from: a path, or "" when there is nothing or *ret_blob, which
 * tasks_restore_unpack() makes into one. UNKNOWN for a blob that is no checkpoint. */
int tasks_restore_path(Call *c, const Tasks__CreateTaskRequest *req, const char *from_options,
                       const char **ret_path, const Types__Descriptor **ret_blob);
/* Into the bundle. The path is in the call's arena. Blocks. */
int tasks_restore_unpack(Call *c, const Types__Descriptor *blob, const char *bundle,
                         const char **ret_path, Err *err);
/* A process as clients see it. */
TaskTypes__Process *tasks_process(Arena *a, const Task__StateResponse *state);
