/* SPDX-License-Identifier: Apache-2.0 */
#include "services/containers.h"

#include "api/containerd/events/events.pb-c.h"
#include "api/google/protobuf/empty.pb-c.h"
#include "metadata/containers.h"
#include "services/list_priv.h"

static int get(Call *c, const Containers__GetContainerRequest *req,
               Containers__GetContainerResponse *rsp)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        const char *ns;
        int r;

        r = records_begin(c, meta_begin_ro, &txn, &ns);
        if (r < 0)
                return r;
        rsp->container = containers_get(&txn, ns, req->id);
        return meta_commit(&txn);
}

static int list(Call *c, const Containers__ListContainersRequest *req,
                Containers__ListContainersResponse *rsp)
{
        return list_answer(c, (const char *const *)req->filters, req->n_filters, containers_list);
}

static int create(Call *c, const Containers__CreateContainerRequest *req,
                  Containers__CreateContainerResponse *rsp)
{
        Events__ContainerCreate event = EVENTS__CONTAINER_CREATE__INIT;
        Events__ContainerCreate__Runtime runtime = EVENTS__CONTAINER_CREATE__RUNTIME__INIT;
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        const char *ns;
        int r;

        r = call_namespace(c, &ns);
        if (r == 0 && !req->container)
                r = err_set(c->err, INVALID_ARGUMENT, "container must be set: invalid argument");
        if (r == 0)
                r = meta_begin_rw(c->ctx, &txn, c->arena, c->err);
        if (r < 0)
                return r;
        rsp->container = containers_create(&txn, ns, req->container);
        if (rsp->container) {
                event.id = rsp->container->id;
                event.image = rsp->container->image;
                event.runtime = &runtime;
                runtime.name = rsp->container->runtime->name;
                runtime.options = rsp->container->runtime->options;
                meta_event(&txn, ns, "/containers/create", &event);
        }
        return meta_commit(&txn);
}

static int update(Call *c, const Containers__UpdateContainerRequest *req,
                  Containers__UpdateContainerResponse *rsp)
{
        const Google__Protobuf__FieldMask *mask = req->update_mask;
        Events__ContainerUpdate event = EVENTS__CONTAINER_UPDATE__INIT;
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        const char *ns;
        int r;

        r = call_namespace(c, &ns);
        if (r == 0 && (!req->container || str_empty(req->container->id)))
                r = err_set(c->err, INVALID_ARGUMENT, "Container.ID required");
        if (r == 0)
                r = meta_begin_rw(c->ctx, &txn, c->arena, c->err);
        if (r < 0)
                return r;
        rsp->container = containers_update(&txn, ns, req->container,
                                           mask ? (const char *const *)mask->paths : NULL,
                                           mask ? mask->n_paths : 0);
        if (rsp->container) {
                event.id = rsp->container->id;
                event.image = rsp->container->image;
                event.snapshot_key = rsp->container->snapshot_key;
                event.n_labels = rsp->container->n_labels;
                event.labels = (void *)rsp->container->labels; /* entries of one shape */
                meta_event(&txn, ns, "/containers/update", &event);
        }
        return meta_commit(&txn);
}

static int delete (Call *c, const Containers__DeleteContainerRequest *req,
                   Google__Protobuf__Empty *rsp)
{
        Events__ContainerDelete event = EVENTS__CONTAINER_DELETE__INIT;
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        const char *ns;
        int r;

        r = records_begin(c, meta_begin_free, &txn, &ns);
        if (r < 0)
                return r;
        containers_delete(&txn, ns, req->id);
        event.id = req->id;
        meta_event(&txn, ns, "/containers/delete", &event);
        return meta_commit(&txn);
}

/*
 * ListStream: a message for each container, read when there is room for it, so that nothing waits
 * in memory. What changes meanwhile may show or not.
 */
typedef struct ListState {
        Filter *filter;
        const char *ns;
        ContainerMark mark;
} ListState;

static int list_message(Call *c, const void *msg)
{
        const Containers__ListContainersRequest *req = msg;
        ListState *s;
        int r;

        if (c->state)
                return err_set(c->err, INTERNAL, "ListStream takes one message");
        c->state = s = arena_new(c->arena, ListState);
        r = call_namespace(c, &s->ns);
        if (r == 0)
                r = filter_parse((const char *const *)req->filters, req->n_filters, &s->filter,
                                 c->err);
        return r < 0 ? r : RPC_MORE;
}

static int list_end(Call *c)
{
        return c->state ? RPC_MORE : err_set(c->err, INTERNAL, "ListStream takes one message");
}

static int list_writable(Call *c)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        MetaListOut out CLEANUP(meta_list_out_done) = {.field = 1};
        ListState *s = c->state;
        DbVal stored;
        int r;

        if (!s)
                return RPC_MORE;
        r = meta_begin_ro(c->ctx, &txn, c->step, c->err);
        if (r == 0)
                r = containers_next(&txn, s->ns, s->filter, &s->mark, &stored);
        if (r <= 0)
                return r;
        meta_list_append(&out, stored);
        meta_txn_end(&txn);
        r = call_send_encoded(c, out.bytes.data, out.bytes.len);
        return r < 0 ? r : RPC_MORE;
}

static void list_close(Call *c)
{
        ListState *s = c->state;

        if (s)
                s->filter = filter_free(s->filter);
}

static const RpcStreamOps list_stream_ops = {
        .message = list_message,
        .end = list_end,
        .writable = list_writable,
        .close = list_close,
};

static const RpcMethod methods[] = {
        RPC_UNARY_METHOD("Get", get, containers__get_container_request,
                         containers__get_container_response),
        RPC_UNARY_METHOD("List", list, containers__list_containers_request,
                         containers__list_containers_response),
        RPC_STREAM_METHOD("ListStream", &list_stream_ops, containers__list_containers_request,
                          containers__list_container_message, RPC_SERVER_STREAMS),
        RPC_BATCH_METHOD("Create", create, containers__create_container_request,
                         containers__create_container_response),
        RPC_BATCH_METHOD("Update", update, containers__update_container_request,
                         containers__update_container_response),
        RPC_BATCH_METHOD("Delete", delete, containers__delete_container_request,
                         google__protobuf__empty),
};

const RpcService containers_service =
        RPC_SERVICE("containerd.services.containers.v1.Containers", methods);
