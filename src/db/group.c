/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Group commit. Writing to disk costs a thousand times what changing a page costs, so writers share
 * it.
 *
 * There is one turn. Whoever has it may change the database; the others queue in order of arrival.
 * The first of a group is its leader: it begins LMDB's transaction (the outer one) and works in it
 * directly, so that a writer who is alone pays for nothing else. When the leader commits and others
 * are queued, each of them gets the turn once and works in a child transaction of the outer, which
 * can fail without harm to the rest. When nobody is left the leader writes the outer to disk, runs
 * everybody's hooks in order and wakes them with the result. Writers that arrive during the write
 * are the next group: under load groups grow to as many as there are writers, without load nobody
 * waits for company.
 *
 *      leader    begin  change  commit ............... write  hooks
 *      second           queued         change  commit ............. done
 *      third            queued ............... change  commit ..... done
 *
 * LMDB's own writer lock belongs to a thread: the leader's, which begins and commits. Children may
 * run anywhere, one at a time. A leader that fails aborts the outer: nobody has joined yet.
 */
#include "base/fault.h"
#include "db/db_priv.h"

#include <errno.h>

static void waiter_init(Waiter *w)
{
        *w = (Waiter){};
        cond_init(&w->cond);
}

static void waiter_sleep_locked(DbEnv *env, Waiter *w)
{
        while (!w->go)
                lock_wait(&env->lock, &w->cond, 0);
        pthread_cond_destroy(&w->cond);
}

static void waiter_wake_locked(Waiter *w)
{
        w->go = 1;
        pthread_cond_signal(&w->cond);
}

static void turn_take(DbEnv *env)
{
        Waiter w;

        LOCKED(&env->lock);
        if (!env->busy) {
                env->busy = 1;
                return;
        }
        waiter_init(&w);
        list_append(&env->queue, &w.node);
        waiter_sleep_locked(env, &w);
}

/* The turn goes to the next writer; to the leader when its group is complete; or to nobody. */
static void turn_pass_locked(DbEnv *env)
{
        int complete = env->n_members >= GROUP_MEMBERS || env->group_bytes >= GROUP_BYTES;
        Waiter *next = LIST_FIRST(&env->queue, Waiter, node);

        if (next && !(env->outer && complete)) {
                list_remove(&next->node);
                waiter_wake_locked(next);
        } else if (env->outer) {
                waiter_wake_locked(env->leader);
        } else {
                env->busy = 0;
        }
}

static void turn_pass(DbEnv *env)
{
        LOCKED(&env->lock);
        turn_pass_locked(env);
}

/* With the turn and no group open. */
static int leader_begin(DbTxn *txn)
{
        DbEnv *env = txn->env;
        int rc, r;

        if (!env->mdb) { /* reopening failed last time */
                r = env_reopen(env, txn->err);
                if (r < 0)
                        return r;
        }
        r = env_make_room(env, txn->err);
        if (r < 0)
                return r;
        env_write_ahead(env);
        rc = mdb_txn_begin(env->mdb, NULL, 0, &txn->txn);
        if (rc == MDB_PANIC) {
                r = env_reopen(env, txn->err);
                if (r < 0)
                        return r;
                rc = mdb_txn_begin(env->mdb, NULL, 0, &txn->txn);
        }
        txn->leader = 1;
        return rc == 0 ? 0 : db_rc(txn->err, rc, "begin");
}

int group_check_space(DbEnv *env, int frees, Err *err)
{
        if (!env->full || frees)
                return 0;
        env->full = env_reserve_take(env) < 0;
        return env->full ? err_set(err, RESOURCE_EXHAUSTED,
                                   "no space left on the disk of %s: resource exhausted", env->dir)
                         : 0;
}

int group_begin(DbTxn *txn, int frees)
{
        DbEnv *env = txn->env;
        int rc, r;

        turn_take(env);
        r = group_check_space(env, frees, txn->err);
        if (r == 0 && fault_hit())
                r = db_rc(txn->err, EIO, "begin");
        if (r == 0 && !env->outer) {
                r = leader_begin(txn);
                if (r == 0 && env->fresh)
                        r = schema_begin(txn);
                if (r < 0 && txn->txn)
                        mdb_txn_abort(txn->txn);
        } else if (r == 0) {
                rc = mdb_txn_begin(env->mdb, env->outer, 0, &txn->txn);
                txn->leader = 0;
                r = rc == 0 ? 0 : db_rc(txn->err, rc, "begin");
        }
        if (r < 0) {
                txn->txn = NULL;
                turn_pass(env);
        }
        return r;
}

void group_abort(DbTxn *txn)
{
        mdb_txn_abort(txn->txn);
        txn->txn = NULL;
        turn_pass(txn->env);
}

static void join_locked(DbEnv *env, DbTxn *txn)
{
        env->n_members += MAX(txn->carries, 1);
        env->group_bytes += txn->bytes;
        if (txn->hooks) {
                *env->hooks_tail = txn->hooks;
                env->hooks_tail = txn->hooks_tail;
        }
}

/* With the turn, for the group: to disk, then what hangs on it. */
static int write_group(DbEnv *env, MDB_txn *outer, Err *err)
{
        DbHook *h, *next;
        int rc;

        if (fault_hit() || (env->fresh && env_sync_dir(env) < 0)) {
                mdb_txn_abort(outer);
                rc = EIO;
        } else {
                rc = mdb_txn_commit(outer);
        }
        if (rc == ENOSPC || (rc == EIO && env_is_full(env))) {
                rc = ENOSPC; /* of a write that came out short LMDB says EIO */
                env_reserve_release(env);
                env->full = 1;
        }
        if (rc != 0)
                return db_rc(err, rc, "commit");
        env->fresh = 0;
        for (h = env->hooks; h; h = next) {
                next = h->next; /* fn may end the hook's life */
                h->fn(h->ctx);
        }
        return 0;
}

static int leader_commit(DbTxn *txn)
{
        DbEnv *env = txn->env;
        Waiter w;
        int r;

        lock_take(&env->lock);
        join_locked(env, txn);
        if (!list_empty(&env->queue) && env->group_bytes < GROUP_BYTES) {
                waiter_init(&w);
                env->outer = txn->txn;
                env->leader = &w;
                turn_pass_locked(env);
                waiter_sleep_locked(env, &w);
                env->outer = NULL;
                env->leader = NULL;
        }
        lock_drop(&env->lock);

        r = write_group(env, txn->txn, txn->err);
        txn->txn = NULL;

        lock_take(&env->lock);
        if (r == 0) {
                env->stats.commits += (uint64_t)env->n_members;
                env->stats.flushes++;
                env->stats.used = env_used(env);
        } else {
                env->stats.failed++;
        }
        LIST_FOREACH (m, &env->members, Waiter, node) {
                list_remove(&m->node);
                if (r < 0)
                        err_copy(m->failure, txn->err);
                else
                        m->failure = NULL;
                waiter_wake_locked(m);
        }
        env->n_members = 0;
        env->group_bytes = 0;
        env->hooks = NULL;
        env->hooks_tail = &env->hooks;
        turn_pass_locked(env);
        lock_drop(&env->lock);
        return r;
}

static int follower_commit(DbTxn *txn)
{
        DbEnv *env = txn->env;
        Waiter w;
        int rc;

        if (fault_hit()) {
                mdb_txn_abort(txn->txn);
                rc = EIO;
        } else {
                rc = mdb_txn_commit(txn->txn);
        }
        txn->txn = NULL;
        if (rc != 0) {
                turn_pass(env);
                return db_rc(txn->err, rc, "commit");
        }
        waiter_init(&w);
        w.failure = txn->err;
        LOCKED(&env->lock);
        join_locked(env, txn);
        list_append(&env->members, &w.node);
        turn_pass_locked(env);
        waiter_sleep_locked(env, &w);
        return w.failure ? -w.failure->code : 0;
}

int group_commit(DbTxn *txn)
{
        return txn->leader ? leader_commit(txn) : follower_commit(txn);
}

int group_recover(DbEnv *env, Err *err)
{
        MDB_txn *probe;
        int rc, r = 0;

        turn_take(env);
        if (!env->outer) {
                rc = env->mdb ? mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &probe) : MDB_PANIC;
                if (rc == 0)
                        mdb_txn_abort(probe); /* somebody else has done it */
                else
                        r = env_reopen(env, err);
        }
        turn_pass(env);
        return r;
}
