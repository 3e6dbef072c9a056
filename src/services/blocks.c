/* SPDX-License-Identifier: Apache-2.0 */
#include "services/blocks.h"

#include "base/mem.h"
#include "base/vec.h"

enum { PER_BLOCK = 100 };

typedef struct Block {
        char *bytes;
        size_t n;
} Block;

struct Blocks {
        MetaListOut out; /* the block being filled */
        size_t records;  /* in it */
        VEC(Block) full;
        size_t sent;
};

Blocks *blocks_new(unsigned field)
{
        Blocks *b = mem_new(Blocks);

        b->out.field = field;
        return b;
}

void blocks_end(Blocks *b)
{
        size_t n = b->out.bytes.len;

        if (b->records > 0)
                VEC_PUSH(&b->full, (Block){.bytes = str_steal(&b->out.bytes), .n = n});
        b->records = 0;
}

int blocks_add(void *blocks, DbVal record)
{
        Blocks *b = blocks;
        int r;

        r = meta_list_append(&b->out, record);
        if (r == 0 && ++b->records == PER_BLOCK)
                blocks_end(b);
        return r;
}

int blocks_writable(Call *c)
{
        Blocks *b = c->state;
        Block *block;
        int r;

        if (!b || b->sent == b->full.n)
                return 0;
        block = &b->full.v[b->sent++];
        r = call_send_take(c, TAKE(block->bytes), block->n);
        if (r < 0)
                return r;
        return b->sent == b->full.n ? 0 : RPC_MORE;
}

void blocks_close(Call *c)
{
        Blocks *b = c->state;

        if (!b)
                return;
        VEC_FOREACH (block, &b->full)
                free(block->bytes);
        VEC_DONE(&b->full);
        str_done(&b->out.bytes);
        free(b);
        c->state = NULL;
}
