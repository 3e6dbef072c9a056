// SPDX-License-Identifier: Apache-2.0
#include "api/containerd/services/containers/v1/containers.pb-c.h"
#include "api/containerd/services/snapshots/v1/snapshots.pb-c.h"
#include "api/containerd/services/tasks/v1/tasks.pb-c.h"
#include "client/any.h"
#include "cmd/lighter/commands.h"
#include "cmd/lighter/container.h"
#include "cmd/lighter/process.h"

int container_get(Cli *cli, const char *id, Containers__Container **ret, Err *err)
{
        Containers__GetContainerRequest req = CONTAINERS__GET_CONTAINER_REQUEST__INIT;
        Containers__GetContainerResponse *rsp;
        int r;

        req.id = id;
        r = client_call(cli->client, &cli->arena, SVC_CONTAINERS "Get", &req,
                        containers__get_container_response, &rsp, err);
        if (r == 0 && !rsp->container)
                r = err_set(err, INTERNAL, "the daemon sent no container \"%s\"", id);
        if (r == 0)
                *ret = rsp->container;
        return r;
}

int cmd_containers_list(Cli *cli, const Args *args, Err *err)
{
        Containers__ListContainersRequest req = CONTAINERS__LIST_CONTAINERS_REQUEST__INIT;
        Containers__ListContainersResponse *rsp;
        Table t CLEANUP(table_done) = TABLE(4, 8, 4, ' ');
        int r;

        req.filters = (const char **)args->v;
        req.n_filters = (size_t)args->n;
        r = cli_connect(cli, err);
        if (r < 0)
                return r;
        r = client_call(cli->client, &cli->arena, SVC_CONTAINERS "List", &req,
                        containers__list_containers_response, &rsp, err);
        if (r < 0)
                return r;
        t.escape = cli->out_tty;
        TABLE_ROW(&t, "CONTAINER", "IMAGE", "RUNTIME", "");
        for (size_t i = 0; i < rsp->n_containers; i++) {
                const Containers__Container *c = rsp->containers[i];

                if (args_bool(args, "quiet"))
                        cli_print(cli, c->id);
                else
                        TABLE_ROW(&t, c->id, *c->image ? c->image : "-",
                                  c->runtime ? c->runtime->name : "", "");
        }
        if (!args_bool(args, "quiet"))
                cli_table(cli, &t);
        return 0;
}

static json_t *any_raw(const Google__Protobuf__Any *any)
{
        char *value CLEANUP(cleanup_free) = NULL;

        if (!any)
                return json_null();
        if (any->value.len > 0)
                value = base64_encode(any->value.data, any->value.len);
        return json_pack("{s:s, s:s*}", "type_url", any->type_url, "value", value);
}

int cmd_containers_info(Cli *cli, const Args *args, Err *err)
{
        char created[TIME_TEXT_MAX], updated[TIME_TEXT_MAX];
        json_t *spec, *extensions, *runtime;
        Containers__Container *c = NULL;
        int r;

        r = cli_need_args(args, 1, "container id", err);
        if (r == 0)
                r = cli_connect(cli, err);
        if (r == 0)
                r = container_get(cli, args_arg(args, 0), &c, err);
        if (r < 0)
                return r;
        spec = c->spec ? any_json(c->spec->type_url, c->spec->value) : json_null();
        if (args_bool(args, "spec")) {
                cli_json(cli, spec);
                return 0;
        }
        extensions = c->n_extensions > 0 ? json_object() : json_null();
        for (size_t i = 0; i < c->n_extensions; i++)
                json_object_set_new(extensions, c->extensions[i]->key,
                                    any_raw(c->extensions[i]->value));
        runtime = json_pack("{s:s, s:o}", "Name", c->runtime ? c->runtime->name : "", "Options",
                            any_raw(c->runtime ? c->runtime->options : NULL));
        cli_json(cli,
                 json_pack("{s:s, s:o, s:s, s:o, s:s, s:s, s:s, s:s, s:o, s:s*, s:o}", "ID", c->id,
                           "Labels", labels_json(LABELS(c, labels)), "Image", c->image, "Runtime",
                           runtime, "SnapshotKey", c->snapshot_key, "Snapshotter", c->snapshotter,
                           "CreatedAt", time_format(time_of(c->created_at), created), "UpdatedAt",
                           time_format(time_of(c->updated_at), updated), "Extensions", extensions,
                           "SandboxID", *c->sandbox ? c->sandbox : NULL, "Spec", spec));
        return 0;
}

int container_delete(Cli *cli, const Containers__Container *c, int keep_snapshot, Err *err)
{
        Containers__DeleteContainerRequest req = CONTAINERS__DELETE_CONTAINER_REQUEST__INIT;
        Snapshots__RemoveSnapshotRequest snap = SNAPSHOTS__REMOVE_SNAPSHOT_REQUEST__INIT;
        int r;

        if (*c->snapshot_key && !keep_snapshot) {
                snap.snapshotter = c->snapshotter;
                snap.key = c->snapshot_key;
                r = client_call_empty(cli->client, SVC_SNAPSHOTS "Remove", &snap, err);
                if (r < 0 && r != -NOT_FOUND)
                        return r;
                err_clear(err);
        }
        req.id = c->id;
        return client_call_empty(cli->client, SVC_CONTAINERS "Delete", &req, err);
}

/* A stopped task goes with its container; a running one keeps it. */
static int delete_one(Cli *cli, const char *id, int keep_snapshot, Err *err)
{
        Containers__Container *c = NULL;
        TaskTypes__Process *p;
        uint32_t code;
        int r;

        r = container_get(cli, id, &c, err);
        if (r < 0)
                return r;
        r = task_get(cli, id, NULL, &p, err);
        if (r == 0) {
                if (p->status != TASK_TYPES__STATUS__STOPPED &&
                    p->status != TASK_TYPES__STATUS__CREATED)
                        return err_set(
                                err, FAILED_PRECONDITION,
                                "cannot delete a non stopped container: it is %s; stop it with `lighter tasks kill "
                                "%s`, or `lighter tasks rm -f %s`",
                                task_status_text((int)p->status), id, id);
                r = task_delete(cli, p, NULL, &code, err);
        }
        if (r < 0 && r != -NOT_FOUND)
                return r;
        err_clear(err);
        return container_delete(cli, c, keep_snapshot, err);
}

int cmd_containers_delete(Cli *cli, const Args *args, Err *err)
{
        int failed = 0, r;

        if (args->n == 0)
                return err_set(err, INVALID_ARGUMENT,
                               "must specify at least one container to delete: invalid argument");
        r = cli_connect(cli, err);
        if (r < 0)
                return r;
        for (int i = 0; i < args->n; i++) {
                Err one = {};

                if (delete_one(cli, args->v[i], args_bool(args, "keep-snapshot"), &one) == 0)
                        continue;
                if (failed < 0)
                        cli_warn("%s", err->msg);
                failed = err_copy(err, &one);
                err_wrap(err, "failed to delete container \"%s\"", args->v[i]);
        }
        return failed;
}

int cmd_containers_label(Cli *cli, const Args *args, Err *err)
{
        Containers__UpdateContainerRequest req = CONTAINERS__UPDATE_CONTAINER_REQUEST__INIT;
        Containers__Container c = CONTAINERS__CONTAINER__INIT, *now = NULL;
        Google__Protobuf__FieldMask mask = GOOGLE__PROTOBUF__FIELD_MASK__INIT;
        Containers__UpdateContainerResponse *rsp;
        int r;

        r = cli_need_args(args, 1, "container id", err);
        if (r == 0)
                r = cli_connect(cli, err);
        if (r < 0)
                return r;
        c.id = args_arg(args, 0);
        c.n_labels = mask.n_paths = (size_t)args->n - 1;
        c.labels = labels_parse(&cli->arena, &containers__container__labels_entry__descriptor,
                                args->v + 1, c.n_labels);
        mask.paths = (char **)labels_paths(&cli->arena, args->v + 1, mask.n_paths);
        if (mask.n_paths == 0) {
                r = container_get(cli, c.id, &now, err);
        } else {
                req.container = &c;
                req.update_mask = &mask;
                r = client_call(cli->client, &cli->arena, SVC_CONTAINERS "Update", &req,
                                containers__update_container_response, &rsp, err);
                now = r == 0 ? rsp->container : NULL;
        }
        if (r == 0 && now)
                cli_print(cli, labels_text(&cli->arena, LABELS(now, labels), 1, ""));
        return r;
}

int cmd_containers_create(Cli *cli, const Args *args, Err *err)
{
        NewContainer c;
        int r;

        r = cli_connect(cli, err);
        return r < 0 ? r : container_create(cli, args, &c, err);
}
