/* SPDX-License-Identifier: Apache-2.0 */
#include "services/leases.h"

#include "api/google/protobuf/empty.pb-c.h"
#include "base/hash.h"
#include "metadata/leases.h"
#include "services/list_priv.h"
#include "services/sync_priv.h"

#include <inttypes.h>

/* Who names no lease gets one of a name that is nobody's: the time and four characters by chance.
 */
static const char *made_up_id(Arena *a)
{
        Time now = time_now();
        char chance[5];

        random_name(chance, 4);
        return arena_printf(a, "%09" PRId32 "-%s", now.nsec, chance);
}

static int create(Call *c, const Leases__CreateRequest *req, Leases__CreateResponse *rsp)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        Leases__CreateRequest named = *req;
        const char *ns;
        int r;

        r = records_begin(c, meta_begin_rw, &txn, &ns);
        if (r < 0)
                return r;
        if (str_empty(named.id))
                named.id = made_up_id(c->arena);
        rsp->lease = leases_create(&txn, ns, &named);
        return meta_commit(&txn);
}

static int delete (Call *c, const Leases__DeleteRequest *req, Google__Protobuf__Empty *rsp)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        const char *ns;
        int r;

        r = records_begin(c, meta_begin_free, &txn, &ns);
        if (r < 0)
                return r;
        leases_delete(&txn, ns, req->id);
        r = meta_commit(&txn);
        return r == 0 && req->sync ? sync_then_answer(c, c->ctx) : r;
}

static int list(Call *c, const Leases__ListRequest *req, Leases__ListResponse *rsp)
{
        return list_answer(c, (const char *const *)req->filters, req->n_filters, leases_list);
}

static int absent(Call *c)
{
        return err_set(c->err, INVALID_ARGUMENT, "resource must be set: invalid argument");
}

static int add_resource(Call *c, const Leases__AddResourceRequest *req,
                        Google__Protobuf__Empty *rsp)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        const char *ns;
        int r;

        r = call_namespace(c, &ns);
        if (r == 0)
                r = req->resource ? meta_begin_rw(c->ctx, &txn, c->arena, c->err) : absent(c);
        if (r < 0)
                return r;
        leases_add_resource(&txn, ns, req->id, req->resource->type, req->resource->id);
        return meta_commit(&txn);
}

static int delete_resource(Call *c, const Leases__DeleteResourceRequest *req,
                           Google__Protobuf__Empty *rsp)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        const char *ns;
        int r;

        r = call_namespace(c, &ns);
        if (r == 0)
                r = req->resource ? meta_begin_free(c->ctx, &txn, c->arena, c->err) : absent(c);
        if (r < 0)
                return r;
        leases_remove_resource(&txn, ns, req->id, req->resource->type, req->resource->id);
        return meta_commit(&txn);
}

static int list_resources(Call *c, const Leases__ListResourcesRequest *req,
                          Leases__ListResourcesResponse *rsp)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        const char *ns;
        int r;

        r = records_begin(c, meta_begin_ro, &txn, &ns);
        if (r < 0)
                return r;
        leases_list_resources(&txn, ns, req->id, &rsp->resources, &rsp->n_resources);
        return meta_commit(&txn);
}

static const RpcMethod methods[] = {
        RPC_BATCH_METHOD("Create", create, leases__create_request, leases__create_response),
        RPC_WAIT_METHOD("Delete", delete, leases__delete_request, google__protobuf__empty),
        RPC_UNARY_METHOD("List", list, leases__list_request, leases__list_response),
        RPC_BATCH_METHOD("AddResource", add_resource, leases__add_resource_request,
                         google__protobuf__empty),
        RPC_BATCH_METHOD("DeleteResource", delete_resource, leases__delete_resource_request,
                         google__protobuf__empty),
        RPC_UNARY_METHOD("ListResources", list_resources, leases__list_resources_request,
                         leases__list_resources_response),
};

const RpcService leases_service = RPC_SERVICE("containerd.services.leases.v1.Leases", methods);
