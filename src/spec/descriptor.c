/* SPDX-License-Identifier: Apache-2.0 */
/* Media types and the reading and writing of descriptors. */
#include "spec/descriptor.h"

int media_is_index(const char *type)
{
        return str_eq(type, MEDIA_OCI_INDEX) || str_eq(type, MEDIA_DOCKER_INDEX);
}

int media_is_manifest(const char *type)
{
        return str_eq(type, MEDIA_OCI_MANIFEST) || str_eq(type, MEDIA_DOCKER_MANIFEST);
}

const char *media_layer_compression(const char *type)
{
        static const struct {
                const char *type, *compression;
        } layers[] = {
                {MEDIA_OCI_LAYER, ""},
                {MEDIA_OCI_LAYER "+gzip", "gzip"},
                {MEDIA_OCI_LAYER "+zstd", "zstd"},
                {"application/vnd.oci.image.layer.nondistributable.v1.tar", ""},
                {"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "gzip"},
                {"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", "zstd"},
                {MEDIA_DOCKER_LAYER, ""},
                {MEDIA_DOCKER_LAYER ".gzip", "gzip"},
                {MEDIA_DOCKER_LAYER ".zstd", "zstd"},
                {"application/vnd.docker.image.rootfs.foreign.diff.tar", ""},
                {"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "gzip"},
        };

        for (size_t i = 0; i < ARRAY_LEN(layers); i++)
                if (str_eq(type, layers[i].type))
                        return layers[i].compression;
        return NULL;
}

int media_is_layer(const char *type)
{
        return media_layer_compression(type) != NULL;
}

int annotations_from_json(Arena *a, const json_t *obj, const char *what, Annotation **ret,
                          size_t *ret_n, Err *err)
{
        Annotation *list;
        size_t n = 0;
        const char *key;
        json_t *value;

        *ret = NULL;
        *ret_n = 0;
        if (!obj || json_is_null(obj))
                return 0;
        if (!json_is_object(obj))
                return err_set(err, INVALID_ARGUMENT, "%s: must be an object", what);
        list = arena_array(a, Annotation, json_object_size(obj));
        json_object_foreach((json_t *)obj, key, value)
        {
                if (!json_is_string(value))
                        return err_set(err, INVALID_ARGUMENT, "%s.%s: must be a string", what, key);
                list[n++] = (Annotation){arena_strdup(a, key),
                                         arena_strdup(a, json_string_value(value))};
        }
        *ret = list;
        *ret_n = n;
        return 0;
}

/* Copies a string member into the arena; "" when absent. */
static int get_str(Arena *a, const json_t *j, const char *key, const char **ret, Err *err)
{
        const char *s = "";
        int r = json_get_str(j, key, &s, err);

        *ret = arena_strdup(a, s);
        return r;
}

static int platform_from_json(Arena *a, const json_t *j, Platform *ret, Err *err)
{
        int r;

        (void)((r = get_str(a, j, "os", &ret->os, err)) < 0 ||
               (r = get_str(a, j, "architecture", &ret->arch, err)) < 0 ||
               (r = get_str(a, j, "variant", &ret->variant, err)) < 0 ||
               (r = get_str(a, j, "os.version", &ret->os_version, err)) < 0);
        if (r < 0)
                return err_wrap(err, "platform");
        platform_normalize(ret);
        return 0;
}

int descriptor_from_json(Arena *a, const json_t *j, Descriptor *ret, Err *err)
{
        const json_t *platform = NULL, *annotations = NULL;
        const char *digest = "";
        Descriptor d = {.size = -1};
        int r;

        if (!json_is_object(j))
                return err_set(err, INVALID_ARGUMENT, "descriptor: must be an object");
        if ((r = get_str(a, j, "mediaType", &d.media_type, err)) < 0 ||
            (r = json_get_str(j, "digest", &digest, err)) < 0 ||
            (r = json_get_i64(j, "size", &d.size, err)) < 0 ||
            (r = json_get_obj(j, "platform", &platform, err)) < 0 ||
            (r = json_get_obj(j, "annotations", &annotations, err)) < 0)
                return r;
        r = digest_parse(digest, &d.digest, err);
        if (r < 0)
                return err_wrap(err, "digest \"%.200s\"", digest);
        if (d.size < 0)
                return err_set(err, INVALID_ARGUMENT, "size of %s: missing or negative", digest);
        r = annotations_from_json(a, annotations, "annotations", &d.annotations, &d.n_annotations,
                                  err);
        if (r < 0)
                return r;
        if (platform) {
                d.has_platform = 1;
                r = platform_from_json(a, platform, &d.platform, err);
                if (r < 0)
                        return r;
        }
        *ret = d;
        return 0;
}

static void put_str(json_t *obj, const char *key, const char *value)
{
        if (!str_empty(value))
                json_object_set_new(obj, key, json_string(value));
}

json_t *descriptor_to_json(const Descriptor *d)
{
        json_t *j = json_object();

        put_str(j, "mediaType", d->media_type);
        put_str(j, "digest", d->digest.text);
        json_object_set_new(j, "size", json_integer(d->size));
        if (d->n_annotations > 0) {
                json_t *annotations = json_object();

                for (size_t i = 0; i < d->n_annotations; i++)
                        json_object_set_new(annotations, d->annotations[i].key,
                                            json_string(d->annotations[i].value));
                json_object_set_new(j, "annotations", annotations);
        }
        if (d->has_platform) {
                json_t *p = json_object();

                put_str(p, "architecture", d->platform.arch);
                put_str(p, "os", d->platform.os);
                put_str(p, "os.version", d->platform.os_version);
                put_str(p, "variant", d->platform.variant);
                json_object_set_new(j, "platform", p);
        }
        return j;
}

const char *descriptor_annotation(const Descriptor *d, const char *key)
{
        for (size_t i = 0; i < d->n_annotations; i++)
                if (str_eq(d->annotations[i].key, key))
                        return d->annotations[i].value;
        return NULL;
}
