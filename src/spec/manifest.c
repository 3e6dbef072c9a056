/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Manifests and indexes. What a document is follows from its media type where it has one, and
 * always from its members: layers and config make a manifest, manifests make an index, both at once
 * are refused (CVE-2021-41190).
 */
#include "base/limits.h"
#include "spec/manifest.h"

static int read_document(const char *text, size_t n, const char *what, json_t **ret, Err *err)
{
        int r = json_read(text, n, LIMIT_DOCUMENT, what, ret, err);

        if (r < 0)
                return r;
        if (!json_is_object(*ret))
                return err_set(err, INVALID_ARGUMENT, "%s: must be an object", what);
        return 0;
}

/* Array member key of j as descriptors. */
static int read_list(Arena *a, const json_t *j, const char *key, Descriptor **ret, size_t *ret_n,
                     Err *err)
{
        const json_t *list = NULL;
        Descriptor *out;
        size_t i;
        json_t *item;
        int r;

        *ret = NULL;
        *ret_n = 0;
        r = json_get_arr(j, key, &list, err);
        if (r < 0 || !list)
                return r;
        out = arena_array(a, Descriptor, json_array_size(list));
        json_array_foreach(list, i, item)
        {
                r = descriptor_from_json(a, item, &out[i], err);
                if (r < 0)
                        return err_wrap(err, "%s[%zu]", key, i);
        }
        *ret = out;
        *ret_n = json_array_size(list);
        return 0;
}

static int has(const json_t *j, const char *key)
{
        const json_t *member = json_object_get(j, key);

        return member && !json_is_null(member);
}

static int read_type(Arena *a, const json_t *j, const char **ret, Err *err)
{
        const char *s = "";
        int r = json_get_str(j, "mediaType", &s, err);

        *ret = arena_strdup(a, s);
        return r;
}

int manifest_parse(Arena *a, const char *text, size_t n, Manifest *ret, Err *err)
{
        json_t *j CLEANUP(json_decrefp) = NULL;
        Manifest m = {};
        int r;

        r = read_document(text, n, "manifest", &j, err);
        if (r < 0)
                return r;
        if (has(j, "manifests") || has(j, "fsLayers"))
                return err_set(err, INVALID_ARGUMENT, "manifest: has \"%s\" as well",
                               has(j, "manifests") ? "manifests" : "fsLayers");
        if ((r = read_type(a, j, &m.media_type, err)) < 0)
                return err_wrap(err, "manifest");
        if (media_is_index(m.media_type))
                return err_set(err, INVALID_ARGUMENT,
                               "manifest: media type \"%s\" is that of an index", m.media_type);
        r = descriptor_from_json(a, json_object_get(j, "config"), &m.config, err);
        if (r < 0)
                return err_wrap(err, "manifest: config");
        if ((r = read_list(a, j, "layers", &m.layers, &m.n_layers, err)) < 0 ||
            (r = annotations_from_json(a, json_object_get(j, "annotations"), "annotations",
                                       &m.annotations, &m.n_annotations, err)) < 0)
                return err_wrap(err, "manifest");
        *ret = m;
        return 0;
}

int index_parse(Arena *a, const char *text, size_t n, Index *ret, Err *err)
{
        json_t *j CLEANUP(json_decrefp) = NULL;
        Index x = {};
        int r;

        r = read_document(text, n, "index", &j, err);
        if (r < 0)
                return r;
        for (const char **key = (const char *[]){"config", "layers", "fsLayers", NULL}; *key; key++)
                if (has(j, *key))
                        return err_set(err, INVALID_ARGUMENT, "index: has \"%s\" as well", *key);
        if ((r = read_type(a, j, &x.media_type, err)) < 0)
                return err_wrap(err, "index");
        if (media_is_manifest(x.media_type))
                return err_set(err, INVALID_ARGUMENT,
                               "index: media type \"%s\" is that of a manifest", x.media_type);
        if ((r = read_list(a, j, "manifests", &x.manifests, &x.n_manifests, err)) < 0 ||
            (r = annotations_from_json(a, json_object_get(j, "annotations"), "annotations",
                                       &x.annotations, &x.n_annotations, err)) < 0)
                return err_wrap(err, "index");
        *ret = x;
        return 0;
}

const Descriptor *index_choose(const Index *index, const Platform *want)
{
        const Descriptor *best = NULL, *unnamed = NULL;
        int best_rank = -1;

        for (size_t i = 0; i < index->n_manifests; i++) {
                const Descriptor *d = &index->manifests[i];
                int rank;

                if (!d->has_platform) {
                        unnamed = unnamed ? unnamed : d;
                        continue;
                }
                rank = platform_rank(want, &d->platform);
                if (rank >= 0 && (!best || rank < best_rank)) {
                        best = d;
                        best_rank = rank;
                }
        }
        return best ? best : unnamed;
}
