/* SPDX-License-Identifier: Apache-2.0 */
/* https://github.com/grpc/grpc/blob/master/doc/health-checking.md. A daemon that answers at all is
 * serving. */
#include "services/health.h"

#include "rpc/message.h"
#include "api/grpc/health/v1/health.pb-c.h"

#define SERVING         HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
#define SERVICE_UNKNOWN HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN

static int check(Call *c, const Health__HealthCheckRequest *req, Health__HealthCheckResponse *rsp)
{
        if (*req->service)
                return err_set(c->err, NOT_FOUND, "unknown service");
        rsp->status = SERVING;
        return 0;
}

static int list(Call *c, const Health__HealthListRequest *req, Health__HealthListResponse *rsp)
{
        Health__HealthListResponse__StatusesEntry *entry =
                message_make(c->arena, health__health_list_response__statuses_entry);

        entry->value = message_make(c->arena, health__health_check_response);
        entry->value->status = SERVING;
        rsp->statuses = arena_memdup(c->arena, &entry, sizeof(entry));
        rsp->n_statuses = 1;
        return 0;
}

/* The status never changes, so the stream says it once and stays open until the client ends it. */
static int watch_message(Call *c, const void *msg)
{
        const Health__HealthCheckRequest *req = msg;
        Health__HealthCheckResponse *rsp = message_make(c->arena, health__health_check_response);
        int r;

        rsp->status = *req->service ? SERVICE_UNKNOWN : SERVING;
        r = call_send(c, &rsp->base);
        return r < 0 ? r : RPC_MORE;
}

static int watch_end(Call *c)
{
        return RPC_MORE;
}

static const RpcStreamOps watch = {.message = watch_message, .end = watch_end};

static const RpcMethod methods[] = {
        RPC_UNARY_METHOD("Check", check, health__health_check_request,
                         health__health_check_response),
        RPC_UNARY_METHOD("List", list, health__health_list_request, health__health_list_response),
        RPC_STREAM_METHOD("Watch", &watch, health__health_check_request,
                          health__health_check_response, RPC_SERVER_STREAMS),
};

const RpcService health_service = RPC_SERVICE("grpc.health.v1.Health", methods);
