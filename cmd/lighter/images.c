// SPDX-License-Identifier: Apache-2.0
#include "api/containerd/services/images/v1/images.pb-c.h"
#include "api/containerd/types/types.pb-c.h"
#include "base/limits.h"
#include "client/blob.h"
#include "cmd/lighter/commands.h"
#include "cmd/lighter/unpack.h"
#include "spec/reference.h"

static int by_text(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The platforms an image is for, sorted: what its index says, or its config. */
static const char *image_platforms(Cli *cli, const Types__Descriptor *target, const ImageView *view)
{
        VEC(const char *) names = {};
        Str out CLEANUP(str_done) = {};
        char buf[PLATFORM_TEXT_MAX], *text;
        Err err = {};
        Index index;
        size_t n;

        if (media_is_index(target->media_type) &&
            blob_load(cli->client, &cli->arena, target->digest, LIMIT_DOCUMENT, &text, &n, &err) ==
                    0 &&
            index_parse(&cli->arena, text, n, &index, &err) == 0) {
                for (size_t i = 0; i < index.n_manifests; i++)
                        if (index.manifests[i].has_platform)
                                VEC_PUSH(&names,
                                         arena_strdup(&cli->arena,
                                                      platform_format(&index.manifests[i].platform,
                                                                      buf)));
        }
        if (names.n == 0 && view)
                VEC_PUSH(&names,
                         arena_strdup(&cli->arena, platform_format(&view->config.platform, buf)));
        if (names.n > 0)
                qsort(names.v, names.n, sizeof(*names.v), by_text);
        for (size_t i = 0; i < names.n; i++)
                if (i == 0 || !str_eq(names.v[i], names.v[i - 1]))
                        str_addf(&out, "%s%s", i ? "," : "", names.v[i]);
        VEC_DONE(&names);
        return out.len ? arena_strdup(&cli->arena, str_get(&out)) : "-";
}

static void image_row(Cli *cli, Table *t, const Images__Image *img)
{
        Platform host = platform_host();
        char size[HUMAN_MAX] = "-";
        ImageView view;
        Err err = {};
        int known;

        /* an image whose content is not all here is listed without size */
        known = image_view(cli, img->target, &host, &view, &err) == 0;
        if (known) {
                int64_t n = view.manifest_desc.size + view.manifest.config.size;

                for (size_t i = 0; i < view.manifest.n_layers; i++)
                        n += view.manifest.layers[i].size;
                if (media_is_index(img->target->media_type))
                        n += img->target->size;
                human_bytes(n, size);
        }
        TABLE_ROW(t, img->name, img->target->media_type, img->target->digest, size,
                  image_platforms(cli, img->target, known ? &view : NULL),
                  labels_text(&cli->arena, LABELS(img, labels), 1, "-"), "");
}

int cmd_images_list(Cli *cli, const Args *args, Err *err)
{
        Images__ListImagesRequest req = IMAGES__LIST_IMAGES_REQUEST__INIT;
        Images__ListImagesResponse *rsp;
        Table t CLEANUP(table_done) = TABLE(1, 8, 1, ' ');
        int r;

        req.filters = (const char **)args->v;
        req.n_filters = (size_t)args->n;
        r = cli_connect(cli, err);
        if (r < 0)
                return r;
        r = client_call(cli->client, &cli->arena, SVC_IMAGES "List", &req,
                        images__list_images_response, &rsp, err);
        if (r < 0)
                return err_wrap(err, "failed to list images");
        t.escape = cli->out_tty;
        TABLE_ROW(&t, "REF", "TYPE", "DIGEST", "SIZE", "PLATFORMS", "LABELS", "");
        for (size_t i = 0; i < rsp->n_images; i++) {
                if (args_bool(args, "quiet"))
                        cli_print(cli, rsp->images[i]->name);
                else if (rsp->images[i]->target)
                        image_row(cli, &t, rsp->images[i]);
        }
        if (!args_bool(args, "quiet"))
                cli_table(cli, &t);
        return 0;
}

int cmd_images_delete(Cli *cli, const Args *args, Err *err)
{
        int failed = 0, r;

        r = cli_need_args(args, 1, "image", err);
        if (r < 0)
                return r;
        r = cli_connect(cli, err);
        if (r < 0)
                return r;
        for (int i = 0; i < args->n; i++) {
                Images__DeleteImageRequest req = IMAGES__DELETE_IMAGE_REQUEST__INIT;
                Err one = {};

                req.name = args->v[i];
                req.sync = args_bool(args, "sync") && i == args->n - 1;
                r = client_call_empty(cli->client, SVC_IMAGES "Delete", &req, &one);
                if (r == -NOT_FOUND) {
                        cli_warn("%s", one.msg); /* as ctr: gone is what was asked for */
                } else if (r < 0) {
                        if (failed < 0)
                                cli_warn("%s", err->msg);
                        failed = err_copy(err, &one);
                        err_wrap(err, "unable to delete %s", args->v[i]);
                } else {
                        cli_print(cli, args->v[i]);
                }
        }
        return failed;
}

static int tag(Cli *cli, const Args *args, const Images__Image *src, const char *target, Err *err)
{
        Images__CreateImageRequest req = IMAGES__CREATE_IMAGE_REQUEST__INIT;
        Images__DeleteImageRequest del = IMAGES__DELETE_IMAGE_REQUEST__INIT;
        Images__CreateImageResponse *rsp;
        Images__Image img = *src;
        Reference ref;
        int r;

        if (!args_bool(args, "skip-reference-check")) {
                r = reference_parse_familiar(&cli->arena, target, &ref, err);
                if (r < 0)
                        return err_wrap(
                                err,
                                "error parsing reference: \"%s\" is not a valid repository/tag",
                                target);
        }
        img.name = target;
        req.image = &img;
        r = client_call(cli->client, &cli->arena, SVC_IMAGES "Create", &req,
                        images__create_image_response, &rsp, err);
        if (r != -ALREADY_EXISTS || (args_bool(args, "local") && !args_bool(args, "force")))
                return r;
        /* replaced as a whole, labels too */
        err_clear(err);
        del.name = target;
        r = client_call_empty(cli->client, SVC_IMAGES "Delete", &del, err);
        if (r < 0 && r != -NOT_FOUND)
                return r;
        err_clear(err);
        return client_call(cli->client, &cli->arena, SVC_IMAGES "Create", &req,
                           images__create_image_response, &rsp, err);
}

int cmd_images_tag(Cli *cli, const Args *args, Err *err)
{
        Images__Image *src;
        int r;

        r = cli_need_args(args, 2, "source and target reference", err);
        if (r == 0)
                r = cli_connect(cli, err);
        if (r == 0)
                r = image_get(cli, args_arg(args, 0), &src, err);
        for (int i = 1; r == 0 && i < args->n; i++) {
                r = tag(cli, args, src, args->v[i], err);
                if (r == 0)
                        cli_print(cli, args->v[i]);
        }
        return r;
}

int cmd_images_label(Cli *cli, const Args *args, Err *err)
{
        static const char *const all[] = {"labels"};
        Images__UpdateImageRequest req = IMAGES__UPDATE_IMAGE_REQUEST__INIT;
        Google__Protobuf__FieldMask mask = GOOGLE__PROTOBUF__FIELD_MASK__INIT;
        Images__Image img = IMAGES__IMAGE__INIT, *now;
        Images__UpdateImageResponse *rsp;
        int r;

        r = cli_need_args(args, 1, "image", err);
        if (r == 0)
                r = cli_connect(cli, err);
        if (r < 0)
                return r;
        img.name = args_arg(args, 0);
        img.n_labels = mask.n_paths = (size_t)args->n - 1;
        img.labels = labels_parse(&cli->arena, &images__image__labels_entry__descriptor,
                                  args->v + 1, img.n_labels);
        mask.paths = (char **)labels_paths(&cli->arena, args->v + 1, mask.n_paths);
        if (args_bool(args, "replace-all")) {
                mask.paths = (char **)(uintptr_t)all;
                mask.n_paths = 1;
        }
        if (mask.n_paths == 0) {
                r = image_get(cli, img.name, &now, err);
        } else {
                req.image = &img;
                req.update_mask = &mask;
                r = client_call(cli->client, &cli->arena, SVC_IMAGES "Update", &req,
                                images__update_image_response, &rsp, err);
                now = r == 0 ? rsp->image : NULL;
        }
        if (r == 0 && now)
                cli_print(cli, labels_text(&cli->arena, LABELS(now, labels), 1, ""));
        return r;
}
