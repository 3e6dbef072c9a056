/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <lmdb.h>
#include <pthread.h>
#include "base/list.h"
#include "base/lock.h"
#include "db/db.h"

enum {
        READ_CACHE = 16,                /* read transactions kept for the next reader */
        GROUP_MEMBERS = 64,             /* a group is written when it has so many ... */
        GROUP_BYTES = 16 * 1024 * 1024, /* ... or so much, though more are waiting */
        BATCH_MEMBERS = 64,
};

/* Somebody who sleeps until it is its turn, or until its group is written. Lives on that thread's
 * stack. */
typedef struct Waiter {
        List node;
        pthread_cond_t cond;
        int go;
        Err *failure; /* described here if the group fails; NULL afterwards: durable */
} Waiter;

struct DbEnv {
        char *dir;
        int read_only;
        size_t map_size, reserve;
        MDB_env *mdb;
        MDB_dbi dbi;
        int fd;         /* LMDB's, of the file */
        size_t written; /* what the file has, used or not */

        Lock lock;  /* everything below */
        List queue; /* writers that wait for the turn */
        int busy;   /* somebody has the turn; its holder also owns what follows, without the lock */
        MDB_txn *outer; /* of the group that others may join */
        int n_members;
        size_t group_bytes;
        List members; /* those whose changes are in it, waiting for its result */
        DbHook *hooks, **hooks_tail;
        Waiter *leader; /* wakes when nobody is left to join */
        int want_grow, full;
        int fresh; /* nothing has been written yet: not even the version, nor the folder's entry */

        pthread_cond_t gate;
        int closed_gate; /* nobody may read while the map moves */
        int n_readers;
        MDB_txn *cache[READ_CACHE];
        int n_cache;
        DbStats stats;
};

/* Describes what LMDB returned, a positive errno or one of its own. Returns -code. */
int db_rc(Err *err, int rc, const char *what);

/* group.c */
int group_begin(DbTxn *txn, int frees);
int group_commit(DbTxn *txn);
void group_abort(DbTxn *txn);
/* With the turn: RESOURCE_EXHAUSTED while the disk is full, for who does not free. */
int group_check_space(DbEnv *env, int frees, Err *err);
/* Takes the turn as a writer would, reopens an environment that LMDB has given up, passes the turn
 * on. */
int group_recover(DbEnv *env, Err *err);

/* batch.c: what the functions of a transaction do when it is a member */
DbBatch *batch_of(const DbEnv *env); /* the one that this thread has begun, or NULL */
int batch_begin(DbTxn *txn, DbBatch *b, int frees);
int batch_put(DbTxn *txn, MDB_val *key, MDB_val *value, unsigned flags); /* as LMDB's */
int batch_del(DbTxn *txn, MDB_val *key);
void batch_abort(DbTxn *txn);
int batch_join(DbTxn *txn);

/* env.c; the caller has the turn and no group is open */
int env_reopen(DbEnv *env, Err *err);
size_t env_used(DbEnv *env);
int env_make_room(DbEnv *env, Err *err);
void env_write_ahead(DbEnv *env);
int env_reserve_take(DbEnv *env); /* 0, or -1: no space even for that */
void env_reserve_release(DbEnv *env);
int env_is_full(DbEnv *env);
int env_sync_dir(DbEnv *env); /* makes the file's name durable: 0, or not */

/* schema.c */
int schema_bring(DbEnv *env, Err *err);   /* to ours, or makes it */
int schema_current(DbEnv *env, Err *err); /* FAILED_PRECONDITION unless it is ours */

/* The version, with the first transaction that writes. */
int schema_begin(DbTxn *txn);

/* txn.c: between the two the map does not move. May wait. */
void db_reader_enter(DbEnv *env);
void db_reader_leave(DbEnv *env);
