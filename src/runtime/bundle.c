/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bundle of a task. Names are checked identifiers, so joining them to our own folders is safe;
 * the folders belong to root and nobody else writes there.
 *
 * Removal goes by way of the name ".ID", which every reader of the folder skips: a daemon that dies
 * in between leaves no half bundle that looks like a task.
 */
#include "runtime/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/path.h"
#include "mount/mount.h"
#include "spec/identifier.h"

/* The host's group for the container's group 0; 0 without such a mapping. */
static int remapped_gid(const void *spec, size_t n, int64_t *ret, Err *err)
{
        json_t *j CLEANUP(json_decrefp) = NULL;
        const json_t *linux_ = NULL, *maps = NULL;
        const json_t *map;
        size_t i;
        int r;

        r = json_read(spec, n, LIMIT_GRPC_MESSAGE, "container spec", &j, err);
        if (r >= 0)
                r = json_get_obj(j, "linux", &linux_, err);
        if (r >= 0 && linux_)
                r = json_get_arr(linux_, "gidMappings", &maps, err);
        if (r < 0)
                return r;
        json_array_foreach(maps, i, map)
        {
                int64_t inside = -1, outside = 0;

                r = json_get_i64(map, "containerID", &inside, err);
                if (r >= 0)
                        r = json_get_i64(map, "hostID", &outside, err);
                if (r < 0)
                        return err_wrap(err, "linux.gidMappings");
                if (inside == 0)
                        *ret = outside;
        }
        return 0;
}

static int make_dir(const char *path, mode_t mode, Err *err)
{
        if (fault_hit() || mkdir(path, mode) < 0)
                return err_sys(err, errno, "mkdir %s", path);
        if (chmod(path, mode) < 0) /* whatever the umask is */
                return err_sys(err, errno, "chmod %s", path);
        return 0;
}

static int fill(const char *path, const char *work, const void *spec, size_t n_spec, int64_t gid,
                Err *err)
{
        char *rootfs CLEANUP(cleanup_free) = mem_printf("%s/rootfs", path);
        char *config CLEANUP(cleanup_free) = mem_printf("%s/config.json", path);
        char *link CLEANUP(cleanup_free) = mem_printf("%s/work", path);
        int r;

        if (gid > 0 && (chown(path, (uid_t)-1, (gid_t)gid) < 0 || chmod(path, 0710) < 0))
                return err_sys(err, errno, "chown %s", path);
        r = make_dir(rootfs, 0711, err);
        if (r < 0)
                return r;
        if (fault_hit() || symlink(work, link) < 0)
                return err_sys(err, errno, "symlink %s", link);
        if (n_spec == 0)
                return 0;
        if (fault_hit())
                return err_sys(err, errno, "write %s", config);
        return file_write(AT_FDCWD, config, spec, n_spec, 0666, err);
}

int bundle_create(const char *root, const char *state, const char *ns, const char *id,
                  const void *spec, size_t n_spec, char **ret_path, Err *err)
{
        char *path CLEANUP(cleanup_free) = mem_printf("%s/%s/%s", state, ns, id);
        char *parent CLEANUP(cleanup_free) = mem_printf("%s/%s", state, ns);
        char *work_parent CLEANUP(cleanup_free) = mem_printf("%s/%s", root, ns);
        char *work CLEANUP(cleanup_free) = mem_printf("%s/%s/%s", root, ns, id);
        int64_t gid = 0;
        Err ignored = {};
        int r;

        r = identifier_check(NULL, id, err);
        if (r < 0)
                return err_wrap(err, "invalid task id %s", id);
        if (n_spec > 0) {
                r = remapped_gid(spec, n_spec, &gid, err);
                if (r < 0)
                        return r;
        }
        r = path_mkdirs(parent, 0711, err);
        if (r >= 0)
                r = path_mkdirs(work_parent, 0711, err);
        if (r < 0)
                return r;
        r = make_dir(path, 0700, err);
        if (r < 0)
                return r;

        /* a work folder without a bundle is what an earlier life left */
        r = path_remove_tree(AT_FDCWD, work, err);
        if (r >= 0)
                r = make_dir(work, 0711, err);
        if (r >= 0)
                r = fill(path, work, spec, n_spec, gid, err);
        if (r < 0) {
                bundle_remove(root, state, ns, id, &ignored);
                return r;
        }
        *ret_path = TAKE(path);
        return 0;
}

int bundle_make_log(const char *path, Err *err)
{
        char *log CLEANUP(cleanup_free) = mem_printf("%s/log", path);

        if (fault_hit() || mkfifo(log, 0700) < 0)
                return err_sys(err, errno, "mkfifo %s", log);
        return 0;
}

static int remove_rootfs(const char *path, Err *err)
{
        char *rootfs CLEANUP(cleanup_free) = mem_printf("%s/rootfs", path);
        int r;

        if (rmdir(rootfs) == 0 || errno == ENOENT)
                return 0;
        r = unmount_recursive(rootfs, MNT_DETACH | UMOUNT_NOFOLLOW, err);
        if (r < 0)
                return err_wrap(err, "unmount %s", rootfs);
        if (rmdir(rootfs) < 0 && errno != ENOENT)
                return err_sys(err, errno, "remove %s", rootfs);
        return 0;
}

/* DIR/NS/ID away, in one step for whoever looks. */
static int remove_atomically(const char *dir, const char *ns, const char *id, Err *err)
{
        char *path CLEANUP(cleanup_free) = mem_printf("%s/%s/%s", dir, ns, id);
        char *hidden CLEANUP(cleanup_free) = mem_printf("%s/%s/.%s", dir, ns, id);
        int r;

        if (rename(path, hidden) < 0) {
                if (errno == ENOENT)
                        return 0;
                r = path_remove_tree(AT_FDCWD, hidden, err); /* an interrupted removal */
                if (r < 0)
                        return r;
                if (rename(path, hidden) < 0)
                        return err_sys(err, errno, "rename %s", path);
        }
        return path_remove_tree(AT_FDCWD, hidden, err);
}

int bundle_remove(const char *root, const char *state, const char *ns, const char *id, Err *err)
{
        char *path CLEANUP(cleanup_free) = mem_printf("%s/%s/%s", state, ns, id);
        int r;

        r = remove_rootfs(path, err);
        if (r >= 0)
                r = remove_atomically(state, ns, id, err);
        if (r >= 0)
                r = remove_atomically(root, ns, id, err);
        return r < 0 ? err_wrap(err, "remove bundle of %s", id) : 0;
}
