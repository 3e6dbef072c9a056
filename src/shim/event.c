/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of the queue is the event in flight. A lost connection redials at once, once; after
 * that, and while the daemon is away, with growing pauses of up to five seconds.
 */
#include <stdlib.h>
#include "api/containerd/services/events/ttrpc/v1/events.pb-c.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "shim/event.h"
#include "ttrpc/client.h"

enum { MAX_REFUSALS = 5, MAX_PAUSE_S = 5, FIXED_ROOM = 512, SMALL_MESSAGE = 1024 };

struct Event {
        List link;
        int refusals;
        size_t n, cap;
        uint8_t bytes[]; /* a ForwardRequest */
};

struct Publisher {
        Loop *loop;
        const char *ns, *address;
        List queue;
        size_t n_queue, n_lost;
        TtrpcClient *client;
        LoopSource *timer;
        int sending, pausing, pause_s, redialed;
};

static void kick(Publisher *p);

static void on_timer(void *ctx)
{
        Publisher *p = ctx;

        p->pausing = 0;
        kick(p);
}

Publisher *publisher_new(Loop *loop, const char *ns, const char *address)
{
        Publisher *p = mem_new(Publisher);

        p->loop = loop;
        p->ns = ns;
        p->address = address;
        list_init(&p->queue);
        p->timer = loop_add_timer(loop, 0, on_timer, p);
        return p;
}

static void drop_client(Publisher *p)
{
        TtrpcClient *c = TAKE(p->client);

        if (!c)
                return;
        ttrpc_client_close(c);
        ttrpc_client_unref(c);
}

int publisher_idle(const Publisher *p)
{
        return list_empty(&p->queue);
}

static void pause_sending(Publisher *p)
{
        p->pause_s = MIN(p->pause_s + 1, MAX_PAUSE_S);
        p->pausing = 1;
        loop_timer_set(p->timer, time_mono_ns() + (uint64_t)p->pause_s * NS_PER_SEC);
}

static void head_done(Publisher *p)
{
        Event *e = LIST_FIRST(&p->queue, Event, link);

        list_remove(&e->link);
        p->n_queue--;
        free(e);
}

static void on_reply(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        Publisher *p = ctx;
        Event *e = LIST_FIRST(&p->queue, Event, link);

        p->sending = 0;
        if (r == 0) {
                p->pause_s = p->redialed = 0;
                head_done(p);
        } else if (r == -UNAVAILABLE) {
                drop_client(p);
                if (p->redialed)
                        pause_sending(p);
                p->redialed = 1;
        } else if (++e->refusals > MAX_REFUSALS) {
                log_warn("event dropped", "error", err->msg);
                head_done(p);
        } else {
                pause_sending(p);
        }
        kick(p);
}

static void on_closed(void *ctx)
{
        Publisher *p = ctx;

        p->client = ttrpc_client_unref(p->client);
}

static int dial(Publisher *p, Err *err)
{
        int fd, r = ttrpc_dial(p->address, &fd, err);

        return r < 0 ? r : ttrpc_client_new(p->loop, fd, on_closed, p, &p->client, err);
}

static void kick(Publisher *p)
{
        TtrpcCall call = {
                .service = "containerd.services.events.ttrpc.v1.Events",
                .method = "Forward",
                .ns = p->ns,
                .timeout_ms = LIMIT_EVENT_ATTEMPT_MS,
        };
        Event *e = LIST_FIRST(&p->queue, Event, link);
        Err err;

        if (!e || p->sending || p->pausing)
                return;
        if (!p->client && dial(p, &err) < 0) {
                pause_sending(p);
                return;
        }
        call.bytes = e->bytes;
        call.n_bytes = e->n;
        p->sending = 1;
        ttrpc_client_call(p->client, &call, on_reply, p);
}

static void enqueue(Publisher *p, Event *e)
{
        if (str_empty(p->address)) {
                free(e);
                return;
        }
        if (p->n_queue >= LIMIT_EVENT_QUEUE) {
                Event *oldest = LIST_FIRST(&p->queue, Event, link);

                if (p->sending)
                        oldest = LIST_ENTRY(oldest->link.next, Event, link);
                list_remove(&oldest->link);
                free(oldest);
                p->n_queue--;
                if (p->n_lost++ == 0)
                        log_warn("the daemon does not take events; the oldest are dropped");
        }
        list_append(&p->queue, &e->link);
        p->n_queue++;
        kick(p);
}

static Event *event_new(size_t cap)
{
        Event *e = calloc(1, sizeof(*e) + cap);

        if (e)
                e->cap = cap;
        return e;
}

Event *event_reserve(const Publisher *p, const char *id, const char *exec_id)
{
        return event_new(FIXED_ROOM + strlen(p->ns) + strlen(id) * 2 + strlen(exec_id));
}

void event_free(Event *e)
{
        free(e);
}

/* The size it takes; packs when e has the room. */
static size_t pack(const Publisher *p, Event *e, const char *topic, const ProtobufCMessage *msg,
                   uint8_t *value)
{
        EventsTtrpc__ForwardRequest req = EVENTS_TTRPC__FORWARD_REQUEST__INIT;
        Types__Envelope envelope = TYPES__ENVELOPE__INIT;
        Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        Time now = time_now();
        size_t n;

        at.seconds = now.sec;
        at.nanos = now.nsec;
        any.type_url = (char *)(uintptr_t)msg->descriptor->name;
        any.value.data = value;
        any.value.len = protobuf_c_message_pack(msg, value);
        envelope.timestamp = &at;
        envelope.namespace_ = p->ns;
        envelope.topic = topic;
        envelope.event = &any;
        req.envelope = &envelope;
        n = protobuf_c_message_get_packed_size(&req.base);
        if (e && n <= e->cap)
                e->n = protobuf_c_message_pack(&req.base, e->bytes);
        return n;
}

void event_publish_reserved(Publisher *p, Event *e, const char *topic, const ProtobufCMessage *msg)
{
        uint8_t value[SMALL_MESSAGE];

        assert(e && protobuf_c_message_get_packed_size(msg) <= sizeof(value));
        pack(p, e, topic, msg, value);
        assert(e->n > 0);
        enqueue(p, e);
}

void event_publish(Publisher *p, const char *topic, const void *msg)
{
        uint8_t *value = mem_alloc(protobuf_c_message_get_packed_size(msg) + 1);
        Event *e = event_new(pack(p, NULL, topic, msg, value) +
                             16); /* the time may take a byte more */

        if (e) {
                pack(p, e, topic, msg, value);
                enqueue(p, e);
        }
        free(value);
}
