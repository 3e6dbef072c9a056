/* SPDX-License-Identifier: Apache-2.0 */
#include "services/list_priv.h"

int records_begin(Call *c, RecordsBeginFn begin, MetaTxn *txn, const char **ret_ns)
{
        int r = call_namespace(c, ret_ns);

        return r < 0 ? r : begin(c->ctx, txn, c->arena, c->err);
}

int list_answer(Call *c, const char *const *filters, size_t n_filters, ListRecordsFn records)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        MetaListOut out CLEANUP(meta_list_out_done) = {.field = 1};
        Filter *filter CLEANUP(filter_freep) = NULL;
        const char *ns;
        size_t n;
        int r;

        r = call_namespace(c, &ns);
        if (r == 0)
                r = filter_parse(filters, n_filters, &filter, c->err);
        if (r == 0)
                r = meta_begin_ro(c->ctx, &txn, c->arena, c->err);
        if (r == 0)
                r = records(&txn, ns, filter, meta_list_append, &out);
        if (r < 0)
                return r;
        n = out.bytes.len;
        call_reply_take(c, str_steal(&out.bytes), n);
        return 0;
}
