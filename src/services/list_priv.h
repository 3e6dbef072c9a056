/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "metadata/metadata.h"
#include "rpc/call.h"

/* Answers a List whose response is one repeated field, number 1, of stored records: they go out as
 * they lie in the database. Call.ctx is the Metadata; the filters are the request's. */
typedef int (*ListRecordsFn)(MetaTxn *txn, const char *ns, const Filter *filter, MetaListFn fn,
                             void *ctx);
int list_answer(Call *c, const char *const *filters, size_t n_filters, ListRecordsFn records);
