/* SPDX-License-Identifier: Apache-2.0 */
/* The queue to the daemon: order, bounds, and a daemon that is away at first. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "api/containerd/events/events.pb-c.h"
#include "api/containerd/services/events/ttrpc/v1/events.pb-c.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/test.h"
#include "rpc/message.h"
#include "shim/event.h"
#include "ttrpc/server.h"

static uint32_t seen[LIMIT_EVENT_QUEUE + 100];
static size_t n_seen;

static int forward(Call *c, const EventsTtrpc__ForwardRequest *req, Google__Protobuf__Empty *rsp)
{
        ProtobufCMessage *m;
        uint32_t pid;
        Err err;

        if (!str_eq(req->envelope->event->type_url, "containerd.events.TaskExit") ||
            message_unpack(c->arena, &events__task_exit__descriptor,
                           req->envelope->event->value.data, req->envelope->event->value.len, &m,
                           &err) < 0)
                return err_set(c->err, INTERNAL, "not an exit");
        pid = ((Events__TaskExit *)m)->pid;
        if (n_seen < ARRAY_LEN(seen))
                seen[n_seen++] = pid;
        return 0;
}

static const RpcMethod methods[] = {
        RPC_UNARY_METHOD("Forward", forward, events_ttrpc__forward_request,
                         google__protobuf__empty),
};
static const RpcService service =
        RPC_SERVICE("containerd.services.events.ttrpc.v1.Events", methods);

static void run_now(void *ctx, void (*fn)(void *), void *arg)
{
        fn(arg);
}

typedef struct Fixture {
        Loop *loop;
        RpcRegistry *registry;
        TtrpcServer *server;
        Publisher *publisher;
        char path[100];
} Fixture;

static Publisher *kept[8]; /* a publisher lives as long as the process */
static size_t n_kept;

static void fixture_open(Fixture *f)
{
        Err err;

        n_seen = 0;
        snprintf(f->path, sizeof(f->path), "%.90s/e.sock", test_tmpdir());
        if (loop_new(&f->loop, &err) < 0)
                abort();
        f->publisher = kept[n_kept++] = publisher_new(f->loop, "ns", f->path);
}

static void daemon_up(Fixture *f)
{
        struct sockaddr_un sun = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        Err err;

        f->registry = rpc_registry_new(run_now, NULL);
        rpc_registry_add(f->registry, &service, NULL);
        f->server = ttrpc_server_new(f->loop, f->registry);
        memcpy(sun.sun_path, f->path, strlen(f->path) + 1);
        unlink(f->path);
        if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 || listen(fd, 4) < 0 ||
            ttrpc_server_listen(f->server, fd, &err) < 0)
                abort();
}

static void daemon_down(Fixture *f)
{
        f->server = ttrpc_server_free(f->server);
        loop_once(f->loop, 0);
        f->registry = rpc_registry_free(f->registry);
}

static void fixture_done(Fixture *f)
{
        if (f->server)
                daemon_down(f);
}

static void publish(Fixture *f, uint32_t pid)
{
        Events__TaskExit ev = EVENTS__TASK_EXIT__INIT;

        ev.container_id = ev.id = "c";
        ev.pid = pid;
        if (pid % 2)
                event_publish(f->publisher, "/tasks/exit", &ev);
        else
                event_publish_reserved(f->publisher, event_reserve(f->publisher, "c", ""),
                                       "/tasks/exit", &ev.base);
}

static void drain(Fixture *f)
{
        for (int i = 0; i < 20000 && !publisher_idle(f->publisher); i++)
                loop_once(f->loop, 50);
}

TEST(events_wait_for_the_daemon_in_order)
{
        Fixture f CLEANUP(fixture_done) = {};

        fixture_open(&f);
        for (uint32_t i = 1; i <= 50; i++)
                publish(&f, i);
        CHECK(!publisher_idle(f.publisher));
        daemon_up(&f);
        drain(&f);
        CHECK_INT(n_seen, 50);
        for (uint32_t i = 0; i < 50; i++)
                CHECK_INT(seen[i], i + 1);
        daemon_down(&f);
        publish(&f, 51);
        for (int i = 0; i < 10; i++)
                loop_once(f.loop, 10);
        daemon_up(&f);
        drain(&f);
        CHECK_INT(n_seen, 51);
        CHECK_INT(seen[50], 51);
}

TEST(the_oldest_events_give_way)
{
        Fixture f CLEANUP(fixture_done) = {};

        fixture_open(&f);
        for (uint32_t i = 1; i <= LIMIT_EVENT_QUEUE + 60; i++)
                publish(&f, i);
        daemon_up(&f);
        drain(&f);
        CHECK_INT(n_seen, LIMIT_EVENT_QUEUE);
        CHECK_INT(seen[0], 61);
        CHECK_INT(seen[n_seen - 1], LIMIT_EVENT_QUEUE + 60);
}

TEST(without_an_address_nothing_is_kept)
{
        Fixture f CLEANUP(fixture_done) = {};

        fixture_open(&f);
        f.publisher = kept[n_kept++] = publisher_new(f.loop, "ns", "");
        publish(&f, 1);
        CHECK(publisher_idle(f.publisher));
}
