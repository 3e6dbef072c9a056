/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "metadata/metadata.h"
#include "rpc/call.h"

/* For a wait method that has removed records and is to answer when they are gone from disk too:
 * returns RPC_PENDING, holding no thread meanwhile. */
int sync_then_answer(Call *c, Metadata *m);
