/* SPDX-License-Identifier: Apache-2.0 */
#include "metadata/images.h"

#include "metadata/leases.h"
#include "metadata/metadata_priv.h"
#include "rpc/message.h"
#include "spec/digest.h"

#define LABEL_ENTRY      (&images__image__labels_entry__descriptor)
#define ANNOTATION_ENTRY (&types__descriptor__annotations_entry__descriptor)
#define LABEL_EXPIRE     "containerd.io/gc.expire"

static const char *field(void *ctx, const char *const *path, size_t n)
{
        const Images__Image *image = ctx;
        const Types__Descriptor *t = image->target;
        const char *v = NULL;

        if (n == 1 && strcmp(path[0], "name") == 0)
                v = image->name;
        else if (n == 2 && strcmp(path[0], "target") == 0 && t && strcmp(path[1], "digest") == 0)
                v = t->digest;
        else if (n == 2 && strcmp(path[0], "target") == 0 && t && strcmp(path[1], "mediatype") == 0)
                v = t->media_type;
        else if (n > 1 && strcmp(path[0], "labels") == 0)
                return labels_field(image->labels, image->n_labels, path, n, 1);
        else if (n > 1 && strcmp(path[0], "annotations") == 0 && t)
                return labels_field(t->annotations, t->n_annotations, path, n, 1);
        return str_empty(v) ? NULL : v;
}

const MetaKind images_kind = {&images__image__descriptor, field, 0};

static DbKey *image_key(DbKey *k, uint32_t ns, const char *name)
{
        return db_key_name(db_key(k, DB_IMAGES, ns), name);
}

const char *digest_trouble(const char *text)
{
        static const char *const algs[] = {"sha256:", "sha384:", "sha512:"};
        static const size_t lengths[] = {64, 96, 128};
        const char *colon = strchr(text, ':');

        if (!colon || colon == text || colon[1] == '\0')
                return "invalid checksum digest format";
        for (size_t i = 0; i < ARRAY_LEN(algs); i++)
                if (str_starts(text, algs[i]))
                        return strlen(colon + 1) != lengths[i] ? "invalid checksum digest length"
                                                               : "invalid checksum digest format";
        return "unsupported digest algorithm";
}

static int check(MetaTxn *txn, const Images__Image *image)
{
        const Types__Descriptor *t = image->target;
        Digest digest;
        Err why = {};

        if (str_empty(image->name))
                return meta_fail(txn, INVALID_ARGUMENT,
                                 "image name must not be empty: invalid argument");
        if (labels_check(image->labels, image->n_labels, "image.Labels", &why) < 0)
                return meta_fail(txn, why.code, "%s", why.msg);
        if (digest_parse(t ? t->digest : "", &digest, &why) < 0)
                return meta_fail(txn, INVALID_ARGUMENT,
                                 "target.Digest \"%s\" invalid: %s: invalid argument",
                                 t ? t->digest : "", digest_trouble(t ? t->digest : ""));
        if (t->size <= 0)
                return meta_fail(txn, INVALID_ARGUMENT,
                                 "target.Size must be greater than zero: invalid argument");
        if (str_empty(t->media_type))
                return meta_fail(txn, INVALID_ARGUMENT,
                                 "target.MediaType must be set: invalid argument");
        return 0;
}

static void normalise(Images__Image *image)
{
        labels_normalise(image->labels, &image->n_labels);
        labels_normalise(image->target->annotations, &image->target->n_annotations);
}

/* An image that expires lives as long as a lease that made it wants. */
static void lease_if_expiring(MetaTxn *txn, const char *ns, const Images__Image *image,
                              const char *lease)
{
        if (labels_find(image->labels, image->n_labels, LABEL_EXPIRE))
                lease_add_resource(txn, ns, lease, "images", image->name);
}

static Google__Protobuf__Timestamp *stamp(MetaTxn *txn, const Google__Protobuf__Timestamp *epoch)
{
        return time_to_pb(txn->arena, epoch ? time_from_pb(epoch) : time_now());
}

/* A copy that may be changed without the caller's noticing: shallow, but for the target. */
static Images__Image *copy(MetaTxn *txn, const Images__Image *image)
{
        Images__Image *c = arena_memdup(txn->arena, image, sizeof(*image));

        if (c->target)
                c->target = arena_memdup(txn->arena, c->target, sizeof(*c->target));
        return c;
}

Images__Image *images_create(MetaTxn *txn, const char *ns, const Images__Image *image,
                             const Google__Protobuf__Timestamp *epoch, const char *lease)
{
        Images__Image *record = copy(txn, image);
        uint32_t number;
        DbKey k;

        if (check(txn, record) < 0)
                return NULL;
        normalise(record);
        number = meta_ns_ensure(txn, ns);
        lease_if_expiring(txn, ns, record, lease);
        record->created_at = record->updated_at = stamp(txn, epoch);
        if (!meta_put_new(txn, image_key(&k, number, record->name), record))
                meta_fail(txn, ALREADY_EXISTS, "image \"%s\": already exists", record->name);
        return meta_failed(txn) ? NULL : record;
}

static Images__Image *find(MetaTxn *txn, const char *ns, const char *name)
{
        uint32_t number = meta_ns_find(txn, ns);
        Images__Image *record = NULL;
        DbKey k;

        if (number)
                record = meta_get(txn, image_key(&k, number, name), images_kind.desc);
        if (!record)
                meta_fail(txn, NOT_FOUND, "image \"%s\": not found", name);
        return record;
}

Images__Image *images_get(MetaTxn *txn, const char *ns, const char *name)
{
        return find(txn, ns, name);
}

static int apply(MetaTxn *txn, Images__Image *record, const Images__Image *image, const char *path)
{
        static const Types__Descriptor none = TYPES__DESCRIPTOR__INIT;
        const Types__Descriptor *from = image->target ? image->target : &none;
        const char *key;

        if ((key = mask_key(path, "labels.")))
                labels_set(txn->arena, &record->labels, &record->n_labels, LABEL_ENTRY, key,
                           labels_find(image->labels, image->n_labels, key));
        else if ((key = mask_key(path, "annotations.")))
                labels_set(txn->arena, &record->target->annotations, &record->target->n_annotations,
                           ANNOTATION_ENTRY, key,
                           labels_find(from->annotations, from->n_annotations, key));
        else if (strcmp(path, "labels") == 0)
                record->labels = image->labels, record->n_labels = image->n_labels;
        else if (strcmp(path, "target") == 0)
                record->target = arena_memdup(txn->arena, from, sizeof(*from));
        else if (strcmp(path, "annotations") == 0)
                record->target->annotations = from->annotations,
                record->target->n_annotations = from->n_annotations;
        else
                return meta_fail(txn, INVALID_ARGUMENT,
                                 "cannot update \"%s\" field on image \"%s\": invalid argument",
                                 path, image->name);
        return 0;
}

static size_t n_entries(const Images__Image *image)
{
        return image->n_labels + (image->target ? image->target->n_annotations : 0);
}

Images__Image *images_update(MetaTxn *txn, const char *ns, const Images__Image *image,
                             const char *const *paths, size_t n_paths,
                             const Google__Protobuf__Timestamp *epoch, const char *lease)
{
        Images__Image *record = find(txn, ns, image->name);
        Google__Protobuf__Timestamp *created;
        DbKey k;

        if (!record)
                return NULL;
        created = record->created_at;
        if (n_paths == 0)
                record = copy(txn, image);
        if (mask_check(txn, n_paths, n_entries(record) + n_entries(image), image->name) < 0)
                return NULL;
        for (size_t i = 0; i < n_paths; i++)
                if (apply(txn, record, image, paths[i]) < 0)
                        return NULL;
        if (check(txn, record) < 0)
                return NULL;
        normalise(record);
        lease_if_expiring(txn, ns, record, lease);
        record->created_at = created;
        record->updated_at = stamp(txn, epoch);
        meta_put(txn, image_key(&k, meta_ns_find(txn, ns), record->name), record);
        return meta_failed(txn) ? NULL : record;
}

int images_delete(MetaTxn *txn, const char *ns, const char *name, const char *target,
                  const char *lease)
{
        Images__Image *record = find(txn, ns, name);
        DbKey k;

        if (!record)
                return meta_failed(txn);
        if (!str_empty(target) && strcmp(record->target->digest, target) != 0)
                return meta_fail(txn, NOT_FOUND, "image \"%s\" has target %s, not %s: not found",
                                 name, record->target->digest, target);
        meta_dirty(txn);
        lease_remove_resource(txn, ns, lease, "images", name);
        db_del(&txn->db, image_key(&k, meta_ns_find(txn, ns), name));
        return meta_failed(txn);
}

int images_list(MetaTxn *txn, const char *ns, const Filter *filter, MetaListFn fn, void *ctx)
{
        uint32_t number = meta_ns_find(txn, ns);
        DbKey k;

        if (number == 0)
                return meta_failed(txn);
        return meta_list_kind(txn, db_key(&k, DB_IMAGES, number), &images_kind, filter, fn, ctx);
}
