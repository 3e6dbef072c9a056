/* SPDX-License-Identifier: Apache-2.0 */
/* What handlers do with their call; see call.h. */
#include "rpc/dispatch_priv.h"

#include "base/clock.h"
#include "rpc/message.h"
#include "spec/identifier.h"

int call_namespace(Call *c, const char **ret)
{
        int r;

        if (str_empty(c->ns))
                return err_set(c->err, FAILED_PRECONDITION,
                               "namespace is required: failed precondition");
        r = identifier_check(NULL, c->ns, c->err);
        if (r < 0)
                return err_wrap(c->err, "namespace validation");
        *ret = c->ns;
        return 0;
}

Call *call_ref(Call *c)
{
        __atomic_add_fetch(&call_impl(c)->refs, 1, __ATOMIC_RELAXED);
        return c;
}

Call *call_unref(Call *call)
{
        CallImpl *c;

        if (!call)
                return NULL;
        c = call_impl(call);
        if (__atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) > 0)
                return NULL;

        assert(!c->running && !list_linked(&c->link));
        rpc_buf_free_list(c->out);
        rpc_buf_free_list(c->queued);
        rpc_buf_unref(c->reply);
        free(c->in);
        if (c->load)
                __atomic_sub_fetch(&c->load->calls, 1, __ATOMIC_RELAXED);
        rpc_load_unref(c->load);
        arena_done(&c->step);
        arena_done(&c->arena);
        lock_done(&c->lock);
        c->magic = 0;
        free(c);
        return NULL;
}

int call_cancelled(const Call *c)
{
        const CallImpl *impl = call_impl(c);

        return __atomic_load_n(&impl->cancelled, __ATOMIC_RELAXED) != 0 ||
               (c->deadline_ns && time_mono_ns() >= c->deadline_ns);
}

int call_claim(Call *call)
{
        CallImpl *c = call_impl(call);

        LOCKED(&c->lock);
        if (c->claim != CLAIM_NONE)
                return 0;
        c->claim = CLAIM_HANDLER;
        return 1;
}

void call_complete(Call *call, int r)
{
        CallImpl *c = call_impl(call);

        assert(c->claim == CLAIM_HANDLER);
        call_finish(c, r);
}

void *call_response(Call *call)
{
        return call_impl(call)->rsp;
}

void call_on_cancel(Call *call, void (*fn)(Call *c))
{
        CallImpl *c = call_impl(call);

        LOCKED(&c->lock);
        c->on_cancel = fn;
}

static void set_reply(CallImpl *c, RpcBuf *b)
{
        rpc_buf_unref(c->reply);
        c->reply = b;
}

void call_reply_encoded(Call *call, const void *bytes, size_t n)
{
        RpcBuf *b = rpc_buf_new(n);

        if (n > 0)
                memcpy(b->data, bytes, n);
        set_reply(call_impl(call), b);
}

void call_reply_take(Call *call, void *bytes, size_t n)
{
        set_reply(call_impl(call), rpc_buf_take(bytes, n));
}

/* Queued here without a lock; the end of the step hands all over at once. */
static int send_buf(CallImpl *c, RpcBuf *b)
{
        if (c->max_send && b->len > c->max_send) {
                size_t n = b->len;

                rpc_buf_unref(b);
                return err_set(&c->err, RESOURCE_EXHAUSTED,
                               "trying to send message larger than max (%zu vs. %zu)", n,
                               c->max_send);
        }
        *c->queued_tail = b;
        c->queued_tail = &b->next;
        return 0;
}

int call_send(Call *call, const ProtobufCMessage *msg)
{
        RpcBuf *b = rpc_buf_new(protobuf_c_message_get_packed_size(msg));

        protobuf_c_message_pack(msg, b->data);
        return send_buf(call_impl(call), b);
}

int call_send_encoded(Call *call, const void *bytes, size_t n)
{
        RpcBuf *b = rpc_buf_new(n);

        if (n > 0)
                memcpy(b->data, bytes, n);
        return send_buf(call_impl(call), b);
}

int call_send_take(Call *call, void *bytes, size_t n)
{
        return send_buf(call_impl(call), rpc_buf_take(bytes, n));
}

void call_wake(Call *call)
{
        CallImpl *c = call_impl(call);

        {
                LOCKED(&c->lock);
                if (c->want_write || c->ended)
                        return;
                c->want_write = 1;
        }
        call_kick(c);
}
