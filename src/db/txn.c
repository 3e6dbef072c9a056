/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions: the sticky error, records, cursors. A finished read transaction is reset and kept
 * for the next reader, which saves it a slot in LMDB's table and an allocation.
 */
#include "base/fault.h"
#include "db/db_priv.h"

#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static __thread int in_txn;

void db_reader_enter(DbEnv *env)
{
        LOCKED(&env->lock);
        while (env->closed_gate)
                lock_wait(&env->lock, &env->gate, 0);
        env->n_readers++;
}

void db_reader_leave(DbEnv *env)
{
        LOCKED(&env->lock);
        if (--env->n_readers == 0)
                pthread_cond_broadcast(&env->gate);
}

static int begin_ro(DbEnv *env, MDB_txn **ret)
{
        MDB_txn *txn = NULL;
        int rc;

        lock_take(&env->lock);
        while (env->closed_gate)
                lock_wait(&env->lock, &env->gate, 0);
        env->n_readers++;
        if (env->n_cache > 0)
                txn = env->cache[--env->n_cache];
        lock_drop(&env->lock);

        if (!env->mdb)
                rc = MDB_PANIC;
        else if (txn)
                rc = mdb_txn_renew(txn);
        else
                rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn);
        if (rc == 0) {
                *ret = txn;
                return 0;
        }
        if (txn && env->mdb)
                mdb_txn_abort(txn);
        db_reader_leave(env);
        return rc;
}

static void end_ro(DbEnv *env, MDB_txn *txn)
{
        int keep;

        mdb_txn_reset(txn);
        lock_take(&env->lock);
        keep = env->n_cache < READ_CACHE && !env->closed_gate;
        if (keep)
                env->cache[env->n_cache++] = txn;
        lock_drop(&env->lock);
        if (!keep)
                mdb_txn_abort(txn);
        db_reader_leave(env);
}

int db_begin_ro(DbEnv *env, DbTxn *txn, Err *err)
{
        int rc, r;

        assert(!in_txn);
        *txn = (DbTxn){.env = env, .err = err};
        rc = fault_hit() ? EIO : begin_ro(env, &txn->txn);
        if (rc == MDB_PANIC) {
                r = group_recover(env, err);
                if (r < 0)
                        return txn->failed = r;
                rc = begin_ro(env, &txn->txn);
        }
        if (rc != 0)
                return txn->failed = db_rc(err, rc, "begin");
        in_txn = 1;
        return 0;
}

static int begin_write(DbEnv *env, DbTxn *txn, int frees, Err *err)
{
        DbBatch *batch;

        assert(!in_txn);
        *txn = (DbTxn){.env = env, .err = err, .write = 1};
        txn->hooks_tail = &txn->hooks;
        batch = batch_of(env);
        txn->failed = batch ? batch_begin(txn, batch, frees) : group_begin(txn, frees);
        in_txn = txn->failed == 0;
        return txn->failed;
}

int db_begin_rw(DbEnv *env, DbTxn *txn, Err *err)
{
        return begin_write(env, txn, 0, err);
}

int db_begin_free(DbEnv *env, DbTxn *txn, Err *err)
{
        return begin_write(env, txn, 1, err);
}

void db_end(DbTxn *txn)
{
        if (!txn->txn)
                return;
        if (txn->batch)
                batch_abort(txn);
        else if (txn->write)
                group_abort(txn);
        else
                end_ro(txn->env, TAKE(txn->txn));
        txn->txn = NULL;
        in_txn = 0;
}

int db_commit(DbTxn *txn)
{
        int r = txn->failed;

        assert(txn->txn || r < 0);
        if (r < 0 || !txn->write) {
                db_end(txn);
                return r;
        }
        in_txn = 0;
        return txn->failed = txn->batch ? batch_join(txn) : group_commit(txn);
}

int db_fail_at(DbTxn *txn, int code, const char *file, int line, const char *fmt, ...)
{
        char msg[ERR_MSG_MAX];
        va_list ap;

        if (txn->failed)
                return txn->failed;
        va_start(ap, fmt);
        vsnprintf(msg, sizeof(msg), fmt, ap);
        va_end(ap);
        return txn->failed = err_set_at(txn->err, code, file, line, "%s", msg);
}

void db_on_commit(DbTxn *txn, DbHook *hook, void (*fn)(void *ctx), void *ctx)
{
        assert(txn->write);
        *hook = (DbHook){.fn = fn, .ctx = ctx};
        *txn->hooks_tail = hook;
        txn->hooks_tail = &hook->next;
}

/* What LMDB says other than 0 and NOTFOUND sticks. */
static int check(DbTxn *txn, int rc, const char *what)
{
        if (rc == 0)
                return 1;
        if (rc == MDB_NOTFOUND || rc == MDB_KEYEXIST)
                return 0;
        if (rc == MDB_MAP_FULL)
                txn->env->want_grow = 1;
        txn->failed = db_rc(txn->err, rc, what);
        return 0;
}

static MDB_val key_val(const DbKey *key)
{
        return (MDB_val){.mv_size = key->n, .mv_data = (void *)(uintptr_t)key->data};
}

int db_get(DbTxn *txn, const DbKey *key, DbVal *ret)
{
        MDB_val k = key_val(key), v;

        if (txn->failed)
                return 0;
        if (!check(txn, mdb_get(txn->txn, txn->env->dbi, &k, &v), "get"))
                return 0;
        *ret = (DbVal){.data = v.mv_data, .n = v.mv_size};
        return 1;
}

static int put(DbTxn *txn, const DbKey *key, const void *data, size_t n, unsigned flags)
{
        MDB_val k = key_val(key), v = {.mv_size = n, .mv_data = (void *)(uintptr_t)data};
        int rc;

        if (txn->failed)
                return 0;
        txn->bytes += n + key->n;
        if (fault_hit())
                rc = EIO;
        else if (txn->batch)
                rc = batch_put(txn, &k, &v, flags);
        else
                rc = mdb_put(txn->txn, txn->env->dbi, &k, &v, flags);
        return check(txn, rc, "put");
}

void db_put(DbTxn *txn, const DbKey *key, const void *data, size_t n)
{
        put(txn, key, data, n, 0);
}

int db_put_new(DbTxn *txn, const DbKey *key, const void *data, size_t n)
{
        return put(txn, key, data, n, MDB_NOOVERWRITE);
}

int db_del(DbTxn *txn, const DbKey *key)
{
        MDB_val k = key_val(key);
        int rc;

        if (txn->failed)
                return 0;
        if (fault_hit())
                rc = EIO;
        else if (txn->batch)
                rc = batch_del(txn, &k);
        else
                rc = mdb_del(txn->txn, txn->env->dbi, &k, NULL);
        return check(txn, rc, "delete");
}

static int has_prefix(const MDB_val *k, const DbKey *prefix)
{
        return k->mv_size >= prefix->n && memcmp(k->mv_data, prefix->data, prefix->n) == 0;
}

/* The first key that starts with prefix, copied; 0 if there is none. */
static int first(DbTxn *txn, const DbKey *prefix, DbKey *ret)
{
        DbCursor c CLEANUP(db_cursor_done) = {};

        db_cursor_init(&c, txn, prefix);
        if (!db_cursor_next(&c))
                return 0;
        ret->n = (uint16_t)c.key.n;
        memcpy(ret->data, c.key.data, c.key.n);
        return 1;
}

/* Looks each one up anew: a cursor does not outlive a delete. */
size_t db_del_prefix(DbTxn *txn, const DbKey *prefix)
{
        DbKey key;
        size_t n = 0;

        while (first(txn, prefix, &key) && db_del(txn, &key))
                n++;
        return n;
}

int db_any(DbTxn *txn, const DbKey *prefix)
{
        DbKey key;

        return first(txn, prefix, &key);
}

uint64_t db_count_up(DbTxn *txn, const DbKey *key)
{
        uint64_t n = 0;
        DbVal val;

        if (db_get(txn, key, &val)) {
                if (val.n != sizeof(n)) {
                        db_fail(txn, DATA_LOSS, "database: a counter of %zu bytes", val.n);
                        return 0;
                }
                memcpy(&n, val.data, sizeof(n));
                n = be64toh(n);
        }
        n = htobe64(n + 1);
        db_put(txn, key, &n, sizeof(n));
        return txn->failed ? 0 : be64toh(n);
}

void db_cursor_init(DbCursor *c, DbTxn *txn, const DbKey *prefix)
{
        *c = (DbCursor){.txn = txn, .prefix = *prefix, .from = *prefix, .seek = 1};
        if (!txn->failed)
                check(txn, mdb_cursor_open(txn->txn, txn->env->dbi, &c->cursor), "cursor");
}

void db_cursor_seek(DbCursor *c, const DbKey *from)
{
        c->from = *from;
        c->seek = 1;
}

int db_cursor_next(DbCursor *c)
{
        MDB_val k, v;
        int rc;

        if (c->txn->failed)
                return 0;
        k = key_val(&c->from);
        rc = mdb_cursor_get(c->cursor, &k, &v, c->seek ? MDB_SET_RANGE : MDB_NEXT);
        c->seek = 0;
        if (!check(c->txn, rc, "cursor") || !has_prefix(&k, &c->prefix))
                return 0;
        c->key = (DbVal){.data = k.mv_data, .n = k.mv_size};
        c->rest = (DbVal){.data = (const uint8_t *)k.mv_data + c->prefix.n,
                          .n = k.mv_size - c->prefix.n};
        c->value = (DbVal){.data = v.mv_data, .n = v.mv_size};
        return 1;
}

void db_cursor_done(DbCursor *c)
{
        if (c->cursor)
                mdb_cursor_close(TAKE(c->cursor));
}
