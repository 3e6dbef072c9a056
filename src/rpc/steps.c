/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams: what happened to the call is kept as flags, and the next step follows from them in a
 * fixed order (open, message, end, writable; close as soon as the call is cancelled or has its
 * result). A job runs steps as long as there are some, then ends; after a number of them it gives
 * way to others.
 */
#include "rpc/dispatch_priv.h"

#include "base/limits.h"

enum { STEPS_IN_A_ROW = 16 };

typedef enum Step { STEP_NONE, STEP_OPEN, STEP_MESSAGE, STEP_END, STEP_WRITABLE, STEP_CLOSE } Step;

static Step next_step_locked(const CallImpl *c)
{
        if (c->finished)
                return STEP_NONE;
        if (c->cancelled)
                return STEP_CLOSE;
        if (!c->opened)
                return call_streams(c, RPC_CLIENT_STREAMS) || c->in_set || c->eof ? STEP_OPEN
                                                                                  : STEP_NONE;
        if (c->in_set)
                return STEP_MESSAGE;
        if (c->eof && !c->eof_done)
                return STEP_END;
        if (c->want_write && c->unsent < LIMIT_STREAM_SENDBUF && !load_full(c->load))
                return STEP_WRITABLE;
        return STEP_NONE;
}

int steps_waiting_locked(const CallImpl *c)
{
        return next_step_locked(c) != STEP_NONE;
}

static int run_message(CallImpl *c, void *bytes, size_t n)
{
        const RpcStreamOps *ops = c->call.method->stream;
        ProtobufCMessage *req;
        int r;

        r = call_decode(c, &c->step, bytes, n, &req);
        if (r < 0)
                return r;
        return ops->message ? ops->message(&c->call, req) : RPC_MORE;
}

static int run_end(CallImpl *c)
{
        const RpcStreamOps *ops = c->call.method->stream;

        if (!call_streams(c, RPC_CLIENT_STREAMS) && !c->had_message)
                return err_set(&c->err, INTERNAL, "request without a message");
        if (ops->end)
                return ops->end(&c->call);
        return call_streams(c, RPC_CLIENT_STREAMS) ? 0 : RPC_MORE;
}

static int run_step(CallImpl *c, Step step, void *bytes, size_t n)
{
        const RpcStreamOps *ops = c->call.method->stream;

        switch (step) {
        case STEP_OPEN:
                return ops->open ? ops->open(&c->call) : RPC_MORE;
        case STEP_MESSAGE:
                return run_message(c, bytes, n);
        case STEP_END:
                return run_end(c);
        case STEP_WRITABLE:
                return ops->writable ? ops->writable(&c->call) : RPC_MORE;
        case STEP_CLOSE:
                return err_set(&c->err, c->cancelled, "%s", err_class_text(c->cancelled));
        case STEP_NONE:
                break;
        }
        assert(0);
        return RPC_MORE;
}

/* Hands over what the step has queued. */
static void flush_locked(CallImpl *c)
{
        RpcBuf *queued = TAKE(c->queued);

        if (!queued)
                return;
        if (!c->ops) {
                rpc_buf_free_list(queued);
        } else {
                for (RpcBuf *b = queued; b; b = b->next) {
                        load_charge(c->load, b);
                        c->unsent += b->len;
                }
                *c->out_tail = queued;
                c->out_tail = c->queued_tail;
                call_notify_locked(c);
        }
        c->queued_tail = &c->queued;
}

static Step take_step_locked(CallImpl *c, void **ret_bytes, size_t *ret_n)
{
        Step step = next_step_locked(c);

        if (step == STEP_OPEN)
                c->opened = 1;
        if (step == STEP_END)
                c->eof_done = 1;
        if (step == STEP_WRITABLE)
                c->want_write = 0;
        if (step == STEP_MESSAGE) {
                *ret_bytes = TAKE(c->in);
                *ret_n = c->in_len;
                c->in_set = 0;
                call_notify_locked(c); /* the next may be read */
        }
        return step;
}

static void finish_stream(CallImpl *c, int r)
{
        const RpcStreamOps *ops = c->call.method->stream;

        {
                LOCKED(&c->lock);
                c->ended = 1;
                flush_locked(c);
        }
        if (c->opened && ops->close)
                ops->close(&c->call);
        call_finish(c, r);
}

void steps_run(CallImpl *c)
{
        for (int i = 0; i < STEPS_IN_A_ROW; i++) {
                void *bytes = NULL;
                size_t n = 0;
                CancelWatch above;
                Step step;
                int r;

                {
                        LOCKED(&c->lock);
                        step = take_step_locked(c, &bytes, &n);
                }
                if (step == STEP_NONE)
                        return;

                above = call_watch(c);
                r = run_step(c, step, bytes, n);
                cancel_watch(above);
                if (r != RPC_MORE) {
                        finish_stream(c, r);
                        return;
                }
                arena_done(&c->step);

                LOCKED(&c->lock);
                if (step == STEP_WRITABLE && c->queued)
                        c->want_write = 1;
                if (step == STEP_END && !call_streams(c, RPC_CLIENT_STREAMS))
                        c->want_write = 1;
                flush_locked(c);
        }
}
