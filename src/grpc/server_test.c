/* SPDX-License-Identifier: Apache-2.0 */
/* The server against our own client; see hostile_test.c for everybody else. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "api/containerd/services/content/v1/content.pb-c.h"
#include "api/grpc/health/v1/health.pb-c.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"
#include "grpc/testing.h"

#define HEALTH_RSP (&health__health_check_response__descriptor)
#define READ_RSP   (&content__read_content_response__descriptor)
#define WRITE_RSP  (&content__write_content_response__descriptor)

static int check_name(Fixture *f, const char *method, const char *name)
{
        Health__HealthCheckRequest req = HEALTH__HEALTH_CHECK_REQUEST__INIT;
        void *rsp;

        req.service = name;
        err_clear(&f->err);
        return grpc_unary(f->client, method, &req, HEALTH_RSP, &f->arena, &rsp, &f->err);
}

TEST(server_unary)
{
        Fixture f CLEANUP(fixture_done) = {};

        fixture_init(&f, NULL);
        for (int i = 0; i < 100; i++)
                CHECK_INT(check_name(&f, "/test.Test/Check", ""), 0);
        CHECK_INT(check_name(&f, "/test.Test/Check", "x"), -NOT_FOUND);
        CHECK_STR(f.err.msg, "unknown service");
        CHECK_INT(check_name(&f, "/test.Test/Check", "odd text"), -UNKNOWN);
        CHECK_STR(f.err.msg, "100% of\nm\xc3\xbcll");
        CHECK_INT(check_name(&f, "/test.Test/Check", "peer"), -ABORTED);
        CHECK_STR(f.err.msg, "1");
}

TEST(server_unknown_names)
{
        Fixture f CLEANUP(fixture_done) = {};

        fixture_init(&f, NULL);
        CHECK_INT(check_name(&f, "/no.Such/Check", ""), -UNIMPLEMENTED);
        CHECK_STR(f.err.msg, "unknown service no.Such");
        CHECK_INT(check_name(&f, "/test.Test/Nope", ""), -UNIMPLEMENTED);
        CHECK_STR(f.err.msg, "unknown method Nope for service test.Test");
        CHECK_INT(check_name(&f, "/a/test.Test/Check", ""), -UNIMPLEMENTED);
        CHECK_STR(f.err.msg, "unknown service a/test.Test");
        CHECK_INT(check_name(&f, "//", ""), -UNIMPLEMENTED);
        CHECK_INT(check_name(&f, "/test.Test", ""), -UNIMPLEMENTED);
        CHECK_STR(f.err.msg, "malformed method name: \"/test.Test\"");
        CHECK_INT(check_name(&f, "/test.Test/Check", ""), 0);
}

TEST(server_namespace_and_lease)
{
        Fixture f CLEANUP(fixture_done) = {};

        fixture_init(&f, NULL);
        CHECK_INT(check_name(&f, "/test.Test/Check", "namespace"), -FAILED_PRECONDITION);
        grpc_client_set_namespace(f.client, "default");
        CHECK_INT(check_name(&f, "/test.Test/Check", "namespace"), -NOT_FOUND);
        CHECK_STR(f.err.msg, "default/-");
        grpc_client_set_lease(f.client, "l1");
        CHECK_INT(check_name(&f, "/test.Test/Check", "namespace"), -NOT_FOUND);
        CHECK_STR(f.err.msg, "default/l1");
        grpc_client_set_namespace(f.client, "../x");
        CHECK_INT(check_name(&f, "/test.Test/Check", "namespace"), -INVALID_ARGUMENT);
}

static int read_big(Fixture *f, const char *method, int64_t size, size_t *ret_len)
{
        Content__ReadContentRequest req = CONTENT__READ_CONTENT_REQUEST__INIT;
        Content__ReadContentResponse *rsp;
        void *msg;
        int r;

        req.size = size;
        r = grpc_unary(f->client, method, &req, READ_RSP, &f->arena, &msg, &f->err);
        rsp = msg;
        if (r == 0)
                *ret_len = rsp->data.len;
        return r;
}

TEST(server_large_answers)
{
        static const int64_t sizes[] = {1, 1000, 16379, 16384, 65536, 3 << 20, 16000000};
        Fixture f CLEANUP(fixture_done) = {};
        size_t len;

        fixture_init(&f, NULL);
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
                CHECK_INT(read_big(&f, "/test.Test/Big", sizes[i], &len), 0);
                CHECK_INT(len, sizes[i]);
        }
        CHECK_INT(read_big(&f, "/test.Test/Big", LIMIT_GRPC_MESSAGE, &len), -RESOURCE_EXHAUSTED);
        CHECK(str_starts(f.err.msg, "trying to send message larger than max (16777"));
}

static int measure(Fixture *f, size_t size, int64_t *ret)
{
        Content__WriteContentRequest req = CONTENT__WRITE_CONTENT_REQUEST__INIT;
        uint8_t *data CLEANUP(cleanup_free) = mem_alloc(size);
        void *msg;
        int r;

        req.data = (ProtobufCBinaryData){size, data};
        r = grpc_unary(f->client, "/test.Test/Measure", &req, WRITE_RSP, &f->arena, &msg, &f->err);
        if (r == 0)
                *ret = ((Content__WriteContentResponse *)msg)->offset;
        return r;
}

TEST(server_large_requests)
{
        static const size_t sizes[] = {0, 1, 65535, 262144, 5 << 20, 16777000};
        Fixture f CLEANUP(fixture_done) = {};
        int64_t got;

        fixture_init(&f, NULL);
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
                CHECK_INT(measure(&f, sizes[i], &got), 0);
                CHECK_INT(got, sizes[i]);
        }
        CHECK_INT(measure(&f, LIMIT_GRPC_MESSAGE, &got), -RESOURCE_EXHAUSTED);
        CHECK_STR(f.err.msg, "grpc: received message larger than max (16777221 vs. 16777216)");
        CHECK_INT(check_name(&f, "/test.Test/Check", ""), 0);
}

static int64_t receive_all(Fixture *f, GrpcCall *call)
{
        int64_t sum = 0;
        void *msg;
        int r;

        while ((r = grpc_call_recv(call, &f->arena, &msg, &f->err)) == 1) {
                sum += (int64_t)((Content__ReadContentResponse *)msg)->data.len;
                arena_done(&f->arena);
        }
        return r < 0 ? r : sum;
}

static GrpcCall *start_count(Fixture *f, int64_t size)
{
        Content__ReadContentRequest req = CONTENT__READ_CONTENT_REQUEST__INIT;

        req.size = size;
        return grpc_call_start(f->client, "/test.Test/Count", &req, READ_RSP);
}

TEST(server_streams_out)
{
        static const int64_t sizes[] = {0, 1, 32768, 32769, 20 << 20};
        Fixture f CLEANUP(fixture_done) = {};

        fixture_init(&f, NULL);
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
                GrpcCall *call CLEANUP(grpc_call_freep) = start_count(&f, sizes[i]);

                CHECK_INT(receive_all(&f, call), sizes[i]);
        }
        {
                GrpcCall *call CLEANUP(grpc_call_freep) = start_count(&f, -1);

                CHECK_INT(receive_all(&f, call), -OUT_OF_RANGE);
        }
        testing_until(testing_closes, testing_opens());
        CHECK_INT(testing_closes(), testing_opens());
}

/* A reader that does not read stops the writer, not the others. */
TEST(server_slow_reader_is_waited_for)
{
        Fixture f CLEANUP(fixture_done) = {};
        GrpcCall *call;
        int chunks;

        fixture_init(&f, NULL);
        call = start_count(&f, 1 << 30);
        for (int i = 0; i < 200; i++)
                CHECK_INT(check_name(&f, "/test.Test/Check", ""), 0);
        usleep(20000);
        chunks = testing_chunks();
        CHECK(chunks > 0 && chunks < 160); /* our client's window of 4 MiB and little more */
        for (int i = 0; i < 200; i++)
                CHECK_INT(check_name(&f, "/test.Test/Check", ""), 0);
        CHECK_INT(testing_chunks(), chunks);
        grpc_call_free(call);
        testing_until(testing_closes, 1);
        CHECK_INT(testing_closes(), 1);
}

static int send_data(Fixture *f, GrpcCall *call, int64_t offset, size_t n)
{
        static uint8_t data[1 << 20];
        Content__WriteContentRequest req = CONTENT__WRITE_CONTENT_REQUEST__INIT;

        req.offset = offset;
        req.data = (ProtobufCBinaryData){n, data};
        return grpc_call_send(call, &req, &f->err);
}

TEST(server_streams_in)
{
        Fixture f CLEANUP(fixture_done) = {};
        GrpcCall *call CLEANUP(grpc_call_freep) = NULL;
        void *msg;

        fixture_init(&f, NULL);
        call = grpc_call_new(f.client, "/test.Test/Sum", WRITE_RSP);
        for (int i = 0; i < 40; i++)
                CHECK_INT(send_data(&f, call, 0, 1 << 20), 0);
        for (int i = 0; i < 1000; i++)
                CHECK_INT(send_data(&f, call, 0, 10), 0);
        grpc_call_end(call);
        CHECK_INT(grpc_call_finish(call, &f.arena, &msg, &f.err), 0);
        CHECK_INT(((Content__WriteContentResponse *)msg)->offset, (40 << 20) + 10000);
        call = grpc_call_free(call);
}

TEST(server_stream_in_fails_midway)
{
        Fixture f CLEANUP(fixture_done) = {};
        GrpcCall *call;
        void *msg;
        int r = 0;

        fixture_init(&f, NULL);
        call = grpc_call_new(f.client, "/test.Test/Sum", WRITE_RSP);
        CHECK_INT(send_data(&f, call, -1, 10), 0);
        for (int i = 0; i < 100 && r == 0; i++)
                r = send_data(&f, call, 0, 1 << 20);
        CHECK_INT(r, -FAILED_PRECONDITION);
        CHECK_INT(grpc_call_recv(call, &f.arena, &msg, &f.err), -FAILED_PRECONDITION);
        CHECK_STR(f.err.msg, "enough");
        grpc_call_free(call);
        CHECK_INT(check_name(&f, "/test.Test/Check", ""), 0);
}

/* A handler slower than the client: the client is stopped by the window, everything arrives. */
TEST(server_slow_handler_is_waited_for)
{
        Fixture f CLEANUP(fixture_done) = {};
        GrpcCall *call;
        void *msg;

        fixture_init(&f, NULL);
        call = grpc_call_new(f.client, "/test.Test/Sum", WRITE_RSP);
        for (int i = 0; i < 30; i++)
                CHECK_INT(send_data(&f, call, 1000, 300000), 0);
        grpc_call_end(call);
        CHECK_INT(grpc_call_finish(call, &f.arena, &msg, &f.err), 0);
        CHECK_INT(((Content__WriteContentResponse *)msg)->offset, 9000000);
        grpc_call_free(call);
}

TEST(server_both_directions)
{
        Fixture f CLEANUP(fixture_done) = {};
        GrpcCall *call;
        void *msg;

        fixture_init(&f, NULL);
        call = grpc_call_new(f.client, "/test.Test/Echo", READ_RSP);
        for (int i = 1; i <= 50; i++) {
                CHECK_INT(send_data(&f, call, i, (size_t)i * 1000), 0);
                CHECK_INT(grpc_call_recv(call, &f.arena, &msg, &f.err), 1);
                CHECK_INT(((Content__ReadContentResponse *)msg)->offset, i);
                CHECK_INT(((Content__ReadContentResponse *)msg)->data.len, i * 1000);
        }
        grpc_call_end(call);
        CHECK_INT(grpc_call_recv(call, &f.arena, &msg, &f.err), 0);
        grpc_call_free(call);
}

/* Many calls wait, none holds a thread: the pool has four. */
TEST(server_thousand_waits)
{
        enum { N = 1000 };
        Fixture f CLEANUP(fixture_done) = {};
        Health__HealthCheckRequest req = HEALTH__HEALTH_CHECK_REQUEST__INIT;
        GrpcCall *calls[N];
        void *msg;
        int good = 0;

        fixture_init(&f, NULL);
        for (int i = 0; i < N; i++)
                calls[i] = grpc_call_start(f.client, "/test.Test/Wait", &req, HEALTH_RSP);
        for (int i = 0; i < 2000 && testing_waiting() != N; i++) {
                grpc_client_step(f.client); /* not all fitted into the socket */
                usleep(1000);
        }
        CHECK_INT(testing_waiting(), N);
        for (int i = 0; i < 100; i++) /* abandoned */
                grpc_call_free(calls[i]);
        testing_until(testing_cancels, 100);
        CHECK_INT(testing_cancels(), 100);
        CHECK_INT(check_name(&f, "/test.Test/Release", ""), 0);
        for (int i = 100; i < N; i++) {
                good += grpc_call_finish(calls[i], &f.arena, &msg, &f.err) == 0;
                grpc_call_free(calls[i]);
        }
        CHECK_INT(good, N - 100);
}

TEST(server_deadline)
{
        Fixture f CLEANUP(fixture_done) = {};

        fixture_init(&f, NULL);
        grpc_client_set_timeout(f.client, 30);
        CHECK_INT(check_name(&f, "/test.Test/Wait", ""), -DEADLINE_EXCEEDED);
        CHECK_STR(f.err.msg, "context deadline exceeded");
        testing_until(testing_cancels, 1);
        CHECK_INT(testing_cancels(), 1);
        grpc_client_set_timeout(f.client, 0);
        CHECK_INT(check_name(&f, "/test.Test/Check", ""), 0);
}

TEST(server_lost_connection_cancels)
{
        Fixture f CLEANUP(fixture_done) = {};
        Health__HealthCheckRequest req = HEALTH__HEALTH_CHECK_REQUEST__INIT;
        GrpcCall *wait, *count;

        fixture_init(&f, NULL);
        wait = grpc_call_start(f.client, "/test.Test/Wait", &req, HEALTH_RSP);
        count = start_count(&f, 1 << 30);
        testing_until(testing_waiting, 1);
        testing_until(testing_opens, 1);
        shutdown(grpc_client_fd(f.client), SHUT_RDWR);
        testing_until(testing_cancels, 1);
        testing_until(testing_closes, 1);
        CHECK(testing_cancels() == 1 && testing_closes() == 1);
        CHECK_INT(fixture_connections(&f), 0);
        CHECK_INT(receive_all(&f, count), -UNAVAILABLE);
        grpc_call_free(wait);
        grpc_call_free(count);
        CHECK_INT(check_name(&f, "/test.Test/Check", ""), -UNAVAILABLE);
}

/* The command line's way: poll, step, look which call has something. */
TEST(client_polls)
{
        Fixture f CLEANUP(fixture_done) = {};
        Health__HealthCheckRequest req = HEALTH__HEALTH_CHECK_REQUEST__INIT;
        GrpcCall *wait, *check;
        void *msg;

        fixture_init(&f, NULL);
        wait = grpc_call_start(f.client, "/test.Test/Wait", &req, HEALTH_RSP);
        check = grpc_call_start(f.client, "/test.Test/Check", &req, HEALTH_RSP);
        while (!grpc_call_ready(check)) {
                struct pollfd p = {grpc_client_fd(f.client), grpc_client_events(f.client), 0};

                CHECK(poll(&p, 1, 5000) == 1);
                grpc_client_step(f.client);
        }
        CHECK_INT(grpc_call_finish(check, &f.arena, &msg, &f.err), 0);
        CHECK(!grpc_call_ready(wait));
        grpc_call_free(wait);
        grpc_call_free(check);
}

static int drained;

static void on_drained(void *ctx)
{
        __atomic_store_n(&drained, 1, __ATOMIC_RELEASE);
}

static int get_drained(void)
{
        return __atomic_load_n(&drained, __ATOMIC_ACQUIRE);
}

static void drain(Fixture *f)
{
        grpc_server_drain(f->server, on_drained, NULL);
}

TEST(server_drains)
{
        Fixture f CLEANUP(fixture_done) = {};
        GrpcCall *call;

        drained = 0;
        fixture_init(&f, NULL);
        call = start_count(&f, 20 << 20);
        grpc_client_step(f.client);
        testing_until(testing_opens, 1);
        fixture_on_loop(&f, drain);
        CHECK_INT(receive_all(&f, call), 20 << 20); /* what has begun is finished */
        grpc_call_free(call);
        grpc_client_step(f.client);
        testing_until(get_drained, 1);
        CHECK(get_drained());
        CHECK_INT(check_name(&f, "/test.Test/Check", ""), -UNAVAILABLE);
}

static char socket_path[100];

static void listen_there(Fixture *f)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        err_clear(&f->err);
        strcpy(addr.sun_path, socket_path);
        if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 8) < 0)
                err_sys(&f->err, errno, "listen on %s", socket_path);
        else
                grpc_server_listen_fd(f->server, fd, &f->err);
}

TEST(server_listens)
{
        Fixture f CLEANUP(fixture_done) = {};

        snprintf(socket_path, sizeof(socket_path), "%s/s", test_tmpdir());
        fixture_init(&f, NULL);
        fixture_on_loop(&f, listen_there);
        CHECK_STR(f.err.msg, "");

        grpc_client_free(f.client);
        f.client = NULL;
        CHECK_INT(grpc_client_open(socket_path, &f.client, &f.err), 0);
        CHECK_INT(check_name(&f, "/test.Test/Check", ""), 0);
}

TEST(client_without_server)
{
        GrpcClient *c;
        Err err;

        CHECK_INT(grpc_client_open("/nonexistent/sock", &c, &err), -UNAVAILABLE);
        CHECK_STR(err.msg, "cannot connect to /nonexistent/sock: No such file or directory");
}

/* Serves on the given path for a while: what other languages' clients are tried against by hand. */
TEST(server_for_others)
{
        Fixture f CLEANUP(fixture_done) = {};
        const char *path = getenv("GRPC_TEST_SOCKET");

        if (!path)
                return;
        fixture_init(&f, NULL);
        snprintf(socket_path, sizeof(socket_path), "%s", path);
        fixture_on_loop(&f, listen_there);
        CHECK_STR(f.err.msg, "");
        while (access(path, F_OK) == 0)
                usleep(100000);
}
