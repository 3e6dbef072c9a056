/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a transport to a handler and back.
 *
 * The transport's thread puts messages in and takes answers out; the handler's side runs as jobs of
 * the registry's run function. `running` makes sure there is at most one job per call, which holds
 * a reference of its own; what happens meanwhile is left in the call's fields, and the job looks
 * again before it ends.
 *
 * A call ends in call_finish(), once. For a pending call the right to do so is the claim, which the
 * one who stored it and cancellation race for: cancellation only marks the call; if it won, a job
 * runs the handler's on_cancel, at the earliest when the handler has returned RPC_PENDING, since
 * before that the call may not be stored yet.
 *
 * A detached call runs on to its end, unheard.
 */
#include "rpc/dispatch_priv.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "rpc/message.h"

RpcLoad *rpc_load_new(void)
{
        RpcLoad *l = mem_new(RpcLoad);

        l->refs = 1;
        return l;
}

RpcLoad *rpc_load_unref(RpcLoad *l)
{
        if (l && __atomic_sub_fetch(&l->refs, 1, __ATOMIC_ACQ_REL) == 0)
                free(l);
        return NULL;
}

int rpc_load_calls(const RpcLoad *l)
{
        return __atomic_load_n(&l->calls, __ATOMIC_RELAXED);
}

void load_charge(RpcLoad *l, RpcBuf *b)
{
        if (!l)
                return;
        __atomic_add_fetch(&l->refs, 1, __ATOMIC_RELAXED);
        __atomic_add_fetch(&l->unsent, b->len, __ATOMIC_SEQ_CST);
        b->load = l;
}

void load_discharge(RpcLoad *l, size_t n)
{
        __atomic_sub_fetch(&l->unsent, n, __ATOMIC_SEQ_CST);
        rpc_load_unref(l);
}

int load_full(RpcLoad *l)
{
        if (!l || __atomic_load_n(&l->unsent, __ATOMIC_SEQ_CST) <= LIMIT_CONN_OUTBOX)
                return 0;
        /* Said before looking again: either we see that it has been read, or the transport, which
         * looks in the other order, sees that somebody waits. */
        __atomic_store_n(&l->held, 1, __ATOMIC_SEQ_CST);
        return __atomic_load_n(&l->unsent, __ATOMIC_SEQ_CST) > LIMIT_CONN_OUTBOX;
}

int rpc_load_relieved(RpcLoad *l)
{
        return __atomic_load_n(&l->unsent, __ATOMIC_SEQ_CST) <= LIMIT_CONN_OUTBOX / 2 &&
               __atomic_load_n(&l->held, __ATOMIC_SEQ_CST) &&
               __atomic_exchange_n(&l->held, 0, __ATOMIC_SEQ_CST);
}

void rpc_call_resume(Call *call)
{
        call_kick(call_impl(call));
}

static CallImpl *call_new(void)
{
        CallImpl *c = mem_new(CallImpl);

        c->magic = CALL_MAGIC;
        c->refs = 1;
        lock_init(&c->lock, LOCK_CALL);
        arena_init(&c->arena, SIZE_MAX);
        arena_init(&c->step, SIZE_MAX);
        c->out_tail = &c->out;
        c->queued_tail = &c->queued;
        c->started_ns = time_mono_ns();
        c->call.arena = &c->arena;
        c->call.step = &c->arena;
        c->call.err = &c->err;
        return c;
}

Call *rpc_call_local(const char *ns, void *ctx)
{
        CallImpl *c = call_new();

        c->call.ns = arena_strdup(&c->arena, ns);
        c->call.ctx = ctx;
        return &c->call;
}

int rpc_call_begin(RpcRegistry *r, const RpcBegin *b, Call **ret, Err *err)
{
        const RpcService *service;
        const RpcMethod *method;
        CallImpl *c;
        void *ctx;
        int rc;

        rc = registry_find(r, b->service, b->method, &service, &method, &ctx, err);
        if (rc < 0)
                return rc;

        c = call_new();
        c->registry = r;
        c->service = service->name;
        c->ops = b->ops;
        c->decode_what = b->ops->decode_what;
        c->transport = b->transport;
        c->data = b->data;
        c->max_send = b->max_send;
        c->load = b->load;
        if (c->load) {
                __atomic_add_fetch(&c->load->refs, 1, __ATOMIC_RELAXED);
                __atomic_add_fetch(&c->load->calls, 1, __ATOMIC_RELAXED);
        }
        c->call.ns = arena_strdup(&c->arena, b->ns);
        c->call.lease = arena_strdup(&c->arena, b->lease);
        c->call.deadline_ns = b->deadline_ns;
        c->call.peer = b->peer;
        c->call.ctx = ctx;
        c->call.method = method;
        if (method->kind == RPC_STREAM)
                c->call.step = &c->step;
        *ret = &c->call;
        if (call_streams(c, RPC_CLIENT_STREAMS))
                call_kick(c);
        return 0;
}

void call_notify_locked(CallImpl *c)
{
        if (!c->ops || c->notified)
                return;
        c->notified = 1;
        c->ops->ready(c->transport, call_ref(&c->call));
}

/* The file as the tree names it, wherever the build folder was. */
static const char *short_file(const char *file)
{
        const char *src = file ? strstr(file, "src/") : NULL;

        return src ? src : "?";
}

static void log_failure(const CallImpl *c, int code)
{
        char method[200], origin[200], took[32];

        /* What a client asks amiss is its own business; what we could not do, the operator's. */
        LogLevel level =
                code == INTERNAL || code == UNKNOWN || code == DATA_LOSS ? LOG_INFO : LOG_DEBUG;

        if (!log_enabled(level))
                return;
        snprintf(method, sizeof(method), "/%s/%s", c->service, c->call.method->name);
        snprintf(origin, sizeof(origin), "%s:%d", short_file(c->err.file), c->err.line);
        snprintf(took, sizeof(took), "%.3fms",
                 (double)(time_mono_ns() - c->started_ns) / (double)NS_PER_MS);
        log_at(level, "call failed", "method", method, "namespace", c->call.ns, "code",
               err_code_name(code), "duration", took, "origin", origin, "error", c->err.msg, NULL);
}

/* The answer of a unary call as bytes; 0 or -code. */
static int encode_reply(CallImpl *c, RpcBuf **ret)
{
        RpcBuf *b = TAKE(c->reply);

        if (!b) {
                b = rpc_buf_new(protobuf_c_message_get_packed_size(c->rsp));
                protobuf_c_message_pack(c->rsp, b->data);
        }
        if (c->max_send && b->len > c->max_send) {
                size_t n = b->len;

                rpc_buf_unref(b);
                return err_set(&c->err, RESOURCE_EXHAUSTED,
                               "trying to send message larger than max (%zu vs. %zu)", n,
                               c->max_send);
        }
        *ret = b;
        return 0;
}

void call_finish(CallImpl *c, int r)
{
        int cancelled = __atomic_load_n(&c->cancelled, __ATOMIC_RELAXED);
        RpcBuf *reply = NULL;

        assert(r <= 0 && -r <= ERR_CODE_LAST && (r == 0 || r == -c->err.code));

        if (r == 0 && !cancelled && c->call.method->kind != RPC_STREAM)
                r = encode_reply(c, &reply);
        if (r < 0)
                log_failure(c, -r);

        /* For a large list this is what takes long: not with the transport waiting. */
        c->call.ns = c->call.lease = NULL;
        c->rsp = NULL;
        arena_done(&c->step);
        arena_done(&c->arena);

        LOCKED(&c->lock);
        if (reply && c->ops) {
                load_charge(c->load, reply);
                *c->out_tail = reply;
                c->out_tail = &reply->next;
                c->unsent += reply->len;
        } else {
                rpc_buf_unref(reply);
        }
        c->result = -r;
        c->finished = 1;
        call_notify_locked(c);
}

int call_decode(CallImpl *c, Arena *a, void *bytes, size_t n, ProtobufCMessage **ret)
{
        int r = message_unpack(a, c->call.method->req, bytes, n, ret, &c->err);

        free(bytes);
        return r < 0 ? err_wrap(&c->err, "%s", c->decode_what) : 0;
}

/* Whether a cancelled pending call is ours to end. */
static int run_cancelled(CallImpl *c)
{
        void (*fn)(Call *) = NULL;

        {
                LOCKED(&c->lock);
                if (!c->pending || c->claim != CLAIM_CANCEL || c->finished)
                        return 0;
                c->pending = 0;
                fn = c->on_cancel;
        }
        if (fn)
                fn(&c->call);
        err_set(&c->err, c->cancelled, "%s", err_class_text(c->cancelled));
        call_finish(c, -c->err.code);
        return 1;
}

/* The waiting message through the handler: RPC_PENDING, or the call's result, claimed. */
static int run_handler(CallImpl *c)
{
        ProtobufCMessage *req;
        CancelWatch above;
        void *bytes;
        size_t n;
        int r, had, cancelled;

        {
                LOCKED(&c->lock);
                bytes = TAKE(c->in);
                n = c->in_len;
                had = c->in_set;
                c->in_set = 0;
                cancelled = c->cancelled;
        }
        if (cancelled) {
                free(bytes);
                r = err_set(&c->err, cancelled, "%s", err_class_text(cancelled));
        } else if (!had) {
                r = err_set(&c->err, INTERNAL, "request without a message");
        } else {
                r = call_decode(c, &c->arena, bytes, n, &req);
                if (r == 0) {
                        c->rsp = message_new(&c->arena, c->call.method->rsp);
                        above = call_watch(c);
                        r = c->call.method->handler(&c->call, req, c->rsp);
                        cancel_watch(above);
                }
        }

        if (r == RPC_PENDING) {
                assert(c->call.method->kind == RPC_WAIT);
                LOCKED(&c->lock);
                c->pending = 1;
                return r;
        }
        LOCKED(&c->lock);
        assert(c->claim != CLAIM_HANDLER); /* it was stored and completed: RPC_PENDING */
        if (c->claim == CLAIM_NONE)
                c->claim = CLAIM_HANDLER;
        return r;
}

static int waiting_locked(const CallImpl *c)
{
        if (c->call.method->kind == RPC_STREAM)
                return steps_waiting_locked(c);
        if (c->finished)
                return 0;
        if (c->pending)
                return c->claim == CLAIM_CANCEL;
        return c->eof && !c->ended && (c->cancelled || !load_full(c->load));
}

static int nobody_listens(void *ctx)
{
        return call_cancelled(ctx);
}

CancelWatch call_watch(CallImpl *c)
{
        return cancel_watch((CancelWatch){nobody_listens, &c->call});
}

/* Whether the handler is to run now: once. */
static int take_start(CallImpl *c)
{
        int first;

        LOCKED(&c->lock);
        first = !c->ended && waiting_locked(c);
        c->ended |= (uint8_t)first;
        return first;
}

static void run_once(CallImpl *c)
{
        int r;

        if (c->call.method->kind == RPC_STREAM) {
                steps_run(c);
                return;
        }
        if (run_cancelled(c))
                return;
        if (!take_start(c))
                return;
        r = run_handler(c);
        if (r != RPC_PENDING)
                call_finish(c, r);
}

static void run_call(void *arg)
{
        CallImpl *c = arg;

        for (;;) {
                int give_way;

                run_once(c);
                {
                        LOCKED(&c->lock);
                        if (!waiting_locked(c)) {
                                c->running = 0;
                                break;
                        }
                        /* Not the end of a call, which may come while the pool is being closed. */
                        give_way = c->call.method->kind == RPC_STREAM && !c->cancelled;
                }
                if (give_way) {
                        c->registry->run(c->registry->run_ctx, run_call, c);
                        return;
                }
        }
        call_unref(&c->call);
}

void call_run_member(CallImpl *c)
{
        c->batch_result = take_start(c) ? run_handler(c) : RPC_PENDING;
}

void call_finish_member(CallImpl *c)
{
        if (c->batch_result != RPC_PENDING)
                call_finish(c, c->batch_result);
        {
                LOCKED(&c->lock);
                c->running = 0;
        }
        call_kick(c); /* what would not start then may do so now */
        call_unref(&c->call);
}

void call_kick(CallImpl *c)
{
        {
                LOCKED(&c->lock);
                if (c->running || !waiting_locked(c))
                        return;
                c->running = 1;
                call_ref(&c->call);
        }
        if (c->call.method->kind == RPC_BATCH && c->registry->batcher)
                batcher_add(c->registry->batcher, c->registry, c);
        else
                c->registry->run(c->registry->run_ctx, run_call, c);
}

int rpc_call_takes_message(Call *call)
{
        CallImpl *c = call_impl(call);

        LOCKED(&c->lock);
        return !c->in_set && !c->eof;
}

void rpc_call_message(Call *call, void *bytes, size_t n)
{
        CallImpl *c = call_impl(call);

        {
                LOCKED(&c->lock);
                assert(!c->in_set && !c->eof);
                if (!c->ops) {
                        free(bytes);
                        return;
                }
                c->in = bytes;
                c->in_len = n;
                c->in_set = c->had_message = 1;
        }
        call_kick(c);
}

void rpc_call_end(Call *call)
{
        CallImpl *c = call_impl(call);

        {
                LOCKED(&c->lock);
                if (!c->ops)
                        return;
                c->eof = 1;
        }
        call_kick(c);
}

void rpc_call_collect(Call *call, RpcOutput *ret)
{
        CallImpl *c = call_impl(call);

        LOCKED(&c->lock);
        c->notified = 0;
        *ret = (RpcOutput){
                .bufs = c->out,
                .finished = c->finished,
                .code = c->result,
                .err = &c->err,
                .takes_message = !c->in_set && !c->eof,
        };
        c->out = NULL;
        c->out_tail = &c->out;
}

void rpc_call_sent(Call *call, size_t bytes)
{
        CallImpl *c = call_impl(call);

        {
                LOCKED(&c->lock);
                assert(bytes <= c->unsent);
                c->unsent -= bytes;
                if (!c->want_write)
                        return;
        }
        call_kick(c);
}

void rpc_call_detach(Call *call, int code)
{
        CallImpl *c = call_impl(call);
        RpcBuf *out;

        c->data = NULL;
        {
                LOCKED(&c->lock);
                c->ops = NULL;
                out = TAKE(c->out);
                c->out_tail = &c->out;
                free(TAKE(c->in));
                c->in_set = 0;
                if (!c->finished && !c->cancelled) {
                        __atomic_store_n(&c->cancelled, code, __ATOMIC_RELAXED);
                        if (c->claim == CLAIM_NONE)
                                c->claim = CLAIM_CANCEL;
                }
                /* Its one message or its end has not come: no handler will hear of it. */
                if (!c->eof && !c->running && c->call.method->kind != RPC_STREAM)
                        c->finished = 1;
        }
        rpc_buf_free_list(out);
        call_kick(c);
}

void *rpc_call_data(Call *c)
{
        return call_impl(c)->data;
}

List *rpc_call_link(Call *c)
{
        return &call_impl(c)->link;
}

Call *rpc_call_of_link(List *link)
{
        return &CONTAINER_OF(link, CallImpl, link)->call;
}
