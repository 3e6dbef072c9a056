/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One walk over the database in one read transaction, which decodes each record and collects what
 * should be elsewhere because of it: index entries, blobs, folders. Then the index tables are
 * walked beside the sorted list of what should be in them, and the disk is looked at.
 *
 * The daemon may be at work meanwhile, and the disk has no transactions: a blob that was there in
 * the snapshot may be gone by right. So whoever finds something looks again from the start, and
 * only what is found both times is told.
 */
#include "metadata/check_priv.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "api/containerd/services/content/v1/content.pb-c.h"
#include "base/map.h"
#include "base/mem.h"

enum { LOOK_AGAIN_US = 50 * 1000 };

DEFINE_CLEANUP(DbEnv *, db_env_close)

const char *check_record_name(DbTable table)
{
        return record_kinds[table].what;
}

void check_found(Check *c, const char *kind, int harmless, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        VEC_PUSH(&c->findings, (CheckFinding){.kind = kind,
                                              .harmless = harmless,
                                              .text = arena_vprintf(c->arena, fmt, ap)});
        va_end(ap);
}

/* ---- the walk ---- */

static const char *namespace_of(Check *c, uint32_t number)
{
        VEC_FOREACH (ns, &c->namespaces)
                if (ns->number == number)
                        return ns->name;
        return NULL;
}

/* `image "x" of namespace "default"` */
static const char *describe(Check *c, DbVal key, const Record *r)
{
        const char *what = r->kind ? r->kind->what : "record";
        const char *name = r->name ? r->name : record_key_text(c->arena, key.data, key.n);
        const char *ns = r->ns ? namespace_of(c, r->ns) : NULL;

        return ns ? arena_printf(c->arena, "%s \"%s\" of namespace \"%s\"", what, name, ns)
                  : arena_printf(c->arena, "%s \"%s\"", what, name);
}

static void expect(Check *c, const DbKey *k, const char *from)
{
        VEC_PUSH(&c->expected,
                 (Expected){.key = arena_memdup(c->arena, k->data, k->n), .n = k->n, .from = from});
}

static void look_snapshot(Check *c, DbVal key, const Record *r)
{
        const Store__Snapshot *s = r->message;
        const char *sn = arena_strndup(c->arena, (const char *)key.data + 5, r->groups[0] - 6);
        DbKey k;
        DbVal v;

        db_key_name(db_key_group(db_key(&k, DB_BACKEND, 0), sn), s->backend);
        if (!db_get(&c->txn, &k, &v))
                check_found(c, "reference", 0, "%s: its snapshotter has no \"%s\"",
                            describe(c, key, r), s->backend);
        if (!*s->info->parent)
                return;
        db_key_name(db_key_group(db_key(&k, DB_SNAPSHOTS, r->ns), sn), s->info->parent);
        if (!db_get(&c->txn, &k, &v))
                check_found(c, "reference", 0, "%s: its parent \"%s\" is not there",
                            describe(c, key, r), s->info->parent);
}

static void look_backend(Check *c, DbVal key, const Record *r)
{
        const Store__BackendSnapshot *s = r->message;
        const char *sn = arena_strndup(c->arena, (const char *)key.data + 5, r->groups[0] - 6);
        DbKey k;
        DbVal v;

        VEC_PUSH(&c->folders, (Folder){.snapshotter = sn,
                                       .id = s->id,
                                       .optional = s->kind == SNAPSHOTS__KIND__VIEW,
                                       .key = s->key});
        if (!*s->parent)
                return;
        db_key_name(db_key_group(db_key(&k, DB_BACKEND, 0), sn), s->parent);
        if (!db_get(&c->txn, &k, &v))
                check_found(c, "reference", 0, "%s: its parent \"%s\" is not there",
                            describe(c, key, r), s->parent);
}

static void look_record(Check *c, DbVal key, DbVal value)
{
        const char *wrong;
        DbKey k;
        Record r;

        wrong = record_read(c->arena, key, value, &r);
        if (r.kind)
                c->records[r.table]++;
        if (wrong) {
                check_found(c, "record", 0, "%s %s", describe(c, key, &r), wrong);
                return;
        }
        if (r.ns && !namespace_of(c, r.ns))
                check_found(c, "record", 0, "%s belongs to namespace number %u, which is not there",
                            describe(c, key, &r), r.ns);
        if (record_index_key(&k, c->arena, key, &r))
                expect(c, &k, describe(c, key, &r));
        if (r.table == DB_BLOBS) {
                VEC_PUSH(&c->blobs, (Blob){r.name, ((Content__Info *)r.message)->size});
        } else if (r.table == DB_SNAPSHOTS) {
                look_snapshot(c, key, &r);
        } else if (r.table == DB_BACKEND) {
                look_backend(c, key, &r);
        } else if (r.table == DB_LEASE_RESOURCES) {
                DbVal lease = {key.data, r.groups[0]};

                VEC_PUSH(&c->held, (Expected){.key = arena_memdup(c->arena, lease.data, lease.n),
                                              .n = lease.n,
                                              .from = describe(c, key, &r)});
        } else if (r.table == DB_LEASES) {
                db_key_group(db_key(&k, DB_LEASE_RESOURCES, r.ns), r.name);
                VEC_PUSH(&c->leases,
                         (Expected){.key = arena_memdup(c->arena, k.data, k.n), .n = k.n});
        }
}

/* A name for each number, before anything else: they are in all that is said later. */
static void read_namespaces(Check *c)
{
        DbCursor cur CLEANUP(db_cursor_done) = {};
        DbKey k;
        Record r;

        db_cursor_init(&cur, &c->txn, db_key(&k, DB_NAMESPACES, 0));
        while (db_cursor_next(&cur))
                if (!record_read(c->arena, cur.key, cur.value, &r))
                        VEC_PUSH(&c->namespaces, (Namespace){r.number, r.name});
}

static void walk(Check *c)
{
        read_namespaces(c);
        for (int table = DB_SCHEMA; table <= DB_TABLE_LAST; table++) {
                DbKey prefix = {.n = 1, .data = {(uint8_t)table}};
                DbCursor cur CLEANUP(db_cursor_done) = {};

                if (record_is_index((DbTable)table))
                        continue;
                db_cursor_init(&cur, &c->txn, &prefix);
                while (db_cursor_next(&cur))
                        look_record(c, cur.key, cur.value);
        }
}

/* ---- indexes: in the same order as the keys that should be there ---- */

static int compare_bytes(const void *a, size_t n, const void *b, size_t m)
{
        int r = memcmp(a, b, MIN(n, m));

        return r ? r : (n > m) - (n < m);
}

static int compare_expected(const void *a, const void *b)
{
        const Expected *x = a, *y = b;

        return compare_bytes(x->key, x->n, y->key, y->n);
}

static void missing(Check *c, const Expected *e)
{
        check_found(c, "index", 0, "%s: no entry for it as %s", e->from,
                    record_kinds[*(const uint8_t *)e->key].what);
}

static size_t walk_index(Check *c, DbTable table, size_t at)
{
        DbKey prefix = {.n = 1, .data = {(uint8_t)table}};
        DbCursor cur CLEANUP(db_cursor_done) = {};
        const Expected *e = c->expected.v;

        db_cursor_init(&cur, &c->txn, &prefix);
        while (db_cursor_next(&cur)) {
                int r = 1;

                c->records[table]++;
                while (at < c->expected.n &&
                       (r = compare_bytes(e[at].key, e[at].n, cur.key.data, cur.key.n)) < 0)
                        missing(c, &e[at++]);
                if (at < c->expected.n && r == 0)
                        at++;
                else
                        check_found(c, "index", 0, "%s \"%s\": no record belongs to the entry",
                                    record_kinds[table].what,
                                    record_key_text(c->arena, cur.key.data, cur.key.n));
        }
        for (; at < c->expected.n && *(const uint8_t *)e[at].key == table; at++)
                if (!c->txn.failed)
                        missing(c, &e[at]);
        return at;
}

static void check_indexes(Check *c)
{
        size_t at = 0;

        if (c->expected.n)
                qsort(c->expected.v, c->expected.n, sizeof(Expected), compare_expected);
        for (int table = DB_SCHEMA; table <= DB_TABLE_LAST; table++)
                if (record_is_index((DbTable)table))
                        at = walk_index(c, (DbTable)table, at);
        if (c->leases.n)
                qsort(c->leases.v, c->leases.n, sizeof(Expected), compare_expected);
        VEC_FOREACH (held, &c->held)
                if (c->leases.n == 0 ||
                    !bsearch(held, c->leases.v, c->leases.n, sizeof(Expected), compare_expected))
                        check_found(c, "reference", 0, "%s: its lease is not there", held->from);
}

/* ---- all of it ---- */

static void check_done(Check *c)
{
        VEC_DONE(&c->findings);
        VEC_DONE(&c->namespaces);
        VEC_DONE(&c->expected);
        VEC_DONE(&c->leases);
        VEC_DONE(&c->held);
        VEC_DONE(&c->blobs);
        VEC_DONE(&c->folders);
}

/* What lies beyond the end would kill whoever reads it; the daemon refuses such a file. */
static void check_length(Check *c, DbEnv *env)
{
        char *path CLEANUP(cleanup_free) = mem_printf("%s/data.mdb", c->o->db_dir);
        struct stat st;
        DbStats stats;

        db_env_stats(env, &stats);
        if (stat(path, &st) == 0 && (size_t)st.st_size < stats.used)
                check_found(c, "record", 0, "data.mdb is cut short: %zu bytes of %zu",
                            (size_t)st.st_size, stats.used);
}

static int look(Check *c, DbEnv *env, Err *err)
{
        Err why = {};
        int r;

        check_length(c, env);
        r = db_begin_ro(env, &c->txn, err);
        if (r < 0)
                return r;
        walk(c);
        check_indexes(c);
        if (c->txn.failed) {
                why = *err;
                check_found(c, "record", 0, "the database cannot be read to its end: %s", why.msg);
        }
        db_end(&c->txn);
        err_clear(err);
        return c->o->content_root ? check_disk(c, err) : 0;
}

int check_run(const CheckOptions *o, Arena *a, CheckResult *ret, Err *err)
{
        const DbOptions options = {.read_only = 1};
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        Check first CLEANUP(check_done) = {.o = o, .arena = a};
        Check again CLEANUP(check_done) = {.o = o, .arena = a};
        Map told CLEANUP(map_done) = {};
        size_t n = 0;
        int r;

        r = db_env_open(o->db_dir, &options, &env, err);
        if (r == 0)
                r = look(&first, env, err);
        if (r == 0 && first.findings.n) {
                usleep(LOOK_AGAIN_US);
                r = look(&again, env, err);
        }
        if (r < 0)
                return r;
        *ret = (CheckResult){.blobs = first.n_blobs};
        memcpy(ret->records, first.records, sizeof(ret->records));
        db_env_stats(env, &ret->stats);
        ret->findings = arena_array(a, CheckFinding, first.findings.n + 1);
        VEC_FOREACH (f, &again.findings)
                map_put(&told, f->text, f);
        VEC_FOREACH (f, &first.findings) {
                if (!map_find(&told, f->text))
                        continue;
                ret->findings[n++] = *f;
                ret->n_errors += !f->harmless;
        }
        ret->n_findings = n;
        return 0;
}
