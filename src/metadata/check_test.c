/* SPDX-License-Identifier: Apache-2.0 */
/* Each thing that can be wrong is made wrong, and told. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/test.h"
#include "metadata/check.h"
#include "metadata/containers.h"
#include "metadata/images.h"
#include "metadata/leases.h"
#include "metadata/records_priv.h"
#include "metadata/snapshots.h"
#include "rpc/message.h"
#include "spec/descriptor.h"

DEFINE_CLEANUP(DbEnv *, db_env_close)

typedef struct Fixture {
        Arena arena;
        char *db, *content, *native;
        DbEnv *env;
        Digest digest;
        Err err;
} Fixture;

static void close_db(Fixture *f)
{
        f->env = db_env_close(f->env);
}

static void fixture_done(Fixture *f)
{
        close_db(f);
        arena_done(&f->arena);
}

static int put_blob(Fixture *f, Metadata *m, const char *text)
{
        ContentStore *store CLEANUP(content_store_freep) = NULL;
        Blobs *blobs CLEANUP(blobs_freep) = NULL;
        Ingest *in CLEANUP(ingest_closep) = NULL;
        const IngestSpec spec = {.who.ns = "default", .ref = "r"};
        const IngestCommit commit = {};
        int r;

        r = content_store_open(f->content, &store, &f->err);
        if (r < 0)
                return r;
        blobs = blobs_new(m, store, 0);
        r = ingest_open(blobs, &spec, &f->arena, &in, &f->err);
        if (r == 0)
                r = ingest_write(in, text, strlen(text), &f->err);
        if (r == 0)
                r = ingest_commit(in, &f->arena, &commit, &f->digest, &f->err);
        in = ingest_close(in);
        return r;
}

static int put_snapshots(Fixture *f, Metadata *m)
{
        Snapshotter *sn CLEANUP(snapshotter_freep) = NULL;
        Snapshots *s CLEANUP(snapshots_freep) = NULL;
        const MetaCaller who = {.ns = "default"};
        SnapshotsPrepare a = {
                .snapshotter = "native", .key = "a", .parent = "", .kind = SNAPSHOT_ACTIVE};
        SnapshotsCommit c = {.snapshotter = "native", .name = "base", .key = "a"};
        MountList mounts;
        int r;

        r = native_open(f->env, f->native, &sn, &f->err);
        if (r < 0)
                return r;
        s = snapshots_new(m);
        snapshots_add(s, sn);
        r = snapshots_prepare(s, &who, &f->arena, &a, &mounts, &f->err);
        if (r == 0)
                r = snapshots_commit(s, &who, &f->arena, &c, &f->err);
        a.key = "child";
        a.parent = "base";
        return r < 0 ? r : snapshots_prepare(s, &who, &f->arena, &a, &mounts, &f->err);
}

static int put_lease(Fixture *f, Metadata *m)
{
        Leases__CreateRequest req = LEASES__CREATE_REQUEST__INIT;
        MetaTxn txn CLEANUP(meta_txn_end) = {};

        if (meta_begin_rw(m, &txn, &f->arena, &f->err) < 0)
                return -f->err.code;
        req.id = "l";
        leases_create(&txn, "default", &req);
        leases_add_resource(&txn, "default", "l", "content", f->digest.text);
        leases_add_resource(&txn, "default", "l", "snapshots/native", "base");
        return meta_commit(&txn);
}

/* One of each, and long names. */
static int fixture_fill(Fixture *f)
{
        const char *dir = test_tmpdir();
        Metadata *m;
        int r;

        arena_init(&f->arena, SIZE_MAX);
        f->db = arena_printf(&f->arena, "%s/db", dir);
        f->content = arena_printf(&f->arena, "%s/content", dir);
        f->native = arena_printf(&f->arena, "%s/native", dir);
        r = path_mkdirs(f->content, 0700, &f->err);
        if (r == 0)
                r = db_env_open(f->db, NULL, &f->env, &f->err);
        if (r < 0)
                return r;
        m = metadata_new(f->env, NULL);
        r = put_blob(f, m, "hello");
        if (r == 0)
                r = put_snapshots(f, m);
        if (r == 0)
                r = put_lease(f, m);
        metadata_free(m);
        return r;
}

static int run(Fixture *f, CheckResult *ret, int digests)
{
        const CheckSnapshotter snapshotters[] = {{"native", f->native}};
        const CheckOptions o = {.db_dir = f->db,
                                .content_root = f->content,
                                .snapshotters = snapshotters,
                                .n_snapshotters = 1,
                                .digests = digests};

        close_db(f);
        return check_run(&o, &f->arena, ret, &f->err);
}

/* Runs and expects these findings, no others. */
static int finds(Fixture *f, int digests, const char *const *texts, size_t n)
{
        CheckResult res;
        size_t found = 0;

        if (run(f, &res, digests) < 0) {
                printf("%s\n", f->err.msg);
                return 0;
        }
        for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j < res.n_findings; j++)
                        if (strstr(res.findings[j].text, texts[i])) {
                                found++;
                                break;
                        }
        if (found == n && res.n_findings == n)
                return 1;
        for (size_t j = 0; j < res.n_findings; j++)
                printf("    found: %s\n", res.findings[j].text);
        return 0;
}

#define FINDS(f, digests, ...)                                \
        finds(f, digests, (const char *const[]){__VA_ARGS__}, \
              sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

/* Changes the database behind everybody's back. */
static int tamper(Fixture *f, DbTable table, const char *part, int drop, const char *value)
{
        DbTxn txn CLEANUP(db_end) = {};
        DbKey prefix = {.n = 1, .data = {(uint8_t)table}}, k = {};

        if (!f->env && db_env_open(f->db, NULL, &f->env, &f->err) < 0)
                return -1;
        if (db_begin_rw(f->env, &txn, &f->err) < 0)
                return -1;
        {
                DbCursor c CLEANUP(db_cursor_done) = {};

                db_cursor_init(&c, &txn, &prefix);
                while (db_cursor_next(&c))
                        if (memmem(c.key.data, c.key.n, part, strlen(part))) {
                                k.n = (uint16_t)c.key.n;
                                memcpy(k.data, c.key.data, c.key.n);
                        }
        }
        if (k.n == 0)
                return -1;
        if (drop)
                db_del(&txn, &k);
        else
                db_put(&txn, &k, value, strlen(value));
        return db_commit(&txn);
}

TEST(check_of_what_is_whole)
{
        Fixture f CLEANUP(fixture_done) = {};
        CheckResult res;

        CHECK_INT(fixture_fill(&f), 0);
        CHECK_INT(run(&f, &res, 1), 0);
        CHECK_INT(res.n_findings, 0);
        CHECK_INT(res.records[DB_BLOBS], 1);
        CHECK_INT(res.records[DB_BLOB_OWNERS], 1);
        CHECK_INT(res.records[DB_SNAPSHOTS], 2);
        CHECK_INT(res.records[DB_SNAPSHOT_CHILDREN], 1);
        CHECK_INT(res.records[DB_BACKEND_CHILDREN], 1);
        CHECK_INT(res.records[DB_LEASE_RESOURCES], 2);
        CHECK_INT(res.blobs, 1);
}

TEST(check_finds_what_does_not_decode)
{
        Fixture f CLEANUP(fixture_done) = {};

        CHECK_INT(fixture_fill(&f), 0);
        CHECK_INT(tamper(&f, DB_LEASES, "l", 0, "\xff\xff\xff"), 0);
        CHECK(FINDS(&f, 0, "lease \"l\" of namespace \"default\" does not decode",
                    "resource of a lease \"sha256:", "resource of a lease \"base\""));
}

TEST(check_finds_a_record_under_a_wrong_key)
{
        Fixture f CLEANUP(fixture_done) = {};

        CHECK_INT(fixture_fill(&f), 0);
        CHECK_INT(tamper(&f, DB_LEASES, "l", 0, "\n\001m"), 0);
        CHECK(FINDS(&f, 0, "lease \"m\" of namespace \"default\" lies under a key that",
                    "resource of a lease \"sha256:", "resource of a lease \"base\""));
}

TEST(check_finds_entries_missing_in_an_index)
{
        Fixture f CLEANUP(fixture_done) = {};

        CHECK_INT(fixture_fill(&f), 0);
        CHECK_INT(tamper(&f, DB_BLOB_OWNERS, "", 1, NULL), 0);
        CHECK_INT(tamper(&f, DB_SNAPSHOT_CHILDREN, "", 1, NULL), 0);
        CHECK_INT(tamper(&f, DB_BACKEND_CHILDREN, "", 1, NULL), 0);
        CHECK(FINDS(&f, 0, "no entry for it as owner of a blob",
                    "snapshot \"child\" of namespace \"default\": no entry for it as child of a",
                    "snapshotter's snapshot \"default/3/child\": no entry"));
}

TEST(check_finds_entries_that_point_nowhere)
{
        Fixture f CLEANUP(fixture_done) = {};

        CHECK_INT(fixture_fill(&f), 0);
        CHECK_INT(tamper(&f, DB_BLOBS, "sha256", 1, NULL), 0);
        CHECK_INT(tamper(&f, DB_SNAPSHOTS, "child", 1, NULL), 0);
        CHECK(FINDS(&f, 0, "owner of a blob \"sha256:", "child of a snapshot \"native/base/child\"",
                    "has a file and no record"));
}

TEST(check_finds_references_that_point_nowhere)
{
        Fixture f CLEANUP(fixture_done) = {};

        CHECK_INT(fixture_fill(&f), 0);
        CHECK_INT(tamper(&f, DB_SNAPSHOTS, "base", 1, NULL), 0);
        CHECK_INT(tamper(&f, DB_BACKEND, "/base", 1, NULL), 0);
        CHECK(FINDS(&f, 0, "snapshot \"child\" of namespace \"default\": its parent \"base\"",
                    "snapshotter's snapshot \"default/3/child\": its parent", "has no record"));
}

TEST(check_finds_a_namespace_that_is_gone)
{
        Fixture f CLEANUP(fixture_done) = {};

        CHECK_INT(fixture_fill(&f), 0);
        CHECK_INT(tamper(&f, DB_LEASE_RESOURCES, "base", 1, NULL), 0);
        CHECK_INT(tamper(&f, DB_LEASE_RESOURCES, "sha256", 1, NULL), 0);
        CHECK_INT(tamper(&f, DB_SNAPSHOTS, "base", 1, NULL), 0);
        CHECK_INT(tamper(&f, DB_SNAPSHOTS, "child", 1, NULL), 0);
        CHECK_INT(tamper(&f, DB_SNAPSHOT_CHILDREN, "child", 1, NULL), 0);
        CHECK_INT(tamper(&f, DB_NAMESPACES, "default", 1, NULL), 0);
        CHECK(FINDS(&f, 0, "lease \"l\" belongs to namespace number 1, which is not there",
                    "blob \"sha256:", "counter \"snapshot-keys/native\" belongs to"));
}

TEST(check_finds_what_is_not_on_disk)
{
        Fixture f CLEANUP(fixture_done) = {};
        char *path;

        CHECK_INT(fixture_fill(&f), 0);
        path = arena_printf(&f.arena, "%s/blobs/sha256/%s", f.content, digest_hex(&f.digest));
        CHECK_INT(truncate(path, 3), 0);
        CHECK(FINDS(&f, 0, "its record says 5 bytes, its file has 3"));
        CHECK_INT(file_write(AT_FDCWD, path, "hullo", 5, 0644, &f.err), 0);
        CHECK(FINDS(&f, 1, "its file's digest is sha256:"));
        CHECK_INT(unlink(path), 0);
        path = arena_printf(&f.arena, "%s/snapshots/1", f.native);
        CHECK_INT(path_remove_tree(AT_FDCWD, path, &f.err), 0);
        path = arena_printf(&f.arena, "%s/snapshots/77", f.native);
        CHECK_INT(mkdir(path, 0700), 0);
        CHECK(FINDS(&f, 0, "has a record and no file", "has a record and no folder",
                    "/snapshots/77 has no record"));
}

TEST(check_without_a_database)
{
        Fixture f CLEANUP(fixture_done) = {};
        CheckResult res;

        arena_init(&f.arena, SIZE_MAX);
        f.db = f.content = f.native = arena_printf(&f.arena, "%s/none", test_tmpdir());
        CHECK_INT(run(&f, &res, 0), -NOT_FOUND);
}

/* Whatever bytes stand there, reading ends. */
TEST(records_of_any_bytes)
{
        unsigned seed = 7;

        for (int i = 0; i < 20000; i++) {
                Arena a CLEANUP(arena_done);
                uint8_t key[64], value[64];
                DbVal k = {key, (size_t)(rand_r(&seed) % 64)};
                DbVal v = {value, (size_t)(rand_r(&seed) % 64)};
                Record r;
                DbKey index;

                arena_init(&a, SIZE_MAX);
                for (size_t j = 0; j < 64; j++) {
                        key[j] = (uint8_t)(rand_r(&seed) >> 3);
                        value[j] = (uint8_t)(rand_r(&seed) >> 3);
                }
                key[0] = (uint8_t)(key[0] % 16);
                key[6] = i % 3 ? 0 : key[6];
                if (!record_read(&a, k, v, &r) && r.message)
                        record_index_key(&index, &a, k, &r);
                record_key_text(&a, k.data, k.n);
        }
}
