/* SPDX-License-Identifier: Apache-2.0 */
#include "services/sandboxes.h"

#include "api/containerd/services/sandbox/v1/sandbox.pb-c.h"
#include "metadata/sandboxes.h"
#include "services/list_priv.h"

static int check(Call *c, const Types__Sandbox *sandbox)
{
        return sandbox ? 0
                       : err_set(c->err, INVALID_ARGUMENT, "sandbox must be set: invalid argument");
}

static int create(Call *c, const Sandbox__StoreCreateRequest *req,
                  Sandbox__StoreCreateResponse *rsp)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        const char *ns;
        int r;

        r = call_namespace(c, &ns);
        if (r == 0)
                r = check(c, req->sandbox);
        if (r == 0)
                r = meta_begin_rw(c->ctx, &txn, c->arena, c->err);
        if (r < 0)
                return r;
        rsp->sandbox = sandboxes_create(&txn, ns, req->sandbox);
        return meta_commit(&txn);
}

static int update(Call *c, const Sandbox__StoreUpdateRequest *req,
                  Sandbox__StoreUpdateResponse *rsp)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        const char *ns;
        int r;

        r = call_namespace(c, &ns);
        if (r == 0)
                r = check(c, req->sandbox);
        if (r == 0)
                r = meta_begin_rw(c->ctx, &txn, c->arena, c->err);
        if (r < 0)
                return r;
        rsp->sandbox = sandboxes_update(&txn, ns, req->sandbox, (const char *const *)req->fields,
                                        req->n_fields);
        return meta_commit(&txn);
}

static int delete (Call *c, const Sandbox__StoreDeleteRequest *req,
                   Sandbox__StoreDeleteResponse *rsp)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        const char *ns;
        int r;

        r = records_begin(c, meta_begin_free, &txn, &ns);
        if (r < 0)
                return r;
        sandboxes_delete(&txn, ns, req->sandbox_id);
        return meta_commit(&txn);
}

static int list(Call *c, const Sandbox__StoreListRequest *req, Sandbox__StoreListResponse *rsp)
{
        return list_answer(c, (const char *const *)req->filters, req->n_filters, sandboxes_list);
}

static int get(Call *c, const Sandbox__StoreGetRequest *req, Sandbox__StoreGetResponse *rsp)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        const char *ns;
        int r;

        r = records_begin(c, meta_begin_ro, &txn, &ns);
        if (r < 0)
                return r;
        rsp->sandbox = sandboxes_get(&txn, ns, req->sandbox_id);
        return meta_commit(&txn);
}

static const RpcMethod methods[] = {
        RPC_BATCH_METHOD("Create", create, sandbox__store_create_request,
                         sandbox__store_create_response),
        RPC_BATCH_METHOD("Update", update, sandbox__store_update_request,
                         sandbox__store_update_response),
        RPC_UNARY_METHOD("Delete", delete, sandbox__store_delete_request,
                         sandbox__store_delete_response),
        RPC_UNARY_METHOD("List", list, sandbox__store_list_request, sandbox__store_list_response),
        RPC_UNARY_METHOD("Get", get, sandbox__store_get_request, sandbox__store_get_response),
};

const RpcService sandboxes_service = RPC_SERVICE("containerd.services.sandbox.v1.Store", methods);
