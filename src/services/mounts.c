/* SPDX-License-Identifier: Apache-2.0 */
/* The mounts service: requests into calls of mounts/manager.h, answers out of them. */
#include "services/mounts.h"

#include "api/containerd/services/mounts/v1/mounts.pb-c.h"
#include "api/google/protobuf/empty.pb-c.h"
#include "base/vec.h"
#include "mount/mount_pb.h"
#include "runtime/mounts.h"
#include "rpc/message.h"

static int activate(Call *c, const Mounts__ActivateRequest *req, Mounts__ActivateResponse *rsp)
{
        MountsActivate what = {
                .name = req->name,
                .lease = c->lease,
                .mounts = mounts_from_pb(c->arena, req->mounts, req->n_mounts),
                .labels = req->labels,
                .n_labels = req->n_labels,
                .temporary = req->temporary,
        };
        int r;

        r = call_namespace(c, &what.ns);
        return r < 0 ? r : mounts_activate(c->ctx, &what, c->arena, &rsp->info, c->err);
}

static int deactivate(Call *c, const Mounts__DeactivateRequest *req, Google__Protobuf__Empty *rsp)
{
        const char *ns;
        int r;

        r = call_namespace(c, &ns);
        return r < 0 ? r : mounts_deactivate(c->ctx, ns, req->name, c->err);
}

static int info(Call *c, const Mounts__InfoRequest *req, Mounts__InfoResponse *rsp)
{
        const char *ns;
        int r;

        r = call_namespace(c, &ns);
        return r < 0 ? r : mounts_info(c->ctx, ns, req->name, c->arena, &rsp->info, c->err);
}

static int update(Call *c, const Mounts__UpdateRequest *req, Mounts__UpdateResponse *rsp)
{
        const Google__Protobuf__FieldMask *mask = req->update_mask;
        const char *ns;
        int r;

        r = call_namespace(c, &ns);
        if (r == 0 && !req->info)
                r = err_set(c->err, INVALID_ARGUMENT, "info is required: invalid argument");
        if (r < 0)
                return r;
        return mounts_update(c->ctx, ns, req->info, mask ? (const char *const *)mask->paths : NULL,
                             mask ? mask->n_paths : 0, c->arena, &rsp->info, c->err);
}

typedef struct ListState {
        Types__ActivationInfo **v;
        size_t n, sent;
} ListState;

static int list_message(Call *c, const void *msg)
{
        const Mounts__ListRequest *req = msg;
        Filter *filter CLEANUP(filter_freep) = NULL;
        ListState *s;
        const char *ns;
        int r;

        if (c->state)
                return err_set(c->err, INTERNAL, "List takes one message");
        c->state = s = arena_new(c->arena, ListState);
        r = call_namespace(c, &ns);
        if (r == 0)
                r = filter_parse((const char *const *)req->filters, req->n_filters, &filter,
                                 c->err);
        if (r == 0)
                r = mounts_list(c->ctx, ns, filter, c->arena, &s->v, &s->n, c->err);
        return r < 0 ? r : RPC_MORE;
}

static int list_end(Call *c)
{
        return c->state ? RPC_MORE : err_set(c->err, INTERNAL, "List takes one message");
}

static int list_writable(Call *c)
{
        ListState *s = c->state;
        Mounts__ListMessage msg = MOUNTS__LIST_MESSAGE__INIT;
        int r;

        if (!s || s->sent == s->n)
                return 0;
        msg.info = s->v[s->sent++];
        r = call_send(c, &msg.base);
        if (r < 0)
                return r;
        return s->sent == s->n ? 0 : RPC_MORE;
}

static const RpcStreamOps list_ops = {
        .message = list_message,
        .end = list_end,
        .writable = list_writable,
};

static const RpcMethod methods[] = {
        RPC_UNARY_METHOD("Activate", activate, mounts__activate_request, mounts__activate_response),
        RPC_UNARY_METHOD("Deactivate", deactivate, mounts__deactivate_request,
                         google__protobuf__empty),
        RPC_UNARY_METHOD("Info", info, mounts__info_request, mounts__info_response),
        RPC_UNARY_METHOD("Update", update, mounts__update_request, mounts__update_response),
        RPC_STREAM_METHOD("List", &list_ops, mounts__list_request, mounts__list_message,
                          RPC_SERVER_STREAMS),
};

const RpcService mounts_service = RPC_SERVICE("containerd.services.mounts.v1.Mounts", methods);
