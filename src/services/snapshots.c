/* SPDX-License-Identifier: Apache-2.0 */
/* The snapshots service: requests into calls of metadata/snapshots.h, answers out of them. */
#include "services/snapshots.h"

#include "api/google/protobuf/empty.pb-c.h"
#include "base/mem.h"
#include "mount/mount_pb.h"
#include "rpc/message.h"
#include "services/blocks.h"

static int caller(Call *c, MetaCaller *ret)
{
        ret->lease = c->lease;
        return call_namespace(c, &ret->ns);
}

static void answer_mounts(Call *c, const MountList *l, Types__Mount ***ret, size_t *ret_n)
{
        *ret = mounts_to_pb(c->arena, l);
        *ret_n = l->n;
}

static int prepare_any(Call *c, const SnapshotsPrepare *what, Types__Mount ***ret, size_t *ret_n)
{
        MetaCaller who;
        MountList l;
        int r;

        r = caller(c, &who);
        if (r == 0)
                r = snapshots_prepare(c->ctx, &who, c->arena, what, &l, c->err);
        if (r == 0)
                answer_mounts(c, &l, ret, ret_n);
        return r;
}

static int prepare(Call *c, const Snapshots__PrepareSnapshotRequest *req,
                   Snapshots__PrepareSnapshotResponse *rsp)
{
        SnapshotsPrepare what = {
                .kind = SNAPSHOT_ACTIVE,
                .snapshotter = req->snapshotter,
                .key = req->key,
                .parent = req->parent,
                .labels = (Snapshots__Info__LabelsEntry **)(void *)req->labels,
                .n_labels = req->n_labels,
        };

        return prepare_any(c, &what, &rsp->mounts, &rsp->n_mounts);
}

static int view(Call *c, const Snapshots__ViewSnapshotRequest *req,
                Snapshots__ViewSnapshotResponse *rsp)
{
        SnapshotsPrepare what = {
                .kind = SNAPSHOT_VIEW,
                .snapshotter = req->snapshotter,
                .key = req->key,
                .parent = req->parent,
                .labels = (Snapshots__Info__LabelsEntry **)(void *)req->labels,
                .n_labels = req->n_labels,
        };

        return prepare_any(c, &what, &rsp->mounts, &rsp->n_mounts);
}

static int mounts(Call *c, const Snapshots__MountsRequest *req, Snapshots__MountsResponse *rsp)
{
        MetaCaller who;
        MountList l;
        int r;

        r = caller(c, &who);
        if (r == 0)
                r = snapshots_mounts(c->ctx, who.ns, c->arena, req->snapshotter, req->key, &l,
                                     c->err);
        if (r == 0)
                answer_mounts(c, &l, &rsp->mounts, &rsp->n_mounts);
        return r;
}

static int commit(Call *c, const Snapshots__CommitSnapshotRequest *req, void *rsp)
{
        SnapshotsCommit what = {
                .snapshotter = req->snapshotter,
                .name = req->name,
                .key = req->key,
                .parent = req->parent,
                .labels = (Snapshots__Info__LabelsEntry **)(void *)req->labels,
                .n_labels = req->n_labels,
        };
        MetaCaller who;
        int r;

        r = caller(c, &who);
        return r < 0 ? r : snapshots_commit(c->ctx, &who, c->arena, &what, c->err);
}

static int remove_snapshot(Call *c, const Snapshots__RemoveSnapshotRequest *req, void *rsp)
{
        MetaCaller who;
        int r;

        r = caller(c, &who);
        return r < 0 ? r
                     : snapshots_remove(c->ctx, &who, c->arena, req->snapshotter, req->key, c->err);
}

static int stat_snapshot(Call *c, const Snapshots__StatSnapshotRequest *req,
                         Snapshots__StatSnapshotResponse *rsp)
{
        MetaCaller who;
        int r;

        r = caller(c, &who);
        return r < 0 ? r
                     : snapshots_stat(c->ctx, who.ns, c->arena, req->snapshotter, req->key,
                                      &rsp->info, c->err);
}

static int update(Call *c, const Snapshots__UpdateSnapshotRequest *req,
                  Snapshots__UpdateSnapshotResponse *rsp)
{
        MetaCaller who;
        int r;

        r = caller(c, &who);
        if (r < 0)
                return r;
        if (!req->info)
                return err_set(c->err, INVALID_ARGUMENT, "info is required: invalid argument");
        return snapshots_update(
                c->ctx, who.ns, c->arena, req->snapshotter, req->info,
                req->update_mask ? (const char *const *)req->update_mask->paths : NULL,
                req->update_mask ? req->update_mask->n_paths : 0, &rsp->info, c->err);
}

static int usage(Call *c, const Snapshots__UsageRequest *req, Snapshots__UsageResponse *rsp)
{
        SnapshotUsage u;
        MetaCaller who;
        int r;

        r = caller(c, &who);
        if (r == 0)
                r = snapshots_usage(c->ctx, who.ns, c->arena, req->snapshotter, req->key, &u,
                                    c->err);
        if (r < 0)
                return r;
        rsp->size = u.size;
        rsp->inodes = u.inodes;
        return 0;
}

static int cleanup(Call *c, const Snapshots__CleanupRequest *req, void *rsp)
{
        MetaCaller who;
        int r;

        r = caller(c, &who);
        if (r < 0)
                return r;
        if (!snapshots_find(c->ctx, req->snapshotter))
                return err_set(c->err, INVALID_ARGUMENT,
                               "snapshotter not loaded: %s: invalid argument", req->snapshotter);
        return err_set(c->err, UNIMPLEMENTED,
                       "snapshotter does not implement Cleanup method: not implemented");
}

static int list_add(void *ctx, const Snapshots__Info *info, Err *err)
{
        size_t n;
        void *bytes CLEANUP(cleanup_free) = message_pack(NULL, info, &n);

        return blocks_add(ctx, (DbVal){.data = bytes, .n = n});
}

static int list_message(Call *c, const void *msg)
{
        const Snapshots__ListSnapshotsRequest *req = msg;
        MetaCaller who;
        int r;

        if (c->state)
                return err_set(c->err, INTERNAL, "List takes one message");
        r = caller(c, &who);
        if (r < 0)
                return r;
        c->state = blocks_new(1);
        r = snapshots_list(c->ctx, who.ns, req->snapshotter, (const char *const *)req->filters,
                           req->n_filters, list_add, c->state, c->err);
        blocks_end(c->state);
        return r < 0 ? r : RPC_MORE;
}

static const RpcStreamOps list_ops = {
        .message = list_message,
        .writable = blocks_writable,
        .close = blocks_close,
};

static const RpcMethod methods[] = {
        RPC_UNARY_METHOD("Prepare", prepare, snapshots__prepare_snapshot_request,
                         snapshots__prepare_snapshot_response),
        RPC_UNARY_METHOD("View", view, snapshots__view_snapshot_request,
                         snapshots__view_snapshot_response),
        RPC_UNARY_METHOD("Mounts", mounts, snapshots__mounts_request, snapshots__mounts_response),
        RPC_UNARY_METHOD("Commit", commit, snapshots__commit_snapshot_request,
                         google__protobuf__empty),
        RPC_UNARY_METHOD("Remove", remove_snapshot, snapshots__remove_snapshot_request,
                         google__protobuf__empty),
        RPC_UNARY_METHOD("Stat", stat_snapshot, snapshots__stat_snapshot_request,
                         snapshots__stat_snapshot_response),
        RPC_UNARY_METHOD("Update", update, snapshots__update_snapshot_request,
                         snapshots__update_snapshot_response),
        RPC_STREAM_METHOD("List", &list_ops, snapshots__list_snapshots_request,
                          snapshots__list_snapshots_response, RPC_SERVER_STREAMS),
        RPC_UNARY_METHOD("Usage", usage, snapshots__usage_request, snapshots__usage_response),
        RPC_UNARY_METHOD("Cleanup", cleanup, snapshots__cleanup_request, google__protobuf__empty),
};

const RpcService snapshots_service =
        RPC_SERVICE("containerd.services.snapshots.v1.Snapshots", methods);
