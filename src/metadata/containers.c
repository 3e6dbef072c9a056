/* SPDX-License-Identifier: Apache-2.0 */
#include "metadata/containers.h"

#include "metadata/extensions.h"
#include "spec/identifier.h"

#define LABEL_ENTRY (&containers__container__labels_entry__descriptor)

static const char *field(void *ctx, const char *const *path, size_t n)
{
        const Containers__Container *c = ctx;
        const char *v = NULL;

        if (n == 1 && strcmp(path[0], "id") == 0)
                v = c->id;
        else if (n == 1 && strcmp(path[0], "image") == 0)
                v = c->image;
        else if (n == 2 && strcmp(path[0], "runtime") == 0 && strcmp(path[1], "name") == 0 &&
                 c->runtime)
                v = c->runtime->name;
        else if (n > 1 && strcmp(path[0], "labels") == 0)
                return labels_field(c->labels, c->n_labels, path, n, 1);
        return str_empty(v) ? NULL : v;
}

/* spec and extensions are most of a record */
const MetaKind containers_kind = {&containers__container__descriptor, field, 1u << 5 | 1u << 10};

static DbKey *container_key(DbKey *k, uint32_t ns, const char *id)
{
        return db_key_name(db_key(k, DB_CONTAINERS, ns), id);
}

static int check(MetaTxn *txn, const Containers__Container *c, const char *doing)
{
        Err why = {};
        int r;

        r = identifier_check("container.ID", c->id, &why);
        for (size_t i = 0; r == 0 && i < c->n_extensions; i++)
                if (str_empty(c->extensions[i]->key))
                        r = err_set(&why, INVALID_ARGUMENT,
                                    "container.Extension keys must not be zero-length: "
                                    "invalid argument");
        if (r == 0)
                r = labels_check(c->labels, c->n_labels, "containers.Labels", &why);
        if (r == 0 && (!c->runtime || str_empty(c->runtime->name)))
                r = err_set(&why, INVALID_ARGUMENT,
                            "container.Runtime.Name must be set: invalid argument");
        if (r == 0 && !str_empty(c->snapshot_key) && str_empty(c->snapshotter))
                r = err_set(&why, INVALID_ARGUMENT,
                            "container.Snapshotter must be set if container.SnapshotKey is set: "
                            "invalid argument");
        return r < 0 ? meta_fail(txn, why.code, "%s: %s", doing, why.msg) : 0;
}

Containers__Container *containers_create(MetaTxn *txn, const char *ns,
                                         const Containers__Container *container)
{
        Containers__Container *record = arena_memdup(txn->arena, container, sizeof(*container));
        uint32_t number;
        DbKey k;

        if (meta_failed(txn) || check(txn, record, "create container failed validation") < 0)
                return NULL;
        labels_normalise(record->labels, &record->n_labels);
        extensions_normalise(txn->arena, record->extensions, &record->n_extensions);
        record->created_at = record->updated_at = time_to_pb(txn->arena, time_now());
        number = meta_ns_ensure(txn, ns);
        if (!meta_put_new(txn, container_key(&k, number, record->id), record))
                meta_fail(txn, ALREADY_EXISTS, "container \"%s\": already exists", record->id);
        return meta_failed(txn) ? NULL : record;
}

static Containers__Container *find(MetaTxn *txn, const char *ns, const char *id)
{
        uint32_t number = meta_ns_find(txn, ns);
        DbKey k;

        return number ? meta_get(txn, container_key(&k, number, id), containers_kind.desc) : NULL;
}

Containers__Container *containers_get(MetaTxn *txn, const char *ns, const char *id)
{
        Containers__Container *record = find(txn, ns, id);

        if (!record)
                meta_fail(txn, NOT_FOUND, "container \"%s\" in namespace \"%s\": not found", id,
                          ns);
        return record;
}

static int apply(MetaTxn *txn, Containers__Container *record, const Containers__Container *c,
                 const char *path)
{
        const char *key;

        if ((key = mask_key(path, "labels.")))
                labels_set(txn->arena, &record->labels, &record->n_labels, LABEL_ENTRY, key,
                           labels_find(c->labels, c->n_labels, key));
        else if ((key = mask_key(path, "extensions.")))
                extensions_set(txn->arena, &record->extensions, &record->n_extensions,
                               c->extensions, c->n_extensions, key);
        else if (strcmp(path, "labels") == 0)
                record->labels = c->labels, record->n_labels = c->n_labels;
        else if (strcmp(path, "extensions") == 0)
                record->extensions = c->extensions, record->n_extensions = c->n_extensions;
        else if (strcmp(path, "spec") == 0)
                record->spec = c->spec;
        else if (strcmp(path, "image") == 0)
                record->image = c->image;
        else if (strcmp(path, "snapshotkey") == 0)
                record->snapshot_key = c->snapshot_key;
        else
                return meta_fail(txn, INVALID_ARGUMENT,
                                 "cannot update \"%s\" field on \"%s\": invalid argument", path,
                                 c->id);
        return 0;
}

/* What a full replacement must leave as it is. */
static int check_immutable(MetaTxn *txn, const Containers__Container *record,
                           const Containers__Container *c)
{
        if (strcmp(record->snapshotter, c->snapshotter) != 0)
                return meta_fail(txn, INVALID_ARGUMENT,
                                 "container.Snapshotter field is immutable: invalid argument");
        if (strcmp(record->runtime->name, c->runtime ? c->runtime->name : "") != 0)
                return meta_fail(txn, INVALID_ARGUMENT,
                                 "container.Runtime.Name field is immutable: invalid argument");
        return 0;
}

Containers__Container *containers_update(MetaTxn *txn, const char *ns,
                                         const Containers__Container *container,
                                         const char *const *paths, size_t n_paths)
{
        static const char *const all[] = {"labels", "spec", "extensions", "image", "snapshotkey"};
        Containers__Container *record = find(txn, ns, container->id);
        DbKey k;

        if (!record && meta_ns_find(txn, ns) == 0)
                meta_fail(txn, NOT_FOUND,
                          "cannot update container \"%s\" in namespace \"%s\": not found",
                          container->id, ns);
        if (!record) {
                meta_fail(txn, NOT_FOUND, "container \"%s\": not found", container->id);
                return NULL;
        }
        if (n_paths == 0) {
                if (check_immutable(txn, record, container) < 0)
                        return NULL;
                paths = all, n_paths = ARRAY_LEN(all);
        }
        if (mask_check(txn, n_paths,
                       record->n_labels + container->n_labels + record->n_extensions +
                               container->n_extensions,
                       record->id) < 0)
                return NULL;
        for (size_t i = 0; i < n_paths; i++)
                if (apply(txn, record, container, paths[i]) < 0)
                        return NULL;
        if (check(txn, record, "update failed validation") < 0)
                return NULL;
        labels_normalise(record->labels, &record->n_labels);
        extensions_normalise(txn->arena, record->extensions, &record->n_extensions);
        record->updated_at = time_to_pb(txn->arena, time_now());
        meta_put(txn, container_key(&k, meta_ns_find(txn, ns), record->id), record);
        return meta_failed(txn) ? NULL : record;
}

int containers_delete(MetaTxn *txn, const char *ns, const char *id)
{
        uint32_t number = meta_ns_find(txn, ns);
        DbKey k;

        if (number == 0)
                return meta_fail(txn, NOT_FOUND,
                                 "cannot delete container \"%s\" in namespace \"%s\": not found",
                                 id, ns);
        meta_dirty(txn);
        if (!db_del(&txn->db, container_key(&k, number, id)))
                meta_fail(txn, NOT_FOUND, "container %s: not found", id);
        return meta_failed(txn);
}

int containers_list(MetaTxn *txn, const char *ns, const Filter *filter, MetaListFn fn, void *ctx)
{
        uint32_t number = meta_ns_find(txn, ns);
        DbKey k;

        if (number == 0)
                return meta_failed(txn);
        return meta_list_kind(txn, db_key(&k, DB_CONTAINERS, number), &containers_kind, filter, fn,
                              ctx);
}

int containers_next(MetaTxn *txn, const char *ns, const Filter *filter, ContainerMark *mark,
                    DbVal *ret)
{
        DbCursor c CLEANUP(db_cursor_done) = {};
        uint32_t number = meta_ns_find(txn, ns);
        DbKey prefix, from;
        int r = 0;

        if (number == 0)
                return meta_failed(txn);
        db_cursor_init(&c, &txn->db, db_key(&prefix, DB_CONTAINERS, number));
        if (mark->last[0] != '\0') {
                container_key(&from, number, mark->last);
                from.data[from.n++] = 0; /* what comes right after that key */
                db_cursor_seek(&c, &from);
        }
        while (r == 0 && db_cursor_next(&c))
                r = meta_match(txn, &containers_kind, filter, c.value);
        if (r <= 0)
                return r < 0 ? r : meta_failed(txn);
        if (c.rest.n >= sizeof(mark->last))
                return meta_fail(txn, DATA_LOSS, "a container's id of %zu bytes", c.rest.n);
        memcpy(mark->last, c.rest.data, c.rest.n);
        mark->last[c.rest.n] = '\0';
        *ret = c.value;
        return 1;
}
