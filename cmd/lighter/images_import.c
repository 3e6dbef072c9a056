// SPDX-License-Identifier: Apache-2.0
/*
 * images import. The archive is foreign bytes: lighter-unpack reads it and hands its members out as
 * blobs, which go to the daemon's content store over Content.Write, each under the ingest reference
 * that ctr uses. Then the labels that hold a tree of blobs together, the image records, and the
 * layers as snapshots. A lease keeps it all alive meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>
#include "api/containerd/services/content/v1/content.pb-c.h"
#include "api/containerd/services/images/v1/images.pb-c.h"
#include "api/containerd/types/types.pb-c.h"
#include "base/fd.h"
#include "base/limits.h"
#include "client/blob.h"
#include "cmd/lighter/commands.h"
#include "cmd/lighter/lease.h"
#include "cmd/lighter/unpack.h"
#include "images/import.h"

typedef struct Import {
        Cli *cli;
        const Args *args;
        BlobUpload *upload;
        Platform platform;
        int all_platforms;
        int depth;
} Import;

static int sink_begin(void *ctx, const char *ref, uint64_t size, Err *err)
{
        Import *im = ctx;

        im->upload = blob_upload_free(im->upload);
        return blob_upload_open(im->cli->client, ref, (int64_t)size, "", &im->upload, err);
}

static int sink_write(void *ctx, const void *p, size_t n, Err *err)
{
        Import *im = ctx;

        return blob_upload_write(im->upload, p, n, err);
}

/* The digest is compared here and not sent as expected: a daemon that is told to expect a blob it
 * has says so at once, and then does not put that blob under our lease, so that a collection may
 * take it away. */
static int sink_commit(void *ctx, const Digest *digest, uint64_t size, Err *err)
{
        Import *im = ctx;
        int r;

        r = blob_upload_commit(im->upload, (int64_t)size, "", NULL, 0, err);
        if (r == 0 && !str_eq(blob_upload_digest(im->upload), digest->text))
                r = err_set(err, DATA_LOSS, "the daemon stored %s as %s", digest->text,
                            blob_upload_digest(im->upload));
        im->upload = blob_upload_free(im->upload);
        if (r == -ALREADY_EXISTS) {
                err_clear(err);
                r = 0;
        }
        return r;
}

/* The labels by which collection finds the children of a blob: gc.ref.content.config, .l.<i>,
 * .m.<i>. */
static int label_children(Import *im, const Digest *parent, char **labels, size_t n, Err *err)
{
        Content__UpdateRequest req = CONTENT__UPDATE_REQUEST__INIT;
        Content__Info info = CONTENT__INFO__INIT;
        Google__Protobuf__FieldMask mask = GOOGLE__PROTOBUF__FIELD_MASK__INIT;
        Content__UpdateResponse *rsp;
        Arena *a = &im->cli->arena;

        if (n == 0)
                return 0;
        info.digest = parent->text;
        info.n_labels = mask.n_paths = n;
        info.labels = labels_parse(a, &content__info__labels_entry__descriptor, labels, n);
        mask.paths = (char **)labels_paths(a, labels, n);
        req.info = &info;
        req.update_mask = &mask;
        return client_call(im->cli->client, a, SVC_CONTENT "Update", &req, content__update_response,
                           &rsp, err);
}

static int wanted(const Import *im, const Descriptor *d)
{
        return im->all_platforms || !d->has_platform ||
               platform_rank(&im->platform, &d->platform) >= 0;
}

static int walk(Import *im, const Descriptor *d, Err *err);

static int walk_index(Import *im, const Descriptor *d, const char *text, size_t n, Err *err)
{
        Arena *a = &im->cli->arena;
        Index index;
        char **labels;
        size_t kept = 0;
        int r;

        r = index_parse(a, text, n, &index, err);
        if (r < 0)
                return r;
        labels = arena_array(a, char *, index.n_manifests + 1);
        for (size_t i = 0; r == 0 && i < index.n_manifests; i++) {
                const Descriptor *child = &index.manifests[i];

                if (!wanted(im, child))
                        continue;
                labels[kept] = arena_printf(a, "containerd.io/gc.ref.content.m.%zu=%s", kept,
                                            child->digest.text);
                kept++;
                r = walk(im, child, err);
        }
        return r < 0 ? r : label_children(im, &d->digest, labels, kept, err);
}

static int walk_manifest(Import *im, const Descriptor *d, const char *text, size_t n, Err *err)
{
        Arena *a = &im->cli->arena;
        Manifest m;
        char **labels;
        int r;

        r = manifest_parse(a, text, n, &m, err);
        if (r < 0)
                return r;
        labels = arena_array(a, char *, m.n_layers + 1);
        labels[0] = arena_printf(a, "containerd.io/gc.ref.content.config=%s", m.config.digest.text);
        for (size_t i = 0; i < m.n_layers; i++)
                labels[i + 1] = arena_printf(a, "containerd.io/gc.ref.content.l.%zu=%s", i,
                                             m.layers[i].digest.text);
        return label_children(im, &d->digest, labels, m.n_layers + 1, err);
}

/* Children first, so that what has a label is whole. */
static int walk(Import *im, const Descriptor *d, Err *err)
{
        int is_index = media_is_index(d->media_type);
        char *text;
        size_t n;
        int r;

        if (!is_index && !media_is_manifest(d->media_type))
                return 0;
        if (im->depth == 4)
                return err_set(err, INVALID_ARGUMENT, "indexes are nested too deeply");
        r = blob_load(im->cli->client, &im->cli->arena, d->digest.text, LIMIT_DOCUMENT, &text, &n,
                      err);
        if (r < 0)
                return r;
        im->depth++;
        r = is_index ? walk_index(im, d, text, n, err) : walk_manifest(im, d, text, n, err);
        im->depth--;
        return r;
}

static Types__Descriptor *descriptor_pb(Arena *a, const Descriptor *d)
{
        Types__Descriptor *pb = arena_new(a, Types__Descriptor);

        types__descriptor__init(pb);
        pb->media_type = d->media_type;
        pb->digest = arena_strdup(a, d->digest.text);
        pb->size = d->size;
        pb->annotations =
                arena_array(a, Types__Descriptor__AnnotationsEntry *, d->n_annotations + 1);
        for (size_t i = 0; i < d->n_annotations; i++) {
                Types__Descriptor__AnnotationsEntry *e =
                        arena_new(a, Types__Descriptor__AnnotationsEntry);

                types__descriptor__annotations_entry__init(e);
                e->key = d->annotations[i].key;
                e->value = d->annotations[i].value;
                pb->annotations[pb->n_annotations++] = e;
        }
        return pb;
}

/* A record that is there gets the new target, and keeps its labels unless new ones are given. */
static int record(Import *im, const ImportImage *image, Images__Image **ret, Err *err)
{
        static const char *const paths[] = {"target", "labels"};
        Images__UpdateImageRequest update = IMAGES__UPDATE_IMAGE_REQUEST__INIT;
        Images__CreateImageRequest create = IMAGES__CREATE_IMAGE_REQUEST__INIT;
        Google__Protobuf__FieldMask mask = GOOGLE__PROTOBUF__FIELD_MASK__INIT;
        Images__UpdateImageResponse *ursp;
        Images__CreateImageResponse *crsp;
        Arena *a = &im->cli->arena;
        Images__Image img = IMAGES__IMAGE__INIT;
        const char **labels;
        int r;

        img.name = image->name;
        img.target = descriptor_pb(a, &image->target);
        labels = flag_list(a, im->args, "label", &img.n_labels);
        img.labels = labels_parse(a, &images__image__labels_entry__descriptor,
                                  (char *const *)(uintptr_t)labels, img.n_labels);
        mask.paths = (char **)(uintptr_t)paths;
        mask.n_paths = img.n_labels > 0 ? 2 : 1;
        update.image = create.image = &img;
        update.update_mask = &mask;
        r = client_call(im->cli->client, a, SVC_IMAGES "Update", &update,
                        images__update_image_response, &ursp, err);
        if (r == 0)
                *ret = ursp->image;
        if (r != -NOT_FOUND)
                return r;
        err_clear(err);
        r = client_call(im->cli->client, a, SVC_IMAGES "Create", &create,
                        images__create_image_response, &crsp, err);
        if (r == 0)
                *ret = crsp->image;
        return r;
}

static int unpack(Import *im, const Images__Image *img, Err *err)
{
        const char *snapshotter;
        ImageView view;
        Digest chain;
        int r;

        cli_part(im->cli, "unpacking %s (%s)...", img->name, img->target->digest);
        r = snapshotter_name(im->cli, im->args, &snapshotter, err);
        if (r == 0)
                r = image_view(im->cli, img->target, &im->platform, &view, err);
        if (r == 0)
                r = image_unpack_all(im->cli, &view, snapshotter, args_bool(im->args, "sync-fs"),
                                     &chain, err);
        printf(r == 0 ? "done\n" : "\n");
        return r;
}

static int open_archive(const char *path, Err *err)
{
        int fd = str_eq(path, "-") ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                                   : open(path, O_RDONLY | O_CLOEXEC);

        return fd < 0 ? err_sys(err, errno, "cannot open %s", path) : fd;
}

/* Everything that is done under the lease. */
static int import(Import *im, int fd, Err *err)
{
        const ImportSink sink = {
                .ctx = im, .begin = sink_begin, .write = sink_write, .commit = sink_commit};
        const ImportOptions options = {.archive_fd = fd};
        const Args *args = im->args;
        ImportNames names = {
                .base_name = args_str(args, "base-name"),
                .only_base_name = args_given(args, "base-name"),
                .digests = args_bool(args, "digests"),
                .skip_digest_for_named = args_bool(args, "skip-digest-for-named"),
                .index_name = args_given(args, "index-name") ? args_str(args, "index-name") : NULL,
        };
        time_t now = time(NULL);
        ImportResult result;
        ImportImage *images;
        char today[40];
        size_t n;
        int r;

        strftime(today, sizeof(today), "import-%Y-%m-%d", localtime(&now));
        if (!*names.base_name)
                names.base_name = today;
        r = image_import(&options, &sink, &im->cli->arena, &result, err);
        im->upload = blob_upload_free(im->upload);
        if (r == 0)
                r = walk(im, &result.root, err);
        if (r == 0)
                r = import_images(&im->cli->arena, &result, &names, &images, &n, err);
        if (r < 0)
                return err_wrap(err, "cannot import %s", args_arg(args, 0));
        if (n == 0)
                cli_warn(
                        "the archive names no image: nothing is recorded; --digests records images under their digest");
        for (size_t i = 0; r == 0 && i < n; i++) {
                Images__Image *img = NULL;

                r = record(im, &images[i], &img, err);
                if (r < 0)
                        break;
                if (args_bool(args, "no-unpack"))
                        cli_print(im->cli, img->name);
                else
                        r = unpack(im, img, err);
        }
        return r;
}

int cmd_images_import(Cli *cli, const Args *args, Err *err)
{
        Import im = {.cli = cli, .args = args, .all_platforms = args_bool(args, "all-platforms")};
        Lease lease CLEANUP(lease_release) = {};
        int fd CLEANUP(cleanup_fd) = -1;
        int r;

        r = cli_need_args(args, 1, "archive", err);
        if (r == 0)
                r = platform_flag(cli, args, &im.platform, err);
        if (r < 0)
                return r;
        fd = open_archive(args_arg(args, 0), err);
        if (fd < 0)
                return fd;
        r = cli_connect(cli, err);
        if (r == 0)
                r = lease_hold(cli, &lease, err);
        return r < 0 ? r : import(&im, fd, err);
}
