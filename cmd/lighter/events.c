// SPDX-License-Identifier: Apache-2.0
#include "api/containerd/services/events/v1/events.pb-c.h"
#include "api/containerd/types/types.pb-c.h"
#include "client/any.h"
#include "cmd/lighter/cli.h"
#include "cmd/lighter/commands.h"

static void print_event(const Cli *cli, const Types__Envelope *e)
{
        json_t *event = e->event ? any_json(e->event->type_url, e->event->value) : json_null();
        char *text CLEANUP(cleanup_free) = json_text(event);
        char buf[HUMAN_MAX];

        cli_printf(cli, "%s %s %s %s", human_time(time_of(e->timestamp), buf), e->namespace_,
                   e->topic, text);
        json_decref(event);
}

int cmd_events(Cli *cli, const Args *args, Err *err)
{
        EventsService__SubscribeRequest req = EVENTS_SERVICE__SUBSCRIBE_REQUEST__INIT;
        GrpcCall *s CLEANUP(grpc_call_freep) = NULL;
        Types__Envelope *e;
        int r;

        req.filters = (const char **)args->v;
        req.n_filters = (size_t)args->n;
        r = cli_connect(cli, err);
        if (r < 0)
                return r;
        s = client_begin(cli->client, SVC_EVENTS "Subscribe", &req, types__envelope);
        do {
                Arena a;

                arena_init(&a, SIZE_MAX);
                r = grpc_call_recv(s, &a, (void **)&e, err);
                if (r > 0)
                        print_event(cli, e);
                arena_done(&a);
                if (cli_flush(err) < 0)
                        return -err->code;
        } while (r > 0);
        return r;
}
