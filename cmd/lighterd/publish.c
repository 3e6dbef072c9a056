/* SPDX-License-Identifier: Apache-2.0 */
#include "publish.h"

#include <errno.h>
#include <unistd.h>
#include "api/containerd/services/events/v1/events.pb-c.h"
#include "api/google/protobuf/empty.pb-c.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"
#include "grpc/client.h"
#include "rpc/message.h"

enum { PUBLISH_TIMEOUT_MS = 10000 };

/* "--name V", "-name=V" and their mixtures; NULL at the end of args or for what is no such flag. */
static const char *flag_value(char ***args, const char *name)
{
        const char *arg = **args;
        size_t n = strlen(name);

        arg += *arg == '-';
        arg += *arg == '-';
        if (strncmp(arg, name, n) != 0 || (arg[n] && arg[n] != '='))
                return NULL;
        if (arg[n] == '=')
                return arg + n + 1;
        return (*args)[1] ? *++*args : NULL;
}

static int read_event(Arena *a, Google__Protobuf__Any **ret, Err *err)
{
        char *bytes CLEANUP(cleanup_free) = mem_alloc(LIMIT_TTRPC_MESSAGE + 1);
        ProtobufCMessage *msg;
        ssize_t n = fd_read_all(STDIN_FILENO, bytes, LIMIT_TTRPC_MESSAGE + 1);
        int r;

        if (n < 0)
                return err_sys(err, errno, "read the event from stdin");
        if (n > LIMIT_TTRPC_MESSAGE)
                return err_set(err, RESOURCE_EXHAUSTED, "event on stdin: more than %d bytes",
                               LIMIT_TTRPC_MESSAGE);
        r = message_unpack(a, &google__protobuf__any__descriptor, bytes, (size_t)n, &msg, err);
        if (r < 0)
                return err_wrap(err, "event on stdin");
        *ret = (Google__Protobuf__Any *)msg;
        return 0;
}

int publish(const char *address, char **args, Err *err)
{
        EventsService__PublishRequest req = EVENTS_SERVICE__PUBLISH_REQUEST__INIT;
        GrpcClient *client CLEANUP(grpc_client_freep) = NULL;
        Arena a CLEANUP(arena_done);
        const char *ns = NULL, *topic = NULL, *value;
        void *rsp;
        int r;

        arena_init(&a, SIZE_MAX);
        for (; *args; args++) {
                if ((value = flag_value(&args, "namespace")))
                        ns = value;
                else if ((value = flag_value(&args, "topic")))
                        topic = value;
                else
                        return err_set(err, INVALID_ARGUMENT, "publish: bad argument \"%s\"",
                                       *args);
        }
        if (str_empty(topic))
                return err_set(err, INVALID_ARGUMENT,
                               "publish: --topic is required to publish event");
        if (str_empty(ns))
                return err_set(err, INVALID_ARGUMENT, "publish: --namespace is required");
        req.topic = topic;
        r = read_event(&a, &req.event, err);
        if (r == 0)
                r = grpc_client_open(address, &client, err);
        if (r < 0)
                return r;
        grpc_client_set_namespace(client, ns);
        grpc_client_set_timeout(client, PUBLISH_TIMEOUT_MS);
        return grpc_unary(client, "/containerd.services.events.v1.Events/Publish", &req,
                          &google__protobuf__empty__descriptor, &a, &rsp, err);
}
