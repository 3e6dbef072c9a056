/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the Tasks service share. A handler here runs with the call claimed (but
 * Wait's): whatever it stores stays valid until tasks_finish(), the arena included, for its work
 * has a deadline of its own.
 */
#pragma once

#include "api/containerd/services/tasks/v1/tasks.pb-c.h"
#include "services/tasks.h"

/* 0 with a reference; RPC_PENDING when it is being recovered and the handler will run again;
 * NOT_FOUND. */
int tasks_find(Call *c, const char *id, Task **ret);
/* 1 when t is being recovered and the handler will run again. */
int tasks_defer(Call *c, Task *t);
/* Why there is no such task: the container's record is missing, or it is not running. Returns
 * -NOT_FOUND. */
int tasks_not_found(Call *c, const char *ns, const char *id);
/* Ends a claimed call. */
void tasks_finish(Call *c, int r);
Google__Protobuf__Timestamp *tasks_time(Arena *a, int64_t sec, int32_t nsec);

int tasks_create(Call *c, const Tasks__CreateTaskRequest *req, void *rsp);
int tasks_delete(Call *c, const Tasks__DeleteTaskRequest *req, void *rsp);
int tasks_list(Call *c, const Tasks__ListTasksRequest *req, Tasks__ListTasksResponse *rsp);
int tasks_metrics(Call *c, const Tasks__MetricsRequest *req, Tasks__MetricsResponse *rsp);
int tasks_wait(Call *c, const Tasks__WaitRequest *req, void *rsp);
/* A process as clients see it. */
TaskTypes__Process *tasks_process(Arena *a, const Task__StateResponse *state);
