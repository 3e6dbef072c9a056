// SPDX-License-Identifier: Apache-2.0
/*
 * snapshots diff. What is not being written is compared through views, made for that and removed
 * again; a lease holds them and the layer until it has been printed.
 */
#include "api/containerd/services/diff/v1/diff.pb-c.h"
#include "api/containerd/services/snapshots/v1/snapshots.pb-c.h"
#include "api/containerd/types/types.pb-c.h"
#include "base/hash.h"
#include "client/blob.h"
#include "cmd/lighter/commands.h"
#include "cmd/lighter/lease.h"
#include "cmd/lighter/unpack.h"

enum { ACTIVE = 2 };

typedef struct Side {
        Cli *cli;
        const char *snapshotter;
        const char *view; /* to be removed; NULL: none */
        Types__Mount **mounts;
        size_t n_mounts;
} Side;

static void side_done(Side *s)
{
        Snapshots__RemoveSnapshotRequest req = SNAPSHOTS__REMOVE_SNAPSHOT_REQUEST__INIT;
        Err err = {};

        if (!s->view)
                return;
        req.snapshotter = s->snapshotter;
        req.key = s->view;
        if (client_call_empty(s->cli->client, SVC_SNAPSHOTS "Remove", &req, &err) < 0)
                cli_warn("view %s stays: %s", s->view, err.msg);
}

static int side_view(Side *s, const char *parent, const char *what, Err *err)
{
        Snapshots__ViewSnapshotRequest req = SNAPSHOTS__VIEW_SNAPSHOT_REQUEST__INIT;
        Snapshots__ViewSnapshotResponse *rsp;
        char name[9];
        int r;

        random_name(name, sizeof(name) - 1);
        req.snapshotter = s->snapshotter;
        req.key = arena_printf(&s->cli->arena, "%s-%s-%s", parent, what, name);
        req.parent = parent;
        r = client_call(s->cli->client, &s->cli->arena, SVC_SNAPSHOTS "View", &req,
                        snapshots__view_snapshot_response, &rsp, err);
        if (r < 0)
                return r;
        s->view = req.key;
        s->mounts = rsp->mounts;
        s->n_mounts = rsp->n_mounts;
        return 0;
}

/* The mounts of one that is being written, a view of any other. */
static int side_open(Side *s, const Snapshots__Info *info, Err *err)
{
        Snapshots__MountsRequest req = SNAPSHOTS__MOUNTS_REQUEST__INIT;
        Snapshots__MountsResponse *rsp;
        int r;

        if ((int)info->kind != ACTIVE)
                return side_view(s, info->name, "view", err);
        req.snapshotter = s->snapshotter;
        req.key = info->name;
        r = client_call(s->cli->client, &s->cli->arena, SVC_SNAPSHOTS "Mounts", &req,
                        snapshots__mounts_response, &rsp, err);
        if (r < 0)
                return r;
        s->mounts = rsp->mounts;
        s->n_mounts = rsp->n_mounts;
        return 0;
}

static int stat_snapshot(Side *s, const char *key, Snapshots__Info **ret, Err *err)
{
        Snapshots__StatSnapshotRequest req = SNAPSHOTS__STAT_SNAPSHOT_REQUEST__INIT;
        Snapshots__StatSnapshotResponse *rsp;
        int r;

        req.snapshotter = s->snapshotter;
        req.key = key;
        r = client_call(s->cli->client, &s->cli->arena, SVC_SNAPSHOTS "Stat", &req,
                        snapshots__stat_snapshot_response, &rsp, err);
        if (r == 0 && !rsp->info)
                r = err_set(err, INTERNAL, "the daemon said nothing about snapshot %s", key);
        if (r == 0)
                *ret = rsp->info;
        return r;
}

/* One name: the snapshot against its parent. Two: the second against the first. */
static int open_sides(Side *lower, Side *upper, const Args *args, Err *err)
{
        const char *other = args_arg(args, 1);
        Snapshots__Info *a = NULL, *b = NULL;
        int r = stat_snapshot(lower, args_arg(args, 0), &a, err);

        if (r == 0 && *other)
                r = stat_snapshot(lower, other, &b, err);
        if (r < 0)
                return r;
        r = b ? side_open(lower, a, err) : side_view(lower, a->parent, "parent-view", err);
        return r < 0 ? r : side_open(upper, b ? b : a, err);
}

static char **all_labels(Cli *cli, const Args *args, size_t *ret_n)
{
        const char **given = flag_list(&cli->arena, args, "label", ret_n);
        char **v = arena_array(&cli->arena, char *, *ret_n + 1), buf[TIME_TEXT_MAX];
        Time now = {.sec = time_now().sec};

        memcpy(v, given, *ret_n * sizeof(*v));
        if (args_bool(args, "keep"))
                v[(*ret_n)++] = arena_printf(&cli->arena, "containerd.io/gc.root=%s",
                                             time_format(now, buf));
        return v;
}

/* Times of the layer are not later than this variable says. https://reproducible-builds.org */
static int source_date_epoch(Google__Protobuf__Timestamp *ret, Err *err)
{
        const char *text = getenv("SOURCE_DATE_EPOCH");

        if (str_empty(text))
                return 0;
        if (str_to_i64(text, &ret->seconds) < 0)
                return err_set(err, INVALID_ARGUMENT,
                               "SOURCE_DATE_EPOCH is no number of seconds: \"%s\"", text);
        return 1;
}

static int write_out(void *ctx, const void *p, size_t n, Err *err)
{
        cli_raw(p, n);
        return ferror(stdout) ? cli_flush(err) : 0;
}

static int compare(Cli *cli, const Args *args, const char *snapshotter, Err *err)
{
        Side lower CLEANUP(side_done) = {.cli = cli, .snapshotter = snapshotter};
        Side upper CLEANUP(side_done) = {.cli = cli, .snapshotter = snapshotter};
        Google__Protobuf__Timestamp epoch = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
        Diff__DiffRequest req = DIFF__DIFF_REQUEST__INIT;
        Diff__DiffResponse *rsp;
        char **labels = all_labels(cli, args, &req.n_labels);
        int r = source_date_epoch(&epoch, err);

        if (r == 1)
                req.source_date_epoch = &epoch;
        if (r >= 0)
                r = open_sides(&lower, &upper, args, err);
        if (r < 0)
                return r;
        req.left = lower.mounts;
        req.n_left = lower.n_mounts;
        req.right = upper.mounts;
        req.n_right = upper.n_mounts;
        req.media_type = args_str(args, "media-type");
        req.ref = args_str(args, "ref");
        req.labels = labels_parse(&cli->arena, &diff__diff_request__labels_entry__descriptor,
                                  labels, req.n_labels);
        r = client_call(cli->client, &cli->arena, SVC_DIFF "Diff", &req, diff__diff_response, &rsp,
                        err);
        if (r == 0 && !rsp->diff)
                r = err_set(err, INTERNAL, "the daemon sent no descriptor of the layer");
        return r < 0 ? r : blob_read(cli->client, rsp->diff->digest, write_out, NULL, err);
}

int cmd_snapshots_diff(Cli *cli, const Args *args, Err *err)
{
        Lease lease CLEANUP(lease_release) = {};
        const char *snapshotter;
        int r;

        r = cli_need_args(args, 1, "snapshot id", err);
        if (r == 0)
                r = cli_connect(cli, err);
        if (r == 0)
                r = snapshotter_name(cli, args, &snapshotter, err);
        if (r == 0)
                r = lease_hold(cli, &lease, err);
        return r < 0 ? r : compare(cli, args, snapshotter, err);
}
