/* SPDX-License-Identifier: Apache-2.0 */
#include "db/db.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

DEFINE_CLEANUP(DbEnv *, db_env_close)

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

/* The value, in a static buffer, or NULL. */
static const char *get(DbEnv *env, const char *name)
{
        DbTxn txn CLEANUP(db_end) = {};
        static char buf[64];
        DbKey k;
        DbVal v;
        Err err = {};

        if (db_begin_ro(env, &txn, &err) < 0 || !db_get(&txn, key_of(&k, name), &v))
                return NULL;
        snprintf(buf, sizeof(buf), "%s", (const char *)v.data);
        return buf;
}

TEST(put_get_del)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        Err err = {};
        DbKey k;

        CHECK_INT(db_env_open(test_tmpdir(), NULL, &env, &err), 0);
        CHECK(get(env, "a") == NULL);
        CHECK_INT(put(env, "a", "one", &err), 0);
        CHECK_STR(get(env, "a"), "one");
        CHECK_INT(put(env, "a", "two", &err), 0);
        CHECK_STR(get(env, "a"), "two");
        {
                DbTxn txn CLEANUP(db_end) = {};

                CHECK_INT(db_begin_rw(env, &txn, &err), 0);
                CHECK_INT(db_put_new(&txn, key_of(&k, "a"), "x", 2), 0);
                CHECK_INT(db_put_new(&txn, key_of(&k, "b"), "x", 2), 1);
                CHECK_INT(db_del(&txn, key_of(&k, "a")), 1);
                CHECK_INT(db_del(&txn, key_of(&k, "a")), 0);
        } /* not committed */
        CHECK_STR(get(env, "a"), "two");
        CHECK(get(env, "b") == NULL);
}

TEST(survives_reopening)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        const char *dir = test_tmpdir();
        Err err = {};

        CHECK_INT(db_env_open(dir, NULL, &env, &err), 0);
        CHECK_INT(put(env, "a", "one", &err), 0);
        env = db_env_close(env);
        CHECK_INT(db_env_open(dir, NULL, &env, &err), 0);
        CHECK_STR(get(env, "a"), "one");
}

TEST(newer_schema_is_refused)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        const char *dir = test_tmpdir();
        Err err = {};
        DbKey k;

        CHECK_INT(db_env_open(dir, NULL, &env, &err), 0);
        {
                DbTxn txn CLEANUP(db_end) = {};

                CHECK_INT(db_begin_rw(env, &txn, &err), 0);
                db_put(&txn, db_key_name(db_key(&k, DB_SCHEMA, 0), "version"), "\0\0\0\x63", 4);
                CHECK_INT(db_commit(&txn), 0);
        }
        env = db_env_close(env);
        CHECK_INT(db_env_open(dir, NULL, &env, &err), -FAILED_PRECONDITION);
        CHECK(strstr(err.msg, "newer version") && strstr(err.msg, "schema 99") &&
              strstr(err.msg, dir));
}

TEST(garbage_is_refused)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        const char *dir = test_tmpdir();
        char *path CLEANUP(cleanup_free) = mem_printf("%s/data.mdb", dir);
        char junk[8192];
        Err err = {};

        memset(junk, 'x', sizeof(junk));
        CHECK_INT(file_write(AT_FDCWD, path, junk, sizeof(junk), 0600, &err), 0);
        CHECK_INT(db_env_open(dir, NULL, &env, &err), -DATA_LOSS);
}

TEST(a_file_cut_short_is_refused)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        const char *dir = test_tmpdir();
        char *path CLEANUP(cleanup_free) = mem_printf("%s/data.mdb", dir);
        Err err = {};

        CHECK_INT(db_env_open(dir, NULL, &env, &err), 0);
        CHECK_INT(put(env, "a", "one", &err), 0);
        env = db_env_close(env);
        CHECK_INT(truncate(path, 9000), 0);
        CHECK_INT(db_env_open(dir, NULL, &env, &err), -DATA_LOSS);
        CHECK(strstr(err.msg, "is cut short: 9000 bytes of") != NULL);
}

TEST(errors_stick)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        Err err = {};
        DbKey k;
        DbVal v;

        CHECK_INT(db_env_open(test_tmpdir(), NULL, &env, &err), 0);
        {
                DbTxn txn CLEANUP(db_end) = {};

                CHECK_INT(db_begin_rw(env, &txn, &err), 0);
                db_put(&txn, key_of(&k, "a"), "x", 2);
                CHECK_INT(db_fail(&txn, NOT_FOUND, "thing %d: not found", 7), -NOT_FOUND);
                CHECK_INT(db_fail(&txn, INTERNAL, "later"), -NOT_FOUND);
                CHECK_INT(db_get(&txn, key_of(&k, "a"), &v), 0);
                CHECK_INT(db_put_new(&txn, key_of(&k, "b"), "x", 2), 0);
                CHECK_INT(db_commit(&txn), -NOT_FOUND);
                CHECK_STR(err.msg, "thing 7: not found");
        }
        CHECK(get(env, "a") == NULL && get(env, "b") == NULL);
        CHECK_INT(put(env, "a", "x", &err), 0);
}

TEST(cursor_walks_a_prefix)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        Err err = {};
        DbKey k;
        char name[16];
        int n = 0;

        CHECK_INT(db_env_open(test_tmpdir(), NULL, &env, &err), 0);
        {
                DbTxn txn CLEANUP(db_end) = {};

                CHECK_INT(db_begin_rw(env, &txn, &err), 0);
                for (int i = 0; i < 100; i++) {
                        snprintf(name, sizeof(name), "n%02d", i);
                        db_put(&txn, key_of(&k, name), &i, sizeof(i));
                }
                db_put(&txn, db_key_name(db_key(&k, DB_IMAGES, 2), "n00"), "", 0);
                db_put(&txn, db_key_name(db_key(&k, DB_CONTAINERS, 1), "n00"), "", 0);
                CHECK_INT(db_commit(&txn), 0);
        }
        {
                DbTxn txn CLEANUP(db_end) = {};
                DbCursor c CLEANUP(db_cursor_done) = {};

                CHECK_INT(db_begin_ro(env, &txn, &err), 0);
                db_cursor_init(&c, &txn, db_key(&k, DB_IMAGES, 1));
                while (db_cursor_next(&c)) {
                        snprintf(name, sizeof(name), "n%02d", n);
                        CHECK(c.rest.n == 3 && memcmp(c.rest.data, name, 3) == 0);
                        CHECK(*(const int *)c.value.data == n++);
                }
                CHECK_INT(n, 100);
                db_cursor_seek(&c, key_of(&k, "n98"));
                CHECK(db_cursor_next(&c) && db_cursor_next(&c) && !db_cursor_next(&c));
        }
        {
                DbTxn txn CLEANUP(db_end) = {};

                CHECK_INT(db_begin_free(env, &txn, &err), 0);
                CHECK_INT(db_del_prefix(&txn, db_key(&k, DB_IMAGES, 1)), 100);
                CHECK(!db_any(&txn, db_key(&k, DB_IMAGES, 1)) &&
                      db_any(&txn, db_key(&k, DB_IMAGES, 2)));
                CHECK_INT(db_count_up(&txn, db_key_name(db_key(&k, DB_SCHEMA, 0), "n")), 1);
                CHECK_INT(db_count_up(&txn, db_key_name(db_key(&k, DB_SCHEMA, 0), "n")), 2);
                CHECK_INT(db_commit(&txn), 0);
        }
}

/* Whatever the parts before it take, a long name stays within the key. */
TEST(long_names_fit_behind_every_group)
{
        char group[DB_KEY_MAX] = "", name[DB_KEY_MAX + 1] = "";
        DbKey k;

        memset(name, 'n', DB_KEY_MAX);
        for (size_t n = 0; n <= 100; n++) {
                memset(group, 'g', n);
                db_key_group(db_key(&k, DB_LEASE_RESOURCES, 1), group);
                db_key_name(db_key_group(&k, "0123456789"), name);
                CHECK(k.n <= DB_KEY_MAX);
        }
}

TEST(long_names_have_keys_of_their_own)
{
        char a[2001], b[2001];
        DbKey ka, kb;

        memset(a, 'a', 2000), a[2000] = 0;
        memcpy(b, a, sizeof(a));
        b[1999] = 'b';
        for (int len = 390; len < 420; len++) {
                a[len] = '\0';
                db_key_name(db_key(&ka, DB_IMAGES, 1), a);
                CHECK_INT(ka.n, len <= LIMIT_DB_NAME ? 5 + len : 5 + 368 + 33);
                a[len] = 'a';
        }
        db_key_name(db_key(&ka, DB_IMAGES, 1), a);
        db_key_name(db_key(&kb, DB_IMAGES, 1), b);
        CHECK(ka.n == kb.n && memcmp(ka.data, kb.data, ka.n) != 0);
        /* three parts, all too long, still fit and differ in the last */
        db_key_name(db_key_group(db_key_group(db_key(&ka, DB_LEASE_RESOURCES, 1), a), a), a);
        db_key_name(db_key_group(db_key_group(db_key(&kb, DB_LEASE_RESOURCES, 1), a), a), b);
        CHECK(ka.n <= DB_KEY_MAX && memcmp(ka.data, kb.data, MIN(ka.n, kb.n)) != 0);
        /* the part before is a prefix of it */
        db_key_group(db_key(&kb, DB_LEASE_RESOURCES, 1), a);
        CHECK(memcmp(ka.data, kb.data, kb.n) == 0);
}

static void count(void *ctx)
{
        ++*(int *)ctx;
}

TEST(write_is_all_or_nothing)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        Err err = {};
        int nth;

        CHECK_INT(db_env_open(test_tmpdir(), NULL, &env, &err), 0);
        CHECK_INT(put(env, "old", "1", &err), 0);
        for (nth = 1;; nth++) {
                DbTxn txn CLEANUP(db_end) = {};
                DbHook hook;
                int r, ran = 0;
                DbKey k;

                fault_arm(nth);
                err_clear(&err);
                r = db_begin_rw(env, &txn, &err);
                if (r == 0) {
                        db_put(&txn, key_of(&k, "a"), "1", 2);
                        db_put_new(&txn, key_of(&k, "b"), "1", 2);
                        db_del(&txn, key_of(&k, "old"));
                        db_on_commit(&txn, &hook, count, &ran);
                        r = db_commit(&txn);
                }
                if (!fault_fired) {
                        fault_arm(0);
                        CHECK(r == 0 && ran == 1);
                        break;
                }
                CHECK(r < 0 && err.msg[0] && ran == 0);
                db_end(&txn);
                CHECK(get(env, "a") == NULL && get(env, "b") == NULL && get(env, "old") != NULL);
        }
        CHECK(nth > 4);
        CHECK(get(env, "a") && get(env, "b") && !get(env, "old"));
}

TEST(map_grows)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        DbOptions opts = {.map_size = 1 << 20};
        char *big CLEANUP(cleanup_free) = mem_alloc(100000);
        char name[16];
        DbStats st;
        Err err = {};

        memset(big, 'x', 99999);
        CHECK_INT(db_env_open(test_tmpdir(), &opts, &env, &err), 0);
        for (int i = 0; i < 50; i++) {
                snprintf(name, sizeof(name), "%d", i);
                CHECK_INT(put(env, name, big, &err), 0);
        }
        db_env_stats(env, &st);
        CHECK(st.map_size >= 8 << 20 && st.used > 5000000);
        CHECK(get(env, "0") && get(env, "49"));
}

/* A single transaction larger than what is free fails alone; the next one finds a larger map. */
TEST(map_full_is_an_error_of_one_transaction)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        DbOptions opts = {.map_size = 1 << 20};
        char *big CLEANUP(cleanup_free) = mem_alloc(1 << 20);
        Err err = {};

        memset(big, 'x', (1 << 20) - 1);
        CHECK_INT(db_env_open(test_tmpdir(), &opts, &env, &err), 0);
        CHECK_INT(put(env, "a", big, &err), -RESOURCE_EXHAUSTED);
        CHECK_INT(put(env, "a", big, &err), 0);
}

/* What a write to disk of the meta page that fails does to LMDB: everything answers MDB_PANIC until
 * it is reopened. */
TEST(reopens_after_panic)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        char path[64], target[256];
        int full CLEANUP(cleanup_fd) = open("/dev/full", O_RDWR | O_CLOEXEC), n = 0;
        const char *dir = test_tmpdir();
        DbStats st;
        Err err = {};

        CHECK_INT(db_env_open(dir, NULL, &env, &err), 0);
        CHECK_INT(put(env, "a", "1", &err), 0);
        for (int fd = 3; fd < 64; fd++) {
                ssize_t len;

                snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
                len = readlink(path, target, sizeof(target) - 1);
                if (len < 0)
                        continue;
                target[len] = '\0';
                if (str_starts(target, dir) && str_ends(target, "/data.mdb") &&
                    (fcntl(fd, F_GETFL) & O_DSYNC)) {
                        CHECK(dup2(full, fd) == fd);
                        n++;
                }
        }
        CHECK_INT(n, 1);
        CHECK(put(env, "b", "1", &err) < 0);
        CHECK_STR(get(env, "a"), "1"); /* a reader is the first to find out */
        CHECK_INT(put(env, "c", "1", &err), 0);
        CHECK(get(env, "c") != NULL && get(env, "b") == NULL);
        db_env_stats(env, &st);
        CHECK_INT(st.reopens, 1);
}

TEST(deleting_works_on_a_full_disk)
{
        const char *dir = test_tmpdir();
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        DbOptions opts = {.reserve = 1 << 20};
        char *big CLEANUP(cleanup_free) = mem_alloc(1 << 20);
        char *sub CLEANUP(cleanup_free) = mem_printf("%s/db", dir), name[16];
        int r = 0, i;
        DbKey k;
        Err err = {};

        if (mount("tmpfs", dir, "tmpfs", 0, "size=12m") < 0) {
                test_skip("no permission to mount");
                return;
        }
        memset(big, 'x', (1 << 20) - 1);
        r = db_env_open(sub, &opts, &env, &err);
        for (i = 0; r == 0 && i < 20; i++) {
                snprintf(name, sizeof(name), "%d", i);
                r = put(env, name, big, &err);
        }
        if (r != -RESOURCE_EXHAUSTED)
                test_fail(__FILE__, __LINE__, "not full: %d %s", r, err.msg);
        r = put(env, "y", big, &err); /* refused before it begins, or fails again */
        if (r != -RESOURCE_EXHAUSTED)
                test_fail(__FILE__, __LINE__, "not refused: %d %s", r, err.msg);
        for (int n = 0; n < i - 1 && env; n++) {
                DbTxn txn CLEANUP(db_end) = {};

                snprintf(name, sizeof(name), "%d", n);
                r = db_begin_free(env, &txn, &err);
                if (r == 0) {
                        db_del(&txn, key_of(&k, name));
                        r = db_commit(&txn);
                }
                if (r < 0)
                        test_fail(__FILE__, __LINE__, "delete: %s", err.msg);
        }
        env = db_env_close(env);
        umount2(dir, MNT_DETACH);
}

/* kill -9 in the middle: what was acknowledged is there, whole. */
TEST(acknowledged_survives_kill)
{
        const char *dir = test_tmpdir();
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        int pipes[2], last = -1, got, status;
        char name[16];
        pid_t pid;
        Err err = {};

        for (int round = 0; round < 3; round++) {
                CHECK(pipe2(pipes, O_CLOEXEC) == 0);
                pid = fork();
                CHECK(pid >= 0);
                if (pid == 0) {
                        if (db_env_open(dir, NULL, &env, &err) < 0)
                                _exit(1);
                        for (int i = last + 1;; i++) {
                                snprintf(name, sizeof(name), "%d", i);
                                if (put(env, name, name, &err) < 0 ||
                                    write(pipes[1], &i, sizeof(i)) != sizeof(i))
                                        _exit(1);
                        }
                }
                close(pipes[1]);
                for (int i = 0; i < 50 + 17 * round; i++)
                        CHECK(read(pipes[0], &got, sizeof(got)) == sizeof(got));
                kill(pid, SIGKILL);
                while (read(pipes[0], &got, sizeof(got)) == sizeof(got))
                        ;
                last = got;
                close(pipes[0]);
                CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
                CHECK_INT(db_env_open(dir, NULL, &env, &err), 0);
                for (int i = 0; i <= last; i++) {
                        snprintf(name, sizeof(name), "%d", i);
                        CHECK_STR(get(env, name), name);
                }
                snprintf(name, sizeof(name), "%d", last + 2);
                CHECK(get(env, name) == NULL);
                env = db_env_close(env);
        }
}

static size_t resident_of(const char *name)
{
        FILE *smaps = fopen("/proc/self/smaps", "re");
        char line[4400];
        size_t kib, sum = 0;
        int in = 0;

        if (!smaps)
                return 0;
        while (fgets(line, sizeof(line), smaps)) {
                if (strchr(line, '-') && strchr(line, '/'))
                        in = strstr(line, name) != NULL;
                else if (in && sscanf(line, "Rss: %zu kB", &kib) == 1)
                        sum += kib;
        }
        fclose(smaps);
        return sum;
}

TEST(relax_gives_back_what_was_read)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        char *path CLEANUP(cleanup_free) = mem_printf("%s/data.mdb", test_tmpdir());
        Err err = {};
        size_t before;

        CHECK_INT(db_env_open(test_tmpdir(), NULL, &env, &err), 0);
        CHECK_INT(put(env, "a", "one", &err), 0);
        CHECK_STR(get(env, "a"), "one");
        before = resident_of(path);
        CHECK(before > 0);
        db_env_relax(env);
        CHECK(resident_of(path) < before);
        CHECK_STR(get(env, "a"), "one");
        CHECK_INT(put(env, "a", "two", &err), 0);
        CHECK_STR(get(env, "a"), "two");
}
