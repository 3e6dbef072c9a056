// SPDX-License-Identifier: Apache-2.0
/*
 * The socket is connected here and handed to grpc/client.h, so that --connect-timeout holds and a
 * daemon that is not there is told from one that is not ours to talk to.
 */
#include "client/conn.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "api/google/protobuf/empty.pb-c.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"

struct Client {
        GrpcClient *grpc;
        char *ns;
        uint64_t deadline_ns; /* CLOCK_MONOTONIC; 0 for none */
};

static int explain(int errnum, const char *path, Err *err)
{
        static const char hint[] =
                "start the daemon with `lighterd`, or say where it listens with --address or "
                "LIGHTER_ADDRESS";

        switch (errnum) {
        case ENOENT:
        case ENOTDIR:
        case ECONNREFUSED:
        case ENOTSOCK:
                return err_set(err, UNAVAILABLE, "cannot access socket %s: %s; %s", path,
                               strerror(errnum), hint);
        case EACCES:
        case EPERM:
                return err_set(
                        err, PERMISSION_DENIED,
                        "cannot access socket %s: %s; run as root, or have the daemon's [grpc] gid name a group "
                        "of yours",
                        path, strerror(errnum));
        case EAGAIN:
                return err_set(
                        err, DEADLINE_EXCEEDED,
                        "cannot access socket %s: the daemon does not take the connection in time",
                        path);
        default:
                return err_sys(err, errnum, "cannot access socket %s", path);
        }
}

static int connect_socket(const char *path, int64_t timeout_ns, int *ret, Err *err)
{
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        struct timeval tv = {
                .tv_sec = timeout_ns / (int64_t)NS_PER_SEC,
                .tv_usec = timeout_ns % (int64_t)NS_PER_SEC / 1000,
        };
        int fd CLEANUP(cleanup_fd) = -1;

        if (path[0] != '/')
                return err_set(err, INVALID_ARGUMENT, "address \"%s\" is not an absolute path",
                               path);
        if (strlen(path) >= sizeof(sa.sun_path))
                return err_set(err, INVALID_ARGUMENT, "address \"%s\" is longer than %zu bytes",
                               path, sizeof(sa.sun_path) - 1);
        strcpy(sa.sun_path, path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return err_sys(err, errno, "cannot make a socket");
        /* SO_SNDTIMEO bounds connect(2) too, see socket(7) */
        if (timeout_ns > 0)
                setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
        while (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
                if (errno != EINTR)
                        return explain(errno, path, err);
        if (timeout_ns > 0)
                setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){}, sizeof(tv));
        *ret = TAKE_FD(fd);
        return 0;
}

int client_open(const ClientOptions *o, Client **ret, Err *err)
{
        Client *c CLEANUP(client_freep) = mem_new(Client);
        const char *path = o->address;
        int fd = -1, r;

        if (str_starts(path, "unix://"))
                path += strlen("unix://");
        if (o->timeout_ns > 0)
                c->deadline_ns = time_mono_ns() + (uint64_t)o->timeout_ns;
        r = connect_socket(path, o->connect_timeout_ns, &fd, err);
        if (r < 0)
                return r;
        r = grpc_client_adopt(fd, &c->grpc, err);
        if (r < 0)
                return r;
        c->ns = mem_strdup(o->ns);
        grpc_client_set_namespace(c->grpc, c->ns);
        *ret = TAKE(c);
        return 0;
}

Client *client_free(Client *c)
{
        if (!c)
                return NULL;
        grpc_client_free(c->grpc);
        free(c->ns);
        free(c);
        return NULL;
}

const char *client_namespace(const Client *c)
{
        return c->ns;
}

GrpcClient *client_grpc(Client *c)
{
        return c->grpc;
}

void client_set_lease(Client *c, const char *id)
{
        grpc_client_set_lease(c->grpc, id);
}

void client_no_timeout(Client *c)
{
        c->deadline_ns = 0;
        grpc_client_set_timeout(c->grpc, 0);
}

/* What is left of the program's time becomes the call's. */
static void apply_deadline(Client *c)
{
        uint64_t now = time_mono_ns();

        if (c->deadline_ns > 0)
                grpc_client_set_timeout(
                        c->grpc, c->deadline_ns > now ? (c->deadline_ns - now) / NS_PER_MS + 1 : 1);
}

int client_call_desc(Client *c, Arena *a, const char *method, const void *req,
                     const ProtobufCMessageDescriptor *rsp, void **ret, Err *err)
{
        apply_deadline(c);
        return grpc_unary(c->grpc, method, req, rsp, a, ret, err);
}

int client_call_empty(Client *c, const char *method, const void *req, Err *err)
{
        Arena a;
        void *rsp;
        int r;

        arena_init(&a, SIZE_MAX);
        r = client_call_desc(c, &a, method, req, &google__protobuf__empty__descriptor, &rsp, err);
        arena_done(&a);
        return r;
}

GrpcCall *client_begin_desc(Client *c, const char *method, const void *req,
                            const ProtobufCMessageDescriptor *rsp)
{
        apply_deadline(c);
        return grpc_call_start(c->grpc, method, req, rsp);
}

GrpcCall *client_stream_desc(Client *c, const char *method, const ProtobufCMessageDescriptor *rsp)
{
        apply_deadline(c);
        return grpc_call_new(c->grpc, method, rsp);
}
