/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Services as tables of methods, and the registry a transport looks them up in.
 *
 *         static const RpcMethod methods[] = {
 *                 RPC_UNARY_METHOD("Get", containers_get, containers__get_container_request,
 *                                  containers__get_container_response),
 *                 RPC_WAIT_METHOD(...),
 *                 RPC_STREAM_METHOD("Read", &content_read_ops, content__read_content_request,
 *                                   content__read_content_response, RPC_SERVER_STREAMS),
 *         };
 *         const RpcService containers_service =
 *                 RPC_SERVICE("containerd.services.containers.v1.Containers", methods);
 *
 * Names are full protobuf names. A registry is filled before the first connection and constant
 * afterwards: no lock.
 */
#pragma once

#include "rpc/call.h"

/* RPC_BATCH: as unary, for handlers that do nothing but one transaction; see RpcBatchOps. */
typedef enum RpcKind { RPC_UNARY, RPC_BATCH, RPC_WAIT, RPC_STREAM } RpcKind;
enum { RPC_CLIENT_STREAMS = 1, RPC_SERVER_STREAMS = 2 };

typedef int (*RpcHandler)(Call *c, const void *req, void *rsp);

struct RpcMethod {
        const char *name;
        RpcKind kind;
        const ProtobufCMessageDescriptor *req, *rsp;
        RpcHandler handler;         /* all but streams */
        const RpcStreamOps *stream; /* stream */
        unsigned streams;           /* RPC_CLIENT_STREAMS | RPC_SERVER_STREAMS */
};

typedef struct RpcService {
        const char *name; /* full protobuf name */
        const RpcMethod *methods;
        size_t n_methods;
} RpcService;

#define RPC_UNARY_METHOD(name_, fn, req_, rsp_) RPC_METHOD_(name_, RPC_UNARY, fn, req_, rsp_)
#define RPC_BATCH_METHOD(name_, fn, req_, rsp_) RPC_METHOD_(name_, RPC_BATCH, fn, req_, rsp_)
#define RPC_WAIT_METHOD(name_, fn, req_, rsp_)  RPC_METHOD_(name_, RPC_WAIT, fn, req_, rsp_)
#define RPC_METHOD_(name_, kind_, fn, req_, rsp_)                                       \
        {                                                                               \
                .name = (name_), .kind = (kind_), .req = &req_##__descriptor,           \
                .rsp = &rsp_##__descriptor, .handler = (RpcHandler)(void (*)(void))(fn) \
        }
#define RPC_STREAM_METHOD(name_, ops, req_, rsp_, streams_)                        \
        {                                                                          \
                .name = (name_), .kind = RPC_STREAM, .req = &req_##__descriptor,   \
                .rsp = &rsp_##__descriptor, .stream = (ops), .streams = (streams_) \
        }
#define RPC_SERVICE(name_, methods_)                                                     \
        {                                                                                \
                .name = (name_), .methods = (methods_), .n_methods = ARRAY_LEN(methods_) \
        }

typedef struct RpcRegistry RpcRegistry;

/* Where handlers run: pool_submit for the daemon, straight away for one-threaded programs. */
typedef void (*RpcRunFn)(void *run_ctx, void (*fn)(void *), void *arg);

RpcRegistry *rpc_registry_new(RpcRunFn run, void *run_ctx);
RpcRegistry *rpc_registry_free(RpcRegistry *r);

/*
 * What makes several handlers' changes durable at once. begin gives a batch of this thread; the
 * handlers that run on it until commit, as long as it is not full, are its members: each returns as
 * if its changes were durable, and is answered with its own result once commit has returned 0, with
 * err when that fails. commit frees the batch.
 */
typedef struct RpcBatchOps {
        void *(*begin)(void *ctx, Err *err);
        int (*full)(const void *batch);
        int (*commit)(void *batch);
} RpcBatchOps;

/* Before the first connection; without it RPC_BATCH is RPC_UNARY. */
void rpc_registry_set_batch(RpcRegistry *r, const RpcBatchOps *ops, void *ctx);
/* ctx becomes Call.ctx of every call of this service. The service's tables must outlive the
 * registry. */
void rpc_registry_add(RpcRegistry *r, const RpcService *service, void *ctx);
