/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch: transactions that one thread makes one after the other, written to disk together. They
 * all work in one transaction of LMDB, the batch's, which takes part in group commit as any writer
 * does; so neither the turn nor a child transaction, with its two megabytes of tables, is paid for
 * each. What a child would give, that a failed member leaves nothing behind, is had by a list of
 * what stood there before: each change of a member notes how to take it back, newest first.
 *
 * Taking back changes pages that are in memory already. Should it fail all the same, or LMDB refuse
 * a change half way, the batch's transaction is spoilt and every member hears so at the end.
 */
#include "base/fault.h"
#include "base/mem.h"
#include "db/db_priv.h"

#include <errno.h>

struct DbUndo {
        DbUndo *next;
        size_t n_key, n_old;
        int had;
        uint8_t bytes[]; /* the key, then the value that stood there */
};

static __thread DbBatch *current;

void db_batch_begin(DbEnv *env, DbBatch *b, Err *err)
{
        assert(!current);
        *b = (DbBatch){.env = env, .err = err};
        current = b;
}

int db_batch_full(const DbBatch *b)
{
        return b->n >= BATCH_MEMBERS || b->txn.bytes >= GROUP_BYTES;
}

DbBatch *batch_of(const DbEnv *env)
{
        return current && current->env == env ? current : NULL;
}

/* Begun for whoever comes first: for all of them, so it may use what is kept for freeing. */
static int open_batch(DbBatch *b, Err *err)
{
        int r;

        b->txn = (DbTxn){.env = b->env, .err = err, .write = 1};
        b->txn.hooks_tail = &b->txn.hooks;
        r = group_begin(&b->txn, 1);
        b->txn.err = b->err;
        b->open = r == 0;
        return r;
}

int batch_begin(DbTxn *txn, DbBatch *b, int frees)
{
        int r = 0;

        if (fault_hit())
                return db_rc(txn->err, EIO, "begin");
        if (!b->open)
                r = open_batch(b, txn->err);
        if (r == 0)
                r = group_check_space(txn->env, frees, txn->err);
        if (r < 0)
                return r;
        txn->batch = b;
        txn->txn = b->txn.txn;
        return 0;
}

static DbUndo *undo_new(const MDB_val *key, const MDB_val *old)
{
        DbUndo *u = mem_alloc(sizeof(*u) + key->mv_size + (old ? old->mv_size : 0));

        u->n_key = key->mv_size;
        memcpy(u->bytes, key->mv_data, key->mv_size);
        if (old) {
                u->had = 1;
                u->n_old = old->mv_size;
                memcpy(u->bytes + u->n_key, old->mv_data, old->mv_size);
        }
        return u;
}

static void note(DbTxn *txn, DbUndo *u)
{
        u->next = txn->undo;
        txn->undo = u;
}

/* What stands at key, as a note not yet on the list; NULL with *ret_rc for what went wrong. */
static DbUndo *look(DbTxn *txn, MDB_val *key, int *ret_rc)
{
        MDB_val old;

        *ret_rc = mdb_get(txn->txn, txn->env->dbi, key, &old);
        if (*ret_rc == 0)
                return undo_new(key, &old);
        return *ret_rc == MDB_NOTFOUND ? undo_new(key, NULL) : NULL;
}

int batch_put(DbTxn *txn, MDB_val *key, MDB_val *value, unsigned flags)
{
        DbUndo *u;
        int rc;

        if (flags & MDB_NOOVERWRITE)
                u = undo_new(key, NULL);
        else
                u = look(txn, key, &rc);
        if (!u)
                return rc;
        rc = mdb_put(txn->txn, txn->env->dbi, key, value, flags);
        if (rc == 0)
                note(txn, u);
        else
                free(u);
        return rc;
}

int batch_del(DbTxn *txn, MDB_val *key)
{
        DbUndo *u;
        int rc;

        u = look(txn, key, &rc);
        if (!u)
                return rc;
        if (u->had)
                rc = mdb_del(txn->txn, txn->env->dbi, key, NULL);
        if (u->had && rc == 0)
                note(txn, u);
        else
                free(u);
        return rc;
}

static int take_back(DbTxn *txn, DbUndo *u)
{
        MDB_val key = {.mv_size = u->n_key, .mv_data = u->bytes};
        MDB_val old = {.mv_size = u->n_old, .mv_data = u->bytes + u->n_key};

        return u->had ? mdb_put(txn->txn, txn->env->dbi, &key, &old, 0)
                      : mdb_del(txn->txn, txn->env->dbi, &key, NULL);
}

void batch_abort(DbTxn *txn)
{
        DbUndo *u;
        int rc;

        while ((u = txn->undo)) {
                txn->undo = u->next;
                rc = take_back(txn, u);
                if (rc != 0 && !txn->batch->broken)
                        txn->batch->broken = rc;
                free(u);
        }
        txn->txn = NULL;
}

int batch_join(DbTxn *txn)
{
        DbBatch *b = txn->batch;
        DbUndo *u;

        if (fault_hit()) {
                batch_abort(txn);
                return db_rc(txn->err, EIO, "commit");
        }
        while ((u = txn->undo)) {
                txn->undo = u->next;
                free(u);
        }
        b->n++;
        b->txn.bytes += txn->bytes;
        if (txn->hooks) {
                *b->txn.hooks_tail = txn->hooks;
                b->txn.hooks_tail = txn->hooks_tail;
        }
        txn->txn = NULL;
        return 0;
}

int db_batch_commit(DbBatch *b)
{
        assert(current == b);
        current = NULL;
        if (!b->open)
                return 0;
        b->txn.carries = b->n;
        if (b->n > 0 && !b->broken)
                return group_commit(&b->txn);
        group_abort(&b->txn);
        return b->n > 0 ? db_rc(b->err, b->broken, "commit") : 0;
}
