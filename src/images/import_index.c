/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an archive's members mean. An OCI layout has its index; `docker save` has manifest.json,
 * from which manifests and an index are made that say the same. Then the names of images, as ctr
 * forms them.
 */
#include <string.h>
#include "base/json.h"
#include "base/limits.h"
#include "images/import_priv.h"
#include "spec/image_config.h"
#include "spec/reference.h"

#define ANNOTATION_NAME "io.containerd.image.name"
#define ANNOTATION_REF  "org.opencontainers.image.ref.name"
#define LAYOUT_VERSION  "1.0.0"

static int put_document(ImportArchive *ar, const char *kind, json_t *doc, Descriptor *ret,
                        char **ret_text, Err *err)
{
        char *heap CLEANUP(cleanup_free) = json_text(doc);
        const ImportSink *sink = ar->sink;
        size_t n = strlen(heap);
        int r;

        digest_of(heap, n, &ret->digest);
        ret->size = (int64_t)n;
        *ret_text = arena_strdup(ar->a, heap);
        r = sink->begin(sink->ctx, arena_printf(ar->a, "%s-%s", kind, ret->digest.text), n, err);
        if (r == 0)
                r = sink->write(sink->ctx, heap, n, err);
        return r < 0 ? r : sink->commit(sink->ctx, &ret->digest, n, err);
}

static int resolve_layout(ImportArchive *ar, ImportResult *ret, Err *err)
{
        const char *version = "";
        json_t *j CLEANUP(json_decrefp) = NULL;
        const ImportBlob *b;
        int r = json_read(ar->layout, ar->n_layout, IMPORT_JSON_MAX, "oci-layout", &j, err);

        if (r == 0)
                r = json_get_str(j, "imageLayoutVersion", &version, err);
        if (r < 0)
                return err_wrap(err, "untar oci layout \"oci-layout\"");
        if (!str_eq(version, LAYOUT_VERSION))
                return err_set(err, INVALID_ARGUMENT, "unsupported OCI version %.40s", version);
        b = map_find(&ar->blobs, "index.json");
        if (!b)
                return err_set(err, INVALID_ARGUMENT,
                               "missing index.json in OCI layout " LAYOUT_VERSION);
        ret->root = (Descriptor){
                .media_type = MEDIA_OCI_INDEX, .digest = b->digest, .size = (int64_t)b->size};
        ret->index_json = b->text ? b->text : "";
        ret->n_index_json = b->text ? b->size : 0;
        return index_parse(ar->a, ret->index_json, ret->n_index_json, &ret->index, err);
}

static void follow_links(ImportArchive *ar)
{
        VEC_FOREACH (l, &ar->links) {
                void *b = map_find(&ar->blobs, l->to);

                if (b)
                        map_put(&ar->blobs, l->name, b);
        }
}

static const ImportBlob *blob_named(const ImportArchive *ar, const char *name)
{
        return map_find(&ar->blobs, str_starts(name, "./") ? name + 2 : name);
}

static int missing(const ImportArchive *ar, const char *name, Err *err)
{
        for (size_t i = 0; i < ar->links.n; i++)
                if (str_eq(ar->links.v[i].name, name))
                        return err_set(err, INVALID_ARGUMENT,
                                       "no target for symlink layer from \"%.200s\" to \"%.200s\"",
                                       name, ar->links.v[i].to);
        return err_set(err, INVALID_ARGUMENT, "layer \"%.200s\" not found", name);
}

/* {"schemaVersion", "mediaType", "config", "layers"} of one image. */
static int docker_manifest(ImportArchive *ar, const json_t *layers, const ImportBlob *config,
                           json_t **ret, Err *err)
{
        Descriptor d = {.media_type = MEDIA_DOCKER_CONFIG,
                        .digest = config->digest,
                        .size = (int64_t)config->size};
        json_t *doc CLEANUP(json_decrefp) = json_object(), *list = json_array();
        const json_t *name;
        size_t i;

        json_object_set_new(doc, "schemaVersion", json_integer(2));
        json_object_set_new(doc, "mediaType", json_string(MEDIA_DOCKER_MANIFEST));
        json_object_set_new(doc, "config", descriptor_to_json(&d));
        json_object_set_new(doc, "layers", list);
        json_array_foreach(layers, i, name)
        {
                const char *s = json_string_value(name);
                const ImportBlob *b = s ? blob_named(ar, s) : NULL;

                if (!b)
                        return missing(ar, s ? s : "", err);
                d = (Descriptor){.digest = b->digest, .size = (int64_t)b->size};
                d.media_type = b->compressed ? MEDIA_DOCKER_LAYER ".gzip" : MEDIA_DOCKER_LAYER;
                json_array_append_new(list, descriptor_to_json(&d));
        }
        *ret = TAKE(doc);
        return 0;
}

/* The image as it will stand in the index, once for each of its names. */
static int add_tags(ImportArchive *ar, Descriptor d, const json_t *tags, json_t *list, Err *err)
{
        const json_t *tag;
        size_t i;

        if (json_array_size(tags) == 0)
                json_array_append_new(list, descriptor_to_json(&d));
        json_array_foreach(tags, i, tag)
        {
                const char *s = json_string_value(tag);
                Annotation notes[2];
                Reference ref;
                int r;

                r = reference_parse_familiar(ar->a, s ? s : "", &ref, err);
                if (r < 0)
                        return err_wrap(err, "RepoTags");
                reference_default_tag(&ref);
                notes[0] = (Annotation){ANNOTATION_NAME, reference_format(ar->a, &ref)};
                notes[1] = (Annotation){ANNOTATION_REF, ref.tag};
                d.annotations = notes;
                d.n_annotations = *ref.tag ? 2 : 1;
                json_array_append_new(list, descriptor_to_json(&d));
        }
        return 0;
}

static int add_image(ImportArchive *ar, const json_t *image, json_t *list, Err *err)
{
        json_t *doc CLEANUP(json_decrefp) = NULL;
        Descriptor d = {.media_type = MEDIA_DOCKER_MANIFEST};
        const json_t *layers = NULL, *tags = NULL;
        const char *config_name = "";
        const ImportBlob *config;
        Err ignored = {};
        ImageConfig ic;
        char *text;
        int r;

        r = json_get_str(image, "Config", &config_name, err);
        if (r == 0)
                r = json_get_arr(image, "Layers", &layers, err);
        if (r == 0)
                r = json_get_arr(image, "RepoTags", &tags, err);
        if (r < 0)
                return r;
        config = blob_named(ar, config_name);
        if (!config)
                return err_set(err, INVALID_ARGUMENT, "image config \"%.200s\" not found",
                               config_name);
        r = docker_manifest(ar, layers, config, &doc, err);
        if (r == 0)
                r = put_document(ar, "manifest", doc, &d, &text, err);
        if (r < 0)
                return r;
        /* A config that cannot be read is found out when the image is used. */
        if (config->text &&
            image_config_parse(ar->a, config->text, config->size, &ic, &ignored) == 0 &&
            *ic.platform.os) {
                d.has_platform = 1;
                d.platform = ic.platform;
        }
        return add_tags(ar, d, tags, list, err);
}

static int resolve_docker(ImportArchive *ar, ImportResult *ret, Err *err)
{
        json_t *j CLEANUP(json_decrefp) = NULL, *doc CLEANUP(json_decrefp) = json_object();
        json_t *list = json_array();
        const json_t *image;
        char *text;
        size_t i;
        int r;

        json_object_set_new(doc, "schemaVersion", json_integer(2));
        json_object_set_new(doc, "manifests", list);
        r = json_read(ar->docker, ar->n_docker, IMPORT_JSON_MAX, "manifest.json", &j, err);
        if (r == 0 && !json_is_array(j))
                r = err_set(err, INVALID_ARGUMENT, "manifest.json is no list");
        if (r < 0)
                return err_wrap(err, "untar manifest \"manifest.json\"");
        follow_links(ar);
        json_array_foreach(j, i, image)
        {
                r = add_image(ar, image, list, err);
                if (r < 0)
                        return r;
        }
        ret->root = (Descriptor){.media_type = MEDIA_OCI_INDEX};
        r = put_document(ar, "index", doc, &ret->root, &text, err);
        if (r < 0)
                return r;
        ret->index_json = text;
        ret->n_index_json = (size_t)ret->root.size;
        return index_parse(ar->a, text, ret->n_index_json, &ret->index, err);
}

int import_resolve(ImportArchive *ar, ImportResult *ret, Err *err)
{
        *ret = (ImportResult){};
        if (ar->layout)
                return resolve_layout(ar, ret, err);
        if (ar->docker)
                return resolve_docker(ar, ret, err);
        return err_set(err, INVALID_ARGUMENT, "unrecognized image format");
}

static int has_prefix(const char *ref, const char *prefix)
{
        size_t n = strlen(prefix);

        return strncmp(ref, prefix, n) == 0 && (ref[n] == 0 || strchr("/:@", ref[n]));
}

static const char *image_name(Arena *a, const Descriptor *d, const ImportNames *names)
{
        const char *name = descriptor_annotation(d, ANNOTATION_NAME);
        const char *ref = descriptor_annotation(d, ANNOTATION_REF);

        if (!str_empty(name))
                return name;
        if (str_empty(ref))
                return NULL;
        if (!strpbrk(ref, "/:@"))
                return arena_printf(a, "%s:%s", names->base_name, ref);
        return names->only_base_name && !has_prefix(ref, names->base_name) ? NULL : ref;
}

int import_images(Arena *a, const ImportResult *res, const ImportNames *names, ImportImage **ret,
                  size_t *ret_n, Err *err)
{
        ImportImage *list = arena_array(a, ImportImage, res->index.n_manifests * 2 + 1);
        size_t n = 0;

        if (!str_empty(names->index_name))
                list[n++] = (ImportImage){names->index_name, res->root};
        for (size_t i = 0; i < res->index.n_manifests; i++) {
                const Descriptor *d = &res->index.manifests[i];
                const char *name = image_name(a, d, names);

                if (name)
                        list[n++] = (ImportImage){name, *d};
                if (names->digests && !(name && names->skip_digest_for_named))
                        list[n++] = (ImportImage){
                                arena_printf(a, "%s@%s", names->base_name, d->digest.text), *d};
        }
        *ret = list;
        *ret_n = n;
        return 0;
}
