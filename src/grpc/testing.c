/* SPDX-License-Identifier: Apache-2.0 */
/* See testing.h. Messages are borrowed from the content and health services. */
#include "grpc/testing.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "api/containerd/services/content/v1/content.pb-c.h"
#include "api/grpc/health/v1/health.pb-c.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/mem.h"
#include "rpc/message.h"
#include "rpc/service.h"

typedef struct Waiter {
        List link;
        Call *call;
} Waiter;

static struct {
        Lock lock;
        List waiters;
        int waiting, cancels, opens, closes, chunks, bigs;
} seen;

static int get(const int *p)
{
        return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void add(int *p, int n)
{
        __atomic_add_fetch(p, n, __ATOMIC_ACQ_REL);
}

int testing_waiting(void)
{
        return get(&seen.waiting);
}

int testing_cancels(void)
{
        return get(&seen.cancels);
}

int testing_opens(void)
{
        return get(&seen.opens);
}

int testing_closes(void)
{
        return get(&seen.closes);
}

int testing_bigs(void)
{
        return get(&seen.bigs);
}

int testing_chunks(void)
{
        return get(&seen.chunks);
}

void testing_until(int (*fn)(void), int want)
{
        for (int i = 0; i < 1000 && fn() != want; i++)
                usleep(1000);
}

static int check(Call *c, const Health__HealthCheckRequest *req, Health__HealthCheckResponse *rsp)
{
        if (str_eq(req->service, "namespace")) {
                const char *ns;
                int r = call_namespace(c, &ns);

                return r < 0 ? r
                             : err_set(c->err, NOT_FOUND, "%s/%s", ns, c->lease ? c->lease : "-");
        }
        if (str_eq(req->service, "peer"))
                return err_set(c->err, ABORTED, "%d", (int)(c->peer.pid == getpid()));
        if (str_eq(req->service, "odd text"))
                return err_set(c->err, UNKNOWN, "100%% of\nm\xc3\xbcll");
        if (!str_empty(req->service))
                return err_set(c->err, NOT_FOUND, "unknown service");
        rsp->status = HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
        return 0;
}

static int big(Call *c, const Content__ReadContentRequest *req, Content__ReadContentResponse *rsp)
{
        add(&seen.bigs, 1);
        rsp->offset = req->offset;
        rsp->data.len = (size_t)req->size;
        rsp->data.data = arena_alloc(c->arena, rsp->data.len);
        memset(rsp->data.data, 'x', rsp->data.len);
        return 0;
}

static int measure(Call *c, const Content__WriteContentRequest *req,
                   Content__WriteContentResponse *rsp)
{
        rsp->offset = (int64_t)req->data.len;
        return 0;
}

static Waiter *take_waiter(Call *c)
{
        LOCKED(&seen.lock);
        LIST_FOREACH (w, &seen.waiters, Waiter, link) {
                if (c && w->call != c)
                        continue;
                list_remove(&w->link);
                return w;
        }
        return NULL;
}

static void drop_waiter(Waiter *w)
{
        call_unref(w->call);
        free(w);
        add(&seen.waiting, -1);
}

static void wait_cancelled(Call *c)
{
        Waiter *w = take_waiter(c);

        add(&seen.cancels, 1);
        if (w)
                drop_waiter(w);
}

static int wait_for(Call *c, const Health__HealthCheckRequest *req,
                    Health__HealthCheckResponse *rsp)
{
        Waiter *w = mem_new(Waiter);

        w->call = call_ref(c);
        call_on_cancel(c, wait_cancelled);
        add(&seen.waiting, 1);
        LOCKED(&seen.lock);
        list_append(&seen.waiters, &w->link);
        return RPC_PENDING;
}

static int release(Call *c, const void *req, void *rsp)
{
        Waiter *w;

        while ((w = take_waiter(NULL))) {
                if (call_claim(w->call)) {
                        Health__HealthCheckResponse *answer = call_response(w->call);

                        answer->status = HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
                        call_complete(w->call, 0);
                }
                drop_waiter(w);
        }
        return 0;
}

static int stream_open(Call *c)
{
        c->state = mem_alloc(sizeof(int64_t));
        add(&seen.opens, 1);
        return RPC_MORE;
}

static void stream_close(Call *c)
{
        free(TAKE(c->state));
        add(&seen.closes, 1);
}

/* Count: as many bytes as asked for, a chunk at a time. */
static int count_message(Call *c, const void *msg)
{
        const Content__ReadContentRequest *req = msg;

        *(int64_t *)c->state = req->size;
        return req->size < 0 ? err_set(c->err, OUT_OF_RANGE, "less than nothing") : RPC_MORE;
}

static int count_writable(Call *c)
{
        int64_t *left = c->state;
        Content__ReadContentResponse *rsp = message_make(c->step, content__read_content_response);

        if (*left == 0)
                return 0;
        rsp->data.len = (size_t)MIN(*left, 32768);
        rsp->data.data = arena_alloc(c->step, rsp->data.len);
        *left -= (int64_t)rsp->data.len;
        add(&seen.chunks, 1);
        return call_send(c, &rsp->base) < 0 ? -c->err->code : RPC_MORE;
}

/* Sum: the bytes of all messages. */
static int sum_message(Call *c, const void *msg)
{
        const Content__WriteContentRequest *req = msg;

        *(int64_t *)c->state += (int64_t)req->data.len;
        if (req->offset < 0)
                return err_set(c->err, FAILED_PRECONDITION, "enough");
        if (req->offset > 0)
                usleep((useconds_t)req->offset);
        return RPC_MORE;
}

static int sum_end(Call *c)
{
        Content__WriteContentResponse rsp = CONTENT__WRITE_CONTENT_RESPONSE__INIT;

        rsp.offset = *(int64_t *)c->state;
        return call_send(c, &rsp.base) < 0 ? -c->err->code : 0;
}

static int echo_message(Call *c, const void *msg)
{
        const Content__WriteContentRequest *req = msg;
        Content__ReadContentResponse rsp = CONTENT__READ_CONTENT_RESPONSE__INIT;

        rsp.offset = req->offset;
        rsp.data = req->data;
        return call_send(c, &rsp.base) < 0 ? -c->err->code : RPC_MORE;
}

static const RpcStreamOps count_ops = {stream_open, count_message, NULL, count_writable,
                                       stream_close};
static const RpcStreamOps sum_ops = {stream_open, sum_message, sum_end, NULL, stream_close};
static const RpcStreamOps echo_ops = {stream_open, echo_message, NULL, NULL, stream_close};

static const RpcMethod methods[] = {
        RPC_UNARY_METHOD("Check", check, health__health_check_request,
                         health__health_check_response),
        RPC_UNARY_METHOD("Release", release, health__health_check_request,
                         health__health_check_response),
        RPC_UNARY_METHOD("Big", big, content__read_content_request, content__read_content_response),
        RPC_UNARY_METHOD("Measure", measure, content__write_content_request,
                         content__write_content_response),
        RPC_WAIT_METHOD("Wait", wait_for, health__health_check_request,
                        health__health_check_response),
        RPC_STREAM_METHOD("Count", &count_ops, content__read_content_request,
                          content__read_content_response, RPC_SERVER_STREAMS),
        RPC_STREAM_METHOD("Sum", &sum_ops, content__write_content_request,
                          content__write_content_response, RPC_CLIENT_STREAMS),
        RPC_STREAM_METHOD("Echo", &echo_ops, content__write_content_request,
                          content__read_content_response, RPC_CLIENT_STREAMS | RPC_SERVER_STREAMS),
};
static const RpcService test_service = RPC_SERVICE("test.Test", methods);
static const RpcService health_service = RPC_SERVICE("grpc.health.v1.Health", methods);

static void run_on_pool(void *ctx, void (*fn)(void *), void *arg)
{
        pool_submit(ctx, fn, arg);
}

static void *loop_main(void *arg)
{
        Fixture *f = arg;
        Err err;

        loop_run(f->loop, &err);
        return NULL;
}

void fixture_init(Fixture *f, const GrpcServerOptions *options)
{
        memset(&seen, 0, sizeof(seen));
        lock_init(&seen.lock, LOCK_TASKS);
        list_init(&seen.waiters);
        if (loop_new(&f->loop, &f->err) < 0)
                abort();
        f->pool = pool_new(4);
        f->registry = rpc_registry_new(run_on_pool, f->pool);
        rpc_registry_add(f->registry, &test_service, NULL);
        rpc_registry_add(f->registry, &health_service, NULL);
        f->server = grpc_server_new(f->loop, f->registry, options);
        pthread_create(&f->thread, NULL, loop_main, f);
        if (grpc_client_adopt(fixture_connect(f), &f->client, &f->err) < 0)
                abort();
}

typedef struct Job {
        Fixture *f;
        void (*fn)(Fixture *f);
        Lock lock;
        pthread_cond_t cond;
        int done;
} Job;

static void run_job(void *ctx)
{
        Job *j = ctx;

        j->fn(j->f);
        LOCKED(&j->lock);
        j->done = 1;
        pthread_cond_signal(&j->cond);
}

void fixture_on_loop(Fixture *f, void (*fn)(Fixture *f))
{
        Job j = {.f = f, .fn = fn};

        lock_init(&j.lock, LOCK_LEAF);
        cond_init(&j.cond);
        loop_post(f->loop, run_job, &j);
        lock_take(&j.lock);
        while (!j.done)
                lock_wait(&j.lock, &j.cond, 0);
        lock_drop(&j.lock);
        pthread_cond_destroy(&j.cond);
        lock_done(&j.lock);
}

static int handed_fd;

static void adopt(Fixture *f)
{
        Err err;

        if (grpc_server_adopt(f->server, handed_fd, &err) < 0)
                abort();
}

int fixture_connect(Fixture *f)
{
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                abort();
        handed_fd = pair[1];
        fixture_on_loop(f, adopt);
        return pair[0];
}

static int n_connections;

static void count_connections(Fixture *f)
{
        n_connections = grpc_server_connections(f->server);
}

int fixture_connections(Fixture *f)
{
        fixture_on_loop(f, count_connections);
        return n_connections;
}

static void free_server(Fixture *f)
{
        f->server = grpc_server_free(f->server);
}

void fixture_done(Fixture *f)
{
        Waiter *w;

        if (!f->loop)
                return;
        grpc_client_free(f->client);
        fixture_on_loop(f, free_server);
        f->pool = pool_free(f->pool);
        while ((w = take_waiter(NULL)))
                drop_waiter(w);
        loop_quit(f->loop, 0);
        pthread_join(f->thread, NULL);
        loop_free(f->loop);
        rpc_registry_free(f->registry);
        lock_done(&seen.lock);
        arena_done(&f->arena);
}
