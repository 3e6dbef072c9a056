/* SPDX-License-Identifier: Apache-2.0 */
/* Several transactions of one thread in one flush. */
#include "base/fault.h"
#include "base/test.h"
#include "db/db.h"

#include <pthread.h>

DEFINE_CLEANUP(DbEnv *, db_env_close)

static int hooks_run;

static void count_hook(void *ctx)
{
        hooks_run++;
}

static DbKey *key_of(DbKey *k, const char *name)
{
        return db_key_name(db_key(k, DB_IMAGES, 1), name);
}

static int put(DbEnv *env, const char *name, const char *value, Err *err)
{
        DbTxn txn CLEANUP(db_end) = {};
        DbKey k;

        if (db_begin_rw(env, &txn, err) < 0)
                return -err->code;
        db_put(&txn, key_of(&k, name), value, strlen(value) + 1);
        return db_commit(&txn);
}

/* The value, in a static buffer, or "-". */
static const char *get(DbEnv *env, const char *name)
{
        DbTxn txn CLEANUP(db_end) = {};
        static char buf[64];
        DbKey k;
        DbVal v;
        Err err = {};

        if (db_begin_ro(env, &txn, &err) < 0 || !db_get(&txn, key_of(&k, name), &v))
                return "-";
        snprintf(buf, sizeof(buf), "%s", (const char *)v.data);
        return buf;
}

/* Every kind of change to the records "old" and "gone", and a new one. */
static int change_all(DbEnv *env, const char *fresh, int give_up, DbHook *hook, Err *err)
{
        DbTxn txn CLEANUP(db_end) = {};
        DbKey k;

        if (db_begin_rw(env, &txn, err) < 0)
                return -err->code;
        db_put_new(&txn, key_of(&k, fresh), "new", 4);
        db_put(&txn, key_of(&k, fresh), "newer", 6);
        db_put(&txn, key_of(&k, "old"), "changed", 8);
        db_del(&txn, key_of(&k, "gone"));
        db_put(&txn, key_of(&k, "gone"), "back", 5);
        db_del(&txn, key_of(&k, "gone"));
        db_count_up(&txn, key_of(&k, "counter"));
        db_on_commit(&txn, hook, count_hook, NULL);
        if (give_up)
                db_fail(&txn, ABORTED, "gave up");
        return db_commit(&txn);
}

static int open_with_records(const char *dir, DbEnv **ret, Err *err)
{
        int r = db_env_open(dir, NULL, ret, err);

        if (r == 0)
                r = put(*ret, "old", "as it was", err);
        return r == 0 ? put(*ret, "gone", "still here", err) : r;
}

TEST(batch_is_one_flush)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        DbStats before, after;
        DbBatch b;
        DbHook hook;
        Err err = {};

        CHECK_INT(open_with_records(test_tmpdir(), &env, &err), 0);
        db_env_stats(env, &before);
        hooks_run = 0;
        db_batch_begin(env, &b, &err);
        CHECK_INT(put(env, "a", "1", &err), 0);
        CHECK_INT(put(env, "a", "2", &err), 0);
        CHECK_INT(change_all(env, "b", 0, &hook, &err), 0);
        CHECK(!db_batch_full(&b));
        CHECK_STR(get(env, "a"), "-"); /* for readers nothing has happened */
        CHECK_INT(hooks_run, 0);
        CHECK_INT(db_batch_commit(&b), 0);
        CHECK_STR(get(env, "a"), "2");
        CHECK_STR(get(env, "b"), "newer");
        CHECK_STR(get(env, "gone"), "-");
        CHECK_INT(hooks_run, 1);
        db_env_stats(env, &after);
        CHECK_INT(after.commits - before.commits, 3);
        CHECK_INT(after.flushes - before.flushes, 1);
}

TEST(batch_member_that_fails_leaves_nothing)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        DbHook hooks[2];
        DbBatch b;
        Err err = {};

        CHECK_INT(open_with_records(test_tmpdir(), &env, &err), 0);
        hooks_run = 0;
        db_batch_begin(env, &b, &err);
        CHECK_INT(put(env, "a", "1", &err), 0);
        CHECK_INT(change_all(env, "a2", 1, &hooks[0], &err), -ABORTED);
        CHECK_INT(change_all(env, "a3", 1, &hooks[1], &err), -ABORTED);
        CHECK_INT(put(env, "z", "26", &err), 0);
        CHECK_INT(db_batch_commit(&b), 0);
        CHECK_STR(get(env, "a"), "1");
        CHECK_STR(get(env, "a2"), "-");
        CHECK_STR(get(env, "a3"), "-");
        CHECK_STR(get(env, "old"), "as it was");
        CHECK_STR(get(env, "gone"), "still here");
        CHECK_STR(get(env, "counter"), "-");
        CHECK_STR(get(env, "z"), "26");
        CHECK_INT(hooks_run, 0);
}

TEST(batch_of_failures_writes_nothing)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        DbStats before, after;
        DbHook hook;
        DbBatch b;
        Err err = {};

        CHECK_INT(open_with_records(test_tmpdir(), &env, &err), 0);
        db_env_stats(env, &before);
        db_batch_begin(env, &b, &err);
        CHECK_INT(change_all(env, "x", 1, &hook, &err), -ABORTED);
        CHECK_INT(db_batch_commit(&b), 0);
        db_batch_begin(env, &b, &err);
        CHECK_INT(db_batch_commit(&b), 0); /* one that nobody joined */
        db_env_stats(env, &after);
        CHECK_INT(after.flushes - before.flushes, 0);
        CHECK_STR(get(env, "old"), "as it was");
        CHECK_INT(put(env, "x", "free again", &err), 0);
}

/* Whatever step fails: a member that was told so has changed nothing, and of the others all or
 * nothing. */
TEST(batch_with_faults)
{
        for (int nth = 1;; nth++) {
                DbEnv *env CLEANUP(db_env_closep) = NULL;
                DbHook hooks[3];
                int first, middle, last, whole, fired;
                char dir[256];
                DbBatch b;
                Err err = {};

                snprintf(dir, sizeof(dir), "%s/%d", test_tmpdir(), nth);
                CHECK_INT(open_with_records(dir, &env, &err), 0);
                hooks_run = 0;
                fault_arm(nth);
                db_batch_begin(env, &b, &err);
                first = put(env, "a", "1", &err);
                err_clear(&err);
                middle = change_all(env, "b", 0, &hooks[0], &err);
                err_clear(&err);
                last = put(env, "z", "26", &err);
                err_clear(&err);
                whole = db_batch_commit(&b);
                fired = fault_fired;
                fault_arm(0);

                CHECK_STR(get(env, "a"), whole == 0 && first == 0 ? "1" : "-");
                CHECK_STR(get(env, "b"), whole == 0 && middle == 0 ? "newer" : "-");
                CHECK_STR(get(env, "old"), whole == 0 && middle == 0 ? "changed" : "as it was");
                CHECK_STR(get(env, "gone"), whole == 0 && middle == 0 ? "-" : "still here");
                CHECK_STR(get(env, "z"), whole == 0 && last == 0 ? "26" : "-");
                CHECK_INT(hooks_run, whole == 0 && middle == 0);
                CHECK_INT((first < 0) + (middle < 0) + (last < 0) + (whole < 0), fired);
                CHECK_INT(put(env, "after", "fine", &err), 0);
                if (!fired)
                        break;
        }
}

static void *other_writer(void *ctx)
{
        Err err = {};

        return put(ctx, "other", "too", &err) == 0 ? NULL : (void *)1;
}

TEST(batch_lets_others_in)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        pthread_t t[4];
        void *bad;
        DbBatch b;
        Err err = {};

        CHECK_INT(open_with_records(test_tmpdir(), &env, &err), 0);
        for (int round = 0; round < 20; round++) {
                db_batch_begin(env, &b, &err);
                CHECK_INT(put(env, "mine", "1", &err), 0);
                for (int i = 0; i < 4; i++)
                        CHECK(pthread_create(&t[i], NULL, other_writer, env) == 0);
                CHECK_INT(put(env, "mine", "2", &err), 0);
                CHECK_INT(db_batch_commit(&b), 0);
                for (int i = 0; i < 4; i++) {
                        pthread_join(t[i], &bad);
                        CHECK(!bad);
                }
        }
        CHECK_STR(get(env, "mine"), "2");
        CHECK_STR(get(env, "other"), "too");
}
