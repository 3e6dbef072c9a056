/* SPDX-License-Identifier: Apache-2.0 */
#include "metadata/namespaces.h"

#include "metadata/metadata_priv.h"
#include "rpc/message.h"
#include "spec/identifier.h"

#define LABEL_ENTRY (&namespaces__namespace__labels_entry__descriptor)

static DbKey *name_key(DbKey *k, const char *name)
{
        return db_key_name(db_key(k, DB_NAMESPACES, 0), name);
}

/* An error of a check that knows nothing of transactions. */
static void stick(MetaTxn *txn, const Err *why)
{
        meta_fail(txn, why->code, "%s", why->msg);
}

/* The record and its number; NULL with *ret_number 0 when there is none. */
static Namespaces__Namespace *find(MetaTxn *txn, const char *name, uint32_t *ret_number)
{
        DbKey k;
        DbVal v;

        *ret_number = 0;
        if (!db_get(&txn->db, name_key(&k, name), &v))
                return NULL;
        *ret_number = ns_record_number(v);
        if (*ret_number == 0) {
                meta_fail(txn, DATA_LOSS, "namespace \"%s\": its record is cut", name);
                return NULL;
        }
        v.data = (const uint8_t *)v.data + NS_NUMBER_BYTES;
        v.n -= NS_NUMBER_BYTES;
        return meta_decode(txn, v, &namespaces__namespace__descriptor);
}

static int check(MetaTxn *txn, const Namespaces__Namespace *ns)
{
        Err why = {};

        if (identifier_check(NULL, ns->name, &why) < 0 ||
            labels_check(ns->labels, ns->n_labels, "namespace.Labels", &why) < 0)
                stick(txn, &why);
        return meta_failed(txn);
}

Namespaces__Namespace *namespaces_create(MetaTxn *txn, const Namespaces__Namespace *ns)
{
        Namespaces__Namespace *record = arena_memdup(txn->arena, ns, sizeof(*ns));
        DbKey k;
        DbVal v;

        if (check(txn, ns) < 0)
                return NULL;
        if (db_get(&txn->db, name_key(&k, ns->name), &v)) {
                meta_fail(txn, ALREADY_EXISTS, "namespace \"%s\": already exists", ns->name);
                return NULL;
        }
        labels_normalise(record->labels, &record->n_labels);
        ns_record_put(txn, ns_new_number(txn), record);
        return meta_failed(txn) ? NULL : record;
}

Namespaces__Namespace *namespaces_get(MetaTxn *txn, const char *name)
{
        Namespaces__Namespace *record;
        uint32_t number;

        record = find(txn, name, &number);
        if (record || meta_failed(txn))
                return record;
        record = message_make(txn->arena, namespaces__namespace);
        record->name = arena_strdup(txn->arena, name);
        return record;
}

static int apply(MetaTxn *txn, Namespaces__Namespace *record, const Namespaces__Namespace *ns,
                 const char *path)
{
        const char *key = mask_key(path, "labels.");

        if (key)
                labels_set(txn->arena, &record->labels, &record->n_labels, LABEL_ENTRY, key,
                           labels_find(ns->labels, ns->n_labels, key));
        else if (strcmp(path, "labels") == 0)
                record->labels = ns->labels, record->n_labels = ns->n_labels;
        else
                return meta_fail(txn, INVALID_ARGUMENT, "cannot update \"%s\" field", path);
        return 0;
}

Namespaces__Namespace *namespaces_update(MetaTxn *txn, const Namespaces__Namespace *ns,
                                         const char *const *paths, size_t n_paths)
{
        static const char *const all[] = {"labels"};
        Namespaces__Namespace *record;
        uint32_t number;

        if (check(txn, ns) < 0)
                return NULL;
        meta_ns_ensure(txn, ns->name);
        record = find(txn, ns->name, &number);
        if (!record)
                return NULL;
        if (n_paths == 0)
                paths = all, n_paths = ARRAY_LEN(all);
        if (mask_check(txn, n_paths, record->n_labels + ns->n_labels, ns->name) < 0)
                return NULL;
        for (size_t i = 0; i < n_paths; i++)
                if (apply(txn, record, ns, paths[i]) < 0)
                        return NULL;
        labels_normalise(record->labels, &record->n_labels);
        ns_record_put(txn, number, record);
        return meta_failed(txn) ? NULL : record;
}

/* Snapshotters that still have snapshots, each once: after one is seen, what sorts after all its
 * keys is next. */
static void add_snapshotters(MetaTxn *txn, uint32_t number, Str *what)
{
        DbCursor c CLEANUP(db_cursor_done) = {};
        DbKey k;
        size_t n;

        db_cursor_init(&c, &txn->db, db_key(&k, DB_SNAPSHOTS, number));
        while (db_cursor_next(&c)) {
                n = strnlen(c.rest.data, c.rest.n);
                str_addf(what, "%ssnapshots on \"%.*s\" snapshotter", what->len ? ", " : "", (int)n,
                         (const char *)c.rest.data);
                if (k.n + n + 1 > DB_KEY_MAX)
                        break;
                k = c.prefix;
                memcpy(k.data + k.n, c.rest.data, n);
                k.data[k.n + n] = 1; /* after the NUL that ends the snapshotter's name */
                k.n += (uint16_t)(n + 1);
                db_cursor_seek(&c, &k);
        }
}

int namespaces_delete(MetaTxn *txn, const char *name)
{
        static const struct {
                DbTable table;
                const char *what;
        } kinds[] = {{DB_IMAGES, "images"}, {DB_BLOBS, "blobs"}, {DB_CONTAINERS, "containers"}};
        Str what CLEANUP(str_done) = {};
        uint32_t number;
        DbKey k;

        find(txn, name, &number);
        if (number == 0)
                return meta_fail(txn, NOT_FOUND, "namespace \"%s\": not found", name);
        for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
                if (db_any(&txn->db, db_key(&k, kinds[i].table, number)))
                        str_addf(&what, "%s%s", what.len ? ", " : "", kinds[i].what);
        add_snapshotters(txn, number, &what);
        if (what.len)
                return meta_fail(
                        txn, FAILED_PRECONDITION,
                        "namespace \"%s\" must be empty, but it still has %s: failed precondition",
                        name, str_get(&what));
        /* from DB_SCHEMA, which has its counters */
        for (int table = DB_SCHEMA; table <= DB_TABLE_LAST; table++)
                db_del_prefix(&txn->db, db_key(&k, (DbTable)table, number));
        db_del(&txn->db, name_key(&k, name));
        ns_forget(txn);
        return meta_failed(txn);
}

int namespaces_list(MetaTxn *txn, MetaListFn fn, void *ctx)
{
        DbCursor c CLEANUP(db_cursor_done) = {};
        DbKey k;
        DbVal v;
        int r = 0;

        db_cursor_init(&c, &txn->db, db_key(&k, DB_NAMESPACES, 0));
        while (r == 0 && db_cursor_next(&c)) {
                v = c.value;
                if (v.n < NS_NUMBER_BYTES)
                        return meta_fail(txn, DATA_LOSS, "a namespace's record is cut");
                v.data = (const uint8_t *)v.data + NS_NUMBER_BYTES;
                v.n -= NS_NUMBER_BYTES;
                r = fn(ctx, v);
        }
        return r < 0 ? r : meta_failed(txn);
}
