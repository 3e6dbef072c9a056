// SPDX-License-Identifier: Apache-2.0
#include "api/containerd/services/snapshots/v1/snapshots.pb-c.h"
#include "api/containerd/types/types.pb-c.h"
#include "base/map.h"
#include "cmd/lighter/cli.h"
#include "cmd/lighter/commands.h"
#include "cmd/lighter/unpack.h"

typedef VEC(const Snapshots__Info *) SnapshotInfos;

static const char *kind_text(int kind)
{
        static const char *const names[] = {"Unknown", "View", "Active", "Committed"};

        return kind >= 0 && kind < (int)ARRAY_LEN(names) ? names[kind] : "Unknown";
}

/* Connects, finds the snapshotter's name and reads its snapshots into the arena. */
static int list(Cli *cli, const Args *args, char **filters, size_t n_filters, SnapshotInfos *ret,
                Err *err)
{
        Snapshots__ListSnapshotsRequest req = SNAPSHOTS__LIST_SNAPSHOTS_REQUEST__INIT;
        GrpcCall *s CLEANUP(grpc_call_freep) = NULL;
        Snapshots__ListSnapshotsResponse *rsp;
        int r;

        r = cli_connect(cli, err);
        if (r == 0)
                r = snapshotter_name(cli, args, &req.snapshotter, err);
        if (r < 0)
                return r;
        req.filters = (const char **)filters;
        req.n_filters = n_filters;
        s = client_begin(cli->client, SVC_SNAPSHOTS "List", &req,
                         snapshots__list_snapshots_response);
        while ((r = grpc_call_recv(s, &cli->arena, (void **)&rsp, err)) > 0)
                for (size_t i = 0; i < rsp->n_info; i++)
                        VEC_PUSH(ret, rsp->info[i]);
        return r;
}

int cmd_snapshots_list(Cli *cli, const Args *args, Err *err)
{
        Table t CLEANUP(table_done) = TABLE(1, 8, 1, ' ');
        SnapshotInfos infos = {};
        int r;

        r = list(cli, args, args->v, (size_t)args->n, &infos, err);
        t.escape = cli->out_tty;
        TABLE_ROW(&t, "KEY", "PARENT", "KIND", "");
        VEC_FOREACH (info, &infos)
                TABLE_ROW(&t, (*info)->name, (*info)->parent, kind_text((int)(*info)->kind), "");
        if (r == 0)
                cli_table(cli, &t);
        VEC_DONE(&infos);
        return r;
}

typedef struct Tree {
        const Cli *cli;
        SnapshotInfos *infos;
        Map seen;
} Tree;

/* The children of parent; what was printed is not printed again, so that no loop of parents runs
 * for ever. */
static void print_children(Tree *t, const char *parent, int depth)
{
        VEC_FOREACH (info, t->infos) {
                if (!str_eq((*info)->parent, parent) || map_find(&t->seen, (*info)->name))
                        continue;
                map_put(&t->seen, (*info)->name, t);
                if (depth == 0)
                        cli_printf(t->cli, " %s", (*info)->name);
                else
                        cli_printf(t->cli, "%*s\\_ %s", depth * 2, "", (*info)->name);
                print_children(t, (*info)->name, depth + 1);
        }
}

int cmd_snapshots_tree(Cli *cli, const Args *args, Err *err)
{
        SnapshotInfos infos = {};
        Tree t = {.cli = cli, .infos = &infos};
        int r;

        r = list(cli, args, NULL, 0, &infos, err);
        if (r == 0)
                print_children(&t, "", 0);
        map_done(&t.seen);
        VEC_DONE(&infos);
        return r;
}

static int stat_snapshot(Cli *cli, const char *snapshotter, const char *key, Snapshots__Info **ret,
                         Err *err)
{
        Snapshots__StatSnapshotRequest req = SNAPSHOTS__STAT_SNAPSHOT_REQUEST__INIT;
        Snapshots__StatSnapshotResponse *rsp;
        int r;

        req.snapshotter = snapshotter;
        req.key = key;
        r = client_call(cli->client, &cli->arena, SVC_SNAPSHOTS "Stat", &req,
                        snapshots__stat_snapshot_response, &rsp, err);
        if (r < 0)
                return r;
        if (!rsp->info)
                return err_set(err, INTERNAL, "the daemon said nothing about snapshot %s", key);
        *ret = rsp->info;
        return 0;
}

/* The beginning of most commands here: arguments, connection, snapshotter. */
static int begin(Cli *cli, const Args *args, int need, const char *what,
                 const char **ret_snapshotter, Err *err)
{
        int r;

        r = cli_need_args(args, need, what, err);
        if (r == 0)
                r = cli_connect(cli, err);
        if (r == 0)
                r = snapshotter_name(cli, args, ret_snapshotter, err);
        return r;
}

int cmd_snapshots_info(Cli *cli, const Args *args, Err *err)
{
        const char *snapshotter;
        Snapshots__Info *i = NULL;
        char created[TIME_TEXT_MAX], updated[TIME_TEXT_MAX];
        int r;

        r = begin(cli, args, 1, "key", &snapshotter, err);
        if (r == 0)
                r = stat_snapshot(cli, snapshotter, args_arg(args, 0), &i, err);
        if (r < 0)
                return r;
        cli_json(cli, json_pack("{s:s, s:s*, s:s*, s:o*, s:s, s:s}", "Kind",
                                kind_text((int)i->kind), "Name", i->name, "Parent", i->parent,
                                "Labels", labels_json(LABELS(i, labels)), "Created",
                                time_format(time_of(i->created_at), created), "Updated",
                                time_format(time_of(i->updated_at), updated)));
        return 0;
}

int cmd_snapshots_delete(Cli *cli, const Args *args, Err *err)
{
        Snapshots__RemoveSnapshotRequest req = SNAPSHOTS__REMOVE_SNAPSHOT_REQUEST__INIT;
        int failed = 0, r;

        r = begin(cli, args, 1, "key", &req.snapshotter, err);
        if (r < 0)
                return r;
        for (int i = 0; i < args->n; i++) {
                Err one = {};

                req.key = args->v[i];
                if (client_call_empty(cli->client, SVC_SNAPSHOTS "Remove", &req, &one) == 0)
                        continue;
                if (failed < 0)
                        cli_warn("%s", err->msg);
                failed = err_copy(err, &one);
                err_wrap(err, "failed to remove \"%s\"", args->v[i]);
        }
        return failed;
}

int cmd_snapshots_usage(Cli *cli, const Args *args, Err *err)
{
        Snapshots__UsageRequest req = SNAPSHOTS__USAGE_REQUEST__INIT;
        Snapshots__UsageResponse *rsp;
        Table t CLEANUP(table_done) = TABLE(1, 8, 1, ' ');
        VEC(const char *) keys = {};
        SnapshotInfos infos = {};
        char size[HUMAN_MAX];
        int r;

        r = begin(cli, args, 0, "", &req.snapshotter, err);
        for (int i = 0; i < args->n; i++)
                VEC_PUSH(&keys, args->v[i]);
        if (r == 0 && args->n == 0)
                r = list(cli, args, NULL, 0, &infos, err);
        VEC_FOREACH (info, &infos)
                VEC_PUSH(&keys, (*info)->name);
        t.escape = cli->out_tty;
        TABLE_ROW(&t, "KEY", "SIZE", "INODES", "");
        for (size_t i = 0; r == 0 && i < keys.n; i++) {
                req.key = keys.v[i];
                r = client_call(cli->client, &cli->arena, SVC_SNAPSHOTS "Usage", &req,
                                snapshots__usage_response, &rsp, err);
                if (r < 0)
                        break;
                table_row(&t);
                table_cell(&t, keys.v[i]);
                if (args_bool(args, "b"))
                        table_cellf(&t, "%lld", (long long)rsp->size);
                else
                        table_cell(&t, human_bytes(rsp->size, size));
                table_cellf(&t, "%lld", (long long)rsp->inodes);
                table_cell(&t, "");
        }
        if (r == 0)
                cli_table(cli, &t);
        VEC_DONE(&keys);
        VEC_DONE(&infos);
        return r;
}

static void print_mounts(const Cli *cli, Types__Mount *const *mounts, size_t n, const char *target)
{
        for (size_t i = 0; i < n; i++) {
                Str options CLEANUP(str_done) = {};

                for (size_t k = 0; k < mounts[i]->n_options; k++)
                        str_addf(&options, "%s%s", k ? "," : "", mounts[i]->options[k]);
                cli_printf(cli, "mount -t %s %s %s -o %s", mounts[i]->type, mounts[i]->source,
                           target, str_get(&options));
        }
}

static void print_mounts_json(const Cli *cli, Types__Mount *const *mounts, size_t n)
{
        json_t *list = json_array();

        for (size_t i = 0; i < n; i++) {
                json_t *options = json_array();

                for (size_t k = 0; k < mounts[i]->n_options; k++)
                        json_array_append_new(options, json_string(mounts[i]->options[k]));
                json_array_append_new(list,
                                      json_pack("{s:s, s:s, s:s, s:o}", "Type", mounts[i]->type,
                                                "Source", mounts[i]->source, "Target",
                                                mounts[i]->target, "Options", options));
        }
        cli_json(cli, list);
}

int cmd_snapshots_mounts(Cli *cli, const Args *args, Err *err)
{
        Snapshots__MountsRequest req = SNAPSHOTS__MOUNTS_REQUEST__INIT;
        Snapshots__MountsResponse *rsp;
        int r;

        r = begin(cli, args, 2, "target and key", &req.snapshotter, err);
        if (r < 0)
                return r;
        req.key = args_arg(args, 1);
        r = client_call(cli->client, &cli->arena, SVC_SNAPSHOTS "Mounts", &req,
                        snapshots__mounts_response, &rsp, err);
        if (r == 0)
                print_mounts(cli, rsp->mounts, rsp->n_mounts, args_arg(args, 0));
        return r;
}

/* Prepare and View have the same messages in all but name. The snapshot is a root for collection,
 * as with ctr: nobody else would hold it. */
static int prepare(Cli *cli, const Args *args, int view, Err *err)
{
        Snapshots__PrepareSnapshotRequest p = SNAPSHOTS__PREPARE_SNAPSHOT_REQUEST__INIT;
        Snapshots__ViewSnapshotRequest v = SNAPSHOTS__VIEW_SNAPSHOT_REQUEST__INIT;
        Snapshots__PrepareSnapshotResponse *prsp = NULL;
        Snapshots__ViewSnapshotResponse *vrsp = NULL;
        char buf[TIME_TEXT_MAX], *label;
        Types__Mount **mounts;
        size_t n;
        int r;

        r = begin(cli, args, 1, "key", &p.snapshotter, err);
        if (r < 0)
                return r;
        label = arena_printf(&cli->arena, "containerd.io/gc.root=%s", time_format(time_now(), buf));
        v.snapshotter = p.snapshotter;
        v.key = p.key = args_arg(args, 0);
        v.parent = p.parent = args_arg(args, 1);
        v.n_labels = p.n_labels = 1;
        p.labels = labels_parse(&cli->arena,
                                &snapshots__prepare_snapshot_request__labels_entry__descriptor,
                                &label, 1);
        v.labels = labels_parse(&cli->arena,
                                &snapshots__view_snapshot_request__labels_entry__descriptor, &label,
                                1);
        if (view)
                r = client_call(cli->client, &cli->arena, SVC_SNAPSHOTS "View", &v,
                                snapshots__view_snapshot_response, &vrsp, err);
        else
                r = client_call(cli->client, &cli->arena, SVC_SNAPSHOTS "Prepare", &p,
                                snapshots__prepare_snapshot_response, &prsp, err);
        if (r < 0)
                return r;
        mounts = view ? vrsp->mounts : prsp->mounts;
        n = view ? vrsp->n_mounts : prsp->n_mounts;
        if (args_given(args, "target"))
                print_mounts(cli, mounts, n, args_str(args, "target"));
        if (args_bool(args, "mounts"))
                print_mounts_json(cli, mounts, n);
        return 0;
}

int cmd_snapshots_prepare(Cli *cli, const Args *args, Err *err)
{
        return prepare(cli, args, 0, err);
}

int cmd_snapshots_view(Cli *cli, const Args *args, Err *err)
{
        return prepare(cli, args, 1, err);
}

int cmd_snapshots_commit(Cli *cli, const Args *args, Err *err)
{
        Snapshots__CommitSnapshotRequest req = SNAPSHOTS__COMMIT_SNAPSHOT_REQUEST__INIT;
        char buf[TIME_TEXT_MAX], *label;
        int r;

        r = begin(cli, args, 2, "key and active snapshot", &req.snapshotter, err);
        if (r < 0)
                return r;
        label = arena_printf(&cli->arena, "containerd.io/gc.root=%s", time_format(time_now(), buf));
        req.name = args_arg(args, 0);
        req.key = args_arg(args, 1);
        req.n_labels = 1;
        req.labels = labels_parse(&cli->arena,
                                  &snapshots__commit_snapshot_request__labels_entry__descriptor,
                                  &label, 1);
        return client_call_empty(cli->client, SVC_SNAPSHOTS "Commit", &req, err);
}

int cmd_snapshots_label(Cli *cli, const Args *args, Err *err)
{
        Snapshots__UpdateSnapshotRequest req = SNAPSHOTS__UPDATE_SNAPSHOT_REQUEST__INIT;
        Snapshots__Info info = SNAPSHOTS__INFO__INIT, *now = NULL;
        Google__Protobuf__FieldMask mask = GOOGLE__PROTOBUF__FIELD_MASK__INIT;
        Snapshots__UpdateSnapshotResponse *rsp;
        int r;

        r = begin(cli, args, 1, "key", &req.snapshotter, err);
        if (r < 0)
                return r;
        info.name = args_arg(args, 0);
        info.n_labels = mask.n_paths = (size_t)args->n - 1;
        info.labels = labels_parse(&cli->arena, &snapshots__info__labels_entry__descriptor,
                                   args->v + 1, info.n_labels);
        mask.paths = (char **)labels_paths(&cli->arena, args->v + 1, mask.n_paths);
        req.info = &info;
        req.update_mask = &mask;
        if (mask.n_paths == 0) {
                r = stat_snapshot(cli, req.snapshotter, info.name, &now, err);
        } else {
                r = client_call(cli->client, &cli->arena, SVC_SNAPSHOTS "Update", &req,
                                snapshots__update_snapshot_response, &rsp, err);
                now = r == 0 ? rsp->info : NULL;
        }
        if (r == 0 && now)
                cli_print(cli, labels_text(&cli->arena, LABELS(now, labels), 1, ""));
        return r;
}

int cmd_snapshots_unpack(Cli *cli, const Args *args, Err *err)
{
        Types__Descriptor target = TYPES__DESCRIPTOR__INIT;
        Platform host = platform_host();
        const char *snapshotter;
        ImageView view;
        Digest chain;
        int r;

        r = begin(cli, args, 1, "digest", &snapshotter, err);
        if (r < 0)
                return r;
        target.digest = args_arg(args, 0);
        target.media_type = MEDIA_OCI_MANIFEST;
        r = image_view(cli, &target, &host, &view, err);
        if (r < 0)
                return r;
        cli_part(cli, "unpacking %s/%s %s...", host.os, host.arch, target.digest);
        r = image_unpack_all(cli, &view, snapshotter, args_bool(args, "sync-fs"), &chain, err);
        printf(r == 0 ? "done\n" : "\n");
        return r;
}
