/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/transport.h"

#include "api/grpc/health/v1/health.pb-c.h"
#include "base/cleanup.h"
#include "base/test.h"
#include "rpc/message.h"

/* Jobs run when the test says so; a batch is a count of its members. */
enum { CALLS = 6, MANY = 400, FULL = 4 };

typedef struct Fixture {
        RpcRegistry *registry;
        Call *calls[MANY];
        void (*job)(void *);
        void *job_arg;
        int jobs, answered;
        int commits, members, in_batch, early, fail, unfilled;
        Err *batch_err;
} Fixture;

static void job_run(void *ctx, void (*fn)(void *), void *arg)
{
        Fixture *f = ctx;

        f->jobs++;
        f->job = fn;
        f->job_arg = arg;
}

static void ready(void *transport, Call *c)
{
        Fixture *f = transport;

        f->answered++;
        call_unref(c);
}

static const RpcTransportOps ops = {.ready = ready, .decode_what = "decoding"};

static void *batch_begin(void *ctx, Err *err)
{
        Fixture *f = ctx;

        f->in_batch = 1;
        f->members = 0;
        f->batch_err = err;
        return f;
}

static int batch_full(const void *batch)
{
        const Fixture *f = batch;

        return f->members == FULL && !f->unfilled;
}

static int batch_commit(void *batch)
{
        Fixture *f = batch;

        f->early += f->answered != f->commits * FULL; /* somebody before it was durable */
        f->in_batch = 0;
        f->commits++;
        return f->fail ? err_set(f->batch_err, INTERNAL, "the disk is gone") : 0;
}

static const RpcBatchOps batch_ops = {batch_begin, batch_full, batch_commit};

static int handle(Call *c, const Health__HealthCheckRequest *req, Health__HealthCheckResponse *rsp)
{
        Fixture *f = c->ctx;

        f->early += !f->in_batch;
        f->members++;
        if (str_eq(req->service, "none"))
                return err_set(c->err, NOT_FOUND, "no %s", req->service);
        rsp->status = HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
        return 0;
}

static const RpcMethod methods[] = {
        RPC_BATCH_METHOD("Change", handle, health__health_check_request,
                         health__health_check_response),
};
static const RpcService service = RPC_SERVICE("test.Service", methods);

static void fixture_init(Fixture *f)
{
        f->registry = rpc_registry_new(job_run, f);
        rpc_registry_add(f->registry, &service, f);
        rpc_registry_set_batch(f->registry, &batch_ops, f);
}

static void fixture_done(Fixture *f)
{
        for (int i = 0; i < MANY; i++) {
                if (!f->calls[i])
                        continue;
                rpc_call_detach(f->calls[i], CANCELLED);
                call_unref(f->calls[i]);
        }
        rpc_registry_free(f->registry);
}

static void call(Fixture *f, int i, const char *name)
{
        Health__HealthCheckRequest req = HEALTH__HEALTH_CHECK_REQUEST__INIT;
        RpcBegin b = {.service = "test.Service", .method = "Change", .ops = &ops, .transport = f};
        void *bytes;
        size_t n;
        Err err;

        CHECK_INT(rpc_call_begin(f->registry, &b, &f->calls[i], &err), 0);
        req.service = name;
        bytes = message_pack(NULL, &req, &n);
        rpc_call_message(f->calls[i], bytes, n);
        rpc_call_end(f->calls[i]);
}

static int code_of(Fixture *f, int i)
{
        RpcOutput out;

        rpc_call_collect(f->calls[i], &out);
        rpc_buf_free_list(out.bufs);
        return out.finished ? out.code : -1;
}

TEST(batch_answers_when_durable)
{
        Fixture f CLEANUP(fixture_done) = {};

        fixture_init(&f);
        for (int i = 0; i < CALLS; i++)
                call(&f, i, i == 1 ? "none" : "some");
        CHECK_INT(f.jobs, 1); /* for all of them */
        f.job(f.job_arg);
        CHECK_INT(f.commits, 2); /* the first was full */
        CHECK_INT(f.answered, CALLS);
        CHECK_INT(f.early, 0);
        for (int i = 0; i < CALLS; i++)
                CHECK_INT(code_of(&f, i), i == 1 ? NOT_FOUND : OK);
}

TEST(batch_that_fails_fails_its_members)
{
        Fixture f CLEANUP(fixture_done) = {.fail = 1};

        fixture_init(&f);
        call(&f, 0, "some");
        call(&f, 1, "none");
        f.job(f.job_arg);
        CHECK_INT(code_of(&f, 0), INTERNAL);
        CHECK_INT(code_of(&f, 1), NOT_FOUND);
}

TEST(batch_skips_who_has_left)
{
        Fixture f CLEANUP(fixture_done) = {};

        fixture_init(&f);
        call(&f, 0, "some");
        call(&f, 1, "some");
        rpc_call_detach(f.calls[0], CANCELLED);
        f.calls[0] = call_unref(f.calls[0]);
        f.job(f.job_arg);
        CHECK_INT(f.members, 1);
        CHECK_INT(f.answered, 1);
        CHECK_INT(code_of(&f, 1), OK);
}

TEST(batch_of_failures_ends)
{
        Fixture f CLEANUP(fixture_done) = {.unfilled = 1};

        fixture_init(&f);
        for (int i = 0; i < MANY; i++)
                call(&f, i, i == 0 ? "some" : "none");
        f.job(f.job_arg);
        CHECK_INT(f.commits, 2); /* the one that succeeded did not wait for all of them */
        for (int i = 0; i < MANY; i++)
                CHECK_INT(code_of(&f, i), i == 0 ? OK : NOT_FOUND);
}

TEST(batch_waits_while_held)
{
        Fixture f CLEANUP(fixture_done) = {};

        fixture_init(&f);
        rpc_registry_hold(f.registry);
        call(&f, 0, "some");
        CHECK_INT(f.jobs, 0);
        call(&f, 1, "some");
        rpc_registry_release(f.registry);
        CHECK_INT(f.jobs, 1);
        f.job(f.job_arg);
        CHECK_INT(f.commits, 1);
        rpc_registry_hold(f.registry);
        rpc_registry_release(f.registry);
        CHECK_INT(f.jobs, 1);
}
