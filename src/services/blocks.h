/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list as a stream: records are encoded into messages of a hundred while the database is open,
 * and sent one a step when it is closed again. For a method with server streaming whose response
 * has the records as one repeated field:
 *
 *         c->state = blocks_new(1);                      message: then list with blocks_add as
 * MetaListFn, and blocks_end(c->state); blocks_writable, blocks_close                  as the steps
 * of RpcStreamOps
 */
#pragma once

#include "metadata/metadata.h"
#include "rpc/call.h"

typedef struct Blocks Blocks;

Blocks *blocks_new(unsigned field);
int blocks_add(void *blocks, DbVal record);
void blocks_end(Blocks *b);

int blocks_writable(Call *c);
void blocks_close(Call *c);
