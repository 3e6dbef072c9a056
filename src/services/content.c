/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of the content service that are no streams, and the table of all. */
#include "services/content.h"

#include "api/google/protobuf/empty.pb-c.h"
#include "services/content_priv.h"

int content_caller(Call *c, MetaCaller *ret)
{
        ret->lease = c->lease;
        return call_namespace(c, &ret->ns);
}

int content_check_digest(Call *c, const char *digest)
{
        Err ignored;
        Digest d;

        if (digest_parse(digest, &d, &ignored) < 0)
                return err_set(c->err, INVALID_ARGUMENT, "\"%s\" failed validation", digest);
        return 0;
}

static int info(Call *c, const Content__InfoRequest *req, Content__InfoResponse *rsp)
{
        MetaCaller who;
        int r;

        r = content_caller(c, &who);
        if (r == 0)
                r = content_check_digest(c, req->digest);
        return r < 0 ? r : blobs_info(c->ctx, who.ns, c->arena, req->digest, &rsp->info, c->err);
}

static int update(Call *c, const Content__UpdateRequest *req, Content__UpdateResponse *rsp)
{
        MetaCaller who;
        int r;

        r = content_caller(c, &who);
        if (r < 0)
                return r;
        if (!req->info)
                return err_set(c->err, INVALID_ARGUMENT, "info is required: invalid argument");
        r = content_check_digest(c, req->info->digest);
        if (r < 0)
                return r;
        return blobs_update(c->ctx, who.ns, c->arena, req->info,
                            req->update_mask ? (const char *const *)req->update_mask->paths : NULL,
                            req->update_mask ? req->update_mask->n_paths : 0, &rsp->info, c->err);
}

static int delete (Call *c, const Content__DeleteContentRequest *req, void *rsp)
{
        MetaCaller who;
        int r;

        r = content_caller(c, &who);
        if (r == 0)
                r = content_check_digest(c, req->digest);
        return r < 0 ? r : blobs_delete(c->ctx, &who, c->arena, req->digest, c->err);
}

static int status(Call *c, const Content__StatusRequest *req, Content__StatusResponse *rsp)
{
        MetaCaller who;
        int r;

        r = content_caller(c, &who);
        if (r < 0)
                return r;
        r = ingests_status(c->ctx, who.ns, c->arena, req->ref, &rsp->status, c->err);
        return r < 0 ? err_wrap(c->err, "could not get status for ref \"%s\"", req->ref) : 0;
}

static int list_statuses(Call *c, const Content__ListStatusesRequest *req,
                         Content__ListStatusesResponse *rsp)
{
        MetaCaller who;
        int r;

        r = content_caller(c, &who);
        if (r < 0)
                return r;
        return ingests_list(c->ctx, who.ns, c->arena, (const char *const *)req->filters,
                            req->n_filters, &rsp->statuses, &rsp->n_statuses, c->err);
}

static int abort_ingest(Call *c, const Content__AbortRequest *req, void *rsp)
{
        MetaCaller who;
        int r;

        r = content_caller(c, &who);
        return r < 0 ? r : ingests_abort(c->ctx, &who, c->arena, req->ref, c->err);
}

static const RpcMethod methods[] = {
        RPC_UNARY_METHOD("Info", info, content__info_request, content__info_response),
        RPC_UNARY_METHOD("Update", update, content__update_request, content__update_response),
        RPC_STREAM_METHOD("List", &content_list_ops, content__list_content_request,
                          content__list_content_response, RPC_SERVER_STREAMS),
        RPC_UNARY_METHOD("Delete", delete, content__delete_content_request,
                         google__protobuf__empty),
        RPC_STREAM_METHOD("Read", &content_read_ops, content__read_content_request,
                          content__read_content_response, RPC_SERVER_STREAMS),
        RPC_UNARY_METHOD("Status", status, content__status_request, content__status_response),
        RPC_UNARY_METHOD("ListStatuses", list_statuses, content__list_statuses_request,
                         content__list_statuses_response),
        RPC_STREAM_METHOD("Write", &content_write_ops, content__write_content_request,
                          content__write_content_response, RPC_CLIENT_STREAMS | RPC_SERVER_STREAMS),
        RPC_UNARY_METHOD("Abort", abort_ingest, content__abort_request, google__protobuf__empty),
};

const RpcService content_service = RPC_SERVICE("containerd.services.content.v1.Content", methods);
