/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include "api/containerd/events/events.pb-c.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/test.h"
#include "events/exchange.h"
#include "rpc/message.h"

static int wakes;

static void woken(void *ctx)
{
        __atomic_add_fetch(&wakes, 1, __ATOMIC_RELAXED);
}

static Subscription *subscribe(Exchange *ex, const char *filter)
{
        Subscription *sub = NULL;
        Err err = {};

        exchange_subscribe(ex, &filter, filter ? 1 : 0, woken, NULL, &sub, &err);
        return sub;
}

/* The next envelope, decoded; NULL when there is none. */
static Types__Envelope *next(Subscription *sub, Arena *a)
{
        ProtobufCMessage *m = NULL;
        EventBytes *e = NULL;
        Err err = {};

        while (subscription_next(sub, &e, &err) == 1 && !e)
                ;
        if (e)
                message_unpack(a, &types__envelope__descriptor, e->data, e->n, &m, &err);
        event_bytes_unref(e);
        return (Types__Envelope *)m;
}

static int publish(Exchange *ex, const char *ns, const char *topic)
{
        Err err = {};

        return exchange_publish(ex, ns, topic, "x", "v", 1, &err);
}

TEST(subscriber_gets_what_was_published_in_order)
{
        Arena a CLEANUP(arena_done);
        Exchange *ex = exchange_new();
        Subscription *one = subscribe(ex, NULL), *two = subscribe(ex, NULL);
        Types__Envelope *e;

        arena_init(&a, SIZE_MAX);
        wakes = 0;
        CHECK(publish(ex, "default", "/a") == 0 && publish(ex, "other", "/b/c") == 0);
        CHECK_INT(wakes, 2); /* one for each subscriber: the queue was empty once */
        for (int i = 0; i < 2; i++) {
                Subscription *sub = i ? two : one;

                e = next(sub, &a);
                CHECK(e && str_eq(e->topic, "/a") && str_eq(e->namespace_, "default"));
                CHECK(e->timestamp && e->timestamp->seconds > 0);
                CHECK(e->event && str_eq(e->event->type_url, "x") && e->event->value.len == 1);
                e = next(sub, &a);
                CHECK(e && str_eq(e->topic, "/b/c"));
                CHECK(!next(sub, &a));
        }
        subscription_close(one);
        CHECK(publish(ex, "default", "/later") == 0);
        e = next(two, &a);
        CHECK(e && str_eq(e->topic, "/later"));
        subscription_close(two);
        exchange_free(ex);
}

TEST(event_may_be_absent)
{
        Types__Envelope envelope = TYPES__ENVELOPE__INIT;
        Arena a CLEANUP(arena_done);
        Exchange *ex = exchange_new();
        Subscription *sub = subscribe(ex, "topic==\"/a\""),
                     *by_event = subscribe(ex, "event.id==x");
        Types__Envelope *e;
        Err err = {};

        arena_init(&a, SIZE_MAX);
        CHECK(exchange_publish(ex, "default", "/a", NULL, NULL, 0, &err) == 0);
        envelope.namespace_ = "default";
        envelope.topic = "/a";
        CHECK(exchange_forward(ex, &envelope, &err) == 0);
        e = next(sub, &a);
        CHECK(e && !e->event);
        e = next(sub, &a);
        CHECK(e && !e->event && e->timestamp->seconds == 0);
        CHECK(!next(by_event, &a));
        subscription_close(sub);
        subscription_close(by_event);
        exchange_free(ex);
}

TEST(topics_are_checked)
{
        static const struct {
                const char *topic, *error;
        } bad[] = {
                {"a", "envelope topic \"a\": must start with '/': invalid argument"},
                {"", "envelope topic \"\": must start with '/': invalid argument"},
                {"/", "envelope topic \"/\": must have at least one component: invalid argument"},
        };
        Exchange *ex = exchange_new();
        char longest[100];
        Err err = {};

        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                CHECK(exchange_publish(ex, "default", bad[i].topic, "x", "", 0, &err) ==
                      -INVALID_ARGUMENT);
                CHECK_STR(err.msg, bad[i].error);
        }
        CHECK(exchange_publish(ex, "default", "/a//b", "x", "", 0, &err) == -INVALID_ARGUMENT);
        CHECK(str_starts(
                err.msg,
                "envelope topic \"/a//b\": failed validation on component \"\": identifier"));
        CHECK(exchange_publish(ex, "default", "/a/../b", "x", "", 0, &err) == -INVALID_ARGUMENT);
        CHECK(exchange_publish(ex, "default", "/a/", "x", "", 0, &err) == -INVALID_ARGUMENT);
        CHECK(exchange_publish(ex, "", "/a", "x", "", 0, &err) == -INVALID_ARGUMENT);
        CHECK(exchange_publish(ex, "../x", "/a", "x", "", 0, &err) == -INVALID_ARGUMENT);

        memset(longest, 'x', sizeof(longest));
        longest[0] = '/';
        longest[1 + LIMIT_IDENTIFIER] = '\0';
        CHECK(exchange_publish(ex, "default", longest, "x", "", 0, &err) == 0);
        longest[1 + LIMIT_IDENTIFIER] = 'x';
        longest[2 + LIMIT_IDENTIFIER] = '\0';
        CHECK(exchange_publish(ex, "default", longest, "x", "", 0, &err) == -INVALID_ARGUMENT);
        exchange_free(ex);
}

TEST(forwarded_envelopes_are_checked)
{
        Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
        Types__Envelope e = TYPES__ENVELOPE__INIT;
        Exchange *ex = exchange_new();
        Err err = {};

        CHECK(exchange_forward(ex, NULL, &err) == -INVALID_ARGUMENT);
        CHECK(exchange_forward(ex, &e, &err) == -INVALID_ARGUMENT);
        e.namespace_ = "default";
        CHECK(exchange_forward(ex, &e, &err) == -INVALID_ARGUMENT);
        e.topic = "/a";
        CHECK(exchange_forward(ex, &e, &err) == 0);
        at.seconds = INT64_C(-62135596800);
        e.timestamp = &at;
        CHECK(exchange_forward(ex, &e, &err) == -INVALID_ARGUMENT);
        at.seconds = 7;
        CHECK(exchange_forward(ex, &e, &err) == 0);
        exchange_free(ex);
}

static void publish_task(Exchange *ex)
{
        Events__ContainerUpdate__LabelsEntry label = EVENTS__CONTAINER_UPDATE__LABELS_ENTRY__INIT;
        Events__ContainerUpdate__LabelsEntry *labels[] = {&label};
        Events__ContainerUpdate update = EVENTS__CONTAINER_UPDATE__INIT;
        Events__TaskCreate create = EVENTS__TASK_CREATE__INIT;
        Events__TaskIO io = EVENTS__TASK_IO__INIT;
        Err err = {};

        create.container_id = "c1";
        create.io = &io;
        io.stdout = "/fifo";
        io.terminal = 1;
        create.pid = 7;
        exchange_publish_message(ex, "default", "/tasks/create", &create, &err);
        update.id = "c1";
        label.key = "a.b";
        label.value = "v";
        update.n_labels = 1;
        update.labels = labels;
        exchange_publish_message(ex, "default", "/containers/update", &update, &err);
}

TEST(filters_see_fields_of_known_events)
{
        static const struct {
                const char *filter;
                int matches; /* of the two events */
        } cases[] = {
                {"topic==\"/tasks/create\"", 1},
                {"topic~=\"^/(tasks|containers)/\"", 2},
                {"namespace==default", 2},
                {"namespace==other", 0},
                {"namespace==default,topic==\"/tasks/create\"", 1},
                {"event.container_id==c1", 1},
                {"event.id==c1", 1},
                {"event.io.stdout", 1},
                {"event.io.stdin", 0},
                {"event.io.terminal==true", 1},
                {"event.io", 0},
                {"event.pid==7", 0},
                {"event.rootfs", 0},
                {"event.labels.a.b==v", 1},
                {"event.labels.\"a.b\"==v", 1},
                {"event.labels.a", 0},
                {"event.labels", 0},
                {"event.nothing", 0},
                {"event.container_id!=c1", 1},
                {"event", 0},
                {"timestamp", 0},
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                Arena a CLEANUP(arena_done);
                Exchange *ex = exchange_new();
                Subscription *sub = subscribe(ex, cases[i].filter);
                int n = 0;

                arena_init(&a, SIZE_MAX);
                CHECK(sub);
                publish_task(ex);
                while (next(sub, &a))
                        n++;
                subscription_close(sub);
                exchange_free(ex);
                if (n != cases[i].matches)
                        test_fail(__FILE__, __LINE__, "%s: %d events", cases[i].filter, n);
        }
}

TEST(filters_of_one_subscriber_are_ored)
{
        const char *filters[] = {"topic==\"/tasks/create\"", "event.id==c1"};
        Arena a CLEANUP(arena_done);
        Exchange *ex = exchange_new();
        Subscription *sub = NULL;
        Err err = {};
        int n = 0;

        arena_init(&a, SIZE_MAX);
        CHECK(exchange_subscribe(ex, filters, 2, woken, NULL, &sub, &err) == 0);
        publish_task(ex);
        while (next(sub, &a))
                n++;
        CHECK_INT(n, 2);
        subscription_close(sub);
        CHECK(exchange_subscribe(ex, (const char *[]){"==="}, 1, woken, NULL, &sub, &err) ==
              -INVALID_ARGUMENT);
        exchange_free(ex);
}

TEST(undecodable_event_has_no_fields)
{
        Arena a CLEANUP(arena_done);
        Exchange *ex = exchange_new();
        Subscription *sub = subscribe(ex, "event.id"), *all = subscribe(ex, NULL);
        Err err = {};

        arena_init(&a, SIZE_MAX);
        CHECK(exchange_publish(ex, "default", "/a", "containerd.events.ContainerCreate",
                               "\xff\xff\xff", 3, &err) == 0);
        CHECK(!next(sub, &a));
        CHECK(next(all, &a)); /* and is carried verbatim */
        subscription_close(sub);
        subscription_close(all);
        exchange_free(ex);
}

/* The publisher queues what such a filter refuses, and the subscriber passes over it in slices. */
TEST(costly_filters_are_asked_by_their_subscriber)
{
        enum { EVENT = 64 * 1024 };
        Arena a CLEANUP(arena_done);
        char *big CLEANUP(cleanup_free) = mem_alloc(EVENT);
        Exchange *ex = exchange_new();
        Subscription *sub = subscribe(ex, "topic~=^/wanted$"), *slow = subscribe(ex, "event.id==x");
        Types__Envelope *e;
        EventBytes *bytes = NULL;
        int slices = 0, r;
        Err err = {};

        arena_init(&a, SIZE_MAX);
        for (int i = 0; i < 100; i++)
                CHECK(publish(ex, "default", "/other") == 0);
        CHECK(publish(ex, "default", "/wanted") == 0);
        while ((r = subscription_next(sub, &bytes, &err)) == 1 && !bytes)
                slices++;
        CHECK(r == 1 && slices == 3 && str_eq(bytes->topic, "/wanted"));
        event_bytes_unref(bytes);
        CHECK(!next(sub, &a));
        CHECK(publish(ex, "default", "/wanted") == 0);
        e = next(sub, &a);
        CHECK(e && str_eq(e->topic, "/wanted"));

        memset(big, 'x', EVENT);
        for (int i = 0; i < LIMIT_SUBSCRIBER_QUEUE / EVENT + 2; i++)
                CHECK(exchange_publish(ex, "default", "/a", "x", big, EVENT, &err) == 0);
        CHECK(subscription_next(slow, &bytes, &err) == -RESOURCE_EXHAUSTED);
        subscription_close(sub);
        subscription_close(slow);
        exchange_free(ex);
}

TEST(slow_subscriber_is_dropped_and_told)
{
        enum { EVENT = 64 * 1024 };
        Arena a CLEANUP(arena_done);
        char *big CLEANUP(cleanup_free) = mem_alloc(EVENT);
        Exchange *ex = exchange_new();
        Subscription *slow = subscribe(ex, NULL), *quick = subscribe(ex, NULL);
        EventBytes *e = NULL;
        Err err = {};

        arena_init(&a, SIZE_MAX);
        for (int i = 0; i < LIMIT_SUBSCRIBER_QUEUE / EVENT + 2; i++) {
                CHECK(exchange_publish(ex, "default", "/a", "x", big, EVENT, &err) == 0);
                CHECK(subscription_next(quick, &e, &err) == 1);
                event_bytes_unref(e);
        }
        CHECK(subscription_next(slow, &e, &err) == -RESOURCE_EXHAUSTED);
        CHECK(strstr(err.msg, "too slow"));
        CHECK(publish(ex, "default", "/b") == 0);
        CHECK(subscription_next(slow, &e, &err) == -RESOURCE_EXHAUSTED);
        CHECK(subscription_next(quick, &e, &err) == 1);
        event_bytes_unref(e);
        subscription_close(slow);
        subscription_close(quick);
        exchange_free(ex);
}

TEST(empty_queue_takes_an_event_of_any_size)
{
        enum { EVENT = LIMIT_SUBSCRIBER_QUEUE + 1 };
        char *big CLEANUP(cleanup_free) = mem_alloc(EVENT);
        Exchange *ex = exchange_new();
        Subscription *sub = subscribe(ex, NULL);
        EventBytes *e = NULL;
        Err err = {};

        CHECK(exchange_publish(ex, "default", "/a", "x", big, EVENT, &err) == 0);
        CHECK(subscription_next(sub, &e, &err) == 1);
        event_bytes_unref(e);
        subscription_close(sub);
        exchange_free(ex);
}

TEST(number_of_subscribers_is_limited)
{
        Subscription *subs[LIMIT_SUBSCRIBERS], *more = NULL;
        Exchange *ex = exchange_new();
        Err err = {};

        for (int i = 0; i < LIMIT_SUBSCRIBERS; i++)
                subs[i] = subscribe(ex, NULL);
        CHECK(subs[LIMIT_SUBSCRIBERS - 1]);
        CHECK(exchange_subscribe(ex, NULL, 0, woken, NULL, &more, &err) == -RESOURCE_EXHAUSTED);
        for (int i = 0; i < LIMIT_SUBSCRIBERS; i++)
                subscription_close(subs[i]);
        more = subscribe(ex, NULL);
        CHECK(more);
        subscription_close(more);
        exchange_free(ex);
}

enum { THREADS = 4, EVENTS = 500 };

static void *publisher(void *arg)
{
        char topic[32];

        for (int i = 0; i < EVENTS; i++) {
                snprintf(topic, sizeof(topic), "/n/%d", i);
                publish(arg, "default", topic);
        }
        return NULL;
}

static void *comer_and_goer(void *arg)
{
        for (int i = 0; i < EVENTS; i++)
                subscription_close(subscribe(arg, "topic~=\"/n/1\""));
        return NULL;
}

TEST(all_subscribers_see_one_order)
{
        Arena a CLEANUP(arena_done);
        Exchange *ex = exchange_new();
        Subscription *one = subscribe(ex, NULL), *two = subscribe(ex, NULL);
        pthread_t threads[THREADS + 1];
        Types__Envelope *x, *y;
        int64_t last = 0;
        int n = 0;

        arena_init(&a, SIZE_MAX);
        for (int i = 0; i < THREADS; i++)
                CHECK(pthread_create(&threads[i], NULL, publisher, ex) == 0);
        CHECK(pthread_create(&threads[THREADS], NULL, comer_and_goer, ex) == 0);
        while (n < THREADS * EVENTS) {
                x = next(one, &a);
                if (!x)
                        continue;
                do
                        y = next(two, &a);
                while (!y);
                n++;
                CHECK_STR(x->topic, y->topic);
                CHECK(x->timestamp->seconds * 1000000000 + x->timestamp->nanos >= last);
                last = x->timestamp->seconds * 1000000000 + x->timestamp->nanos;
                arena_done(&a);
                arena_init(&a, SIZE_MAX);
        }
        for (int i = 0; i <= THREADS; i++)
                pthread_join(threads[i], NULL);
        subscription_close(one);
        subscription_close(two);
        exchange_free(ex);
}
