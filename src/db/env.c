/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The environment: opening it, and the three things that happen to it while it lives. Its map grows
 * when it is three quarters full; after an error that LMDB does not survive it is closed and opened
 * again; and on a full disk it gives up a file it has kept aside, so that deleting, which in a
 * copy-on-write tree needs pages too, still works. The first two move the map, so the gate is
 * closed to readers and the last of them is waited for: they are short.
 *
 * LMDB is used without DUPSORT, NOSYNC and WRITEMAP: what it has least trouble with.
 */
#include "base/fault.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/path.h"
#include "db/db_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
        MAX_READERS = 512,
        AHEAD_MIN = 128 * 1024,  /* bytes of the file beyond the tree: when less are left ... */
        AHEAD_MAX = 1024 * 1024, /* ... there are so many again */
};

/* Address space only; room for what the writer's map may have become. */
static const size_t READ_ONLY_MAP = (size_t)1 << 38;

int db_rc(Err *err, int rc, const char *what)
{
        if (rc > 0)
                return err_sys(err, rc, "database: %s", what);
        switch (rc) {
        case MDB_MAP_FULL:
        case MDB_TXN_FULL:
        case MDB_READERS_FULL:
                return err_set(err, RESOURCE_EXHAUSTED, "database: %s: %s", what, mdb_strerror(rc));
        case MDB_INVALID:
        case MDB_VERSION_MISMATCH:
        case MDB_CORRUPTED:
        case MDB_PAGE_NOTFOUND:
                return err_set(err, DATA_LOSS, "database: %s: %s", what, mdb_strerror(rc));
        default:
                return err_set(err, INTERNAL, "database: %s: %s", what, mdb_strerror(rc));
        }
}

static int open_mdb(DbEnv *env, Err *err)
{
        unsigned flags = env->read_only ? MDB_RDONLY : 0;
        MDB_txn *txn;
        int rc;

        rc = fault_hit() ? ENOMEM : mdb_env_create(&env->mdb);
        if (rc != 0)
                return db_rc(err, rc, "create environment");
        rc = mdb_env_set_mapsize(env->mdb, env->map_size);
        if (rc == 0)
                rc = mdb_env_set_maxreaders(env->mdb, MAX_READERS);
        if (rc == 0)
                rc = fault_hit() ? EIO : mdb_env_open(env->mdb, env->dir, flags | MDB_NOTLS, 0600);
        if (rc == 0)
                rc = fault_hit() ? EIO : mdb_txn_begin(env->mdb, NULL, flags, &txn);
        if (rc == 0) {
                rc = mdb_dbi_open(txn, NULL, 0, &env->dbi);
                if (rc == 0)
                        rc = mdb_txn_commit(txn);
                else
                        mdb_txn_abort(txn);
        }
        if (rc == 0)
                rc = mdb_env_get_fd(env->mdb, &env->fd);
        if (rc != 0) {
                mdb_env_close(env->mdb);
                env->mdb = NULL;
                return db_rc(err, rc, env->dir);
        }
        env->written = 0;
        return 0;
}

static void close_gate(DbEnv *env)
{
        lock_take(&env->lock);
        env->closed_gate = 1;
        while (env->n_readers > 0)
                lock_wait(&env->lock, &env->gate, 0);
        lock_drop(&env->lock);
}

static void open_gate(DbEnv *env, int reopened)
{
        lock_take(&env->lock);
        env->stats.reopens += (uint64_t)reopened;
        env->stats.map_size = env->map_size;
        env->closed_gate = 0;
        pthread_cond_broadcast(&env->gate);
        lock_drop(&env->lock);
}

static void drop_cache(DbEnv *env)
{
        while (env->n_cache > 0)
                mdb_txn_abort(env->cache[--env->n_cache]);
}

int env_reopen(DbEnv *env, Err *err)
{
        int r;

        close_gate(env);
        drop_cache(env);
        if (env->mdb)
                mdb_env_close(env->mdb);
        r = open_mdb(env, err);
        open_gate(env, r == 0);
        return r;
}

size_t env_used(DbEnv *env)
{
        MDB_envinfo info;
        MDB_stat st;

        mdb_env_info(env->mdb, &info);
        mdb_env_stat(env->mdb, &st);
        return (info.me_last_pgno + 1) * st.ms_psize;
}

int env_make_room(DbEnv *env, Err *err)
{
        size_t size = env->map_size;
        int rc;

        if (!env->want_grow && env_used(env) < size / 4 * 3)
                return 0;
        close_gate(env);
        rc = mdb_env_set_mapsize(env->mdb, size * 2);
        if (rc == 0) {
                env->map_size = size * 2;
                env->want_grow = 0;
        }
        open_gate(env, 0);
        return rc == 0 ? 0 : db_rc(err, rc, "grow");
}

/*
 * Writing into space the file already has costs the disk one flush; growing the file costs the
 * filesystem a commit of its journal on top. So zeros are written ahead of the tree, some every few
 * hundred commits. They lie beyond what LMDB has ever used; it takes its time to get there and
 * overwrites them. Whatever goes wrong here shows again in the commit.
 */
void env_write_ahead(DbEnv *env)
{
        static const char zeros[64 * 1024];
        size_t used = env_used(env), n;
        struct stat st;

        if (used + AHEAD_MIN <= env->written)
                return;
        if (fstat(env->fd, &st) < 0)
                return;
        env->written = (size_t)st.st_size;
        while (env->written < used + AHEAD_MAX) {
                n = MIN(sizeof(zeros), used + AHEAD_MAX - env->written);
                if (pwrite(env->fd, zeros, n, (off_t)env->written) != (ssize_t)n)
                        return;
                env->written += n;
        }
}

static int reserve_open(DbEnv *env)
{
        int dir CLEANUP(cleanup_fd) = open(env->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

        return dir < 0 ? -1 : openat(dir, "reserve", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
}

/* Filesystems that cannot preallocate do without. */
int env_reserve_take(DbEnv *env)
{
        int fd CLEANUP(cleanup_fd) = reserve_open(env);

        if (fd < 0)
                return -1;
        if (fallocate(fd, 0, 0, (off_t)env->reserve) == 0 || errno != ENOSPC)
                return 0;
        (void)!ftruncate(fd, 0); /* what it got of it */
        return -1;
}

void env_reserve_release(DbEnv *env)
{
        int fd CLEANUP(cleanup_fd) = reserve_open(env);

        if (fd >= 0 && ftruncate(fd, 0) < 0)
                return; /* then deleting has to wait for somebody to make room */
}

int env_is_full(DbEnv *env)
{
        struct statvfs st;

        return statvfs(env->dir, &st) == 0 &&
               st.f_bavail * st.f_frsize < MAX(env->reserve, (size_t)2 * GROUP_BYTES);
}

/* Reading beyond the end of a file that is too short kills the reader. Pages at the end that were
 * taken and given back in one transaction were never written, but env_write_ahead() sees to it that
 * the file has them. */
static int check_length(DbEnv *env, Err *err)
{
        size_t used = env_used(env);
        struct stat st;

        if (fstat(env->fd, &st) < 0)
                return err_sys(err, errno, "stat %s/data.mdb", env->dir);
        if ((size_t)st.st_size < used)
                return err_set(err, DATA_LOSS,
                               "database %s/data.mdb is cut short: %zu bytes of %zu", env->dir,
                               (size_t)st.st_size, used);
        return 0;
}

DEFINE_CLEANUP(DbEnv *, db_env_close)

int db_env_open(const char *dir, const DbOptions *opts, DbEnv **ret, Err *err)
{
        DbEnv *env CLEANUP(db_env_closep) = mem_new(DbEnv);
        int r;

        env->dir = mem_strdup(dir);
        env->read_only = opts && opts->read_only;
        env->map_size = env->read_only           ? READ_ONLY_MAP
                        : opts && opts->map_size ? opts->map_size
                                                 : (size_t)1 << 30;
        env->reserve = opts && opts->reserve ? opts->reserve : (size_t)4 << 20;
        lock_init(&env->lock, LOCK_DB_TURN);
        cond_init(&env->gate);
        list_init(&env->queue);
        list_init(&env->members);
        env->hooks_tail = &env->hooks;

        if (env->read_only) {
                r = open_mdb(env, err);
        } else {
                r = path_mkdirs(dir, 0700, err);
                if (r == 0)
                        r = open_mdb(env, err);
        }
        if (r < 0)
                return r;
        /* a file of earlier growth makes LMDB map more than it was asked for */
        env->map_size = MAX(env->map_size, env_used(env));
        env->stats.map_size = env->map_size;
        env->stats.used = env_used(env);
        if (env->read_only) {
                r = opts->any_schema ? 0 : schema_current(env, err);
        } else {
                env->full = env_reserve_take(env) < 0;
                r = check_length(env, err);
                if (r == 0)
                        r = schema_bring(env, err);
        }
        if (r < 0)
                return r;
        *ret = TAKE(env);
        return 0;
}

int env_sync_dir(DbEnv *env)
{
        Err ignored;

        return fault_hit() ? -1 : path_sync_dir(AT_FDCWD, env->dir, &ignored);
}

DbEnv *db_env_close(DbEnv *env)
{
        if (!env)
                return NULL;
        assert(!env->busy && env->n_readers == 0);
        drop_cache(env);
        if (env->mdb && !env->read_only && !env->fresh)
                env_write_ahead(env);
        if (env->mdb)
                mdb_env_close(env->mdb);
        pthread_cond_destroy(&env->gate);
        lock_done(&env->lock);
        free(env->dir);
        free(env);
        return NULL;
}

/* Where the file is mapped: LMDB does not say. */
static int find_map(const DbEnv *env, char **ret_start, size_t *ret_n)
{
        FILE *maps = fopen("/proc/self/maps", "re");
        unsigned long start, end;
        unsigned long long inode;
        struct stat st;
        char line[4400];
        int found = 0;

        if (!maps)
                return 0;
        if (fstat(env->fd, &st) == 0)
                while (!found && fgets(line, sizeof(line), maps))
                        found = sscanf(line, "%lx-%lx %*s %*s %*s %llu", &start, &end, &inode) ==
                                        3 &&
                                inode == st.st_ino && strstr(line, "/data.mdb");
        fclose(maps);
        if (found) {
                *ret_start = (char *)start;
                *ret_n = end - start;
        }
        return found;
}

void db_env_relax(DbEnv *env)
{
        char *start;
        size_t n;

        db_reader_enter(env);
        if (env->mdb && find_map(env, &start, &n))
                madvise(start, n, MADV_DONTNEED); /* clean: it is written by pwrite(2) */
        db_reader_leave(env);
}

void db_env_stats(DbEnv *env, DbStats *ret)
{
        LOCKED(&env->lock);
        *ret = env->stats;
}
