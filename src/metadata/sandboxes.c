/* SPDX-License-Identifier: Apache-2.0 */
/* Texts are containerd's, which calls a record after the bucket it lies in. */
#include "metadata/sandboxes.h"

#include "metadata/extensions.h"
#include "rpc/message.h"
#include "spec/identifier.h"

#define LABEL_ENTRY (&types__sandbox__labels_entry__descriptor)

static const char *field(void *ctx, const char *const *path, size_t n)
{
        const Types__Sandbox *s = ctx;

        if (n == 1 && strcmp(path[0], "id") == 0)
                return str_empty(s->sandbox_id) ? NULL : s->sandbox_id;
        if (n > 1 && strcmp(path[0], "labels") == 0)
                return labels_field(s->labels, s->n_labels, path, n, 1);
        return NULL;
}

/* spec and extensions are most of a record */
const MetaKind sandboxes_kind = {&types__sandbox__descriptor, field, 1u << 3 | 1u << 7};

static DbKey *sandbox_key(DbKey *k, uint32_t ns, const char *id)
{
        return db_key_name(db_key(k, DB_SANDBOXES, ns), id);
}

static int check(MetaTxn *txn, const Types__Sandbox *s, const char *doing)
{
        Err why = {};
        int r;

        r = identifier_check(NULL, s->sandbox_id, &why);
        if (r < 0)
                err_wrap(&why, "invalid sandbox ID");
        else
                r = labels_check(s->labels, s->n_labels, "sandboxes.Labels", &why);
        for (size_t i = 0; r == 0 && i < s->n_extensions; i++)
                if (str_empty(s->extensions[i]->key))
                        r = err_set(&why, INVALID_ARGUMENT,
                                    "sandbox.Extension keys must not be zero-length: "
                                    "invalid argument");
        return r < 0 ? meta_fail(txn, why.code, "%s: %s", doing, why.msg) : 0;
}

static void normalise(MetaTxn *txn, Types__Sandbox *s)
{
        labels_normalise(s->labels, &s->n_labels);
        extensions_normalise(txn->arena, s->extensions, &s->n_extensions);
        if (!s->runtime)
                s->runtime = message_make(txn->arena, types__sandbox__runtime);
}

Types__Sandbox *sandboxes_create(MetaTxn *txn, const char *ns, const Types__Sandbox *sandbox)
{
        Types__Sandbox *record = arena_memdup(txn->arena, sandbox, sizeof(*sandbox));
        uint32_t number;
        DbKey k;

        if (meta_failed(txn) || check(txn, record, "failed to validate sandbox") < 0)
                return NULL;
        normalise(txn, record);
        record->created_at = record->updated_at = time_to_pb(txn->arena, time_now());
        number = meta_ns_ensure(txn, ns);
        if (!meta_put_new(txn, sandbox_key(&k, number, record->sandbox_id), record))
                meta_fail(txn, ALREADY_EXISTS,
                          "write error: sandbox bucket \"%s\" already exists: already exists",
                          record->sandbox_id);
        return meta_failed(txn) ? NULL : record;
}

Types__Sandbox *sandboxes_get(MetaTxn *txn, const char *ns, const char *id)
{
        uint32_t number = meta_ns_find(txn, ns);
        Types__Sandbox *record = NULL;
        DbKey k;

        if (number)
                record = meta_get(txn, sandbox_key(&k, number, id), sandboxes_kind.desc);
        if (!record)
                meta_fail(txn, NOT_FOUND, "bucket \"%s\" not found: not found", id);
        return record;
}

int sandboxes_exist(MetaTxn *txn, const char *ns, const char *id)
{
        uint32_t number = meta_ns_find(txn, ns);
        DbVal v;
        DbKey k;

        return number && db_get(&txn->db, sandbox_key(&k, number, id), &v);
}

static int apply(MetaTxn *txn, Types__Sandbox *record, const Types__Sandbox *s, const char *path)
{
        const char *key;

        if ((key = mask_key(path, "labels.")))
                labels_set(txn->arena, &record->labels, &record->n_labels, LABEL_ENTRY, key,
                           labels_find(s->labels, s->n_labels, key));
        else if ((key = mask_key(path, "extensions.")))
                extensions_set(txn->arena, &record->extensions, &record->n_extensions,
                               s->extensions, s->n_extensions, key);
        else if (strcmp(path, "labels") == 0)
                record->labels = s->labels, record->n_labels = s->n_labels;
        else if (strcmp(path, "extensions") == 0)
                record->extensions = s->extensions, record->n_extensions = s->n_extensions;
        else if (strcmp(path, "runtime") == 0)
                record->runtime = s->runtime;
        else if (strcmp(path, "spec") == 0)
                record->spec = s->spec;
        else
                return meta_fail(txn, INVALID_ARGUMENT,
                                 "cannot update \"%s\" field on sandbox \"%s\": invalid argument",
                                 path, s->sandbox_id);
        return 0;
}

static const char *runtime_name(const Types__Sandbox *s)
{
        return s->runtime ? s->runtime->name : "";
}

Types__Sandbox *sandboxes_update(MetaTxn *txn, const char *ns, const Types__Sandbox *sandbox,
                                 const char *const *paths, size_t n_paths)
{
        static const char *const all[] = {"labels", "extensions", "spec", "runtime"};
        Types__Sandbox *record = sandboxes_get(txn, ns, sandbox->sandbox_id);
        DbKey k;

        if (!record)
                return NULL;
        if (n_paths == 0) {
                if (strcmp(runtime_name(record), runtime_name(sandbox)) != 0) {
                        meta_fail(txn, INVALID_ARGUMENT,
                                  "sandbox.Runtime.Name field is immutable: invalid argument");
                        return NULL;
                }
                paths = all, n_paths = ARRAY_LEN(all);
        }
        if (mask_check(txn, n_paths,
                       record->n_labels + sandbox->n_labels + record->n_extensions +
                               sandbox->n_extensions,
                       record->sandbox_id) < 0)
                return NULL;
        for (size_t i = 0; i < n_paths; i++)
                if (apply(txn, record, sandbox, paths[i]) < 0)
                        return NULL;
        if (check(txn, record, "failed to validate sandbox") < 0)
                return NULL;
        normalise(txn, record);
        record->updated_at = time_to_pb(txn->arena, time_now());
        meta_put(txn, sandbox_key(&k, meta_ns_find(txn, ns), record->sandbox_id), record);
        return meta_failed(txn) ? NULL : record;
}

int sandboxes_delete(MetaTxn *txn, const char *ns, const char *id)
{
        uint32_t number = meta_ns_find(txn, ns);
        DbKey k;

        if (!number || !db_del(&txn->db, sandbox_key(&k, number, id)))
                meta_fail(txn, NOT_FOUND, "failed to delete sandbox \"%s\": not found", id);
        return meta_failed(txn);
}

int sandboxes_list(MetaTxn *txn, const char *ns, const Filter *filter, MetaListFn fn, void *ctx)
{
        uint32_t number = meta_ns_find(txn, ns);
        DbKey k;

        if (number == 0)
                return meta_failed(txn);
        return meta_list_kind(txn, db_key(&k, DB_SANDBOXES, number), &sandboxes_kind, filter, fn,
                              ctx);
}
