/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exchange: events go in by publish or forward and out to every subscriber whose filters match,
 * in one order for all of them. An event is encoded once, as containerd.types.Envelope; subscribers
 * share the bytes.
 *
 * Any thread may call anything here. Nothing blocks: a subscriber that does not keep up is dropped
 * and told so, and the publisher never waits for it. Publishing is a plain function of memory; it
 * fails only for an event that is not well-formed.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include "base/err.h"
#include "api/containerd/types/types.pb-c.h"

typedef struct Exchange Exchange;
typedef struct Subscription Subscription;

/* An encoded envelope, shared and constant, with what filters want to see of it. */
typedef struct EventBytes {
        int refs;
        size_t n, size; /* of data; of all, which is what a queue is charged */
        const char *ns, *topic, *type_url;
        const uint8_t *value; /* inside data */
        size_t n_value;
        uint8_t data[];
} EventBytes;

Exchange *exchange_new(void);
Exchange *exchange_free(Exchange *ex); /* every subscription is closed; returns NULL */

/* Stamps the time. type_url names the event's type ("containerd.events.TaskExit"); the n bytes of
 * value are carried verbatim. NULL: an envelope without an event. INVALID_ARGUMENT for a bad topic
 * or namespace. */
int exchange_publish(Exchange *ex, const char *ns, const char *topic, const char *type_url,
                     const void *value, size_t n, Err *err);
/* The same for a message of ours; its descriptor gives the type. */
int exchange_publish_message(Exchange *ex, const char *ns, const char *topic, const void *event,
                             Err *err);
/* An envelope that somebody else made, taken as it is. INVALID_ARGUMENT when it is absent, its
 * namespace or topic is illegal or its timestamp is year 1. */
int exchange_forward(Exchange *ex, const Types__Envelope *envelope, Err *err);
/* What publish checks, for those who publish after a commit and must not fail then. */
int exchange_check_topic(const char *topic, Err *err);

/* Runs with the exchange's lock (LOCK_EVENTS) held, on the publisher's thread: only wakes somebody
 * up. Never after subscription_close() has returned. */
typedef void (*SubscriptionWakeFn)(void *ctx);

/* Events from now on that match any of the filters; none means all. wake is called when the queue
 * was empty and is not any more, and when the subscriber is dropped; what woke it may still be
 * refused by its filters. INVALID_ARGUMENT for a filter that does not parse, RESOURCE_EXHAUSTED
 * past LIMIT_SUBSCRIBERS. */
int exchange_subscribe(Exchange *ex, const char *const *filters, size_t n_filters,
                       SubscriptionWakeFn wake, void *ctx, Subscription **ret, Err *err);
/* The next event: 1 with a reference in *ret, 0 when there is none yet, -RESOURCE_EXHAUSTED once
 * the subscriber was too slow and what was queued for it has been thrown away. 1 with NULL: a slice
 * of events that the filters refuse has been passed over, and there may be more. One thread at a
 * time. */
int subscription_next(Subscription *sub, EventBytes **ret, Err *err);
Subscription *subscription_close(Subscription *sub); /* takes NULL; returns NULL */

EventBytes *event_bytes_unref(EventBytes *e); /* takes NULL; returns NULL */
