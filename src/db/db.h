/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The database: one LMDB environment, transactions whose errors stick, and writers that share a
 * flush.
 *
 *         DbTxn txn CLEANUP(db_end) = {};          aborts unless committed
 *         r = db_begin_rw(env, &txn, err);
 *         if (r < 0)
 *                 return r;
 *         db_put(&txn, db_key_name(db_key(&key, DB_IMAGES, ns), name), bytes, n);
 *         return db_commit(&txn);                  returns when durable; nothing fails after it
 *
 * Sticky errors: the first failure of a transaction, the database's or the caller's own (db_fail),
 * is described in the Err given at begin. Everything after it does nothing, reads find nothing, and
 * db_commit answers with it. So a sequence of steps needs no checks in between.
 *
 * A thread holds at most one transaction at a time (asserted), and inside a write transaction it
 * touches the database only: everybody else who wants to write is waiting for it. Writers take
 * turns in order of arrival.
 *
 * What db_get and a cursor show is memory of the database: valid until the transaction ends, and in
 * a write transaction only until its next change. Copy before.
 */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"
#include "base/macros.h"

typedef struct DbEnv DbEnv;

/* ---- environment ---- */

typedef struct DbOptions {
        size_t map_size; /* 0: 1 GiB; grows by itself */
        size_t reserve;  /* bytes kept aside so that deleting works on a full disk; 0: 4 MiB */
        int read_only;   /* another process may have it open for writing; nothing is made */
        int any_schema;  /* read_only: for whoever does not look at records */
} DbOptions;

typedef struct DbStats {
        uint64_t commits;       /* write transactions that became durable */
        uint64_t flushes;       /* in so many groups, each written to disk once */
        uint64_t failed;        /* groups that could not be written */
        uint64_t reopens;       /* after an error that LMDB does not survive */
        size_t map_size, used;  /* bytes */
        uint32_t migrated_from; /* the schema it had before it was opened; 0: ours, or new */
} DbStats;

/* dir is made when absent, records of an earlier schema are migrated. opts may be NULL.
 * FAILED_PRECONDITION when a newer version of the program has written it, DATA_LOSS when it is no
 * database; read_only: NOT_FOUND when there is none. */
int db_env_open(const char *dir, const DbOptions *opts, DbEnv **ret, Err *err);
DbEnv *db_env_close(DbEnv *env); /* no transaction may be open; takes NULL, returns NULL */
void db_env_stats(DbEnv *env, DbStats *ret);
/* For when nobody needs it: what was read of the file counts as memory of ours no longer. Any time;
 * may wait, for the map to move. */
void db_env_relax(DbEnv *env);
/* A copy of what is durable now, as one file that is a database's data.mdb; writers go on. Durable
 * when it returns. ALREADY_EXISTS: nothing is overwritten. Blocks for as long as writing it takes.
 */
int db_backup(DbEnv *env, const char *path, Err *err);

/* ---- keys ---- */

/* The first byte of a key. These are numbers on disk: never reused, never renumbered. */
typedef enum DbTable {
        DB_SCHEMA = 1,            /* version of the schema, counters */
        DB_NAMESPACES = 2,        /* name -> number and labels; namespace number 0 */
        DB_IMAGES = 3,            /* name */
        DB_CONTAINERS = 4,        /* id */
        DB_LEASES = 5,            /* id */
        DB_LEASE_RESOURCES = 6,   /* lease id / type / id */
        DB_BLOBS = 7,             /* digest */
        DB_SNAPSHOTS = 8,         /* snapshotter / key: names of a namespace */
        DB_SNAPSHOT_CHILDREN = 9, /* snapshotter / parent / key */
        DB_SANDBOXES = 10,        /* id */
        DB_BACKEND = 11, /* snapshotter / key: a snapshotter's own records; namespace number 0 */
        DB_BACKEND_CHILDREN = 12, /* snapshotter / parent / key; namespace number 0 */
        DB_BLOB_OWNERS = 13, /* digest / namespace number: who names a blob; namespace number 0 */
        DB_INGESTS = 14,     /* ref */
        DB_TABLE_LAST = DB_INGESTS,
} DbTable;

enum { DB_KEY_MAX = 511, DB_SCHEMA_VERSION = 2 };

typedef struct DbKey {
        uint16_t n;
        uint8_t data[DB_KEY_MAX];
} DbKey;

typedef struct DbVal {
        const void *data;
        size_t n;
} DbVal;

/* Table and namespace number; as it stands, the prefix of all that table has in that namespace.
 * Number 0 is for what has no namespace. All three return k. */
DbKey *db_key(DbKey *k, DbTable table, uint32_t ns);
/* A part that more parts follow: as it stands, a prefix again. Longer than 100 bytes: 67 and a
 * digest. */
DbKey *db_key_group(DbKey *k, const char *name);
/* The last part. What is longer than LIMIT_DB_NAME, or than the rest of the key, keeps a prefix and
 * a digest: a name that matters must be in the value too. Names are UTF-8 without NUL. */
DbKey *db_key_name(DbKey *k, const char *name);

/* ---- transactions ---- */

typedef struct DbHook {
        void (*fn)(void *ctx);
        void *ctx;
        struct DbHook *next;
} DbHook;

typedef struct DbBatch DbBatch;
typedef struct DbUndo DbUndo;

typedef struct DbTxn { /* zero-initialise; private but for failed */
        DbEnv *env;
        struct MDB_txn *txn;
        Err *err;
        int failed; /* 0, or the -code that sticks */
        int write, leader;
        DbHook *hooks, **hooks_tail;
        size_t bytes;   /* handed to db_put so far */
        DbBatch *batch; /* it is a member of */
        DbUndo *undo;   /* of a member: how to take back what it has changed */
        int carries;    /* of a batch: so many members */
} DbTxn;

/* Never waits for writers. Sees every commit that returned before. */
int db_begin_ro(DbEnv *env, DbTxn *txn, Err *err);
/* Waits for its turn. RESOURCE_EXHAUSTED while the disk is full. */
int db_begin_rw(DbEnv *env, DbTxn *txn, Err *err);
/* As db_begin_rw, for a transaction that only frees: may use what is kept aside for a full disk. */
int db_begin_free(DbEnv *env, DbTxn *txn, Err *err);
/* Blocks until durable (writers that arrive meanwhile share the flush). 0, or what stuck, or why
 * the group could not be written; then nothing of it has happened. The transaction is over in any
 * case. A read transaction: its sticky error. */
int db_commit(DbTxn *txn);
/* Aborts what was not committed. Legal at any time, any number of times. */
void db_end(DbTxn *txn);
/* Sticks unless something stuck before; returns what sticks. */
#define db_fail(txn, code, ...) db_fail_at(txn, code, __FILE__, __LINE__, __VA_ARGS__)
int db_fail_at(DbTxn *txn, int code, const char *file, int line, const char *fmt, ...)
        PRINTF_LIKE(5, 6);
/* fn(ctx) runs once the transaction is durable, before db_commit returns, in the order of all
 * commits; on whichever writer's thread, so it takes no lock of rank below LOCK_EVENTS and begins
 * no transaction. It does not run if the commit fails. The hook and what it points to are the
 * caller's and live until db_commit has returned; in a batch, until that has been committed. */
void db_on_commit(DbTxn *txn, DbHook *hook, void (*fn)(void *ctx), void *ctx);

/*
 * Between the two, write transactions of this thread are the batch's members: db_commit() returns
 * at once, and whether they are durable is what db_batch_commit() says of all of them. Members see
 * what those before them have changed; one that is aborted leaves nothing. Other writers wait
 * meanwhile, so members wait for nothing. The batch is the caller's memory, not initialised; err
 * lives as long.
 */
void db_batch_begin(DbEnv *env, DbBatch *b, Err *err);
int db_batch_full(const DbBatch *b); /* it should be committed now */
int db_batch_commit(DbBatch *b);     /* 0, or why none of the committed members has happened */

struct DbBatch { /* private */
        DbEnv *env;
        Err *err;
        DbTxn txn; /* in which all of them work */
        int open, n, broken;
};

/* ---- records ---- */

/* 1 and *ret, or 0: not there (or failed). */
int db_get(DbTxn *txn, const DbKey *key, DbVal *ret);
void db_put(DbTxn *txn, const DbKey *key, const void *data, size_t n);
/* 1, or 0: there was one already (nothing changed) or failed. */
int db_put_new(DbTxn *txn, const DbKey *key, const void *data, size_t n);
/* 1, or 0: there was none (or failed). */
int db_del(DbTxn *txn, const DbKey *key);
/* Everything that starts with prefix; how many. */
size_t db_del_prefix(DbTxn *txn, const DbKey *prefix);
/* Whether anything starts with prefix. */
int db_any(DbTxn *txn, const DbKey *prefix);
/* Adds one to the counter at key and returns it: 1, 2, ... 0 when failed. */
uint64_t db_count_up(DbTxn *txn, const DbKey *key);

/*
 * A walk over everything that starts with a prefix, in order of the keys' bytes:
 *
 *         DbCursor c CLEANUP(db_cursor_done) = {};
 *         db_cursor_init(&c, &txn, &prefix);
 *         while (db_cursor_next(&c))
 *                 use(c.key, c.value);
 *
 * The transaction must not be changed during a walk: collect first. A cursor ends before its
 * transaction.
 */
typedef struct DbCursor {
        DbTxn *txn;
        struct MDB_cursor *cursor;
        DbKey prefix;
        DbKey from;
        int seek;
        DbVal key;  /* the whole key ... */
        DbVal rest; /* ... and what follows the prefix in it */
        DbVal value;
} DbCursor;

void db_cursor_init(DbCursor *c, DbTxn *txn, const DbKey *prefix);
/* The next db_cursor_next() shows the first record whose key is not below from (which must start
 * with the prefix). */
void db_cursor_seek(DbCursor *c, const DbKey *from);
int db_cursor_next(DbCursor *c); /* 1, or 0 at the end (or failed) */
void db_cursor_done(DbCursor *c);
