/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A gRPC client over a unix socket, for programs with one thread. Any number of calls may be in
 * flight on one connection; a function that blocks serves them all while it waits. A program that
 * also watches other things polls grpc_client_fd() for grpc_client_events() and calls
 * grpc_client_step(), then asks its calls with grpc_call_ready().
 *
 *         GrpcClient *client CLEANUP(grpc_client_freep) = NULL;
 *         Containers__GetContainerResponse *rsp;
 *
 *         r = grpc_client_open("/run/lighter/lighter.sock", &client, err);
 *         grpc_client_set_namespace(client, "default");
 *         r = grpc_unary(client, "/containerd.services.containers.v1.Containers/Get", &req,
 *                        &containers__get_container_response__descriptor, arena,
 *                        (void **)&rsp, err);
 *
 * A failed call returns -code with the server's text in err, as it was sent. A broken connection is
 * UNAVAILABLE and ends every call on it.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include "base/arena.h"
#include "base/cleanup.h"
#include "base/err.h"

typedef struct GrpcClient GrpcClient;
typedef struct GrpcCall GrpcCall;

/* Connects. UNAVAILABLE with the path when nobody listens there, PERMISSION_DENIED. */
int grpc_client_open(const char *path, GrpcClient **ret, Err *err);
/* Over a connected socket, which is the client's from now on, whatever is returned. */
int grpc_client_adopt(int fd, GrpcClient **ret, Err *err);
GrpcClient *grpc_client_free(GrpcClient *c); /* calls must be gone; takes NULL, returns NULL */
DEFINE_CLEANUP(GrpcClient *, grpc_client_free)

/* Sent with every call begun from now on; copied, NULL for none. */
void grpc_client_set_namespace(GrpcClient *c, const char *ns);
void grpc_client_set_lease(GrpcClient *c, const char *lease);
/* For every call begun from now on: it fails with DEADLINE_EXCEEDED after so long; 0 for never. */
void grpc_client_set_timeout(GrpcClient *c, uint64_t ms);

/* For poll(2): POLLIN, and POLLOUT while something waits to be written. */
int grpc_client_fd(const GrpcClient *c);
short grpc_client_events(const GrpcClient *c);
/* Milliseconds until the earliest deadline of a call, -1 without one; a time-out for poll(2). */
int grpc_client_poll_ms(const GrpcClient *c);
/* Reads and writes what is possible now, without blocking. Failure is kept for the calls. */
void grpc_client_step(GrpcClient *c);

/* Request, answer, done. The answer lies in the arena. Blocks. */
int grpc_unary(GrpcClient *c, const char *method, const void *req,
               const ProtobufCMessageDescriptor *rsp_desc, Arena *a, void **ret_rsp, Err *err);

/* Begins a call; it goes out with its first message, or the next step. method as
 * "/package.Service/Method". */
GrpcCall *grpc_call_new(GrpcClient *c, const char *method,
                        const ProtobufCMessageDescriptor *rsp_desc);
/* Cancels it unless it has ended. Takes NULL, returns NULL. */
GrpcCall *grpc_call_free(GrpcCall *call);
DEFINE_CLEANUP(GrpcCall *, grpc_call_free)

/* Queues a message and blocks while more than a megabyte waits to be sent. Once the call has ended:
 * its error, or CANCELLED when it ended well; grpc_call_recv() tells. */
int grpc_call_send(GrpcCall *call, const void *msg, Err *err);
/* Whether grpc_call_send() would not block. */
int grpc_call_can_send(const GrpcCall *call);
/* No more messages from us. Needed for every call, also one with a single message;
 * grpc_call_start() does it. */
void grpc_call_end(GrpcCall *call);
/* Begin, one message, end: for server streams, and unary calls that are to be answered later. */
GrpcCall *grpc_call_start(GrpcClient *c, const char *method, const void *req,
                          const ProtobufCMessageDescriptor *rsp_desc);

/* Whether grpc_call_recv() would not block. */
int grpc_call_ready(GrpcCall *call);
/* Waits for the next message and unpacks it into the arena. 1: there it is; 0: the call has ended
 * well; -code. */
int grpc_call_recv(GrpcCall *call, Arena *a, void **ret_msg, Err *err);
/* For a unary call begun with grpc_call_start(): the message and the good end. 0 or -code. */
int grpc_call_finish(GrpcCall *call, Arena *a, void **ret_rsp, Err *err);
