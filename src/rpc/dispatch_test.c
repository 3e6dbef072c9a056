/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/transport.h"

#include "api/grpc/health/v1/health.pb-c.h"
#include "base/cancel.h"
#include "base/lock.h"
#include "base/pool.h"
#include "base/str.h"
#include "base/test.h"
#include "base/vec.h"
#include "rpc/message.h"

/* A transport that only queues, and jobs that run when the test says so, or on a pool. */
typedef struct Job {
        void (*fn)(void *);
        void *arg;
} Job;

typedef struct Fixture {
        RpcRegistry *registry;
        Lock lock;
        pthread_cond_t cond;
        List ready;
        VEC(Job) jobs;
        Pool *pool;
        int inline_run;
} Fixture;

static Call *stored; /* what the wait and stream methods keep */
static int cancels, closes, opens, writes;
static Str trace;

static void job_run(void *ctx, void (*fn)(void *), void *arg)
{
        Fixture *f = ctx;

        if (f->pool)
                pool_submit(f->pool, fn, arg);
        else if (f->inline_run)
                fn(arg);
        else
                VEC_PUSH(&f->jobs, (Job){fn, arg});
}

static void ready(void *transport, Call *c)
{
        Fixture *f = transport;

        LOCKED(&f->lock);
        list_append(&f->ready, rpc_call_link(c));
        pthread_cond_signal(&f->cond);
}

static const RpcTransportOps ops = {.ready = ready, .decode_what = "decoding"};

static int run_jobs(Fixture *f)
{
        int n = 0;

        for (; f->jobs.n > 0; n++) {
                Job j = f->jobs.v[0];

                VEC_REMOVE(&f->jobs, 0);
                j.fn(j.arg);
        }
        return n;
}

static int check(Call *c, const Health__HealthCheckRequest *req, Health__HealthCheckResponse *rsp)
{
        if (str_eq(req->service, "none"))
                return err_set(c->err, NOT_FOUND, "no %s", req->service);
        if (str_eq(req->service, "ready"))
                call_reply_encoded(c, "\x08\x02", 2);
        if (str_eq(req->service, "gone") && cancel_requested())
                return err_set(c->err, ABORTED, "nobody listens");
        if (str_eq(req->service, "recovered"))
                err_set(c->err, NOT_FOUND, "does not matter");
        rsp->status = HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
        return 0;
}

static void cancelled(Call *c)
{
        cancels++;
        if (c == stored)
                stored = call_unref(c);
}

static int wait_for(Call *c, const Health__HealthCheckRequest *req,
                    Health__HealthCheckResponse *rsp)
{
        call_on_cancel(c, cancelled);
        stored = call_ref(c);
        return RPC_PENDING;
}

static int echo_open(Call *c)
{
        opens++;
        return RPC_MORE;
}

static int echo_message(Call *c, const void *msg)
{
        const Health__HealthCheckRequest *req = msg;
        Health__HealthCheckResponse rsp = HEALTH__HEALTH_CHECK_RESPONSE__INIT;

        str_addf(&trace, "%s,", req->service);
        if (str_eq(req->service, "fail"))
                return err_set(c->err, ABORTED, "as you wish");
        rsp.status = HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
        return call_send(c, &rsp.base) < 0 ? -c->err->code : RPC_MORE;
}

static int echo_end(Call *c)
{
        str_add(&trace, "end,");
        return 0;
}

static void echo_close(Call *c)
{
        closes++;
        str_add(&trace, "close");
}

static int count_writable(Call *c)
{
        static const char chunk[40000];

        if (++writes > 100)
                return 0;
        return call_send_encoded(c, chunk, sizeof(chunk)) < 0 ? -c->err->code : RPC_MORE;
}

static const RpcStreamOps echo_ops = {echo_open, echo_message, echo_end, NULL, echo_close};
static const RpcStreamOps count_ops = {echo_open, NULL, NULL, count_writable, echo_close};

static const RpcMethod methods[] = {
        RPC_UNARY_METHOD("Check", check, health__health_check_request,
                         health__health_check_response),
        RPC_WAIT_METHOD("Wait", wait_for, health__health_check_request,
                        health__health_check_response),
        RPC_STREAM_METHOD("Echo", &echo_ops, health__health_check_request,
                          health__health_check_response, RPC_CLIENT_STREAMS | RPC_SERVER_STREAMS),
        RPC_STREAM_METHOD("Count", &count_ops, health__health_check_request,
                          health__health_check_response, RPC_SERVER_STREAMS),
};
static const RpcService service = RPC_SERVICE("test.Service", methods);

static void fixture_init(Fixture *f)
{
        f->registry = rpc_registry_new(job_run, f);
        rpc_registry_add(f->registry, &service, f);
        lock_init(&f->lock, LOCK_LEAF);
        cond_init(&f->cond);
        list_init(&f->ready);
        stored = NULL;
        cancels = closes = opens = writes = 0;
        str_truncate(&trace, 0);
}

static void fixture_done(Fixture *f)
{
        run_jobs(f);
        f->pool = pool_free(f->pool);
        while (!list_empty(&f->ready)) {
                List *l = f->ready.next;

                list_remove(l);
                call_unref(rpc_call_of_link(l));
        }
        VEC_DONE(&f->jobs);
        rpc_registry_free(f->registry);
        lock_done(&f->lock);
        str_done(&trace);
}

static Call *begin(Fixture *f, const char *method)
{
        RpcBegin b = {.service = "test.Service",
                      .method = method,
                      .ns = "ns1",
                      .ops = &ops,
                      .transport = f,
                      .max_send = 1000000};
        Call *c = NULL;
        Err err;

        if (rpc_call_begin(f->registry, &b, &c, &err) < 0)
                return NULL;
        return c;
}

static void send_name(Call *c, const char *name)
{
        Health__HealthCheckRequest req = HEALTH__HEALTH_CHECK_REQUEST__INIT;
        size_t n;
        void *bytes;

        req.service = name;
        bytes = message_pack(NULL, &req, &n);
        rpc_call_message(c, bytes, n);
}

/* The call the transport was told of, or NULL. */
static Call *next_ready(Fixture *f)
{
        LOCKED(&f->lock);
        if (list_empty(&f->ready))
                return NULL;
        List *l = f->ready.next;
        list_remove(l);
        return rpc_call_of_link(l);
}

static RpcOutput collect(Fixture *f, Call *c)
{
        Call *ready_call;
        RpcOutput out;

        while ((ready_call = next_ready(f)))
                call_unref(ready_call);
        rpc_call_collect(c, &out);
        return out;
}

static size_t drop_bufs(Call *c, RpcOutput *out)
{
        size_t n = 0, bytes = 0;

        for (RpcBuf *b = out->bufs; b; b = b->next, n++)
                bytes += b->len;
        rpc_buf_free_list(out->bufs);
        rpc_call_sent(c, bytes);
        return n;
}

static void end_call(Call *c)
{
        rpc_call_detach(c, CANCELLED);
        call_unref(c);
}

TEST(dispatch_unknown_names)
{
        Fixture f CLEANUP(fixture_done) = {};
        RpcBegin b = {.service = "x.Y", .method = "Z", .ops = &ops};
        Call *c;
        Err err;

        fixture_init(&f);
        CHECK_INT(rpc_call_begin(f.registry, &b, &c, &err), -UNIMPLEMENTED);
        CHECK_STR(err.msg, "unknown service x.Y");
        b.service = "test.Service";
        CHECK_INT(rpc_call_begin(f.registry, &b, &c, &err), -UNIMPLEMENTED);
        CHECK_STR(err.msg, "unknown method Z for service test.Service");
}

static void unary(Fixture *f, const char *name, int code, const char *text, const char *reply)
{
        Call *c = begin(f, "Check");
        RpcOutput out;

        send_name(c, name);
        rpc_call_end(c);
        run_jobs(f);
        out = collect(f, c);
        CHECK(out.finished);
        CHECK_INT(out.code, code);
        if (code)
                CHECK_STR(out.err->msg, text);
        if (reply)
                CHECK(out.bufs && out.bufs->len == 2 && memcmp(out.bufs->data, reply, 2) == 0);
        drop_bufs(c, &out);
        end_call(c);
}

TEST(dispatch_unary)
{
        Fixture f CLEANUP(fixture_done) = {};

        fixture_init(&f);
        unary(&f, "x", OK, NULL, "\x08\x01");
        unary(&f, "ready", OK, NULL, "\x08\x02");
        unary(&f, "none", NOT_FOUND, "no none", NULL);
        unary(&f, "recovered", OK, NULL, "\x08\x01");
        f.inline_run = 1;
        unary(&f, "x", OK, NULL, "\x08\x01");
}

/* A handler's thread can ask, however deep below, whether its call is still wanted. */
TEST(dispatch_tells_that_nobody_listens)
{
        Fixture f CLEANUP(fixture_done) = {};
        RpcBegin b = {.service = "test.Service",
                      .method = "Check",
                      .ops = &ops,
                      .transport = &f,
                      .deadline_ns = 1};
        RpcOutput out;
        Call *c;
        Err err;

        fixture_init(&f);
        unary(&f, "gone", OK, NULL, "\x08\x01");
        CHECK_INT(rpc_call_begin(f.registry, &b, &c, &err), 0);
        send_name(c, "gone");
        rpc_call_end(c);
        run_jobs(&f);
        out = collect(&f, c);
        CHECK_INT(out.code, ABORTED);
        end_call(c);
        CHECK(!cancel_requested());
}

TEST(dispatch_bad_request)
{
        Fixture f CLEANUP(fixture_done) = {};
        RpcOutput out;
        Call *c;

        fixture_init(&f);
        c = begin(&f, "Check");
        rpc_call_message(c, mem_strdup("\x0f"), 1);
        rpc_call_end(c);
        run_jobs(&f);
        out = collect(&f, c);
        CHECK_INT(out.code, INTERNAL);
        CHECK(str_starts(out.err->msg, "decoding: proto: "));
        end_call(c);

        c = begin(&f, "Check");
        rpc_call_end(c);
        run_jobs(&f);
        out = collect(&f, c);
        CHECK_INT(out.code, INTERNAL);
        end_call(c);
}

TEST(dispatch_wait_completes)
{
        Fixture f CLEANUP(fixture_done) = {};
        Health__HealthCheckResponse *rsp;
        RpcOutput out;
        Call *c;

        fixture_init(&f);
        c = begin(&f, "Wait");
        send_name(c, "x");
        rpc_call_end(c);
        run_jobs(&f);
        CHECK(!next_ready(&f) && stored == c);

        CHECK(call_claim(stored) && !call_claim(stored));
        rsp = call_response(stored);
        rsp->status = HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
        call_complete(stored, 0);
        stored = call_unref(stored);
        out = collect(&f, c);
        CHECK(out.finished && out.bufs && out.bufs->data[1] == 2);
        drop_bufs(c, &out);
        end_call(c);
        CHECK_INT(run_jobs(&f), 0);
        CHECK_INT(cancels, 0);
}

TEST(dispatch_wait_cancelled)
{
        Fixture f CLEANUP(fixture_done) = {};
        Call *c;

        fixture_init(&f);
        c = begin(&f, "Wait");
        send_name(c, "x");
        rpc_call_end(c);
        run_jobs(&f);
        rpc_call_detach(c, CANCELLED);
        CHECK(!call_claim(c) && call_cancelled(c));
        run_jobs(&f);
        CHECK_INT(cancels, 1);
        CHECK(!stored && !next_ready(&f));
        call_unref(c);
}

/* Cancelled between the message and the handler: the handler is not run. */
TEST(dispatch_wait_cancelled_before_it_ran)
{
        Fixture f CLEANUP(fixture_done) = {};
        Call *c;

        fixture_init(&f);
        c = begin(&f, "Wait");
        send_name(c, "x");
        rpc_call_end(c);
        end_call(c);
        run_jobs(&f);
        CHECK(!stored && cancels == 0);
}

TEST(dispatch_detached_before_its_message)
{
        Fixture f CLEANUP(fixture_done) = {};

        fixture_init(&f);
        end_call(begin(&f, "Check"));
        end_call(begin(&f, "Count"));
        run_jobs(&f);
        CHECK_INT(closes, 0);
        end_call(begin(&f, "Echo"));
        run_jobs(&f);
        CHECK_INT(closes, opens);
}

TEST(dispatch_stream_steps_in_order)
{
        Fixture f CLEANUP(fixture_done) = {};
        RpcOutput out;
        Call *c;

        fixture_init(&f);
        c = begin(&f, "Echo");
        send_name(c, "a");
        CHECK(!rpc_call_takes_message(c));
        run_jobs(&f);
        CHECK(rpc_call_takes_message(c));
        send_name(c, "b");
        rpc_call_end(c);
        run_jobs(&f);
        CHECK_STR(str_get(&trace), "a,b,end,close");
        out = collect(&f, c);
        CHECK(out.finished && out.code == OK);
        CHECK_INT(drop_bufs(c, &out), 2);
        end_call(c);
        CHECK_INT(closes, 1);
}

TEST(dispatch_stream_fails)
{
        Fixture f CLEANUP(fixture_done) = {};
        RpcOutput out;
        Call *c;

        fixture_init(&f);
        c = begin(&f, "Echo");
        send_name(c, "a");
        run_jobs(&f);
        send_name(c, "fail");
        run_jobs(&f);
        CHECK_STR(str_get(&trace), "a,fail,close");
        out = collect(&f, c);
        CHECK_INT(out.code, ABORTED);
        CHECK_INT(drop_bufs(c, &out), 1);
        end_call(c);
}

TEST(dispatch_stream_cancelled)
{
        Fixture f CLEANUP(fixture_done) = {};
        Call *c;

        fixture_init(&f);
        c = begin(&f, "Echo");
        run_jobs(&f);
        send_name(c, "never seen");
        end_call(c);
        run_jobs(&f);
        CHECK_STR(str_get(&trace), "close");
        CHECK_INT(closes, 1);
}

/* The writable step runs only while little waits to be sent. */
TEST(dispatch_stream_waits_for_room)
{
        Fixture f CLEANUP(fixture_done) = {};
        RpcOutput out;
        size_t sent = 0;
        Call *c;

        fixture_init(&f);
        c = begin(&f, "Count");
        send_name(c, "x");
        rpc_call_end(c);
        run_jobs(&f);
        CHECK_INT(writes, 2);
        do {
                out = collect(&f, c);
                sent += drop_bufs(c, &out);
                run_jobs(&f);
                CHECK(writes <= 101);
        } while (!out.finished);
        CHECK_INT(sent, 100);
        CHECK_INT(closes, 1);
        end_call(c);
}

TEST(dispatch_too_large_to_send)
{
        Fixture f CLEANUP(fixture_done) = {};
        Call *c = NULL;

        fixture_init(&f);
        c = begin(&f, "Echo");
        CHECK_INT(call_send_take(c, mem_alloc(1000001), 1000001), -RESOURCE_EXHAUSTED);
        CHECK_STR(c->err->msg, "trying to send message larger than max (1000001 vs. 1000000)");
        end_call(c);
}

/* Completion and cancellation race on many threads: each call ends exactly once. */
typedef struct Race {
        Call *c;
        int claimed;
} Race;

static int race_wait(Call *c, const void *req, void *rsp)
{
        c->state = NULL;
        __atomic_store_n((Call **)c->ctx, call_ref(c), __ATOMIC_RELEASE);
        return RPC_PENDING;
}

TEST(dispatch_complete_races_cancel)
{
        static const RpcMethod race_methods[] = {
                RPC_WAIT_METHOD("Wait", race_wait, health__health_check_request,
                                health__health_check_response),
        };
        static const RpcService race = RPC_SERVICE("test.Race", race_methods);
        Fixture f CLEANUP(fixture_done) = {};
        Call *handed = NULL;

        fixture_init(&f);
        f.pool = pool_new(4);
        rpc_registry_add(f.registry, &race, &handed);
        for (int i = 0; i < 500; i++) {
                RpcBegin b = {
                        .service = "test.Race", .method = "Wait", .ops = &ops, .transport = &f};
                Call *c, *got;
                Err err;

                handed = NULL;
                CHECK_INT(rpc_call_begin(f.registry, &b, &c, &err), 0);
                rpc_call_message(c, NULL, 0);
                rpc_call_end(c);
                while (!(got = __atomic_load_n(&handed, __ATOMIC_ACQUIRE)))
                        sched_yield();
                if (i % 3 == 0)
                        rpc_call_detach(c, CANCELLED);
                if (call_claim(got))
                        call_complete(got, i % 2 ? 0 : err_set(got->err, ABORTED, "x"));
                call_unref(got);
                {
                        RpcOutput out = collect(&f, c);

                        CHECK(i % 3 == 0 || out.finished);
                        drop_bufs(c, &out);
                }
                end_call(c);
        }
}

TEST(dispatch_local_call)
{
        Call *c = rpc_call_local("x/y", NULL);
        const char *ns;

        CHECK_INT(call_namespace(c, &ns), -INVALID_ARGUMENT);
        c->ns = NULL;
        CHECK_INT(call_namespace(c, &ns), -FAILED_PRECONDITION);
        CHECK_STR(c->err->msg, "namespace is required: failed precondition");
        c->ns = "default";
        CHECK_INT(call_namespace(c, &ns), 0);
        CHECK(!call_cancelled(c));
        call_unref(c);
}
