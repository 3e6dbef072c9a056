/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content.Write: a conversation, one answer for each message, until a commit or the client ends it.
 * The first message names the ref; total and expected of any message hold for the rest of the
 * session. A client that goes away leaves its ingest, and may resume it.
 */
#include "api/google/protobuf/timestamp.pb-c.h"
#include "base/mem.h"
#include "services/content_priv.h"

typedef struct Writer {
        MetaCaller who; /* the call's strings */
        Ingest *in;
        char *ref, *expected;
        int64_t total;
        int has_stat; /* a STAT was answered: later answers repeat its times and total */
        int64_t stat_total;
        Time stat_started, stat_updated;
} Writer;

static int write_open(Call *c)
{
        Writer *w = c->state = mem_new(Writer);

        return content_caller(c, &w->who) < 0 ? -c->err->code : RPC_MORE;
}

static void write_close(Call *c)
{
        Writer *w = c->state;

        if (!w)
                return;
        ingest_close(w->in);
        free(w->ref);
        free(w->expected);
        free(w);
        c->state = NULL;
}

static int start(Call *c, Writer *w, const Content__WriteContentRequest *req)
{
        IngestSpec spec = {
                .who = w->who, .ref = req->ref, .expected = req->expected, .total = req->total};

        if (!*req->ref)
                return err_set(c->err, INVALID_ARGUMENT, "first message must have a reference");
        w->ref = mem_strdup(req->ref);
        return ingest_open(c->ctx, &spec, c->step, &w->in, c->err);
}

/* The namespace may have got the blob since the last message. Then the ingest is of no use to
 * anybody. */
static int check_expected(Call *c, Writer *w, const Content__WriteContentRequest *req)
{
        int exists, r;
        Err ignored;

        if (!*req->expected)
                return 0;
        free(w->expected);
        w->expected = mem_strdup(req->expected);
        r = ingest_exists(w->in, c->step, w->expected, &exists, c->err);
        if (r < 0 || !exists)
                return r;
        w->in = ingest_close(w->in);
        ingests_abort(c->ctx, &w->who, c->step, w->ref, &ignored);
        return err_set(c->err, ALREADY_EXISTS, "blob with expected digest %s exists", w->expected);
}

static int write_data(Call *c, Writer *w, const Content__WriteContentRequest *req)
{
        int64_t offset = ingest_offset(w->in);
        int r;

        if (req->offset > 0 && req->offset != offset)
                return err_set(c->err, OUT_OF_RANGE,
                               "write @%lld must occur at current offset %lld",
                               (long long)req->offset, (long long)offset);
        if (req->offset < 0)
                return err_set(c->err, INVALID_ARGUMENT,
                               "write at negative offset %lld: invalid argument",
                               (long long)req->offset);
        if (req->offset == 0 && offset > 0) {
                r = ingest_truncate(w->in, c->err);
                if (r < 0)
                        return r;
        }
        return ingest_write(w->in, req->data.data, req->data.len, c->err);
}

static int commit(Call *c, Writer *w, const Content__WriteContentRequest *req, Digest *ret)
{
        IngestCommit what = {
                .size = w->total,
                .expected = w->expected,
                .labels = (Content__Info__LabelsEntry **)(void *)req->labels,
                .n_labels = req->n_labels,
        };

        return ingest_commit(w->in, c->step, &what, ret, c->err);
}

static int answer(Call *c, Writer *w, const Content__WriteContentRequest *req, int64_t offset,
                  const Digest *d)
{
        Content__WriteContentResponse rsp = CONTENT__WRITE_CONTENT_RESPONSE__INIT;

        rsp.action = req->action;
        rsp.offset = offset;
        rsp.digest = d->text;
        if (w->has_stat) {
                rsp.started_at = time_to_pb(c->step, w->stat_started);
                rsp.updated_at = time_to_pb(c->step, w->stat_updated);
                rsp.total = w->stat_total;
        }
        return call_send(c, &rsp.base);
}

static int write_message(Call *c, const void *msg)
{
        const Content__WriteContentRequest *req = msg;
        Writer *w = c->state;
        ContentStatus st;
        int64_t offset;
        Digest d;
        int r;

        if (!w->in) {
                r = start(c, w, req);
                if (r < 0)
                        return r;
        }
        r = check_expected(c, w, req);
        if (r < 0)
                return r;
        if (req->total > 0)
                w->total = req->total;

        if (req->action == CONTENT__WRITE_ACTION__STAT) {
                ingest_status(w->in, &st);
                w->has_stat = 1;
                w->stat_started = st.started;
                w->stat_updated = st.updated;
                w->stat_total = w->total;
        } else {
                r = write_data(c, w, req);
                if (r < 0)
                        return r;
        }
        offset = ingest_offset(w->in);
        if (req->action == CONTENT__WRITE_ACTION__COMMIT) {
                r = commit(c, w, req, &d);
                if (r < 0)
                        return r;
        } else {
                ingest_digest(w->in, &d);
        }
        r = answer(c, w, req, offset, &d);
        if (r < 0)
                return r;
        return req->action == CONTENT__WRITE_ACTION__COMMIT ? 0 : RPC_MORE;
}

const RpcStreamOps content_write_ops = {
        .open = write_open,
        .message = write_message,
        .close = write_close,
};
