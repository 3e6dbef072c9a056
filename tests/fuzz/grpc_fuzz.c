/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a client may send after the preface, against a server whose handlers run straight away.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "api/containerd/services/content/v1/content.pb-c.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "grpc/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void run_now(void *ctx, void (*fn)(void *), void *arg)
{
        fn(arg);
}

static int measure(Call *c, const Content__WriteContentRequest *req,
                   Content__WriteContentResponse *rsp)
{
        rsp->offset = (int64_t)req->data.len;
        return req->offset ? err_set(c->err, ABORTED, "%s", req->ref) : 0;
}

static int echo(Call *c, const void *msg)
{
        const Content__WriteContentRequest *req = msg;
        Content__ReadContentResponse rsp = CONTENT__READ_CONTENT_RESPONSE__INIT;

        rsp.data = req->data;
        return call_send(c, &rsp.base) < 0 ? -c->err->code : RPC_MORE;
}

static int flow(Call *c)
{
        static const char chunk[30000];

        return call_send_encoded(c, chunk, sizeof(chunk)) < 0 ? -c->err->code : RPC_MORE;
}

static const RpcStreamOps echo_ops = {.message = echo};
static const RpcStreamOps flow_ops = {.writable = flow};

static const RpcMethod methods[] = {
        RPC_UNARY_METHOD("U", measure, content__write_content_request,
                         content__write_content_response),
        RPC_STREAM_METHOD("E", &echo_ops, content__write_content_request,
                          content__read_content_response, RPC_CLIENT_STREAMS | RPC_SERVER_STREAMS),
        RPC_STREAM_METHOD("F", &flow_ops, content__read_content_request,
                          content__read_content_response, RPC_SERVER_STREAMS),
};
static const RpcService service = RPC_SERVICE("t.T", methods);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
        int pair[2], client CLEANUP(cleanup_fd) = -1;
        RpcRegistry *registry;
        GrpcServer *server;
        Loop *loop;
        Err err;

        log_init(LOG_FATAL, LOG_FORMAT_TEXT);
        if (loop_new(&loop, &err) < 0 ||
            socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return 0;
        client = pair[0];
        registry = rpc_registry_new(run_now, NULL);
        rpc_registry_add(registry, &service, NULL);
        server = grpc_server_new(loop, registry, NULL);
        if (grpc_server_adopt(server, pair[1], &err) == 0) {
                n = MIN(n, (size_t)100000);                     /* fits into the socket */
                (void)!write(client, preface, sizeof(preface)); /* the NUL ends the settings */
                (void)!write(client, data, n);
                for (int i = 0; i < 8; i++)
                        loop_once(loop, 0);
        }
        grpc_server_free(server);
        loop_free(loop);
        rpc_registry_free(registry);
        return 0;
}
