/* SPDX-License-Identifier: Apache-2.0 */
/* Many writers at once: what group commit promises. */
#include "base/fault.h"
#include "base/mem.h"
#include "base/test.h"
#include "db/db_priv.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

DEFINE_CLEANUP(DbEnv *, db_env_close)

enum { THREADS = 8, ROUNDS = 60 };

typedef struct Order {
        int seq[THREADS * ROUNDS], n;
} Order;

typedef struct Writer {
        DbEnv *env;
        int id, acknowledged, refused, broken;
        Order *order;
} Writer;

typedef struct Mark {
        Order *order;
        int seq;
} Mark;

/* Hooks run one after the other, whichever thread: no lock. */
static void mark(void *ctx)
{
        Mark *m = ctx;

        m->order->seq[m->order->n++] = m->seq;
}

static DbKey *counter_key(DbKey *k)
{
        return db_key_name(db_key(k, DB_SCHEMA, 0), "counter");
}

/* Counts up in the database; every seventh gives up half way. Which number it got is its place
 * among the commits. */
static void *writer(void *ctx)
{
        Writer *w = ctx;
        char name[32];
        Err err;

        for (int i = 0; i < ROUNDS; i++) {
                DbTxn txn CLEANUP(db_end) = {};
                Mark m = {.order = w->order};
                DbHook hook;
                DbKey k;
                int r;

                err_clear(&err);
                snprintf(name, sizeof(name), "%d.%d", w->id, i);
                r = db_begin_rw(w->env, &txn, &err);
                if (r < 0) {
                        w->broken++;
                        continue;
                }
                m.seq = (int)db_count_up(&txn, counter_key(&k));
                db_put(&txn, db_key_name(db_key(&k, DB_IMAGES, 1), name), &m.seq, sizeof(m.seq));
                db_on_commit(&txn, &hook, mark, &m);
                if (i % 7 == 6)
                        db_fail(&txn, ABORTED, "gave up");
                r = db_commit(&txn);
                if (r == -ABORTED)
                        w->refused++;
                else if (r < 0)
                        w->broken++;
                else
                        w->acknowledged++;
        }
        return NULL;
}

static int run(DbEnv *env, Writer *w, Order *order)
{
        pthread_t t[THREADS];
        int n = 0;

        for (int i = 0; i < THREADS; i++) {
                w[i] = (Writer){.env = env, .id = i, .order = order};
                if (pthread_create(&t[i], NULL, writer, &w[i]) != 0)
                        return -1;
        }
        for (int i = 0; i < THREADS; i++) {
                pthread_join(t[i], NULL);
                n += w[i].acknowledged;
        }
        return n;
}

static size_t count_records(DbEnv *env)
{
        DbTxn txn CLEANUP(db_end) = {};
        DbCursor c CLEANUP(db_cursor_done) = {};
        DbKey k;
        size_t n = 0;
        Err err = {};

        if (db_begin_ro(env, &txn, &err) < 0)
                return 0;
        db_cursor_init(&c, &txn, db_key(&k, DB_IMAGES, 1));
        while (db_cursor_next(&c))
                n++;
        return n;
}

TEST(group_commit_keeps_every_writer_apart)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        Order order = {};
        Writer w[THREADS];
        DbStats st;
        int n, refused = 0;
        Err err = {};

        CHECK_INT(db_env_open(test_tmpdir(), NULL, &env, &err), 0);
        n = run(env, w, &order);
        for (int i = 0; i < THREADS; i++) {
                CHECK_INT(w[i].broken, 0);
                refused += w[i].refused;
        }
        CHECK_INT(refused, THREADS * (ROUNDS / 7));
        CHECK_INT(n + refused, THREADS * ROUNDS);
        CHECK_INT(count_records(env), n);
        /* a child that failed took its number back, and hooks ran in the order of the commits */
        CHECK_INT(order.n, n);
        for (int i = 0; i < n; i++)
                CHECK_INT(order.seq[i], i + 1);
        db_env_stats(env, &st);
        CHECK_INT(st.commits, n);
        CHECK(st.flushes < st.commits);
}

/* Somewhere in the crowd a step fails, a single writer's or a whole group's: nobody is told wrong.
 */
TEST(group_commit_with_faults)
{
        for (int nth = 5; nth < 300; nth += 41) {
                DbEnv *env CLEANUP(db_env_closep) = NULL;
                Order order = {};
                Writer w[THREADS];
                char dir[256];
                int n, broken = 0;
                Err err = {};

                snprintf(dir, sizeof(dir), "%s/%d", test_tmpdir(), nth);
                CHECK_INT(db_env_open(dir, NULL, &env, &err), 0);
                fault_arm(nth);
                n = run(env, w, &order);
                fault_arm(0);
                for (int i = 0; i < THREADS; i++)
                        broken += w[i].broken;
                CHECK(broken > 0 && broken <= THREADS);
                CHECK_INT(count_records(env), n);
                CHECK_INT(order.n, n);
                for (int i = 0; i < n; i++)
                        CHECK_INT(order.seq[i], i + 1);
        }
}

static void *reader(void *ctx)
{
        DbEnv *env = ctx;
        size_t last = 0, n;

        for (int i = 0; i < 200; i++) {
                n = count_records(env);
                if (n < last)
                        return (void *)1;
                last = n;
        }
        return NULL;
}

/* Readers see only what is whole, while the map moves under them. */
TEST(readers_while_the_map_grows)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        DbOptions opts = {.map_size = 256 * 1024};
        char *big CLEANUP(cleanup_free) = mem_alloc(20000);
        pthread_t t[3];
        void *bad = NULL, *got;
        DbStats st;
        Err err = {};
        DbKey k;

        CHECK_INT(db_env_open(test_tmpdir(), &opts, &env, &err), 0);
        for (int i = 0; i < 3; i++)
                CHECK(pthread_create(&t[i], NULL, reader, env) == 0);
        for (int i = 0; i < 100; i++) {
                DbTxn txn CLEANUP(db_end) = {};
                char name[16];

                snprintf(name, sizeof(name), "%d", i);
                CHECK_INT(db_begin_rw(env, &txn, &err), 0);
                db_put(&txn, db_key_name(db_key(&k, DB_IMAGES, 1), name), big, 20000);
                CHECK_INT(db_commit(&txn), 0);
        }
        for (int i = 0; i < 3; i++) {
                pthread_join(t[i], &got);
                bad = got ? got : bad;
        }
        CHECK(!bad);
        CHECK_INT(count_records(env), 100);
        db_env_stats(env, &st);
        CHECK(st.map_size >= 2 * 1024 * 1024);
}

enum { COMPANY = 16 };

static size_t waiting(DbEnv *env)
{
        size_t n = 0;

        LOCKED(&env->lock);
        LIST_FOREACH (w, &env->queue, Waiter, node)
                n++;
        return n;
}

static void *write_once(void *ctx)
{
        DbTxn txn CLEANUP(db_end) = {};
        Writer *w = ctx;
        char name[16];
        DbKey k;
        Err err;

        snprintf(name, sizeof(name), "%d", w->id);
        if (db_begin_rw(w->env, &txn, &err) < 0)
                return NULL;
        db_put(&txn, db_key_name(db_key(&k, DB_IMAGES, 1), name), "x", 1);
        w->acknowledged = db_commit(&txn) == 0;
        return NULL;
}

/* While the first writer has the turn, all others queue: they are one group and one flush. */
TEST(writers_share_a_flush)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        DbTxn txn CLEANUP(db_end) = {};
        Writer writers[COMPANY] = {};
        pthread_t threads[COMPANY];
        DbStats before, after;
        Err err = {};
        DbKey k;

        CHECK_INT(db_env_open(test_tmpdir(), NULL, &env, &err), 0);
        db_env_stats(env, &before);
        CHECK_INT(db_begin_rw(env, &txn, &err), 0);
        db_put(&txn, counter_key(&k), "x", 1);
        for (int i = 0; i < COMPANY; i++) {
                writers[i] = (Writer){.env = env, .id = i};
                CHECK_INT(pthread_create(&threads[i], NULL, write_once, &writers[i]), 0);
        }
        while (waiting(env) < COMPANY)
                usleep(1000);
        CHECK_INT(db_commit(&txn), 0);
        for (int i = 0; i < COMPANY; i++) {
                pthread_join(threads[i], NULL);
                CHECK_INT(writers[i].acknowledged, 1);
        }
        db_env_stats(env, &after);
        CHECK_INT(after.commits - before.commits, COMPANY + 1);
        CHECK_INT(after.flushes - before.flushes, 1);
        CHECK(after.used > 0 && after.map_size >= after.used && after.failed == 0);
}
