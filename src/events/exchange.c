/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One lock, a list of subscribers, a queue of shared encoded envelopes for each. A publisher takes
 * the lock, stamps the time and appends; so every subscriber sees the same order, and times rise.
 * The envelope is encoded when the first subscriber may want it, which is never on a daemon that
 * nobody watches.
 *
 * Publishers ask only filters that are a few comparisons. All others, with regular expressions or
 * fields inside of the event, are asked by their subscriber when it fetches the event, outside of
 * the lock and a slice at a time: nobody waits for what a subscriber finds worth asking. Until then
 * such an event counts against its queue.
 *
 * A queue is bounded in bytes. The event that does not fit ends the subscription: its queue is
 * thrown away at once (memory is the point), and the subscriber hears RESOURCE_EXHAUSTED from its
 * next read. An empty queue takes any event, so that one large event alone drops nobody.
 */
#include "events/exchange.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/vec.h"
#include "db/filter.h"
#include "events/fields.h"
#include "spec/identifier.h"

enum { SLICE = 32 }; /* events that a subscriber passes over before others get their turn */

struct Exchange {
        Lock lock; /* LOCK_EVENTS: all below, and the inside of every subscription */
        List subs;
        size_t n_subs;
};

struct Subscription {
        Exchange *ex;
        List node;
        Filter *filter;
        int quick;               /* publishers may ask the filter */
        VEC(EventBytes *) queue; /* read from head on */
        size_t head, bytes;
        int dropped;
        SubscriptionWakeFn wake;
        void *ctx;
};

Exchange *exchange_new(void)
{
        Exchange *ex = mem_new(Exchange);

        lock_init(&ex->lock, LOCK_EVENTS);
        list_init(&ex->subs);
        return ex;
}

Exchange *exchange_free(Exchange *ex)
{
        if (!ex)
                return NULL;
        assert(list_empty(&ex->subs));
        lock_done(&ex->lock);
        free(ex);
        return NULL;
}

EventBytes *event_bytes_unref(EventBytes *e)
{
        if (e && __atomic_sub_fetch(&e->refs, 1, __ATOMIC_ACQ_REL) == 0)
                free(e);
        return NULL;
}

static const char *keep(char **at, const char *s)
{
        char *kept = *at;

        if (!s)
                return NULL;
        *at = stpcpy(kept, s) + 1;
        return kept;
}

static EventBytes *encode(const EventView *v, Time at)
{
        Google__Protobuf__Timestamp timestamp = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        Types__Envelope envelope = TYPES__ENVELOPE__INIT;
        EventBytes *e;
        char *text;
        size_t n;

        timestamp.seconds = at.sec;
        timestamp.nanos = at.nsec;
        any.type_url = (char *)(uintptr_t)v->type_url;
        any.value.data = (uint8_t *)(uintptr_t)v->value;
        any.value.len = v->n;
        envelope.timestamp = &timestamp;
        envelope.namespace_ = v->ns;
        envelope.topic = v->topic;
        envelope.event = v->type_url ? &any : NULL;

        n = protobuf_c_message_get_packed_size(&envelope.base);
        e = mem_alloc(sizeof(*e) + n + strlen(v->ns) + strlen(v->topic) +
                      (v->type_url ? strlen(v->type_url) : 0) + 3);
        *e = (EventBytes){.refs = 1, .n = n, .n_value = any.type_url ? v->n : 0};
        protobuf_c_message_pack(&envelope.base, e->data);
        e->value = e->data + n - e->n_value; /* the last field of the last field */
        text = (char *)e->data + n;
        e->ns = keep(&text, v->ns);
        e->topic = keep(&text, v->topic);
        e->type_url = keep(&text, v->type_url);
        e->size = (size_t)(text - (char *)e);
        return e;
}

static const char *view_field(void *ctx, const char *const *path, size_t n)
{
        return event_view_field(ctx, path, n);
}

static void queue_clear_locked(Subscription *sub)
{
        for (size_t i = sub->head; i < sub->queue.n; i++)
                event_bytes_unref(sub->queue.v[i]);
        VEC_DONE(&sub->queue);
        sub->head = sub->bytes = 0;
}

static void offer_locked(Subscription *sub, EventBytes *e)
{
        int was_empty = sub->head == sub->queue.n;

        if (!was_empty && sub->bytes + e->size > LIMIT_SUBSCRIBER_QUEUE) {
                queue_clear_locked(sub);
                sub->dropped = 1;
                sub->wake(sub->ctx);
                return;
        }
        __atomic_add_fetch(&e->refs, 1, __ATOMIC_RELAXED);
        VEC_PUSH(&sub->queue, e);
        sub->bytes += e->size;
        if (was_empty)
                sub->wake(sub->ctx);
}

/* at NULL: now. */
static void deliver(Exchange *ex, EventView *v, const Time *at)
{
        EventBytes *e = NULL;

        {
                LOCKED(&ex->lock);
                Time when = at ? *at : time_now();

                LIST_FOREACH (sub, &ex->subs, Subscription, node) {
                        if (sub->dropped ||
                            (sub->quick && !filter_match(sub->filter, view_field, v)))
                                continue;
                        if (!e)
                                e = encode(v, when);
                        offer_locked(sub, e);
                }
        }
        event_bytes_unref(e);
        event_view_done(v);
}

int exchange_check_topic(const char *topic, Err *err)
{
        char part[LIMIT_IDENTIFIER + 2];
        const char *p, *end;

        if (topic[0] != '/')
                return err_set(err, INVALID_ARGUMENT,
                               "envelope topic \"%s\": must start with '/': invalid argument",
                               topic);
        if (!topic[1])
                return err_set(
                        err, INVALID_ARGUMENT,
                        "envelope topic \"%s\": must have at least one component: invalid argument",
                        topic);
        for (p = topic + 1; p; p = *end ? end + 1 : NULL) {
                size_t len;

                end = strchrnul(p, '/');
                len = (size_t)(end - p);
                /* one byte too many is enough for the check to refuse it */
                memcpy(part, p, MIN(len, sizeof(part) - 1));
                part[MIN(len, sizeof(part) - 1)] = '\0';
                if (identifier_check("identifier", part, err) < 0)
                        return err_wrap(
                                err,
                                "envelope topic \"%s\": failed validation on component \"%.*s\"",
                                topic, (int)MIN(len, (size_t)LIMIT_IDENTIFIER + 1), p);
        }
        return 0;
}

int exchange_publish(Exchange *ex, const char *ns, const char *topic, const char *type_url,
                     const void *value, size_t n, Err *err)
{
        EventView v = {.ns = ns, .topic = topic, .type_url = type_url, .value = value, .n = n};
        int r;

        r = identifier_check("namespace", ns, err);
        if (r < 0)
                return r;
        r = exchange_check_topic(topic, err);
        if (r < 0)
                return r;
        deliver(ex, &v, NULL);
        return 0;
}

int exchange_publish_message(Exchange *ex, const char *ns, const char *topic, const void *event,
                             Err *err)
{
        const ProtobufCMessage *m = event;
        size_t n = protobuf_c_message_get_packed_size(m);
        uint8_t *bytes CLEANUP(cleanup_free) = mem_alloc(n + 1);

        protobuf_c_message_pack(m, bytes);
        return exchange_publish(ex, ns, topic, m->descriptor->name, bytes, n, err);
}

int exchange_forward(Exchange *ex, const Types__Envelope *envelope, Err *err)
{
        EventView v = {};
        Time at = {};
        int r;

        if (!envelope)
                return err_set(err, INVALID_ARGUMENT, "envelope is required: invalid argument");
        v.ns = envelope->namespace_;
        v.topic = envelope->topic;
        if (envelope->event) {
                v.type_url = envelope->event->type_url;
                v.value = envelope->event->value.data;
                v.n = envelope->event->value.len;
        }
        if (envelope->timestamp) {
                at.sec = envelope->timestamp->seconds;
                at.nsec = envelope->timestamp->nanos;
        }
        r = identifier_check("namespace", v.ns, err);
        if (r < 0)
                return err_wrap(err, "event envelope has invalid namespace");
        r = exchange_check_topic(v.topic, err);
        if (r < 0)
                return r;
        if (at.sec == TIME_YEAR1.sec && at.nsec == 0)
                return err_set(err, INVALID_ARGUMENT,
                               "timestamp must be set on forwarded event: invalid argument");
        deliver(ex, &v, &at);
        return 0;
}

int exchange_subscribe(Exchange *ex, const char *const *filters, size_t n_filters,
                       SubscriptionWakeFn wake, void *ctx, Subscription **ret, Err *err)
{
        Filter *filter CLEANUP(filter_freep) = NULL;
        Subscription *sub;
        int r;

        r = filter_parse(filters, n_filters, &filter, err);
        if (r < 0)
                return r;
        sub = mem_new(Subscription);
        sub->ex = ex;
        sub->wake = wake;
        sub->ctx = ctx;
        sub->quick = filter_is_quick(filter);
        sub->filter = TAKE(filter);

        lock_take(&ex->lock);
        if (ex->n_subs >= LIMIT_SUBSCRIBERS) {
                lock_drop(&ex->lock);
                subscription_close(sub);
                return err_set(err, RESOURCE_EXHAUSTED,
                               "more than %d subscribers: resource exhausted", LIMIT_SUBSCRIBERS);
        }
        list_append(&ex->subs, &sub->node);
        ex->n_subs++;
        lock_drop(&ex->lock);
        *ret = sub;
        return 0;
}

static int pop(Subscription *sub, EventBytes **ret, Err *err)
{
        LOCKED(&sub->ex->lock);

        if (sub->dropped)
                return err_set(
                        err, RESOURCE_EXHAUSTED,
                        "subscriber is too slow: more than %d bytes of events were waiting for it; "
                        "subscribe again: resource exhausted",
                        LIMIT_SUBSCRIBER_QUEUE);
        if (sub->head == sub->queue.n)
                return 0;
        *ret = sub->queue.v[sub->head++];
        sub->bytes -= (*ret)->size;
        if (sub->head == sub->queue.n) {
                VEC_DONE(&sub->queue); /* an idle subscriber holds no memory */
                sub->head = 0;
        } else if (sub->head >= 1024) {
                memmove(sub->queue.v, sub->queue.v + sub->head,
                        (sub->queue.n - sub->head) * sizeof(*sub->queue.v));
                sub->queue.n -= sub->head;
                sub->head = 0;
        }
        return 1;
}

static int wants(const Subscription *sub, const EventBytes *e)
{
        EventView v = {.ns = e->ns,
                       .topic = e->topic,
                       .type_url = e->type_url,
                       .value = e->value,
                       .n = e->n_value};
        int r = sub->quick || filter_match(sub->filter, view_field, &v);

        event_view_done(&v);
        return r;
}

int subscription_next(Subscription *sub, EventBytes **ret, Err *err)
{
        EventBytes *e;

        for (int i = 0; i < SLICE; i++) {
                int r = pop(sub, &e, err);

                if (r <= 0)
                        return r;
                if (wants(sub, e)) {
                        *ret = e;
                        return 1;
                }
                event_bytes_unref(e);
        }
        *ret = NULL;
        return 1;
}

Subscription *subscription_close(Subscription *sub)
{
        if (!sub)
                return NULL;
        lock_take(&sub->ex->lock);
        if (list_linked(&sub->node)) {
                list_remove(&sub->node);
                sub->ex->n_subs--;
        }
        queue_clear_locked(sub);
        lock_drop(&sub->ex->lock);
        filter_free(sub->filter);
        free(sub);
        return NULL;
}
