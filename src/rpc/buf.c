/* SPDX-License-Identifier: Apache-2.0 */
/* Messages on their way out; see transport.h. */
#include "rpc/dispatch_priv.h"

RpcBuf *rpc_buf_new(size_t len)
{
        RpcBuf *b = malloc(sizeof(*b) + len);

        if (!b)
                return mem_alloc(SIZE_MAX); /* says so and aborts */
        *b = (RpcBuf){.data = (uint8_t *)(b + 1), .len = len, .refs = 1};
        return b;
}

RpcBuf *rpc_buf_take(void *heap, size_t n)
{
        RpcBuf *b = mem_new(RpcBuf);

        *b = (RpcBuf){.data = heap, .len = n, .heap = heap, .refs = 1};
        return b;
}

RpcBuf *rpc_buf_unref(RpcBuf *b)
{
        if (b && --b->refs == 0) {
                if (b->load)
                        load_discharge(b->load, b->len);
                mem_free_large(b->heap);
                free(b);
        }
        return NULL;
}

void rpc_buf_free_list(RpcBuf *b)
{
        while (b) {
                RpcBuf *next = b->next;

                rpc_buf_unref(b);
                b = next;
        }
}
