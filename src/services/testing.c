/* SPDX-License-Identifier: Apache-2.0 */
#include "services/testing.h"

#include "base/test.h"
#include "base/vec.h"
#include "rpc/message.h"
#include "rpc/transport.h"

static void run_here(void *ctx, void (*fn)(void *), void *arg)
{
        fn(arg);
}

static void ready(void *transport, Call *c)
{
        int *n = transport;

        ++*n;
}

static const RpcTransportOps ops = {.ready = ready, .decode_what = "decode"};

static void wake_nobody(void *ctx)
{
}

int bench_open(Bench *b, const RpcService *service)
{
        static int n;
        char dir[300];

        *b = (Bench){.ns = "default"};
        arena_init(&b->arena, 0);
        b->ex = exchange_new();
        snprintf(dir, sizeof(dir), "%s/bench%d", test_tmpdir(), n++);
        if (db_env_open(dir, NULL, &b->db, &b->err) < 0 ||
            exchange_subscribe(b->ex, NULL, 0, wake_nobody, b, &b->events, &b->err) < 0) {
                fprintf(stderr, "%s\n", b->err.msg);
                return -1;
        }
        b->meta = metadata_new(b->db, b->ex);
        b->registry = rpc_registry_new(run_here, NULL);
        rpc_registry_add(b->registry, service, b->meta);
        return 0;
}

void bench_done(Bench *b)
{
        if (b->registry)
                rpc_registry_free(b->registry);
        metadata_free(b->meta);
        subscription_close(b->events);
        exchange_free(b->ex);
        db_env_close(b->db);
        arena_done(&b->arena);
}

/* Everything the call has to say, until it is over or waits for somebody. */
static int collect(Bench *b, Call *c, const int *woken, const ProtobufCMessageDescriptor *desc)
{
        VEC(ProtobufCMessage *) v = {};
        RpcOutput out;
        int seen = 0, r = -DEADLINE_EXCEEDED;

        while (seen < *woken) {
                seen++;
                out = (RpcOutput){};
                rpc_call_collect(c, &out);
                call_unref(c); /* ready()'s */
                for (RpcBuf *m = out.bufs; m; m = m->next) {
                        ProtobufCMessage *msg = NULL;

                        if (message_unpack(&b->arena, desc, m->data, m->len, &msg, &b->err) == 0)
                                VEC_PUSH(&v, msg);
                        rpc_call_sent(c, m->len);
                }
                rpc_buf_free_list(out.bufs);
                if (!out.finished)
                        continue;
                r = -out.code;
                if (out.code)
                        b->err = *out.err;
                break;
        }
        b->n_answers = v.n;
        b->answers = arena_memdup(&b->arena, v.v, v.n * sizeof(*v.v));
        VEC_DONE(&v);
        return r;
}

int bench_call(Bench *b, const RpcService *service, const char *method, const void *req)
{
        RpcBegin begin = {.service = service->name,
                          .method = method,
                          .ns = b->ns,
                          .lease = b->lease,
                          .ops = &ops};
        const RpcMethod *m = NULL;
        int woken = 0, r;
        Call *c = NULL;
        size_t n;
        void *bytes = message_pack(NULL, req, &n);

        err_clear(&b->err);
        b->n_answers = 0;
        begin.transport = &woken;
        r = rpc_call_begin(b->registry, &begin, &c, &b->err);
        if (r < 0) {
                free(bytes);
                return r;
        }
        m = c->method;
        rpc_call_message(c, bytes, n);
        rpc_call_end(c);
        r = collect(b, c, &woken, m->rsp);
        rpc_call_detach(c, CANCELLED);
        call_unref(c);
        return r;
}

void *bench_answer(Bench *b)
{
        return b->n_answers == 1 ? b->answers[0] : NULL;
}

Types__Envelope *bench_event(Bench *b)
{
        ProtobufCMessage *msg = NULL;
        EventBytes *e = NULL;

        if (subscription_next(b->events, &e, &b->err) != 1)
                return NULL;
        message_unpack(&b->arena, &types__envelope__descriptor, e->data, e->n, &msg, &b->err);
        event_bytes_unref(e);
        return (Types__Envelope *)msg;
}
