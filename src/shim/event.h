/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events on their way to the daemon: in order, at most LIMIT_EVENT_QUEUE waiting (the oldest goes
 * first when there are more), sent one at a time by ttrpc. While the daemon is away they are kept;
 * one that the daemon refuses five times is dropped, so that it does not hold up the rest.
 *
 * An exit must not depend on memory being there: its event is reserved before the process exists
 * and filled in later.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include "base/loop.h"

typedef struct Publisher Publisher;
typedef struct Event Event;

/* address: of the daemon's ttrpc socket; "" throws all events away. Borrows both strings. Lives as
 * long as the process. */
Publisher *publisher_new(Loop *loop, const char *ns, const char *address);
int publisher_idle(const Publisher *p);

/* Room for one exit or delete event with these ids; NULL when there is no memory. */
Event *event_reserve(const Publisher *p, const char *id, const char *exec_id);
void event_free(Event *e); /* takes NULL */
/* Packs a message of package containerd.events into it and queues it. Takes the event, allocates
 * nothing. */
void event_publish_reserved(Publisher *p, Event *e, const char *topic, const ProtobufCMessage *msg);
/* The same with memory of its own. */
void event_publish(Publisher *p, const char *topic, const void *msg);
