/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection to the daemon, for a program of one thread: grpc/client.h with an address, a
 * namespace, a lease, a deadline for the whole program, and failures that say what to do next.
 * Streams and calls that are answered later are GrpcCalls; whoever polls uses the functions of
 * grpc/client.h on client_grpc().
 *
 * Methods are written SVC_IMAGES "Get". Answers live in the arena handed in. A failed call carries
 * the daemon's code and text.
 */
#pragma once

#include "grpc/client.h"

typedef struct Client Client;

typedef struct ClientOptions {
        const char *address;        /* absolute path of a socket; "unix://" before it is fine */
        const char *ns;             /* goes with every call */
        int64_t timeout_ns;         /* for everything together; 0 for none */
        int64_t connect_timeout_ns; /* 0 for none: a connection to a unix socket waits while its
                                       backlog is full */
} ClientOptions;

/* UNAVAILABLE, PERMISSION_DENIED, INVALID_ARGUMENT. */
int client_open(const ClientOptions *o, Client **ret, Err *err);
Client *client_free(Client *c); /* takes NULL, returns NULL */
DEFINE_CLEANUP(Client *, client_free)

const char *client_namespace(const Client *c);
GrpcClient *client_grpc(Client *c);
/* Calls begun from now on carry this lease; NULL for none. */
void client_set_lease(Client *c, const char *id);
/* Calls begun from now on have no deadline, --timeout or not: for cleaning up. */
void client_no_timeout(Client *c);

/* One request, one response. Blocks. */
#define client_call(c, a, method, req, rsp_prefix, ret, err)                                   \
        client_call_desc((c), (a), (method), (req), &rsp_prefix##__descriptor, (void **)(ret), \
                         (err))
int client_call_desc(Client *c, Arena *a, const char *method, const void *req,
                     const ProtobufCMessageDescriptor *rsp, void **ret, Err *err);
/* For methods that answer google.protobuf.Empty. */
int client_call_empty(Client *c, const char *method, const void *req, Err *err);

/* One request, and the answers are taken with grpc_call_recv() or grpc_call_finish(). */
#define client_begin(c, method, req, rsp_prefix) \
        client_begin_desc((c), (method), (req), &rsp_prefix##__descriptor)
GrpcCall *client_begin_desc(Client *c, const char *method, const void *req,
                            const ProtobufCMessageDescriptor *rsp);
/* A stream of requests. */
#define client_stream(c, method, rsp_prefix) \
        client_stream_desc((c), (method), &rsp_prefix##__descriptor)
GrpcCall *client_stream_desc(Client *c, const char *method, const ProtobufCMessageDescriptor *rsp);

#define SVC_CONTAINERS    "/containerd.services.containers.v1.Containers/"
#define SVC_CONTENT       "/containerd.services.content.v1.Content/"
#define SVC_DIFF          "/containerd.services.diff.v1.Diff/"
#define SVC_EVENTS        "/containerd.services.events.v1.Events/"
#define SVC_IMAGES        "/containerd.services.images.v1.Images/"
#define SVC_INTROSPECTION "/containerd.services.introspection.v1.Introspection/"
#define SVC_LEASES        "/containerd.services.leases.v1.Leases/"
#define SVC_NAMESPACES    "/containerd.services.namespaces.v1.Namespaces/"
#define SVC_SNAPSHOTS     "/containerd.services.snapshots.v1.Snapshots/"
#define SVC_TASKS         "/containerd.services.tasks.v1.Tasks/"
#define SVC_VERSION       "/containerd.services.version.v1.Version/"
