/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy of the database while others write to it. LMDB copies what one read transaction sees, so
 * the copy is the state after some commit, whole, and leaves out free pages. It goes into a file
 * beside its place, is flushed, and takes its name last: under the name there is never less than
 * all of it. While the copy runs, pages that writers free are not used again, so the database grows
 * by what they write meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/path.h"
#include "db/db_priv.h"

/* Space that LMDB has lost track of makes it refuse to compact; a plain copy keeps it. */
static int copy_pages(DbEnv *env, int fd)
{
        int rc = fault_hit() ? EIO : mdb_env_copyfd2(env->mdb, fd, MDB_CP_COMPACT);

        if (rc != MDB_INCOMPATIBLE)
                return rc;
        if (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0)
                return errno;
        return mdb_env_copyfd2(env->mdb, fd, 0);
}

static int fill(DbEnv *env, int dir, const char *temp, Err *err)
{
        int fd CLEANUP(cleanup_fd) = -1;
        int rc;

        if (!fault_hit())
                fd = openat(dir, temp, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
        if (fd < 0)
                return err_sys(err, errno, "create %s", temp);
        db_reader_enter(env);
        rc = copy_pages(env, fd);
        db_reader_leave(env);
        if (rc != 0)
                return db_rc(err, rc, "copy");
        if (fault_hit() || fsync(fd) < 0)
                return err_sys(err, errno, "fsync %s", temp);
        return 0;
}

static int publish(int dir, const char *temp, const char *path, const char *name, Err *err)
{
        if (fault_hit() || renameat2(dir, temp, dir, name, RENAME_NOREPLACE) < 0) {
                if (errno == EEXIST)
                        return err_set(err, ALREADY_EXISTS, "%s: already exists", path);
                return err_sys(err, errno, "rename to %s", path);
        }
        if (fault_hit() || fsync(dir) < 0)
                return err_sys(err, errno, "fsync the folder of %s", path);
        return 0;
}

int db_backup(DbEnv *env, const char *path, Err *err)
{
        const char *slash = strrchr(path, '/');
        const char *name = slash ? slash + 1 : path;
        char *parent CLEANUP(cleanup_free) =
                slash ? mem_strndup(path, (size_t)(slash - path) + 1) : mem_strdup(".");
        char *temp CLEANUP(cleanup_free) = mem_printf(".%s.%d", name, getpid());
        int dir CLEANUP(cleanup_fd) = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r;

        if (dir < 0)
                return err_sys(err, errno, "open %s", parent);
        if (faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                return err_set(err, ALREADY_EXISTS, "%s: already exists", path);
        r = fill(env, dir, temp, err);
        if (r == 0)
                r = publish(dir, temp, path, name, err);
        if (r < 0)
                unlinkat(dir, temp, 0);
        return r;
}
