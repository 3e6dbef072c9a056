// SPDX-License-Identifier: Apache-2.0
/*
 * What images/unpack.h asks of a snapshotter, a differ and a content store, answered with calls to
 * the daemon. The mounts of the layer being applied travel from Prepare to Apply.
 */
#include "cmd/lighter/unpack.h"

#include "api/containerd/services/diff/v1/diff.pb-c.h"
#include "api/containerd/services/namespaces/v1/namespaces.pb-c.h"
#include "api/containerd/services/snapshots/v1/snapshots.pb-c.h"
#include "api/containerd/types/types.pb-c.h"
#include "base/limits.h"
#include "base/log.h"
#include "client/blob.h"
#include "images/unpack.h"

int platform_flag(Cli *cli, const Args *args, Platform *ret, Err *err)
{
        const char *text = args_str(args, "platform");

        *ret = platform_host();
        return *text ? platform_parse(&cli->arena, text, ret, err) : 0;
}

int image_get(Cli *cli, const char *name, Images__Image **ret, Err *err)
{
        Images__GetImageRequest req = IMAGES__GET_IMAGE_REQUEST__INIT;
        Images__GetImageResponse *rsp;
        int r;

        req.name = name;
        r = client_call(cli->client, &cli->arena, SVC_IMAGES "Get", &req,
                        images__get_image_response, &rsp, err);
        if (r == 0 && (!rsp->image || !rsp->image->target))
                r = err_set(err, INTERNAL, "the daemon sent no target for image \"%s\"", name);
        if (r < 0)
                return r;
        *ret = rsp->image;
        return 0;
}

/* The manifest below an index that serves the platform best. Indexes may nest, a little. */
static int choose(Cli *cli, Descriptor *d, const Platform *want, Err *err)
{
        char platform[PLATFORM_TEXT_MAX];

        for (int depth = 0; media_is_index(d->media_type); depth++) {
                const Descriptor *best;
                Index index;
                char *text;
                size_t n;
                int r;

                if (depth == 4)
                        return err_set(err, INVALID_ARGUMENT, "indexes are nested too deeply");
                r = blob_load(cli->client, &cli->arena, d->digest.text, LIMIT_DOCUMENT, &text, &n,
                              err);
                if (r == 0)
                        r = index_parse(&cli->arena, text, n, &index, err);
                if (r < 0)
                        return r;
                best = index_choose(&index, want);
                if (!best)
                        return err_set(err, NOT_FOUND,
                                       "no manifest for platform %s in %s: not found",
                                       platform_format(want, platform), d->digest.text);
                *d = *best;
        }
        return 0;
}

int image_view(Cli *cli, const Types__Descriptor *target, const Platform *want, ImageView *ret,
               Err *err)
{
        Descriptor d = {.media_type = target->media_type, .size = target->size};
        char *text;
        size_t n;
        int r;

        r = digest_parse(target->digest, &d.digest, err);
        if (r == 0)
                r = choose(cli, &d, want, err);
        if (r < 0)
                return r;
        ret->manifest_desc = d;
        r = blob_load(cli->client, &cli->arena, d.digest.text, LIMIT_DOCUMENT, &text, &n, err);
        if (r == 0)
                r = manifest_parse(&cli->arena, text, n, &ret->manifest, err);
        if (r == 0)
                r = blob_load(cli->client, &cli->arena, ret->manifest.config.digest.text,
                              LIMIT_DOCUMENT, &text, &n, err);
        if (r == 0)
                r = image_config_parse(&cli->arena, text, n, &ret->config, err);
        return r;
}

/* What the namespace says by a label, else fallback. */
static int namespace_default(Cli *cli, const char *label, const char *fallback, const char **ret,
                             Err *err)
{
        Namespaces__GetNamespaceRequest req = NAMESPACES__GET_NAMESPACE_REQUEST__INIT;
        Namespaces__GetNamespaceResponse *rsp;
        Err missing = {};
        int r;

        *ret = fallback;
        req.name = client_namespace(cli->client);
        r = client_call(cli->client, &cli->arena, SVC_NAMESPACES "Get", &req,
                        namespaces__get_namespace_response, &rsp, &missing);
        if (r == -NOT_FOUND)
                return 0; /* a namespace need not be made before it is used */
        if (r < 0)
                return err_copy(err, &missing);
        for (size_t i = 0; rsp->namespace_ && i < rsp->namespace_->n_labels; i++)
                if (str_eq(rsp->namespace_->labels[i]->key, label))
                        *ret = rsp->namespace_->labels[i]->value;
        return 0;
}

int snapshotter_name(Cli *cli, const Args *args, const char **ret, Err *err)
{
        *ret = cli_snapshotter(args);
        if (**ret)
                return 0;
        return namespace_default(cli, "containerd.io/defaults/snapshotter", "overlayfs", ret, err);
}

int runtime_name(Cli *cli, const Args *args, const char **ret, Err *err)
{
        *ret = args_str(args, "runtime"); /* which has a default */
        if (args_given(args, "runtime"))
                return 0;
        return namespace_default(cli, "containerd.io/defaults/runtime", *ret, ret, err);
}

typedef struct Unpack {
        Cli *cli;
        const char *snapshotter;
        int sync_fs;
        Types__Mount **mounts; /* of the layer in work */
        size_t n_mounts;
} Unpack;

static int unpack_stat(void *ctx, const char *key, Err *err)
{
        Snapshots__StatSnapshotRequest req = SNAPSHOTS__STAT_SNAPSHOT_REQUEST__INIT;
        Snapshots__StatSnapshotResponse *rsp;
        Unpack *u = ctx;

        req.snapshotter = u->snapshotter;
        req.key = key;
        return client_call(u->cli->client, &u->cli->arena, SVC_SNAPSHOTS "Stat", &req,
                           snapshots__stat_snapshot_response, &rsp, err);
}

/* The label entries of Prepare and Commit are different types of one shape. */
static void *unpack_labels(Unpack *u, const ProtobufCMessageDescriptor *entry,
                           const UnpackLabel *labels, size_t n)
{
        char **texts = arena_array(&u->cli->arena, char *, n + 1);

        for (size_t i = 0; i < n; i++)
                texts[i] = arena_printf(&u->cli->arena, "%s=%s", labels[i].key, labels[i].value);
        return labels_parse(&u->cli->arena, entry, texts, n);
}

static int unpack_prepare(void *ctx, const char *key, const char *parent, const UnpackLabel *labels,
                          size_t n_labels, Err *err)
{
        Snapshots__PrepareSnapshotRequest req = SNAPSHOTS__PREPARE_SNAPSHOT_REQUEST__INIT;
        Snapshots__PrepareSnapshotResponse *rsp;
        Unpack *u = ctx;
        int r;

        req.snapshotter = u->snapshotter;
        req.key = key;
        req.parent = parent;
        req.labels =
                unpack_labels(u, &snapshots__prepare_snapshot_request__labels_entry__descriptor,
                              labels, n_labels);
        req.n_labels = n_labels;
        r = client_call(u->cli->client, &u->cli->arena, SVC_SNAPSHOTS "Prepare", &req,
                        snapshots__prepare_snapshot_response, &rsp, err);
        if (r < 0)
                return r;
        u->mounts = rsp->mounts;
        u->n_mounts = rsp->n_mounts;
        return 0;
}

static int unpack_apply(void *ctx, const char *key, const Descriptor *layer, Digest *ret, Err *err)
{
        Diff__ApplyRequest req = DIFF__APPLY_REQUEST__INIT;
        Types__Descriptor d = TYPES__DESCRIPTOR__INIT;
        Diff__ApplyResponse *rsp;
        Unpack *u = ctx;
        int r;

        d.media_type = layer->media_type;
        d.digest = layer->digest.text;
        d.size = layer->size;
        req.diff = &d;
        req.mounts = u->mounts;
        req.n_mounts = u->n_mounts;
        req.sync_fs = u->sync_fs;
        log_debug("applying layer", "digest", d.digest, "key", key);
        r = client_call(u->cli->client, &u->cli->arena, SVC_DIFF "Apply", &req,
                        diff__apply_response, &rsp, err);
        if (r == 0 && !rsp->applied)
                r = err_set(err, INTERNAL, "the daemon sent no descriptor of what it applied");
        return r < 0 ? r : digest_parse(rsp->applied->digest, ret, err);
}

static int unpack_commit(void *ctx, const char *name, const char *key, const UnpackLabel *labels,
                         size_t n_labels, Err *err)
{
        Snapshots__CommitSnapshotRequest req = SNAPSHOTS__COMMIT_SNAPSHOT_REQUEST__INIT;
        Unpack *u = ctx;

        req.snapshotter = u->snapshotter;
        req.name = name;
        req.key = key;
        req.labels = unpack_labels(u, &snapshots__commit_snapshot_request__labels_entry__descriptor,
                                   labels, n_labels);
        req.n_labels = n_labels;
        return client_call_empty(u->cli->client, SVC_SNAPSHOTS "Commit", &req, err);
}

static int unpack_remove(void *ctx, const char *key, Err *err)
{
        Snapshots__RemoveSnapshotRequest req = SNAPSHOTS__REMOVE_SNAPSHOT_REQUEST__INIT;
        Unpack *u = ctx;

        req.snapshotter = u->snapshotter;
        req.key = key;
        return client_call_empty(u->cli->client, SVC_SNAPSHOTS "Remove", &req, err);
}

static int unpack_label(void *ctx, const Digest *blob, const char *key, const char *value, Err *err)
{
        Unpack *u = ctx;

        return blob_label(u->cli->client, blob->text, key, value, err);
}

int image_unpack_all(Cli *cli, const ImageView *v, const char *snapshotter, int sync_fs,
                     Digest *ret_chain, Err *err)
{
        Unpack u = {.cli = cli, .snapshotter = snapshotter, .sync_fs = sync_fs};
        const UnpackOps ops = {
                .ctx = &u,
                .stat = unpack_stat,
                .prepare = unpack_prepare,
                .apply = unpack_apply,
                .commit = unpack_commit,
                .remove = unpack_remove,
                .label = unpack_label,
        };
        int r;

        *ret_chain = (Digest){};
        if (v->config.n_diff_ids == 0 && v->manifest.n_layers == 0)
                return 0;
        r = image_unpack(&ops, snapshotter, &v->manifest, &v->config, ret_chain, err);
        return r < 0 ? err_wrap(err, "failed to unpack into snapshotter %s", snapshotter) : 0;
}
