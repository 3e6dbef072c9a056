/* SPDX-License-Identifier: Apache-2.0 */
/* No header is needed here: the namespace is what it is about, and its events go out in it. */
#include "services/namespaces.h"

#include "api/containerd/events/events.pb-c.h"
#include "api/google/protobuf/empty.pb-c.h"
#include "metadata/namespaces.h"

static int get(Call *c, const Namespaces__GetNamespaceRequest *req,
               Namespaces__GetNamespaceResponse *rsp)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        int r;

        r = meta_begin_ro(c->ctx, &txn, c->arena, c->err);
        if (r < 0)
                return r;
        rsp->namespace_ = namespaces_get(&txn, req->name);
        return meta_commit(&txn);
}

/* containerd takes a filter here and looks at nothing of a namespace with it: every filter matches.
 */
static int list(Call *c, const Namespaces__ListNamespacesRequest *req,
                Namespaces__ListNamespacesResponse *rsp)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        MetaListOut out CLEANUP(meta_list_out_done) = {.field = 1};
        size_t n;
        int r;

        r = meta_begin_ro(c->ctx, &txn, c->arena, c->err);
        if (r == 0)
                r = namespaces_list(&txn, meta_list_append, &out);
        if (r < 0)
                return r;
        n = out.bytes.len;
        call_reply_take(c, str_steal(&out.bytes), n);
        return 0;
}

static int absent(Call *c)
{
        return err_set(c->err, INVALID_ARGUMENT, "namespace must be set: invalid argument");
}

static int create(Call *c, const Namespaces__CreateNamespaceRequest *req,
                  Namespaces__CreateNamespaceResponse *rsp)
{
        Events__NamespaceCreate event = EVENTS__NAMESPACE_CREATE__INIT;
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        int r;

        r = req->namespace_ ? meta_begin_rw(c->ctx, &txn, c->arena, c->err) : absent(c);
        if (r < 0)
                return r;
        rsp->namespace_ = namespaces_create(&txn, req->namespace_);
        if (rsp->namespace_) {
                event.name = rsp->namespace_->name;
                event.n_labels = rsp->namespace_->n_labels;
                event.labels = (void *)rsp->namespace_->labels; /* entries of one shape */
                meta_event(&txn, event.name, "/namespaces/create", &event);
        }
        return meta_commit(&txn);
}

static int update(Call *c, const Namespaces__UpdateNamespaceRequest *req,
                  Namespaces__UpdateNamespaceResponse *rsp)
{
        const Google__Protobuf__FieldMask *mask = req->update_mask;
        Events__NamespaceUpdate event = EVENTS__NAMESPACE_UPDATE__INIT;
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        int r;

        r = req->namespace_ ? meta_begin_rw(c->ctx, &txn, c->arena, c->err) : absent(c);
        if (r < 0)
                return r;
        rsp->namespace_ = namespaces_update(&txn, req->namespace_,
                                            mask ? (const char *const *)mask->paths : NULL,
                                            mask ? mask->n_paths : 0);
        if (rsp->namespace_) {
                event.name = req->namespace_->name;
                event.n_labels =
                        req->namespace_->n_labels; /* what was asked for, as containerd tells it */
                event.labels = (void *)req->namespace_->labels;
                meta_event(&txn, event.name, "/namespaces/update", &event);
        }
        return meta_commit(&txn);
}

static int delete (Call *c, const Namespaces__DeleteNamespaceRequest *req,
                   Google__Protobuf__Empty *rsp)
{
        Events__NamespaceDelete event = EVENTS__NAMESPACE_DELETE__INIT;
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        int r;

        r = meta_begin_free(c->ctx, &txn, c->arena, c->err);
        if (r < 0)
                return r;
        namespaces_delete(&txn, req->name);
        event.name = req->name;
        meta_event(&txn, req->name, "/namespaces/delete", &event);
        return meta_commit(&txn);
}

static const RpcMethod methods[] = {
        RPC_UNARY_METHOD("Get", get, namespaces__get_namespace_request,
                         namespaces__get_namespace_response),
        RPC_UNARY_METHOD("List", list, namespaces__list_namespaces_request,
                         namespaces__list_namespaces_response),
        RPC_BATCH_METHOD("Create", create, namespaces__create_namespace_request,
                         namespaces__create_namespace_response),
        RPC_BATCH_METHOD("Update", update, namespaces__update_namespace_request,
                         namespaces__update_namespace_response),
        RPC_UNARY_METHOD("Delete", delete, namespaces__delete_namespace_request,
                         google__protobuf__empty),
};

const RpcService namespaces_service =
        RPC_SERVICE("containerd.services.namespaces.v1.Namespaces", methods);
