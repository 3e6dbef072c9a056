/* SPDX-License-Identifier: Apache-2.0 */
#include "services/diff.h"

#include "api/containerd/services/diff/v1/diff.pb-c.h"
#include "base/fd.h"
#include "base/hash.h"
#include "diff/apply.h"
#include "diff/compare.h"
#include "mount/mount_pb.h"

static int cancelled(void *ctx)
{
        return call_cancelled(ctx);
}

static int open_blob(Call *c, const char *ns, const char *digest, int *ret, Err *err)
{
        DiffService *s = c->ctx;
        uint64_t size;
        int r = blobs_open(s->blobs, ns, c->arena, digest, ret, &size, err);

        if (r == -NOT_FOUND)
                return err_set(
                        err, NOT_FOUND,
                        "failed to get reader from content store: content digest %s: not found",
                        digest);
        return r < 0 ? err_wrap(err, "failed to get reader from content store") : 0;
}

static DiffPayload *payloads_of(Arena *a, const Diff__ApplyRequest *req)
{
        DiffPayload *v = arena_array(a, DiffPayload, req->n_payloads);

        for (size_t i = 0; i < req->n_payloads; i++) {
                Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
                const ProtobufCMessage *m =
                        req->payloads[i]->value ? &req->payloads[i]->value->base : &any.base;
                uint8_t *bytes = arena_alloc(a, protobuf_c_message_get_packed_size(m) + 1);

                v[i].id = req->payloads[i]->key;
                v[i].n = protobuf_c_message_pack(m, bytes);
                v[i].bytes = bytes;
        }
        return v;
}

/* What mount(2) does not do of them is done for as long as the call lasts. */
static int hold(Call *c, MountList *mounts, MountsHold *ret)
{
        DiffService *s = c->ctx;
        const MountsActivate what = {.mounts = *mounts};
        const char *ns;
        int r;

        if (!mounts_wanted(s->mounts, &what))
                return 0;
        r = call_namespace(c, &ns);
        return r < 0 ? r : mounts_hold(s->mounts, ns, c->arena, mounts, ret, c->err);
}

static int apply(Call *c, const Diff__ApplyRequest *req, Diff__ApplyResponse *rsp)
{
        DiffService *s = c->ctx;
        MountsHold held CLEANUP(mounts_hold_done) = {};
        MountList mounts = mounts_from_pb(c->arena, req->mounts, req->n_mounts);
        int blob CLEANUP(cleanup_fd) = -1;
        DiffApply job = {
                .sync_fs = req->sync_fs,
                .processors = s->config->processors,
                .n_processors = s->config->n_processors,
                .payloads = payloads_of(c->arena, req),
                .n_payloads = req->n_payloads,
                .tmp_root = s->tmp_root,
                .deadline_ns = c->deadline_ns,
                .cancelled = cancelled,
                .ctx = c,
        };
        DiffApplied applied;
        Types__Descriptor *d;
        const char *ns;
        int r;

        r = call_namespace(c, &ns);
        if (r == 0 && !req->diff)
                r = err_set(c->err, INVALID_ARGUMENT, "diff must be set: invalid argument");
        if (r < 0)
                return r;
        job.media_type = req->diff->media_type;
        r = open_blob(c, ns, req->diff->digest, &blob, c->err);
        if (r == 0)
                r = hold(c, &mounts, &held);
        if (r < 0)
                return r;
        job.blob_fd = blob;
        job.mounts = mounts.v;
        job.n_mounts = mounts.n;
        r = diff_apply(&job, &applied, c->err);
        if (r < 0)
                return r;

        d = arena_new(c->arena, Types__Descriptor);
        types__descriptor__init(d);
        d->media_type = applied.media_type;
        d->digest = arena_strdup(c->arena, applied.digest.text);
        d->size = (int64_t)applied.size;
        rsp->applied = d;
        return 0;
}

/* ---- Diff ---- */

#define LABEL_UNCOMPRESSED "containerd.io/uncompressed"

/* A layer on its way into the content store. */
typedef struct Making {
        Call *call;
        DiffService *service;
        const Diff__DiffRequest *req;
        const char *ref;
        MetaCaller who;
        Ingest *ingest;
        Types__Descriptor *ret;
} Making;

static int making_begin(void *ctx, Err *err)
{
        Making *m = ctx;
        IngestSpec spec = {.who = m->who, .ref = m->ref};
        int r = call_namespace(m->call, &spec.who.ns);

        if (r == 0) {
                m->who = spec.who;
                r = ingest_open(m->service->blobs, &spec, m->call->arena, &m->ingest, err);
        }
        if (r < 0)
                return err_wrap(err, "failed to open writer");
        /* What an earlier call has left under the same reference is no beginning of this one. */
        return ingest_offset(m->ingest) > 0 ? ingest_truncate(m->ingest, err) : 0;
}

static int making_write(void *ctx, const void *p, size_t n, Err *err)
{
        Making *m = ctx;

        return ingest_write(m->ingest, p, n, err);
}

/* A blob that was there keeps its labels, but learns what it is when unpacked. */
static int complete_labels(Making *m, const Digest *blob, const char *diff_id, Err *err)
{
        const char *ns = m->who.ns, *path = "labels." LABEL_UNCOMPRESSED;
        Arena *a = m->call->arena;
        Content__Info *info;
        int r = blobs_info(m->service->blobs, ns, a, blob->text, &info, err);

        if (r < 0)
                return err_wrap(err, "failed to get info from content store");
        if (!*diff_id || labels_find(info->labels, info->n_labels, LABEL_UNCOMPRESSED))
                return 0;
        labels_set(a, &info->labels, &info->n_labels, &content__info__labels_entry__descriptor,
                   LABEL_UNCOMPRESSED, diff_id);
        r = blobs_update(m->service->blobs, ns, a, info, &path, 1, &info, err);
        return r < 0 ? err_wrap(err, "error setting uncompressed label") : 0;
}

static int making_finish(void *ctx, const DiffCompared *what, Err *err)
{
        Making *m = ctx;
        Arena *a = m->call->arena;
        IngestCommit commit = {
                .labels = (Content__Info__LabelsEntry **)m->req->labels,
                .n_labels = m->req->n_labels,
        };
        Digest digest;
        int r;

        if (what->diff_id.text[0])
                labels_set(a, &commit.labels, &commit.n_labels,
                           &content__info__labels_entry__descriptor, LABEL_UNCOMPRESSED,
                           what->diff_id.text);
        r = ingest_commit(m->ingest, a, &commit, &digest, err);
        if (r == -ALREADY_EXISTS) {
                err_clear(err);
                r = complete_labels(m, &digest, what->diff_id.text, err);
        } else if (r < 0) {
                err_wrap(err, "failed to commit");
        }
        if (r < 0)
                return r;
        m->ret->digest = arena_strdup(a, digest.text);
        m->ret->size = (int64_t)what->size;
        return 0;
}

/* A reference of our own is of no use to anybody else. */
static void making_end(Making *m, int failed)
{
        int ours = m->ingest && m->ref != m->req->ref;
        Err ignored;

        m->ingest = ingest_close(m->ingest);
        if (failed && ours)
                ingests_abort(m->service->blobs, &m->who, m->call->arena, m->ref, &ignored);
}

static const char *unique_ref(Arena *a)
{
        Time now = time_now();
        char name[9];

        random_name(name, sizeof(name) - 1);
        return arena_printf(a, DIFF_REF_PREFIX "%lld-%s",
                            (long long)now.sec * (long long)NS_PER_SEC + now.nsec, name);
}

/* "NS/1/diff-<19 digits>-<8 letters>", and nothing else that a client may have named so. */
static int is_unique(const char *ref)
{
        static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
        const char *name = strchr(ref, '/');

        name = name ? strchr(name + 1, '/') : NULL;
        if (!name || !str_starts(name + 1, DIFF_REF_PREFIX))
                return 0;
        name += 1 + strlen(DIFF_REF_PREFIX);
        return strspn(name, "0123456789") == 19 && name[19] == '-' &&
               strspn(name + 20, letters) == 8 && !name[28];
}

int diff_service_cleanup(ContentStore *store, Err *err)
{
        Arena a CLEANUP(arena_done);
        ContentStatus *found;
        size_t n;
        int r;

        arena_init(&a, SIZE_MAX);
        r = content_statuses(store, &a, "", &found, &n, err);
        for (size_t i = 0; r == 0 && i < n; i++)
                if (is_unique(found[i].ref))
                        r = content_abort(store, found[i].ref, err);
        return r;
}

static int diff(Call *c, const Diff__DiffRequest *req, Diff__DiffResponse *rsp)
{
        DiffService *s = c->ctx;
        MountsHold held_lower CLEANUP(mounts_hold_done) = {};
        MountsHold held_upper CLEANUP(mounts_hold_done) = {};
        MountList lower = mounts_from_pb(c->arena, req->left, req->n_left);
        MountList upper = mounts_from_pb(c->arena, req->right, req->n_right);
        Making m = {
                .call = c,
                .service = s,
                .req = req,
                .ref = str_empty(req->ref) ? unique_ref(c->arena) : req->ref,
                .who.lease = c->lease,
                .ret = arena_new(c->arena, Types__Descriptor),
        };
        DiffCompare job = {
                .bounded = req->source_date_epoch != NULL,
                .bound = time_from_pb(req->source_date_epoch),
                .sink = {making_begin, making_write, making_finish, &m},
                .tmp_root = s->tmp_root,
                .deadline_ns = c->deadline_ns,
                .cancelled = cancelled,
                .ctx = c,
        };
        int r;

        if (job.bounded && (job.bound.nsec < 0 || job.bound.nsec >= (int32_t)NS_PER_SEC))
                return err_set(c->err, INVALID_ARGUMENT,
                               "source_date_epoch has %d nanoseconds: invalid argument",
                               job.bound.nsec);
        types__descriptor__init(m.ret);
        r = diff_format(req->media_type, &job.format, &m.ret->media_type, c->err);
        if (r == 0)
                r = hold(c, &lower, &held_lower);
        if (r == 0)
                r = hold(c, &upper, &held_upper);
        if (r < 0)
                return r;
        job.lower = lower.v;
        job.n_lower = lower.n;
        job.upper = upper.v;
        job.n_upper = upper.n;
        r = diff_compare(&job, c->err);
        making_end(&m, r < 0);
        if (r == 0)
                rsp->diff = m.ret;
        return r;
}

static const RpcMethod methods[] = {
        RPC_UNARY_METHOD("Apply", apply, diff__apply_request, diff__apply_response),
        RPC_UNARY_METHOD("Diff", diff, diff__diff_request, diff__diff_response),
};

const RpcService diff_service = RPC_SERVICE("containerd.services.diff.v1.Diff", methods);
