/* SPDX-License-Identifier: Apache-2.0 */
/* A lease is a record, and one more for each thing it holds, below the lease's id and the thing's
 * type. */
#include "metadata/leases.h"

#include "base/vec.h"
#include "metadata/metadata_priv.h"
#include "rpc/message.h"
#include "spec/digest.h"

static const char *field(void *ctx, const char *const *path, size_t n)
{
        const Leases__Lease *l = ctx;

        if (n == 1 && strcmp(path[0], "id") == 0)
                return str_empty(l->id) ? NULL : l->id;
        if (n > 1 && strcmp(path[0], "labels") == 0)
                return labels_field(l->labels, l->n_labels, path, n, 1);
        return NULL;
}

static const MetaKind leases_kind = {&leases__lease__descriptor, field, 0};

static DbKey *lease_key(DbKey *k, uint32_t ns, const char *id)
{
        return db_key_name(db_key(k, DB_LEASES, ns), id);
}

DbKey *lease_resources_key(DbKey *k, uint32_t ns, const char *lease)
{
        return db_key_group(db_key(k, DB_LEASE_RESOURCES, ns), lease);
}

/* The namespace's number when the lease is there, else 0. */
static uint32_t find(MetaTxn *txn, const char *ns, const char *id)
{
        uint32_t number = meta_ns_find(txn, ns);
        DbKey k;
        DbVal v;

        return number && db_get(&txn->db, lease_key(&k, number, id), &v) ? number : 0;
}

static int not_found(MetaTxn *txn, const char *id)
{
        return meta_fail(txn, NOT_FOUND, "lease \"%s\": not found", id);
}

Leases__Lease *leases_create(MetaTxn *txn, const char *ns, const Leases__CreateRequest *req)
{
        Leases__Lease *lease = message_make(txn->arena, leases__lease);
        Err why = {};
        DbKey k;

        if (str_empty(req->id))
                meta_fail(txn, INVALID_ARGUMENT, "lease id must be provided: invalid argument");
        else if (labels_check(req->labels, req->n_labels, "lease.Labels", &why) < 0)
                meta_fail(txn, why.code, "%s", why.msg);
        lease->id = req->id;
        lease->created_at = time_to_pb(txn->arena, time_now());
        lease->n_labels = req->n_labels;
        lease->labels = arena_memdup(txn->arena, req->labels, req->n_labels * sizeof(*req->labels));
        for (size_t i = 0; i < lease->n_labels; i++)
                lease->labels[i] = (Leases__Lease__LabelsEntry *)req->labels[i];
        labels_normalise(lease->labels, &lease->n_labels);
        if (!meta_put_new(txn, lease_key(&k, meta_ns_ensure(txn, ns), lease->id), lease))
                meta_fail(txn, ALREADY_EXISTS, "lease \"%s\": already exists", lease->id);
        return meta_failed(txn) ? NULL : lease;
}

int leases_delete(MetaTxn *txn, const char *ns, const char *id)
{
        uint32_t number = find(txn, ns, id);
        DbKey k;

        if (!number)
                return not_found(txn, id);
        meta_dirty(txn);
        db_del_prefix(&txn->db, lease_resources_key(&k, number, id));
        db_del(&txn->db, lease_key(&k, number, id));
        return meta_failed(txn);
}

int leases_list(MetaTxn *txn, const char *ns, const Filter *filter, MetaListFn fn, void *ctx)
{
        uint32_t number = meta_ns_find(txn, ns);
        DbKey k;

        if (number == 0)
                return meta_failed(txn);
        return meta_list_kind(txn, db_key(&k, DB_LEASES, number), &leases_kind, filter, fn, ctx);
}

/* ---- resources ---- */

static int check_resource(MetaTxn *txn, const char *type, const char *id)
{
        const char *slash = strchr(type, '/');
        size_t n = slash ? (size_t)(slash - type) : strlen(type);
        Digest digest;
        Err why = {};

        if (n == 9 && strncmp(type, "snapshots", n) == 0) {
                if (!slash || strchr(slash + 1, '/'))
                        return meta_fail(txn, INVALID_ARGUMENT,
                                         "invalid snapshot resource type %s: invalid argument",
                                         type);
                return 0;
        }
        if (!(n == 7 && strncmp(type, "content", n) == 0) &&
            !(n == 7 && strncmp(type, "ingests", n) == 0) &&
            !(n == 6 && strncmp(type, "images", n) == 0))
                return meta_fail(txn, UNIMPLEMENTED,
                                 "resource type %s not supported yet: not implemented", type);
        if (slash)
                return meta_fail(txn, INVALID_ARGUMENT,
                                 "invalid resource type %s: invalid argument", type);
        if (type[0] == 'c' && digest_parse(id, &digest, &why) < 0)
                return meta_fail(txn, INVALID_ARGUMENT,
                                 "invalid content resource id %s: %s: invalid argument", id,
                                 digest_trouble(id));
        return 0;
}

static DbKey *resource_key(DbKey *k, uint32_t ns, const char *lease, const char *type,
                           const char *id)
{
        return db_key_name(db_key_group(lease_resources_key(k, ns, lease), type), id);
}

/* In the words of containerd's database. */
static int check_names(MetaTxn *txn, const char *type, const char *id)
{
        if (type[strlen(type) - 1] == '/')
                return meta_fail(txn, UNKNOWN, "bucket name required");
        return *id ? 0 : meta_fail(txn, UNKNOWN, "key required");
}

static void put_resource(MetaTxn *txn, uint32_t number, const char *lease, const char *type,
                         const char *id)
{
        Leases__Resource record = LEASES__RESOURCE__INIT;
        DbKey k;

        record.id = id;
        record.type = type;
        meta_put(txn, resource_key(&k, number, lease, type, id), &record);
}

int leases_add_resource(MetaTxn *txn, const char *ns, const char *lease, const char *type,
                        const char *id)
{
        uint32_t number = find(txn, ns, lease);

        if (!number)
                return not_found(txn, lease);
        if (check_resource(txn, type, id) == 0 && check_names(txn, type, id) == 0)
                put_resource(txn, number, lease, type, id);
        return meta_failed(txn);
}

int leases_remove_resource(MetaTxn *txn, const char *ns, const char *lease, const char *type,
                           const char *id)
{
        uint32_t number = find(txn, ns, lease);
        DbKey k;

        if (!number)
                return not_found(txn, lease);
        meta_dirty(txn);
        if (check_resource(txn, type, id) == 0)
                db_del(&txn->db, resource_key(&k, number, lease, type, id));
        return meta_failed(txn);
}

int leases_list_resources(MetaTxn *txn, const char *ns, const char *lease, Leases__Resource ***ret,
                          size_t *ret_n)
{
        DbCursor c CLEANUP(db_cursor_done) = {};
        uint32_t number = find(txn, ns, lease);
        VEC(Leases__Resource *) v = {};
        Leases__Resource *record;
        DbKey k;

        if (!number)
                return not_found(txn, lease);
        db_cursor_init(&c, &txn->db, lease_resources_key(&k, number, lease));
        while (db_cursor_next(&c)) {
                record = meta_decode(txn, c.value, &leases__resource__descriptor);
                if (record)
                        VEC_PUSH(&v, record);
        }
        *ret_n = v.n;
        *ret = arena_memdup(txn->arena, v.v, v.n * sizeof(*v.v));
        VEC_DONE(&v);
        return meta_failed(txn);
}

int leases_hold(MetaTxn *txn, const char *ns, const char *type, const char *id)
{
        DbCursor c CLEANUP(db_cursor_done) = {};
        uint32_t number = meta_ns_find(txn, ns);
        const Leases__Lease *lease;
        DbKey k;
        DbVal v;

        if (!number)
                return 0;
        db_cursor_init(&c, &txn->db, db_key(&k, DB_LEASES, number));
        while (db_cursor_next(&c)) {
                lease = meta_decode(txn, c.value, &leases__lease__descriptor);
                if (lease && db_get(&txn->db, resource_key(&k, number, lease->id, type, id), &v))
                        return 1;
        }
        return 0;
}

int lease_add_resource(MetaTxn *txn, const char *ns, const char *lease, const char *type,
                       const char *id)
{
        uint32_t number;

        if (str_empty(lease) || meta_failed(txn))
                return meta_failed(txn);
        number = find(txn, ns, lease);
        if (!number)
                return meta_fail(txn, NOT_FOUND, "lease does not exist: not found");
        put_resource(txn, number, lease, type, id);
        return meta_failed(txn);
}

int lease_remove_resource(MetaTxn *txn, const char *ns, const char *lease, const char *type,
                          const char *id)
{
        uint32_t number;
        DbKey k;

        if (str_empty(lease) || meta_failed(txn))
                return meta_failed(txn);
        number = find(txn, ns, lease);
        if (number)
                db_del(&txn->db, resource_key(&k, number, lease, type, id));
        return meta_failed(txn);
}
