/* SPDX-License-Identifier: Apache-2.0 */
/* Migrations, one test for each step, and copies of a database in use. */
#include <endian.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/test.h"
#include "db/db.h"

DEFINE_CLEANUP(DbEnv *, db_env_close)

static DbKey *version_key(DbKey *k)
{
        return db_key_name(db_key(k, DB_SCHEMA, 0), "version");
}

static void put_number(DbTxn *txn, const DbKey *k, uint32_t n)
{
        n = htobe32(n);
        db_put(txn, k, &n, sizeof(n));
}

static DbKey *counter_key(DbKey *k, uint32_t ns)
{
        return db_key_name(db_key_group(db_key(k, DB_SCHEMA, ns), "snapshot-keys"), "overlayfs");
}

/* What version 1 has left: a namespace with a counter, and the counter of one that is gone. */
static int make_version_1(const char *dir)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        DbTxn txn CLEANUP(db_end) = {};
        uint64_t n = 7;
        Err err = {};
        DbKey k;

        if (db_env_open(dir, NULL, &env, &err) < 0 || db_begin_rw(env, &txn, &err) < 0)
                return -1;
        put_number(&txn, version_key(&k), 1);
        db_del(&txn, db_key_name(db_key(&k, DB_SCHEMA, 0), "writer"));
        put_number(&txn, db_key_name(db_key(&k, DB_NAMESPACES, 0), "default"), 3);
        db_put(&txn, counter_key(&k, 3), &n, sizeof(n));
        db_put(&txn, counter_key(&k, 2), &n, sizeof(n));
        db_put(&txn, db_key_name(db_key(&k, DB_IMAGES, 3), "kept"), "x", 1);
        return db_commit(&txn);
}

/* 1: as version 1 had it, 2: as it should be now, 0: neither. */
static int state_of(const char *dir)
{
        const DbOptions options = {.read_only = 1, .any_schema = 1};
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        DbTxn txn CLEANUP(db_end) = {};
        uint64_t host = 7, big = htobe64(7);
        uint32_t version;
        Err err = {};
        DbKey k;
        DbVal v, w;
        int gone;

        if (db_env_open(dir, &options, &env, &err) < 0 || db_begin_ro(env, &txn, &err) < 0)
                return 0;
        if (!db_get(&txn, version_key(&k), &v) || v.n != 4 ||
            !db_get(&txn, counter_key(&k, 3), &w) || w.n != 8 ||
            !db_get(&txn, db_key_name(db_key(&k, DB_IMAGES, 3), "kept"), &(DbVal){}))
                return 0;
        memcpy(&version, v.data, sizeof(version));
        gone = !db_get(&txn, counter_key(&k, 2), &v);
        if (be32toh(version) == 1)
                return memcmp(w.data, &host, 8) == 0 && !gone;
        return memcmp(w.data, &big, 8) == 0 && gone && be32toh(version) == DB_SCHEMA_VERSION ? 2
                                                                                             : 0;
}

TEST(from_1_to_2_counters)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        const char *dir = test_tmpdir();
        DbStats stats;
        Err err = {};

        CHECK_INT(make_version_1(dir), 0);
        CHECK_INT(state_of(dir), 1);
        CHECK_INT(db_env_open(dir, NULL, &env, &err), 0);
        db_env_stats(env, &stats);
        CHECK_INT(stats.migrated_from, 1);
        env = db_env_close(env);
        CHECK_INT(state_of(dir), 2);
        CHECK_INT(db_env_open(dir, NULL, &env, &err), 0);
        db_env_stats(env, &stats);
        CHECK_INT(stats.migrated_from, 0);
}

/* Every step of opening fails once; each time the database is as it was or as it should be, and
 * opening it again brings it there. */
TEST(migration_is_all_or_nothing)
{
        for (int nth = 1;; nth++) {
                DbEnv *env CLEANUP(db_env_closep) = NULL;
                const char *dir = test_tmpdir();
                Err err = {};
                int fired, r;

                CHECK_INT(make_version_1(dir), 0);
                fault_arm(nth);
                r = db_env_open(dir, NULL, &env, &err);
                fired = fault_fired;
                fault_arm(0);
                if (!fired) {
                        CHECK(r == 0 && nth > 5);
                        break;
                }
                CHECK(r < 0 && err.msg[0] && !env);
                CHECK(state_of(dir) > 0);
                CHECK_INT(db_env_open(dir, NULL, &env, &err), 0);
                env = db_env_close(env);
                CHECK_INT(state_of(dir), 2);
        }
}

/* Killed between any two system calls that matter: the steps are counted as faults, and the nth
 * ends the process. */
TEST(migration_survives_kill)
{
        for (int nth = 1;; nth++) {
                DbEnv *env CLEANUP(db_env_closep) = NULL;
                const char *dir = test_tmpdir();
                Err err = {};
                int status;
                pid_t pid;

                CHECK_INT(make_version_1(dir), 0);
                pid = fork();
                if (pid == 0) {
                        fault_arm(nth);
                        fault_kills = 1;
                        _exit(db_env_open(dir, NULL, &env, &err) == 0 ? 0 : 1);
                }
                CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
                if (WIFEXITED(status)) {
                        CHECK(WEXITSTATUS(status) == 0 && nth > 5);
                        break;
                }
                CHECK_INT(WTERMSIG(status), SIGKILL);
                CHECK(state_of(dir) > 0);
                CHECK_INT(db_env_open(dir, NULL, &env, &err), 0);
                env = db_env_close(env);
                CHECK_INT(state_of(dir), 2);
        }
}

TEST(a_version_of_another_shape_is_refused)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        const char *dir = test_tmpdir();
        Err err = {};
        DbKey k;

        CHECK_INT(db_env_open(dir, NULL, &env, &err), 0);
        {
                DbTxn txn CLEANUP(db_end) = {};

                CHECK_INT(db_begin_rw(env, &txn, &err), 0);
                db_put(&txn, version_key(&k), "one", 3);
                CHECK_INT(db_commit(&txn), 0);
        }
        env = db_env_close(env);
        CHECK_INT(db_env_open(dir, NULL, &env, &err), -DATA_LOSS);
        CHECK(strstr(err.msg, "not a number") != NULL);
}

TEST(records_without_a_version_are_refused)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        const char *dir = test_tmpdir();
        Err err = {};
        DbKey k;

        CHECK_INT(db_env_open(dir, NULL, &env, &err), 0);
        {
                DbTxn txn CLEANUP(db_end) = {};

                CHECK_INT(db_begin_rw(env, &txn, &err), 0);
                db_put(&txn, db_key_name(db_key(&k, DB_IMAGES, 1), "a"), "x", 1);
                db_del(&txn, version_key(&k));
                CHECK_INT(db_commit(&txn), 0);
        }
        env = db_env_close(env);
        CHECK_INT(db_env_open(dir, NULL, &env, &err), -DATA_LOSS);
        CHECK(strstr(err.msg, "no schema version") != NULL);
}

TEST(reading_only_makes_nothing)
{
        const DbOptions options = {.read_only = 1};
        DbEnv *env CLEANUP(db_env_closep) = NULL, *reader CLEANUP(db_env_closep) = NULL;
        char *dir CLEANUP(cleanup_free) = mem_printf("%s/db", test_tmpdir());
        DbTxn txn CLEANUP(db_end) = {};
        Err err = {};

        CHECK_INT(db_env_open(dir, &options, &reader, &err), -NOT_FOUND);
        CHECK(access(dir, F_OK) < 0);
        CHECK_INT(make_version_1(dir), 0);
        CHECK_INT(db_env_open(dir, &options, &reader, &err), -FAILED_PRECONDITION);
        CHECK(strstr(err.msg, "has schema 1") != NULL);
        CHECK_INT(state_of(dir), 1);
        CHECK_INT(db_env_open(dir, NULL, &env, &err), 0);
        env = db_env_close(env);
        CHECK_INT(db_env_open(dir, &options, &reader, &err), 0);
        CHECK(db_begin_rw(reader, &txn, &err) < 0);
}

/* ---- copies ---- */

static int put_pair(DbEnv *env, uint32_t n, Err *err)
{
        DbTxn txn CLEANUP(db_end) = {};
        char name[16];
        DbKey k;

        if (db_begin_rw(env, &txn, err) < 0)
                return -err->code;
        snprintf(name, sizeof(name), "%u", n);
        put_number(&txn, db_key_name(db_key(&k, DB_IMAGES, 1), name), n);
        put_number(&txn, db_key_name(db_key(&k, DB_CONTAINERS, 1), name), n);
        return db_commit(&txn);
}

typedef struct Writing {
        DbEnv *env;
        uint32_t done; /* acknowledged */
        int stop, failed;
} Writing;

static void *keep_writing(void *ctx)
{
        Writing *w = ctx;
        Err err;

        for (uint32_t n = 1; !__atomic_load_n(&w->stop, __ATOMIC_RELAXED) && n < 200000; n++) {
                if (put_pair(w->env, n, &err) < 0)
                        w->failed = 1;
                __atomic_store_n(&w->done, n, __ATOMIC_RELEASE);
        }
        return NULL;
}

/* How many pairs, all whole and without a gap; -1 otherwise. */
static int count_pairs(DbEnv *env)
{
        DbTxn txn CLEANUP(db_end) = {};
        Err err;
        char name[16];
        DbKey k;
        DbVal v;

        if (db_begin_ro(env, &txn, &err) < 0)
                return -1;
        for (int n = 1;; n++) {
                int a, b;

                snprintf(name, sizeof(name), "%d", n);
                a = db_get(&txn, db_key_name(db_key(&k, DB_IMAGES, 1), name), &v);
                b = db_get(&txn, db_key_name(db_key(&k, DB_CONTAINERS, 1), name), &v);
                if (a != b)
                        return -1;
                if (!a)
                        return n - 1;
        }
}

/* Opens a copy as a database. */
static int count_in_copy(const char *path)
{
        char *dir CLEANUP(cleanup_free) = mem_printf("%s.opened", path);
        char *file CLEANUP(cleanup_free) = mem_printf("%s/data.mdb", dir);
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        Err err;

        if (mkdir(dir, 0700) < 0 || link(path, file) < 0 || db_env_open(dir, NULL, &env, &err) < 0)
                return -1;
        return count_pairs(env);
}

/* As the command does it: another process, made while this one still has a single thread. Each byte
 * asks for a copy and is answered by 0 or 1. */
NORETURN static void copier_main(const char *db, const char *dir, int fd)
{
        const DbOptions options = {.read_only = 1, .any_schema = 1};
        unsigned char i;

        while (read(fd, &i, 1) == 1) {
                DbEnv *env CLEANUP(db_env_closep) = NULL;
                char *path CLEANUP(cleanup_free) = mem_printf("%s/copy%d", dir, i);
                Err err = {};
                unsigned char failed =
                        db_env_open(db, &options, &env, &err) < 0 || db_backup(env, path, &err) < 0;

                (void)!write(fd, &failed, 1);
        }
        _exit(0);
}

static int ask_for_copy(int fd, unsigned char i)
{
        unsigned char failed = 1;

        return write(fd, &i, 1) == 1 && read(fd, &failed, 1) == 1 && !failed;
}

TEST(backup_while_others_write)
{
        const char *dir = test_tmpdir();
        char *db CLEANUP(cleanup_free) = mem_printf("%s/db", dir);
        int copies[3], copied = 0, fds[2], status;
        DbEnv *env = NULL;
        Writing w = {};
        pthread_t thread;
        Err err = {};
        pid_t pid;

        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
        pid = fork();
        if (pid == 0) {
                close(fds[0]);
                copier_main(db, dir, fds[1]);
        }
        close(fds[1]);
        CHECK_INT(db_env_open(db, NULL, &env, &err), 0);
        w.env = env;
        CHECK_INT(pthread_create(&thread, NULL, keep_writing, &w), 0);
        for (uint32_t i = 0; i < ARRAY_LEN(copies); i++) {
                char *path CLEANUP(cleanup_free) = mem_printf("%s/copy%u", dir, i);
                uint32_t before;

                while ((before = __atomic_load_n(&w.done, __ATOMIC_ACQUIRE)) < 40 * i + 40)
                        usleep(1000);
                copied += ask_for_copy(fds[0], (unsigned char)i);
                copies[i] = count_in_copy(path) - (int)before;
        }
        __atomic_store_n(&w.stop, 1, __ATOMIC_RELAXED);
        pthread_join(thread, NULL);
        close(fds[0]);
        CHECK(waitpid(pid, &status, 0) == pid && status == 0);
        CHECK_INT(copied, (int)ARRAY_LEN(copies));
        for (size_t i = 0; i < ARRAY_LEN(copies); i++)
                CHECK(copies[i] >= 0); /* whatever was durable before it was asked for */
        CHECK(!w.failed);
        CHECK_INT(count_pairs(env), (int)w.done);
        db_env_close(env);
}

TEST(backup_overwrites_nothing)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        const char *dir = test_tmpdir();
        char *db CLEANUP(cleanup_free) = mem_printf("%s/db", dir);
        char *path CLEANUP(cleanup_free) = mem_printf("%s/copy", dir);
        char *none CLEANUP(cleanup_free) = mem_printf("%s/no/copy", dir);
        char *text CLEANUP(cleanup_free) = NULL;
        Err err = {};

        CHECK_INT(db_env_open(db, NULL, &env, &err), 0);
        CHECK_INT(file_write(AT_FDCWD, path, "mine", 4, 0600, &err), 0);
        CHECK_INT(db_backup(env, path, &err), -ALREADY_EXISTS);
        CHECK_INT(file_read(NULL, AT_FDCWD, path, 100, &text, NULL, &err), 0);
        CHECK_STR(text, "mine");
        CHECK_INT(db_backup(env, none, &err), -NOT_FOUND);
}

TEST(backup_is_all_or_nothing)
{
        for (int nth = 1;; nth++) {
                DbEnv *env CLEANUP(db_env_closep) = NULL;
                const char *dir = test_tmpdir();
                char *db CLEANUP(cleanup_free) = mem_printf("%s/db", dir);
                char *to CLEANUP(cleanup_free) = mem_printf("%s/to%d", dir, nth);
                char *path CLEANUP(cleanup_free) = mem_printf("%s/copy", to);
                Err err = {};
                int fired, r;

                CHECK_INT(db_env_open(db, NULL, &env, &err), 0);
                CHECK(put_pair(env, 1, &err) == 0);
                CHECK(mkdir(to, 0700) == 0);
                fault_arm(nth);
                r = db_backup(env, path, &err);
                fired = fault_fired;
                fault_arm(0);
                if (!fired) {
                        CHECK(r == 0 && nth > 4);
                        break;
                }
                CHECK(r < 0 && err.msg[0]);
                /* of the last step, making the name durable, the copy may have its name already */
                if (access(path, F_OK) == 0) {
                        CHECK_INT(count_in_copy(path), 1);
                        continue;
                }
                CHECK(rmdir(to) == 0 && mkdir(to, 0700) == 0); /* nothing is left behind */
                CHECK_INT(db_backup(env, path, &err), 0);
                CHECK_INT(count_in_copy(path), 1);
        }
}
