/* SPDX-License-Identifier: Apache-2.0 */
/* Server and client against each other and against raw frames, in one thread. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "api/containerd/task/v3/task.pb-c.h"
#include "api/google/rpc/status.pb-c.h"
#include "api/ttrpc/request.pb-c.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/test.h"
#include "rpc/message.h"
#include "ttrpc/client.h"
#include "ttrpc/frame.h"
#include "ttrpc/server.h"

static Call *waiting;

static int echo_connect(Call *c, const Task__ConnectRequest *req, Task__ConnectResponse *rsp)
{
        if (str_eq(req->id, "fail"))
                return err_set(c->err, NOT_FOUND, "task %s: not found", req->id);
        rsp->shim_pid = 7;
        rsp->version = arena_printf(c->arena, "%s/%s", c->ns ? c->ns : "-", req->id);
        return 0;
}

static int nothing(Call *c, const Task__ShutdownRequest *req, Google__Protobuf__Empty *rsp)
{
        return 0;
}

static int wait_for_ever(Call *c, const Task__WaitRequest *req, Task__WaitResponse *rsp)
{
        waiting = call_ref(c);
        return RPC_PENDING;
}

static const RpcMethod methods[] = {
        RPC_UNARY_METHOD("Connect", echo_connect, task__connect_request, task__connect_response),
        RPC_UNARY_METHOD("Shutdown", nothing, task__shutdown_request, google__protobuf__empty),
        RPC_WAIT_METHOD("Wait", wait_for_ever, task__wait_request, task__wait_response),
};
static const RpcService service = RPC_SERVICE("containerd.task.v3.Task", methods);

static void run_now(void *ctx, void (*fn)(void *), void *arg)
{
        fn(arg);
}

typedef struct Fixture {
        Loop *loop;
        RpcRegistry *registry;
        TtrpcServer *server;
        char path[200];
} Fixture;

static void fixture_open(Fixture *f)
{
        struct sockaddr_un sun = {.sun_family = AF_UNIX};
        Err err;
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        waiting = NULL;
        snprintf(f->path, sizeof(f->path), "%s/sock", test_tmpdir());
        snprintf(sun.sun_path, sizeof(sun.sun_path), "%.100s", f->path);
        loop_new(&f->loop, &err);
        f->registry = rpc_registry_new(run_now, NULL);
        rpc_registry_add(f->registry, &service, NULL);
        f->server = ttrpc_server_new(f->loop, f->registry);
        if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 || listen(fd, 10) < 0 ||
            ttrpc_server_listen(f->server, fd, &err) < 0)
                abort();
}

static void fixture_done(Fixture *f)
{
        call_unref(waiting);
        ttrpc_server_free(f->server);
        loop_free(f->loop);
        rpc_registry_free(f->registry);
}

typedef struct Answer {
        int n, r;
        Err err;
        Arena a;
        Task__ConnectResponse *rsp;
} Answer;

static void on_answer(void *ctx, int r, const void *bytes, size_t n, const Err *err)
{
        Answer *a = ctx;
        ProtobufCMessage *m;
        Err e;

        a->n++;
        a->r = r;
        if (r < 0)
                a->err = *err;
        else if (message_unpack(&a->a, &task__connect_response__descriptor, bytes, n, &m, &e) == 0)
                a->rsp = (Task__ConnectResponse *)m;
}

static void count(void *ctx)
{
        ++*(int *)ctx;
}

static void turn_until(Fixture *f, const int *flag, int want)
{
        for (int i = 0; i < 1000 && *flag < want; i++)
                loop_once(f->loop, 10);
}

static TtrpcClient *dial(Fixture *f, int *closed)
{
        TtrpcClient *c = NULL;
        Err err;
        int fd;

        if (ttrpc_dial(f->path, &fd, &err) < 0 ||
            ttrpc_client_new(f->loop, fd, count, closed, &c, &err) < 0)
                abort();
        return c;
}

static void hang_up(TtrpcClient *c)
{
        ttrpc_client_close(c);
        ttrpc_client_unref(c);
}

TEST(calls_are_answered)
{
        Fixture f CLEANUP(fixture_done) = {};
        Task__ConnectRequest req = TASK__CONNECT_REQUEST__INIT;
        TtrpcCall call = {.service = "containerd.task.v3.Task",
                          .method = "Connect",
                          .ns = "moby",
                          .req = &req};
        Answer ok = {}, fail = {}, unknown = {}, no_service = {};
        TtrpcClient *c;
        int closed = 0;

        fixture_open(&f);
        arena_init(&ok.a, SIZE_MAX);
        c = dial(&f, &closed);
        req.id = "x1";
        ttrpc_client_call(c, &call, on_answer, &ok);
        req.id = "fail";
        ttrpc_client_call(c, &call, on_answer, &fail);
        call.method = "Nope";
        ttrpc_client_call(c, &call, on_answer, &unknown);
        call.service = "no.Service";
        ttrpc_client_call(c, &call, on_answer, &no_service);
        CHECK_INT(ok.n, 0);
        turn_until(&f, &no_service.n, 1);
        CHECK_INT(ok.r, 0);
        CHECK_STR(ok.rsp->version, "moby/x1");
        CHECK_INT(fail.r, -NOT_FOUND);
        CHECK_STR(fail.err.msg, "task fail: not found");
        CHECK_INT(unknown.r, -UNIMPLEMENTED);
        CHECK_STR(unknown.err.msg, "method Nope");
        CHECK_STR(no_service.err.msg, "service no.Service");
        CHECK_INT(closed, 0);
        hang_up(c);
        arena_done(&ok.a);
}

TEST(a_lost_connection_answers_everything_and_then_tells)
{
        Fixture f CLEANUP(fixture_done) = {};
        Task__WaitRequest req = TASK__WAIT_REQUEST__INIT;
        TtrpcCall call = {.service = "containerd.task.v3.Task", .method = "Wait", .req = &req};
        Answer pending = {}, later = {};
        TtrpcClient *c;
        int closed = 0;

        fixture_open(&f);
        c = dial(&f, &closed);
        ttrpc_client_call(c, &call, on_answer, &pending);
        for (int i = 0; i < 100 && !waiting; i++)
                loop_once(f.loop, 10);
        CHECK(waiting);
        f.server = ttrpc_server_free(f.server);
        turn_until(&f, &closed, 1);
        CHECK_INT(pending.n, 1);
        CHECK_INT(pending.r, -UNAVAILABLE);
        CHECK_STR(pending.err.msg, "ttrpc: closed");
        CHECK_INT(closed, 1);
        ttrpc_client_call(c, &call, on_answer, &later);
        turn_until(&f, &later.n, 1);
        CHECK_INT(later.r, -UNAVAILABLE);
        ttrpc_client_unref(c);
}

TEST(deadlines_end_calls_at_both_ends)
{
        Fixture f CLEANUP(fixture_done) = {};
        Task__WaitRequest req = TASK__WAIT_REQUEST__INIT;
        TtrpcCall call = {.service = "containerd.task.v3.Task",
                          .method = "Wait",
                          .req = &req,
                          .timeout_ms = 30};
        Answer a = {};
        TtrpcClient *c;
        int closed = 0;

        fixture_open(&f);
        c = dial(&f, &closed);
        ttrpc_client_call(c, &call, on_answer, &a);
        turn_until(&f, &a.n, 1);
        CHECK_INT(a.r, -DEADLINE_EXCEEDED);
        CHECK_STR(a.err.msg, "context deadline exceeded");
        for (int i = 0; i < 100 && !call_cancelled(waiting); i++)
                loop_once(f.loop, 10);
        CHECK(call_cancelled(waiting));
        CHECK_INT(call_claim(waiting), 0);
        hang_up(c);
        CHECK_INT(closed, 0);
}

/* ---- raw frames ---- */

static int raw_dial(Fixture *f)
{
        Err err;
        int fd = -1;

        ttrpc_dial(f->path, &fd, &err);
        return fd;
}

static void raw_send(Fixture *f, int fd, uint32_t length, uint32_t stream, int type,
                     const void *data, size_t n)
{
        uint8_t header[TTRPC_HEADER];

        ttrpc_header_put(header, length, stream, (uint8_t)type, 0);
        (void)!write(fd, header, sizeof(header));
        for (size_t at = 0; at < n;) {
                ssize_t w = write(fd, (const char *)data + at, n - at);

                if (w > 0)
                        at += (size_t)w;
                else if (errno == EAGAIN)
                        loop_once(f->loop, 1);
                else
                        break;
        }
}

/* The code of the next answer; -1 at end of file, -2 when none comes. */
static int raw_answer(Fixture *f, int fd, uint32_t *ret_stream, char msg[256])
{
        uint8_t buf[4096];
        ProtobufCMessage *m;
        TtrpcReader reader = {};
        TtrpcFrame frame;
        size_t used;
        ssize_t n = -1;
        Arena a;
        Err err;
        int code;

        for (int i = 0; i < 200 && n < 0; i++) {
                loop_once(f->loop, 5);
                n = recv(fd, buf, TTRPC_HEADER, MSG_DONTWAIT);
        }
        if (n <= 0)
                return n == 0 ? -1 : -2;
        if (buf[2] || buf[3])
                n += recv(fd, buf + n, (size_t)(buf[2] << 8 | buf[3]), MSG_DONTWAIT);
        if (ttrpc_reader_feed(&reader, buf, (size_t)n, &used, &frame) != 1)
                return -2;
        arena_init(&a, SIZE_MAX);
        *ret_stream = frame.stream;
        if (message_unpack(&a, &ttrpc__response__descriptor, frame.data, frame.length, &m, &err) <
            0)
                abort();
        code = ((Ttrpc__Response *)m)->status ? ((Ttrpc__Response *)m)->status->code : 0;
        snprintf(msg, 256, "%s", code ? ((Ttrpc__Response *)m)->status->message : "");
        arena_done(&a);
        return code;
}

static size_t request(uint8_t *out, const char *method)
{
        Ttrpc__Request req = TTRPC__REQUEST__INIT;

        req.service = "containerd.task.v3.Task";
        req.method = method;
        return protobuf_c_message_pack(&req.base, out);
}

TEST(what_bad_frames_get)
{
        Fixture f CLEANUP(fixture_done) = {};
        uint8_t shutdown[256], *big CLEANUP(cleanup_free) = calloc(1, LIMIT_TTRPC_MESSAGE + 1);
        size_t n = request(shutdown, "Shutdown");
        uint32_t stream = 0;
        char msg[256];
        int fd CLEANUP(cleanup_fd) = -1;

        fixture_open(&f);
        fd = raw_dial(&f);

        raw_send(&f, fd, (uint32_t)n, 2, TTRPC_REQUEST, shutdown, n);
        CHECK_INT(raw_answer(&f, fd, &stream, msg), INVALID_ARGUMENT);
        CHECK_STR(msg, "StreamID must be odd for client initiated streams");

        raw_send(&f, fd, 3, 1, TTRPC_REQUEST, "\xff\xff\xff", 3);
        CHECK_INT(raw_answer(&f, fd, &stream, msg), INVALID_ARGUMENT);
        CHECK(str_starts(msg, "unmarshal request error: "));

        raw_send(&f, fd, (uint32_t)n, 3, TTRPC_REQUEST, shutdown, n);
        CHECK_INT(raw_answer(&f, fd, &stream, msg), OK);
        CHECK_INT(stream, 3);

        raw_send(&f, fd, (uint32_t)n, 3, TTRPC_REQUEST, shutdown, n);
        CHECK_INT(raw_answer(&f, fd, &stream, msg), INVALID_ARGUMENT);
        CHECK_STR(msg, "StreamID cannot be re-used and must increment");

        raw_send(&f, fd, 0, 99, TTRPC_DATA, NULL, 0);
        CHECK_INT(raw_answer(&f, fd, &stream, msg), INVALID_ARGUMENT);
        CHECK_STR(msg, "StreamID is no longer active");

        raw_send(&f, fd, 0, 5, 77, NULL, 0); /* unknown type: ignored */
        raw_send(&f, fd, LIMIT_TTRPC_MESSAGE + 1, 5, TTRPC_REQUEST, big, LIMIT_TTRPC_MESSAGE + 1);
        CHECK_INT(raw_answer(&f, fd, &stream, msg), RESOURCE_EXHAUSTED);
        CHECK_STR(msg, "message length 4194305 exceed maximum message size of 4194304");
        raw_send(&f, fd, (uint32_t)n, 5, TTRPC_REQUEST, shutdown, n); /* the id was not used up */
        CHECK_INT(raw_answer(&f, fd, &stream, msg), OK);
        CHECK_INT(ttrpc_server_connections(f.server), 1);
}

TEST(a_peer_that_goes_away_cancels_its_calls_and_no_others)
{
        Fixture f CLEANUP(fixture_done) = {};
        uint8_t wait[256];
        size_t n = request(wait, "Wait");
        int fd;

        fixture_open(&f);
        fd = raw_dial(&f);
        raw_send(&f, fd, (uint32_t)n, 1, TTRPC_REQUEST, wait, n);
        for (int i = 0; i < 100 && !waiting; i++)
                loop_once(f.loop, 10);
        CHECK(waiting && !call_cancelled(waiting));
        fd_close(fd);
        for (int i = 0; i < 100 && !call_cancelled(waiting); i++)
                loop_once(f.loop, 10);
        CHECK(call_cancelled(waiting));
        CHECK_INT(ttrpc_server_connections(f.server), 0);
}

TEST(a_pending_call_is_answered_when_it_completes)
{
        Fixture f CLEANUP(fixture_done) = {};
        uint8_t wait[256];
        size_t n = request(wait, "Wait");
        uint32_t stream = 0;
        char msg[256];
        int fd CLEANUP(cleanup_fd) = -1;

        fixture_open(&f);
        fd = raw_dial(&f);
        raw_send(&f, fd, (uint32_t)n, 1, TTRPC_REQUEST, wait, n);
        for (int i = 0; i < 100 && !waiting; i++)
                loop_once(f.loop, 10);
        CHECK(waiting);
        CHECK_INT(call_claim(waiting), 1);
        ((Task__WaitResponse *)call_response(waiting))->exit_status = 3;
        call_complete(waiting, 0);
        CHECK_INT(raw_answer(&f, fd, &stream, msg), OK);
        CHECK_INT(stream, 1);
        CHECK(ttrpc_server_flushed(f.server));
}
