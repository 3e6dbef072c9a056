// SPDX-License-Identifier: Apache-2.0
/*
 * The calls of a container's life, in the order in which containerd's Go client makes them: what
 * containerd-stress measures. A lease keeps the snapshot until the container refers to it.
 */
#include <signal.h>
#include "api/containerd/services/containers/v1/containers.pb-c.h"
#include "api/containerd/services/leases/v1/leases.pb-c.h"
#include "api/containerd/services/snapshots/v1/snapshots.pb-c.h"
#include "api/containerd/services/tasks/v1/tasks.pb-c.h"
#include "api/google/protobuf/empty.pb-c.h"
#include "cmd/stress/stress.h"
#include "spec/container_spec.h"
#include "spec/runtime_spec.h"

enum { LEASE_SECONDS = 24 * 3600 };

static GrpcCall *lease_create(Job *j)
{
        Leases__CreateRequest req = LEASES__CREATE_REQUEST__INIT;
        Leases__CreateRequest__LabelsEntry expire = LEASES__CREATE_REQUEST__LABELS_ENTRY__INIT;
        Leases__CreateRequest__LabelsEntry *labels[] = {&expire};
        char text[TIME_TEXT_MAX];
        Time t = time_now();

        t.sec += LEASE_SECONDS;
        expire.key = (char *)(uintptr_t) "containerd.io/gc.expire";
        expire.value = (char *)(uintptr_t)time_format(t, text);
        snprintf(j->lease, sizeof(j->lease), "stress-%lld-%u-%u", (long long)t.sec, j->worker,
                 j->round);
        req.id = j->lease;
        req.labels = labels;
        req.n_labels = 1;
        return client_begin(j->stress->cli.client, SVC_LEASES "Create", &req,
                            leases__create_response);
}

static GrpcCall *lease_delete(Job *j)
{
        Leases__DeleteRequest req = LEASES__DELETE_REQUEST__INIT;

        if (!*j->lease)
                return NULL;
        req.id = j->lease;
        return client_begin(j->stress->cli.client, SVC_LEASES "Delete", &req,
                            google__protobuf__empty);
}

static int lease_gone(Job *j, const void *rsp, Err *err)
{
        *j->lease = '\0';
        return 0;
}

static GrpcCall *snapshot_prepare(Job *j)
{
        Snapshots__PrepareSnapshotRequest req = SNAPSHOTS__PREPARE_SNAPSHOT_REQUEST__INIT;
        Client *c = j->stress->cli.client;
        GrpcCall *call;

        if (!j->stress->image)
                return NULL;
        req.snapshotter = j->stress->snapshotter;
        req.key = j->id;
        req.parent = j->stress->chain;
        client_set_lease(c, j->lease);
        call = client_begin(c, SVC_SNAPSHOTS "Prepare", &req, snapshots__prepare_snapshot_response);
        client_set_lease(c, NULL);
        return call;
}

static GrpcCall *snapshot_mounts(Job *j)
{
        Snapshots__MountsRequest req = SNAPSHOTS__MOUNTS_REQUEST__INIT;

        if (!j->stress->image)
                return NULL;
        req.snapshotter = j->stress->snapshotter;
        req.key = j->id;
        return client_begin(j->stress->cli.client, SVC_SNAPSHOTS "Mounts", &req,
                            snapshots__mounts_response);
}

static int snapshot_mounted(Job *j, const void *rsp, Err *err)
{
        const Snapshots__MountsResponse *m = rsp;

        j->mounts = m->mounts;
        j->n_mounts = m->n_mounts;
        return 0;
}

static GrpcCall *snapshot_remove(Job *j)
{
        Snapshots__RemoveSnapshotRequest req = SNAPSHOTS__REMOVE_SNAPSHOT_REQUEST__INIT;

        if (!j->stress->image && !j->keep_going)
                return NULL;
        req.snapshotter = j->stress->snapshotter;
        req.key = j->id;
        return client_begin(j->stress->cli.client, SVC_SNAPSHOTS "Remove", &req,
                            google__protobuf__empty);
}

static json_t *spec_make(Job *j)
{
        const ContainerSpecOptions o = {
                .ns = client_namespace(j->stress->cli.client),
                .id = j->id,
                .image = j->stress->image ? &j->stress->config : NULL,
                .rootfs = j->stress->rootfs,
                .root_fd = -1,
                .args = j->args,
                .read_only = !j->stress->image, /* all share the folder */
        };
        json_t *spec = NULL;
        Err err = {};

        int r = container_spec_build(&o, &spec, &err);

        assert(r == 0); /* one was made before the run, to see whether it can be made */
        return spec;
}

static void any_of(Job *j, json_t *doc, const char *type, Google__Protobuf__Any *ret)
{
        char *text CLEANUP(cleanup_free) = json_text(doc);

        ret->type_url = (char *)(uintptr_t)type;
        ret->value.len = strlen(text);
        ret->value.data = (uint8_t *)arena_strdup(&j->arena, text);
}

static GrpcCall *container_create(Job *j)
{
        Containers__CreateContainerRequest req = CONTAINERS__CREATE_CONTAINER_REQUEST__INIT;
        Containers__Container__Runtime runtime = CONTAINERS__CONTAINER__RUNTIME__INIT;
        Containers__Container record = CONTAINERS__CONTAINER__INIT;
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        json_t *spec CLEANUP(json_decrefp) = spec_make(j);
        Stress *s = j->stress;

        any_of(j, spec, RUNTIME_SPEC_TYPE_URL, &any);
        runtime.name = s->runtime;
        record.id = j->id;
        record.spec = &any;
        record.runtime = &runtime;
        if (s->image) {
                record.image = s->image;
                record.snapshotter = s->snapshotter;
                record.snapshot_key = j->id;
        }
        req.container = &record;
        return client_begin(s->cli.client, SVC_CONTAINERS "Create", &req,
                            containers__create_container_response);
}

static GrpcCall *container_delete(Job *j)
{
        Containers__DeleteContainerRequest req = CONTAINERS__DELETE_CONTAINER_REQUEST__INIT;

        req.id = j->id;
        return client_begin(j->stress->cli.client, SVC_CONTAINERS "Delete", &req,
                            google__protobuf__empty);
}

static GrpcCall *task_create(Job *j)
{
        Tasks__CreateTaskRequest req = TASKS__CREATE_TASK_REQUEST__INIT;

        req.container_id = j->id;
        req.rootfs = j->mounts;
        req.n_rootfs = j->n_mounts;
        return client_begin(j->stress->cli.client, SVC_TASKS "Create", &req,
                            tasks__create_task_response);
}

static int task_created(Job *j, const void *rsp, Err *err)
{
        j->pid = ((const Tasks__CreateTaskResponse *)rsp)->pid;
        return 0;
}

/* Sent before Start, so that no exit is missed; await() takes the answer. */
static GrpcCall *wait_begin(Job *j)
{
        Tasks__WaitRequest req = TASKS__WAIT_REQUEST__INIT;

        grpc_call_free(j->wait);
        req.container_id = j->id;
        req.exec_id = j->exec_id;
        j->wait = client_begin(j->stress->cli.client, SVC_TASKS "Wait", &req, tasks__wait_response);
        return NULL;
}

static GrpcCall *await(Job *j)
{
        return TAKE(j->wait);
}

static int exited(Job *j, const void *rsp, Err *err)
{
        uint32_t status = ((const Tasks__WaitResponse *)rsp)->exit_status;

        return status == 0 ? 0 : err_set(err, UNKNOWN, "ended with status %u", status);
}

static GrpcCall *process_start(Job *j)
{
        Tasks__StartRequest req = TASKS__START_REQUEST__INIT;

        req.container_id = j->id;
        req.exec_id = j->exec_id;
        return client_begin(j->stress->cli.client, SVC_TASKS "Start", &req, tasks__start_response);
}

static GrpcCall *process_kill(Job *j)
{
        Tasks__KillRequest req = TASKS__KILL_REQUEST__INIT;

        req.container_id = j->id;
        req.exec_id = j->exec_id;
        req.signal = SIGKILL;
        req.all = !*j->exec_id;
        return client_begin(j->stress->cli.client, SVC_TASKS "Kill", &req, google__protobuf__empty);
}

static GrpcCall *process_delete(Job *j)
{
        Tasks__DeleteProcessRequest exec = TASKS__DELETE_PROCESS_REQUEST__INIT;
        Tasks__DeleteTaskRequest task = TASKS__DELETE_TASK_REQUEST__INIT;

        exec.container_id = task.container_id = j->id;
        exec.exec_id = j->exec_id;
        if (*j->exec_id)
                return client_begin(j->stress->cli.client, SVC_TASKS "DeleteProcess", &exec,
                                    tasks__delete_response);
        return client_begin(j->stress->cli.client, SVC_TASKS "Delete", &task,
                            tasks__delete_response);
}

static GrpcCall *exec_create(Job *j)
{
        static const char *const args[] = {"true", NULL};
        Tasks__ExecProcessRequest req = TASKS__EXEC_PROCESS_REQUEST__INIT;
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        json_t *spec CLEANUP(json_decrefp) = spec_make(j);

        container_spec_args(spec, args);
        any_of(j, json_object_get(spec, "process"), RUNTIME_PROCESS_TYPE_URL, &any);
        req.container_id = j->id;
        req.exec_id = j->exec_id;
        req.spec = &any;
        return client_begin(j->stress->cli.client, SVC_TASKS "Exec", &req, google__protobuf__empty);
}

#define UP                                                                        \
        {"create lease", lease_create}, {"prepare snapshot", snapshot_prepare},   \
                {"create container", container_create},                           \
                {"delete lease", lease_delete, lease_gone},                       \
                {"mounts of snapshot", snapshot_mounts, snapshot_mounted},        \
                {"create task", task_create, task_created}, {"wait", wait_begin}, \
        {                                                                         \
                "start task", process_start                                       \
        }
#define DOWN                                                                   \
        {"delete task", process_delete}, {"remove snapshot", snapshot_remove}, \
        {                                                                      \
                "delete container", container_delete                           \
        }

const Step steps_cycle[] = {UP, {"run container", await, exited}, DOWN, {}};
const Step steps_up[] = {UP, {}};
const Step steps_down[] = {
        {"wait", wait_begin}, {"kill task", process_kill}, {"end of task", await}, DOWN, {}};
const Step steps_exec[] = {{"create exec", exec_create},    {"wait", wait_begin},
                           {"start exec", process_start},   {"run exec", await, exited},
                           {"delete exec", process_delete}, {}};
const Step steps_wreck[] = {{"delete lease", lease_delete, lease_gone},
                            {"wait", wait_begin},
                            {"kill task", process_kill},
                            {"end of task", await},
                            DOWN,
                            {}};
const Step steps_exec_wreck[] = {{"wait", wait_begin},
                                 {"kill exec", process_kill},
                                 {"end of exec", await},
                                 {"delete exec", process_delete},
                                 {}};
