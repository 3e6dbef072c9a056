/* SPDX-License-Identifier: Apache-2.0 */
/*
 * native: a snapshot's folder is the whole tree, copied from its parent when it is made. Works on
 * any file system. A view with a parent shows the parent's folder and has none of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include "base/fault.h"
#include "base/fd.h"
#include "base/mem.h"
#include "snapshots/snapshotter_priv.h"
#include "snapshots/tree.h"

static int has_folder(const Folder *f)
{
        return f->kind == SNAPSHOT_ACTIVE || f->n_chain == 0;
}

static int fill(FolderSnapshotter *fs, const Folder *f, int dir, Err *err)
{
        int from CLEANUP(cleanup_fd) = -1;
        char name[32];

        if (f->n_chain == 0)
                return 0;
        snprintf(name, sizeof(name), "%" PRIu64, f->chain[0]);
        from = fault_hit() ? -1
                           : openat(fs->dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (from < 0)
                return err_sys(err, errno, "open %s/snapshots/%s", fs->base.root, name);
        return tree_copy(from, dir, err) < 0 ? err_wrap(err, "copying of parent") : 0;
}

static void native_mounts(FolderSnapshotter *fs, const Folder *f, Arena *a, MountList *ret)
{
        uint64_t id = has_folder(f) ? f->id : f->chain[0];
        const char **options = arena_array(a, const char *, 2);
        Mount *m = arena_new(a, Mount);

        options[0] = "rbind";
        options[1] = f->kind == SNAPSHOT_ACTIVE ? "rw" : "ro";
        *m = (Mount){
                .type = "bind",
                .source = arena_printf(a, "%s/snapshots/%" PRIu64, fs->base.root, id),
                .options = options,
                .n_options = 2,
        };
        *ret = (MountList){.v = m, .n = 1};
}

static const FolderOps folder_ops = {
        .has_folder = has_folder,
        .fill = fill,
        .mounts = native_mounts,
        .data = ".",
        .mounts_error = "failed to get snapshot mount",
        .mode = 0755,
};

int native_open(DbEnv *env, const char *root, Snapshotter **ret, Err *err)
{
        FolderSnapshotter *fs = mem_new(FolderSnapshotter);

        fs->fops = &folder_ops;
        return folders_open(fs, "native", env, root, ret, err);
}
