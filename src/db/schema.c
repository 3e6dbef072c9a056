/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The version of what the records look like. A database says which version it has; opening it goes
 * from there to ours, one step at a time, each in a transaction with the new number. So a step
 * happens whole or not at all, and whoever opens next goes on where a killed program stopped. There
 * is no way back: a database of a later version is left alone. A new one gets its version with the
 * first record that somebody writes, so that starting over nothing waits for no disk.
 *
 * A step sees records as its own version had them, which is why it reads bytes and uses nothing of
 * metadata/: that knows only the newest.
 */
#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include "base/fault.h"
#include "base/vec.h"
#include "db/db_priv.h"

static DbKey *version_key(DbKey *k)
{
        return db_key_name(db_key(k, DB_SCHEMA, 0), "version");
}

static DbKey *writer_key(DbKey *k)
{
        return db_key_name(db_key(k, DB_SCHEMA, 0), "writer");
}

/* ---- 1 to 2: counters ---- */

typedef VEC(uint32_t) Numbers;

/* Numbers of namespaces stand before the message in DB_NAMESPACES. */
static void namespace_numbers(DbTxn *txn, Numbers *ret)
{
        DbCursor c CLEANUP(db_cursor_done) = {};
        uint32_t n;
        DbKey k;

        db_cursor_init(&c, txn, db_key(&k, DB_NAMESPACES, 0));
        while (db_cursor_next(&c)) {
                if (c.value.n < sizeof(n))
                        continue;
                memcpy(&n, c.value.data, sizeof(n));
                VEC_PUSH(ret, be32toh(n));
        }
}

static int has_number(Numbers *numbers, uint32_t n)
{
        VEC_FOREACH (have, numbers)
                if (*have == n)
                        return 1;
        return 0;
}

typedef struct Counter {
        DbKey key;
        uint64_t n;
        int drop;
} Counter;

/*
 * Counters of snapshots' backend keys, "snapshot-keys" in DB_SCHEMA below a namespace's number,
 * were in the machine's byte order, unlike all other numbers here, and stayed when their namespace
 * was deleted.
 */
static void counters(DbTxn *txn)
{
        VEC(Counter) found = {};
        Numbers numbers = {};
        DbCursor c = {};
        DbKey all = {.n = 1, .data = {DB_SCHEMA}};
        uint32_t ns;

        namespace_numbers(txn, &numbers);
        db_cursor_init(&c, txn, &all);
        while (db_cursor_next(&c)) {
                Counter counter = {.key.n = (uint16_t)c.key.n};

                memcpy(counter.key.data, c.key.data, c.key.n);
                memcpy(&ns, counter.key.data + 1, sizeof(ns));
                if (ns == 0)
                        continue;
                counter.drop = c.value.n != sizeof(counter.n) || !has_number(&numbers, be32toh(ns));
                if (!counter.drop)
                        memcpy(&counter.n, c.value.data, sizeof(counter.n));
                VEC_PUSH(&found, counter);
        }
        db_cursor_done(&c);
        VEC_FOREACH (counter, &found) {
                uint64_t n = htobe64(counter->n);

                if (counter->drop)
                        db_del(txn, &counter->key);
                else
                        db_put(txn, &counter->key, &n, sizeof(n));
        }
        VEC_DONE(&found);
        VEC_DONE(&numbers);
}

/* The step at [n] goes from version n + 1 to n + 2. Steps are never changed once released. */
static void (*const steps[])(DbTxn *txn) = {counters};

_Static_assert(ARRAY_LEN(steps) == DB_SCHEMA_VERSION - 1, "a step for each version but the first");

/* ---- the version ---- */

static uint32_t read_version(DbTxn *txn)
{
        uint32_t version;
        DbVal v;
        DbKey k;

        if (!db_get(txn, version_key(&k), &v))
                return 0;
        if (v.n != sizeof(version)) {
                db_fail(txn, DATA_LOSS, "database %s: its schema version is not a number",
                        txn->env->dir);
                return 0;
        }
        memcpy(&version, v.data, sizeof(version));
        return be32toh(version);
}

static void write_version(DbTxn *txn, uint32_t version)
{
        static const char writer[] = LIGHTER_VERSION;
        uint32_t n = htobe32(version);
        DbKey k;

        db_put(txn, version_key(&k), &n, sizeof(n));
        db_put(txn, writer_key(&k), writer, sizeof(writer) - 1);
}

static int refuse(DbTxn *txn, uint32_t version)
{
        char writer[64] = "";
        DbVal v;
        DbKey k;

        if (db_get(txn, writer_key(&k), &v))
                snprintf(writer, sizeof(writer), " %.*s", (int)MIN(v.n, (size_t)40),
                         (const char *)v.data);
        return db_fail(txn, FAILED_PRECONDITION,
                       "database %s was written by a newer version of this program: lighterd%s, "
                       "schema %" PRIu32 ", and this one (lighterd " LIGHTER_VERSION
                       ") knows schemas up to %d; run that version, restore a backup that this one "
                       "has made, or choose another root",
                       txn->env->dir, writer, version, DB_SCHEMA_VERSION);
}

static int has_records(DbTxn *txn)
{
        for (int table = DB_SCHEMA; table <= DB_TABLE_LAST; table++)
                if (db_any(txn, &(DbKey){.n = 1, .data = {(uint8_t)table}}))
                        return 1;
        return 0;
}

/* One transaction, one step. *ret_version: where the database is then. */
static int step(DbEnv *env, uint32_t *ret_version, Err *err)
{
        DbTxn txn CLEANUP(db_end) = {};
        uint32_t version;
        int r;

        r = db_begin_rw(env, &txn, err);
        if (r < 0)
                return r;
        version = read_version(&txn) + 1;
        steps[version - 2](&txn);
        write_version(&txn, version);
        r = db_commit(&txn);
        if (r < 0)
                return err_wrap(err, "bring the database to schema %" PRIu32, version);
        *ret_version = version;
        return 0;
}

static int look(DbEnv *env, uint32_t *ret, Err *err)
{
        DbTxn txn CLEANUP(db_end) = {};
        int r;

        r = db_begin_ro(env, &txn, err);
        if (r < 0)
                return r;
        *ret = read_version(&txn);
        if (*ret == 0 && has_records(&txn))
                return db_fail(&txn, DATA_LOSS, "database %s has records and no schema version",
                               env->dir);
        return *ret > DB_SCHEMA_VERSION ? refuse(&txn, *ret) : db_commit(&txn);
}

int schema_current(DbEnv *env, Err *err)
{
        uint32_t version;
        int r;

        r = look(env, &version, err);
        if (r == 0 && version && version != DB_SCHEMA_VERSION)
                return err_set(err, FAILED_PRECONDITION,
                               "database %s has schema %" PRIu32 " and this program reads %d: "
                               "start the daemon once, which migrates it",
                               env->dir, version, DB_SCHEMA_VERSION);
        return r;
}

int schema_bring(DbEnv *env, Err *err)
{
        uint32_t version;
        int r;

        r = look(env, &version, err);
        env->stats.migrated_from = version && version < DB_SCHEMA_VERSION ? version : 0;
        env->fresh = version == 0;
        while (r == 0 && version && version < DB_SCHEMA_VERSION)
                r = step(env, &version, err);
        return r;
}

int schema_begin(DbTxn *txn)
{
        write_version(txn, DB_SCHEMA_VERSION);
        return txn->failed;
}
