/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The events services. Subscribe is a stream that holds no thread: a publisher asks for a writable
 * step when the subscriber's queue was empty, each step sends one envelope or passes over some that
 * the filters refuse, and the transport asks for the next when the peer has room. So a slow reader
 * fills its queue in the exchange, where the limit is.
 */
#include "services/events.h"
#include "events/exchange.h"
#include "api/containerd/services/events/ttrpc/v1/events.pb-c.h"
#include "api/containerd/services/events/v1/events.pb-c.h"
#include "api/google/protobuf/empty.pb-c.h"

static int publish(Call *c, const EventsService__PublishRequest *req, void *rsp)
{
        const Google__Protobuf__Any *event = req->event;
        const char *ns;
        int r;

        r = call_namespace(c, &ns);
        if (r < 0)
                return r;
        return exchange_publish(c->ctx, ns, req->topic, event ? event->type_url : NULL,
                                event ? event->value.data : NULL, event ? event->value.len : 0,
                                c->err);
}

static int forward(Call *c, const EventsService__ForwardRequest *req, void *rsp)
{
        return exchange_forward(c->ctx, req->envelope, c->err);
}

static int forward_ttrpc(Call *c, const EventsTtrpc__ForwardRequest *req, void *rsp)
{
        return exchange_forward(c->ctx, req->envelope, c->err);
}

static void subscriber_wake(void *ctx)
{
        call_wake(ctx);
}

static int subscribe_message(Call *c, const void *msg)
{
        const EventsService__SubscribeRequest *req = msg;
        Subscription *sub;
        int r;

        if (c->state)
                return err_set(c->err, INTERNAL, "Subscribe takes one message");
        r = exchange_subscribe(c->ctx, (const char *const *)req->filters, req->n_filters,
                               subscriber_wake, c, &sub, c->err);
        if (r == -INVALID_ARGUMENT) {
                /* containerd says what is wrong with a filter, but not of which class that is */
                c->err->code = UNKNOWN;
                return -UNKNOWN;
        }
        if (r < 0)
                return r;
        c->state = sub;
        return RPC_MORE;
}

static int subscribe_end(Call *c)
{
        if (!c->state)
                return err_set(c->err, INTERNAL, "Subscribe takes one message");
        return RPC_MORE;
}

static int subscribe_writable(Call *c)
{
        EventBytes *e = NULL;
        int r;

        if (!c->state)
                return RPC_MORE;
        r = subscription_next(c->state, &e, c->err);
        if (r < 0)
                return r;
        if (r == 1 && e)
                r = call_send_encoded(c, e->data, e->n);
        else if (r == 1)
                call_wake(c);
        event_bytes_unref(e);
        return r < 0 ? r : RPC_MORE;
}

static void subscribe_close(Call *c)
{
        c->state = subscription_close(c->state);
}

static const RpcStreamOps subscribe_ops = {
        .message = subscribe_message,
        .end = subscribe_end,
        .writable = subscribe_writable,
        .close = subscribe_close,
};

static const RpcMethod methods[] = {
        RPC_UNARY_METHOD("Publish", publish, events_service__publish_request,
                         google__protobuf__empty),
        RPC_UNARY_METHOD("Forward", forward, events_service__forward_request,
                         google__protobuf__empty),
        RPC_STREAM_METHOD("Subscribe", &subscribe_ops, events_service__subscribe_request,
                          types__envelope, RPC_SERVER_STREAMS),
};
const RpcService events_service = RPC_SERVICE("containerd.services.events.v1.Events", methods);

static const RpcMethod ttrpc_methods[] = {
        RPC_UNARY_METHOD("Forward", forward_ttrpc, events_ttrpc__forward_request,
                         google__protobuf__empty),
};
const RpcService events_ttrpc_service =
        RPC_SERVICE("containerd.services.events.ttrpc.v1.Events", ttrpc_methods);
