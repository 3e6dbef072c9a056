/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is left of the old database. Every record that decodes and lies under its own key is taken;
 * then, again and again until nothing changes, what needs something that is not there is dropped: a
 * blob without its file (whoever wants it then fetches it again), a snapshot without its folder or
 * its parent, what a lease held that is gone. Indexes are not taken but made from the records.
 */
#include <dirent.h>
#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "api/containerd/services/content/v1/content.pb-c.h"
#include "api/containerd/services/namespaces/v1/namespaces.pb-c.h"
#include "base/mem.h"
#include "metadata/rebuild_priv.h"
#include "rpc/message.h"

DEFINE_CLEANUP(DbEnv *, db_env_close)

enum { BATCH = 1000 };

static int compare_keys(const void *a, const void *b)
{
        const DbVal *x = &((const OldRecord *)a)->key, *y = &((const OldRecord *)b)->key;
        int r = memcmp(x->data, y->data, MIN(x->n, y->n));

        return r ? r : (x->n > y->n) - (x->n < y->n);
}

static int have(Rebuild *rb, const void *key, size_t n)
{
        OldRecord want = {.key = {key, n}};
        const OldRecord *found =
                rb->old.n ? bsearch(&want, rb->old.v, rb->old.n, sizeof(OldRecord), compare_keys)
                          : NULL;

        return found && !found->drop;
}

static int have_key(Rebuild *rb, const DbKey *k)
{
        return have(rb, k->data, k->n);
}

/* ---- reading ---- */

static DbVal copy(Arena *a, DbVal v)
{
        return (DbVal){arena_memdup(a, v.data, v.n), v.n};
}

static void take(Rebuild *rb, DbVal key, DbVal value)
{
        OldRecord rec = {.key = copy(rb->arena, key), .value = copy(rb->arena, value)};

        if (record_read(rb->arena, rec.key, rec.value, &rec.r)) {
                rb->res->dropped++;
                if (!rec.r.kind || rec.r.table == DB_BLOBS)
                        rb->adopt = 1;
                return;
        }
        VEC_PUSH(&rb->old, rec);
}

/* A transaction that has met a broken page reads no more: each table gets one of its own. */
static int read_table(Rebuild *rb, DbEnv *env, DbTable table, Err *err)
{
        DbKey prefix = {.n = 1, .data = {(uint8_t)table}};
        DbTxn txn CLEANUP(db_end) = {};
        DbCursor c CLEANUP(db_cursor_done) = {};
        int r;

        r = db_begin_ro(env, &txn, err);
        if (r < 0)
                return r;
        db_cursor_init(&c, &txn, &prefix);
        while (db_cursor_next(&c))
                take(rb, c.key, c.value);
        if (txn.failed) {
                rebuild_say(rb, "some %ss are lost: %s", record_kinds[table].what, err->msg);
                rb->adopt = 1;
        }
        return 0;
}

/* ---- dropping ---- */

static const char *snapshotter_of(Rebuild *rb, const OldRecord *rec)
{
        return arena_strndup(rb->arena, (const char *)rec->key.data + 5, rec->r.groups[0] - 6);
}

static const char *root_of(const Rebuild *rb, const char *snapshotter)
{
        for (size_t i = 0; i < rb->o->n_snapshotters; i++)
                if (str_eq(rb->o->snapshotters[i].name, snapshotter))
                        return rb->o->snapshotters[i].root;
        return NULL;
}

static int folder_is_there(Rebuild *rb, const char *snapshotter, const Store__BackendSnapshot *s)
{
        const char *root = root_of(rb, snapshotter);
        char *path CLEANUP(cleanup_free) = NULL;

        if (!root || s->kind == SNAPSHOTS__KIND__VIEW)
                return 1;
        path = mem_printf("%s/snapshots/%" PRIu64, root, s->id);
        return access(path, F_OK) == 0;
}

static int wanting(Rebuild *rb, const OldRecord *rec)
{
        const Store__BackendSnapshot *b = rec->r.message;
        const Store__Snapshot *s = rec->r.message;
        const Content__Info *info = rec->r.message;
        const Doc *d;
        const char *sn;
        DbKey k;

        switch (rec->r.table) {
        case DB_BLOBS:
                d = rebuild_find_doc(rb, info->digest);
                return !d || d->size != info->size;
        case DB_BACKEND:
                sn = snapshotter_of(rb, rec);
                db_key_group(db_key(&k, DB_BACKEND, 0), sn);
                return !folder_is_there(rb, sn, b) ||
                       (*b->parent && !have_key(rb, db_key_name(&k, b->parent)));
        case DB_SNAPSHOTS:
                sn = snapshotter_of(rb, rec);
                db_key_group(db_key(&k, DB_BACKEND, 0), sn);
                if (!have_key(rb, db_key_name(&k, s->backend)))
                        return 1;
                db_key_group(db_key(&k, DB_SNAPSHOTS, rec->r.ns), sn);
                return *s->info->parent && !have_key(rb, db_key_name(&k, s->info->parent));
        default:
                return 0;
        }
}

static void drop_wanting(Rebuild *rb)
{
        for (int again = 1; again;) {
                again = 0;
                VEC_FOREACH (rec, &rb->old) {
                        if (rec->drop || !wanting(rb, rec))
                                continue;
                        rec->drop = again = 1;
                        rb->res->dropped++;
                }
        }
}

/* What a lease held is below the lease's own key part. */
static void drop_unheld(Rebuild *rb)
{
        VEC(OldRecord) leases = {};
        DbKey k;

        VEC_FOREACH (rec, &rb->old) {
                if (rec->r.table != DB_LEASES || rec->drop)
                        continue;
                db_key_group(db_key(&k, DB_LEASE_RESOURCES, rec->r.ns), rec->r.name);
                VEC_PUSH(&leases, (OldRecord){.key = copy(rb->arena, (DbVal){k.data, k.n})});
        }
        if (leases.n)
                qsort(leases.v, leases.n, sizeof(OldRecord), compare_keys);
        VEC_FOREACH (rec, &rb->old) {
                OldRecord want = {.key = {rec->key.data, rec->r.groups[0]}};

                if (rec->r.table != DB_LEASE_RESOURCES)
                        continue;
                if (leases.n && bsearch(&want, leases.v, leases.n, sizeof(OldRecord), compare_keys))
                        continue;
                rec->drop = 1;
                rb->res->dropped++;
        }
        VEC_DONE(&leases);
}

/* A namespace whose own record is lost gets another name: its records have only its number. */
static void name_namespaces(Rebuild *rb)
{
        size_t n = rb->old.n;

        for (size_t i = 0; i < n; i++) {
                uint32_t number = rb->old.v[i].r.ns;
                int known = number == 0 || rb->old.v[i].drop;

                for (size_t j = 0; !known && j < rb->old.n; j++)
                        known = rb->old.v[j].r.table == DB_NAMESPACES &&
                                rb->old.v[j].r.number == number;
                if (!known) {
                        Namespaces__Namespace ns = NAMESPACES__NAMESPACE__INIT;
                        OldRecord rec = {.r = {.table = DB_NAMESPACES, .number = number}};
                        uint32_t big = htobe32(number);
                        char *value;
                        DbKey k;
                        size_t len;

                        ns.name = arena_printf(rb->arena, "recovered-%u", number);
                        len = protobuf_c_message_get_packed_size(&ns.base);
                        value = arena_alloc(rb->arena, sizeof(big) + len);
                        memcpy(value, &big, sizeof(big));
                        protobuf_c_message_pack(&ns.base, (uint8_t *)value + sizeof(big));
                        db_key_name(db_key(&k, DB_NAMESPACES, 0), ns.name);
                        rec.key = copy(rb->arena, (DbVal){k.data, k.n});
                        rec.value = (DbVal){value, sizeof(big) + len};
                        rebuild_say(rb, "namespace number %u has lost its name: %s", number,
                                    ns.name);
                        VEC_PUSH(&rb->old, rec);
                        rb->res->namespaces++;
                }
        }
}

int rebuild_read_old(Rebuild *rb, Err *err)
{
        const DbOptions options = {.read_only = 1};
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        int r;

        r = db_env_open(rb->o->old_db, &options, &env, err);
        for (int table = DB_SCHEMA; r == 0 && table <= DB_TABLE_LAST; table++)
                if (!record_is_index((DbTable)table))
                        r = read_table(rb, env, (DbTable)table, err);
        if (r < 0)
                return r;
        drop_wanting(rb);
        drop_unheld(rb);
        VEC_FOREACH (rec, &rb->old) {
                Doc *d = rec->r.table == DB_BLOBS && !rec->drop ? rebuild_find_doc(rb, rec->r.name)
                                                                : NULL;

                if (d)
                        d->owned = 1;
                rb->res->kept += !rec->drop && rec->r.table != DB_SCHEMA;
        }
        name_namespaces(rb);
        return 0;
}

/* ---- writing ---- */

static void write_one(Rebuild *rb, DbTxn *txn, const OldRecord *rec)
{
        DbKey k = {.n = (uint16_t)rec->key.n}, index;

        memcpy(k.data, rec->key.data, rec->key.n);
        db_put(txn, &k, rec->value.data, rec->value.n);
        if (rec->r.message && record_index_key(&index, rb->arena, rec->key, &rec->r))
                db_put(txn, &index, "", 0);
}

/* The counter of namespaces must be above every number in use, whatever became of its record. */
static void write_counter(Rebuild *rb, DbTxn *txn)
{
        uint64_t n = 0;
        DbKey k;
        DbVal v;

        db_key_name(db_key(&k, DB_SCHEMA, 0), "namespaces");
        if (db_get(txn, &k, &v) && v.n == sizeof(n))
                memcpy(&n, v.data, sizeof(n));
        n = be64toh(n);
        VEC_FOREACH (rec, &rb->old)
                n = MAX(n, (uint64_t)MAX(rec->r.number, rec->r.ns));
        n = htobe64(n);
        db_put(txn, &k, &n, sizeof(n));
}

int rebuild_write_old(Rebuild *rb, DbEnv *env, Err *err)
{
        size_t i = 0;
        int r;

        while (i < rb->old.n) {
                DbTxn txn CLEANUP(db_end) = {};

                r = db_begin_rw(env, &txn, err);
                if (r < 0)
                        return r;
                for (size_t n = 0; n < BATCH && i < rb->old.n; n++, i++) {
                        const OldRecord *rec = &rb->old.v[i];

                        /* version and writer are the new one's */
                        if (!rec->drop && !(rec->r.table == DB_SCHEMA && rec->r.ns == 0))
                                write_one(rb, &txn, rec);
                }
                if (i == rb->old.n)
                        write_counter(rb, &txn);
                r = db_commit(&txn);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* ---- folders ---- */

static int compare_numbers(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return (x > y) - (x < y);
}

static void find_folders_of(Rebuild *rb, const CheckSnapshotter *sn)
{
        char *path CLEANUP(cleanup_free) = mem_printf("%s/snapshots", sn->root);
        VEC(uint64_t) ids = {};
        DIR *dir = opendir(path);
        struct dirent *e;
        uint64_t id;

        VEC_FOREACH (rec, &rb->old)
                if (rec->r.table == DB_BACKEND && !rec->drop &&
                    str_eq(snapshotter_of(rb, rec), sn->name))
                        VEC_PUSH(&ids, ((const Store__BackendSnapshot *)rec->r.message)->id);
        if (ids.n)
                qsort(ids.v, ids.n, sizeof(uint64_t), compare_numbers);
        while (dir && (e = readdir(dir)))
                if (str_to_u64(e->d_name, &id) == 0 &&
                    (ids.n == 0 || !bsearch(&id, ids.v, ids.n, sizeof(id), compare_numbers)))
                        VEC_PUSH(&rb->folders, arena_printf(rb->arena, "%s/%s", path, e->d_name));
        if (dir)
                closedir(dir);
        VEC_DONE(&ids);
}

void rebuild_find_folders(Rebuild *rb)
{
        for (size_t i = 0; i < rb->o->n_snapshotters; i++)
                find_folders_of(rb, &rb->o->snapshotters[i]);
}
