/* SPDX-License-Identifier: Apache-2.0 */
#include "services/diff.h"

#include "api/containerd/services/diff/v1/diff.pb-c.h"
#include "base/fd.h"
#include "diff/apply.h"
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

/* Payloads are for external stream processors, of which there are none. */
static int apply(Call *c, const Diff__ApplyRequest *req, Diff__ApplyResponse *rsp)
{
        DiffService *s = c->ctx;
        MountList mounts = mounts_from_pb(c->arena, req->mounts, req->n_mounts);
        int blob CLEANUP(cleanup_fd) = -1;
        DiffApply job = {
                .media_type = req->diff ? req->diff->media_type : "",
                .mounts = mounts.v,
                .n_mounts = mounts.n,
                .sync_fs = req->sync_fs,
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
        if (r == 0)
                r = open_blob(c, ns, req->diff ? req->diff->digest : "", &blob, c->err);
        if (r < 0)
                return r;
        job.blob_fd = blob;
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

static int diff(Call *c, const Diff__DiffRequest *req, Diff__DiffResponse *rsp)
{
        return err_set(c->err, UNIMPLEMENTED, "method Diff not implemented");
}

static const RpcMethod methods[] = {
        RPC_UNARY_METHOD("Apply", apply, diff__apply_request, diff__apply_response),
        RPC_UNARY_METHOD("Diff", diff, diff__diff_request, diff__diff_response),
};

const RpcService diff_service = RPC_SERVICE("containerd.services.diff.v1.Diff", methods);
