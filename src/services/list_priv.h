/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "metadata/metadata.h"
#include "rpc/call.h"

/* How a call over records begins: its namespace, and a transaction of one of metadata.h's kinds. */
typedef int (*RecordsBeginFn)(Metadata *m, MetaTxn *txn, Arena *a, Err *err);
int records_begin(Call *c, RecordsBeginFn begin, MetaTxn *txn, const char **ret_ns);
/* Answers a List whose response is one repeated field, number 1, of stored records: they go out as
 * they lie in the database. Call.ctx is the Metadata; the filters are the request's. */
typedef int (*ListRecordsFn)(MetaTxn *txn, const char *ns, const Filter *filter, MetaListFn fn,
                             void *ctx);
int list_answer(Call *c, const char *const *filters, size_t n_filters, ListRecordsFn records);
