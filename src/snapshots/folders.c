/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots as folders. Ids come from a counter in memory that starts above every id in the
 * database and on disk, so the folder is made before the transaction that records it, and never
 * inside it. A folder without a record is what a crash or a failed change has left: it is deleted
 * at start. A record without a folder cannot be, because removal goes the other way round: record
 * first, then the folder is renamed to rm-<id> and a background thread deletes it.
 *
 * A change reads what it needs in a transaction of its own, works on disk, and looks again when it
 * is recorded: an id names one snapshot for ever, so comparing ids is enough.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "base/vec.h"
#include "rpc/message.h"
#include "snapshots/snapshotter_priv.h"
#include "snapshots/tree.h"

#define LABEL_UPPERDIR "containerd.io/snapshot/overlay.upperdir"

typedef enum ChangeKind { PREPARE, COMMIT, REMOVE } ChangeKind;

typedef struct FolderChange {
        SnapshotChange base;
        Arena arena; /* holds all of it */
        ChangeKind what;
        Folder folder;
        Record *old; /* commit: the active one; remove: filled when recorded */
        const char *key, *name, *parent;
        uint64_t parent_id;
        SnapshotUsage usage;
        int made; /* the folder */
        int done;
} FolderChange;

enum { NAME_BYTES = 32 };

static FolderSnapshotter *folder_snapshotter(Snapshotter *sn)
{
        return CONTAINER_OF(sn, FolderSnapshotter, base);
}

static FolderChange *folder_change(const SnapshotChange *ch)
{
        return CONTAINER_OF(ch, FolderChange, base);
}

static void id_name(uint64_t id, char name[NAME_BYTES])
{
        snprintf(name, NAME_BYTES, "%" PRIu64, id);
}

/* ---- deleting in the background ---- */

typedef struct Trash {
        FolderSnapshotter *fs;
        char name[NAME_BYTES];
} Trash;

static void trash_delete(void *arg)
{
        Trash *t = arg;
        Err err;

        if (path_remove_tree(t->fs->dir, t->name, &err) < 0)
                log_warn("a removed snapshot's folder stays until the next start", "snapshotter",
                         t->fs->base.name, "folder", t->name, "error", err.msg);
        free(t);
}

/* The folder name (an id) is gone from here on; when, is the background thread's affair. */
static void trash(FolderSnapshotter *fs, const char *name, int now)
{
        Trash *t = mem_new(Trash);

        t->fs = fs;
        if (str_starts(name, "rm-"))
                snprintf(t->name, sizeof(t->name), "%s", name);
        else
                snprintf(t->name, sizeof(t->name), "rm-%.20s", name);
        if (!str_eq(name, t->name) && renameat(fs->dir, name, fs->dir, t->name) < 0) {
                if (errno == ENOENT) {
                        free(t);
                        return;
                }
                snprintf(t->name, sizeof(t->name), "%.20s", name);
        }
        if (now)
                trash_delete(t);
        else
                pool_submit(fs->reaper, trash_delete, t);
}

/* ---- changes ---- */

static FolderChange *change_new(FolderSnapshotter *fs, ChangeKind what, const SnapshotSpec *spec)
{
        FolderChange *ch = mem_new(FolderChange);
        SnapshotLabel *labels;

        arena_init(&ch->arena, SIZE_MAX);
        ch->base.sn = &fs->base;
        ch->what = what;
        ch->key = arena_strdup(&ch->arena, spec->key);
        ch->name = arena_strdup(&ch->arena, spec->name ? spec->name : "");
        ch->parent = arena_strdup(&ch->arena, spec->parent ? spec->parent : "");
        labels = arena_array(&ch->arena, SnapshotLabel, spec->n_labels);
        for (size_t i = 0; i < spec->n_labels; i++)
                labels[i] = (SnapshotLabel){
                        .key = arena_strdup(&ch->arena, spec->labels[i].key),
                        .value = arena_strdup(&ch->arena, spec->labels[i].value),
                };
        ch->folder.kind = spec->kind;
        ch->folder.labels = labels;
        ch->folder.n_labels = spec->n_labels;
        return ch;
}

static void change_end(SnapshotChange *base)
{
        FolderChange *ch = folder_change(base);
        FolderSnapshotter *fs = folder_snapshotter(base->sn);
        char name[NAME_BYTES];

        if (!ch->done && ch->made) {
                id_name(ch->folder.id, name);
                trash(fs, name, 0);
        }
        arena_done(&ch->arena);
        free(ch);
}

static void change_endp(FolderChange **ch)
{
        if (*ch)
                change_end(&(*ch)->base);
}

static int key_exists(const char *key, Err *err)
{
        return err_set(err, ALREADY_EXISTS, "snapshot %s: already exists", key);
}

/* The parent must be committed; commit says it in other words and another class than prepare. */
static int check_parent(DbTxn *txn, Arena *a, FolderSnapshotter *fs, const char *parent,
                        ChangeKind what, uint64_t *ret_id, Err *err)
{
        Record *rec;

        *ret_id = 0;
        if (!*parent)
                return 0;
        rec = record_get(txn, a, fs->base.name, parent, err);
        if (txn->failed)
                return txn->failed;
        if (!rec)
                return err_set(err, NOT_FOUND, "parent snapshot %s does not exist: not found",
                               parent);
        if (rec->kind != SNAPSHOTS__KIND__COMMITTED)
                return what == COMMIT
                               ? err_set(err, FAILED_PRECONDITION,
                                         "parent \"%s\" is not committed: failed precondition",
                                         parent)
                               : err_set(err, INVALID_ARGUMENT,
                                         "parent \"%s\" is not committed snapshot: invalid argument",
                                         parent);
        *ret_id = rec->id;
        return 0;
}

static int prepare_look(FolderSnapshotter *fs, FolderChange *ch, DbTxn *txn, Err *err)
{
        Record *rec = record_get(txn, &ch->arena, fs->base.name, ch->key, err);
        int r;

        if (txn->failed)
                return txn->failed;
        if (rec)
                return key_exists(ch->key, err);
        r = check_parent(txn, &ch->arena, fs, ch->parent, PREPARE, &ch->parent_id, err);
        if (r < 0)
                return r;
        return record_chain(txn, &ch->arena, fs->base.name, ch->parent,
                            (uint64_t **)(void *)&ch->folder.chain, &ch->folder.n_chain, err);
}

static int make_folder(FolderSnapshotter *fs, FolderChange *ch, Err *err)
{
        int dir CLEANUP(cleanup_fd) = -1;
        char name[NAME_BYTES];

        ch->folder.id = __atomic_add_fetch(&fs->last_id, 1, __ATOMIC_RELAXED);
        if (!fs->fops->has_folder(&ch->folder))
                return 0;
        id_name(ch->folder.id, name);
        if (fault_hit() || mkdirat(fs->dir, name, 0700) < 0)
                return err_sys(err, errno, "mkdir %s/snapshots/%s", fs->base.root, name);
        ch->made = 1;
        dir = openat(fs->dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (dir < 0)
                return err_sys(err, errno, "open %s/snapshots/%s", fs->base.root, name);
        /* Exact, whatever the umask. */
        if (fchmod(dir, fs->fops->mode) < 0)
                return err_sys(err, errno, "chmod %s/snapshots/%s", fs->base.root, name);
        return fs->fops->fill(fs, &ch->folder, dir, err);
}

static int prepare(Snapshotter *sn, const SnapshotSpec *spec, SnapshotChange **ret, Err *err)
{
        FolderSnapshotter *fs = folder_snapshotter(sn);
        FolderChange *ch CLEANUP(change_endp) = change_new(fs, PREPARE, spec);
        DbTxn txn CLEANUP(db_end) = {};
        int r;

        r = db_begin_ro(fs->env, &txn, err);
        if (r == 0)
                r = prepare_look(fs, ch, &txn, err);
        db_end(&txn);
        if (r == 0)
                r = make_folder(fs, ch, err);
        if (r < 0)
                return err_wrap(err, "failed to create snapshot");
        *ret = &TAKE(ch)->base;
        return 0;
}

static int not_there(const char *key, Err *err)
{
        return err_set(err, NOT_FOUND, "snapshot %s does not exist: not found", key);
}

/* Opens the data of a snapshot. An active one whose folder is gone has just been removed; a view
 * that never had one is told as containerd tells it. */
static int open_data(FolderSnapshotter *fs, const Record *rec, int *ret, Err *err)
{
        char name[NAME_BYTES + 8];

        snprintf(name, sizeof(name), "%" PRIu64 "/%s", rec->id, fs->fops->data);
        *ret = openat(fs->dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (*ret >= 0)
                return 0;
        if (errno != ENOENT)
                return err_sys(err, errno, "open %s/snapshots/%s", fs->base.root, name);
        if (rec->kind == SNAPSHOTS__KIND__ACTIVE)
                return not_there(rec->key, err);
        if (str_eq(fs->fops->data, "."))
                id_name(rec->id, name);
        return err_set(err, UNKNOWN, "lstat %s/snapshots/%s: no such file or directory",
                       fs->base.root, name);
}

static int data_usage(FolderSnapshotter *fs, const Record *rec, SnapshotUsage *ret, Err *err)
{
        int dir CLEANUP(cleanup_fd) = -1;
        int r;

        r = open_data(fs, rec, &dir, err);
        return r < 0 ? r : tree_usage(dir, ret, err);
}

static int commit_look(FolderSnapshotter *fs, FolderChange *ch, DbTxn *txn, Err *err)
{
        Record *taken = record_get(txn, &ch->arena, fs->base.name, ch->name, err);

        ch->old = record_get(txn, &ch->arena, fs->base.name, ch->key, err);
        if (txn->failed)
                return txn->failed;
        if (!ch->old)
                return not_there(ch->key, err);
        if (taken)
                return err_set(err, ALREADY_EXISTS, "committed snapshot %s: already exists",
                               ch->name);
        ch->folder.id = ch->old->id;
        if (*ch->old->parent)
                ch->parent = ch->old->parent;
        return check_parent(txn, &ch->arena, fs, ch->parent, COMMIT, &ch->parent_id, err);
}

static int commit(Snapshotter *sn, const SnapshotSpec *spec, SnapshotChange **ret, Err *err)
{
        FolderSnapshotter *fs = folder_snapshotter(sn);
        FolderChange *ch CLEANUP(change_endp) = change_new(fs, COMMIT, spec);
        DbTxn txn CLEANUP(db_end) = {};
        int dir CLEANUP(cleanup_fd) = -1;
        int r;

        r = db_begin_ro(fs->env, &txn, err);
        if (r < 0)
                return r;
        r = commit_look(fs, ch, &txn, err);
        db_end(&txn);
        if (r < 0)
                return err_wrap(err, "failed to commit snapshot %s", ch->key);
        r = open_data(fs, ch->old, &dir, err);
        if (r < 0)
                return r;
        if (ch->old->kind != SNAPSHOTS__KIND__ACTIVE)
                return err_set(
                        err, FAILED_PRECONDITION,
                        "failed to commit snapshot %s: snapshot \"%s\" is not active: failed precondition",
                        ch->key, ch->key);
        r = tree_usage(dir, &ch->usage, err);
        if (r == 0)
                r = tree_sync(dir, ch->usage.inodes, err);
        if (r < 0)
                return err_wrap(err, "failed to commit snapshot %s", ch->key);
        *ret = &TAKE(ch)->base;
        return 0;
}

static int remove_snapshot(Snapshotter *sn, const char *key, SnapshotChange **ret, Err *err)
{
        SnapshotSpec spec = {.key = key};

        *ret = &change_new(folder_snapshotter(sn), REMOVE, &spec)->base;
        return 0;
}

static int record_prepare(FolderSnapshotter *fs, FolderChange *ch, DbTxn *txn, Err *err)
{
        Record *rec = message_make(&ch->arena, store__backend_snapshot);
        uint64_t parent_id;
        int r;

        if (record_get(txn, &ch->arena, fs->base.name, ch->key, err))
                return key_exists(ch->key, err);
        r = check_parent(txn, &ch->arena, fs, ch->parent, PREPARE, &parent_id, err);
        if (r < 0)
                return r;
        if (parent_id != ch->parent_id)
                return err_set(err, UNAVAILABLE, "parent snapshot %s has changed: unavailable",
                               ch->parent);
        rec->key = ch->key;
        rec->id = ch->folder.id;
        rec->kind = (Snapshots__Kind)ch->folder.kind;
        rec->parent = ch->parent;
        record_touch(&ch->arena, rec);
        record_set_labels(&ch->arena, rec, ch->folder.labels, ch->folder.n_labels);
        record_put(txn, &ch->arena, fs->base.name, rec);
        return txn->failed;
}

static int record_commit(FolderSnapshotter *fs, FolderChange *ch, DbTxn *txn, Err *err)
{
        Record *rec = record_get(txn, &ch->arena, fs->base.name, ch->key, err);
        uint64_t parent_id;
        int r;

        if (txn->failed)
                return txn->failed;
        if (!rec || rec->id != ch->folder.id)
                return not_there(ch->key, err);
        if (rec->kind != SNAPSHOTS__KIND__ACTIVE)
                return err_set(err, FAILED_PRECONDITION,
                               "snapshot \"%s\" is not active: failed precondition", ch->key);
        if (record_get(txn, &ch->arena, fs->base.name, ch->name, err))
                return err_set(err, ALREADY_EXISTS, "committed snapshot %s: already exists",
                               ch->name);
        r = check_parent(txn, &ch->arena, fs, ch->parent, COMMIT, &parent_id, err);
        if (r < 0)
                return r;
        record_del(txn, fs->base.name, rec);
        rec->key = ch->name;
        rec->created_at = NULL;
        rec->parent = ch->parent;
        rec->kind = SNAPSHOTS__KIND__COMMITTED;
        rec->size = ch->usage.size;
        rec->inodes = ch->usage.inodes;
        record_touch(&ch->arena, rec);
        record_set_labels(&ch->arena, rec, ch->folder.labels, ch->folder.n_labels);
        record_put(txn, &ch->arena, fs->base.name, rec);
        return txn->failed;
}

static int record_remove(FolderSnapshotter *fs, FolderChange *ch, DbTxn *txn, Err *err)
{
        ch->old = record_get(txn, &ch->arena, fs->base.name, ch->key, err);
        if (txn->failed)
                return txn->failed;
        if (!ch->old)
                return not_there(ch->key, err);
        if (record_has_children(txn, fs->base.name, ch->key))
                return err_set(err, FAILED_PRECONDITION,
                               "cannot remove snapshot with child: failed precondition");
        ch->folder.id = ch->old->id;
        record_del(txn, fs->base.name, ch->old);
        return txn->failed;
}

static int change_record(SnapshotChange *base, DbTxn *txn, Err *err)
{
        FolderSnapshotter *fs = folder_snapshotter(base->sn);
        FolderChange *ch = folder_change(base);

        if (ch->what == PREPARE)
                return record_prepare(fs, ch, txn, err);
        return ch->what == COMMIT ? record_commit(fs, ch, txn, err)
                                  : record_remove(fs, ch, txn, err);
}

static void change_done(SnapshotChange *base)
{
        FolderSnapshotter *fs = folder_snapshotter(base->sn);
        FolderChange *ch = folder_change(base);
        char name[NAME_BYTES];

        ch->done = 1;
        if (ch->what != REMOVE)
                return;
        id_name(ch->folder.id, name);
        trash(fs, name, fs->sync_remove);
}

static int change_mounts(const SnapshotChange *base, Arena *a, MountList *ret, Err *err)
{
        FolderSnapshotter *fs = folder_snapshotter(base->sn);

        fs->fops->mounts(fs, &folder_change(base)->folder, a, ret);
        return 0;
}

/* ---- reading ---- */

static void add_upperdir_label(FolderSnapshotter *fs, Arena *a, const Record *rec,
                               SnapshotInfo *info)
{
        SnapshotLabel *labels = arena_array(a, SnapshotLabel, info->n_labels + 1);

        for (size_t i = 0; i < info->n_labels; i++)
                labels[i] = info->labels[i];
        labels[info->n_labels++] = (SnapshotLabel){
                .key = LABEL_UPPERDIR,
                .value = arena_printf(a, "%s/snapshots/%" PRIu64 "/%s", fs->base.root, rec->id,
                                      fs->fops->data),
        };
        info->labels = labels;
}

static void info_of(FolderSnapshotter *fs, Arena *a, const Record *rec, SnapshotInfo *ret)
{
        record_to_info(a, rec, ret);
        if (fs->upperdir_label)
                add_upperdir_label(fs, a, rec, ret);
}

static int stat_snapshot(Snapshotter *sn, DbTxn *txn, Arena *a, const char *key, SnapshotInfo *ret,
                         Err *err)
{
        Record *rec = record_get(txn, a, sn->name, key, err);

        if (txn->failed)
                return txn->failed;
        if (!rec)
                return not_there(key, err);
        info_of(folder_snapshotter(sn), a, rec, ret);
        return 0;
}

static int mounts(Snapshotter *sn, DbTxn *txn, Arena *a, const char *key, MountList *ret, Err *err)
{
        FolderSnapshotter *fs = folder_snapshotter(sn);
        Record *rec = record_get(txn, a, sn->name, key, err);
        SnapshotInfo info;
        Folder f = {};
        uint64_t *chain;
        int r;

        if (txn->failed)
                return txn->failed;
        if (!rec) {
                not_there(key, err);
                return err_wrap(err, "%s", fs->fops->mounts_error);
        }
        if (rec->kind != SNAPSHOTS__KIND__ACTIVE && rec->kind != SNAPSHOTS__KIND__VIEW)
                return err_set(err, FAILED_PRECONDITION,
                               "%s: requested snapshot %s not active or view: failed precondition",
                               fs->fops->mounts_error, key);
        r = record_chain(txn, a, sn->name, rec->parent, &chain, &f.n_chain, err);
        if (r < 0)
                return err_wrap(err, "%s", fs->fops->mounts_error);
        record_to_info(a, rec, &info);
        f.id = rec->id;
        f.kind = info.kind;
        f.chain = chain;
        f.labels = info.labels;
        f.n_labels = info.n_labels;
        fs->fops->mounts(fs, &f, a, ret);
        return 0;
}

static int update(Snapshotter *sn, DbTxn *txn, const char *key, const SnapshotLabel *labels,
                  size_t n, Err *err)
{
        Arena a CLEANUP(arena_done);
        Record *rec;

        arena_init(&a, SIZE_MAX);
        rec = record_get(txn, &a, sn->name, key, err);
        if (txn->failed)
                return txn->failed;
        if (!rec)
                return not_there(key, err);
        record_set_labels(&a, rec, labels, n);
        record_touch(&a, rec);
        record_put(txn, &a, sn->name, rec);
        return txn->failed;
}

static int usage(Snapshotter *sn, const char *key, SnapshotUsage *ret, Err *err)
{
        FolderSnapshotter *fs = folder_snapshotter(sn);
        DbTxn txn CLEANUP(db_end) = {};
        Arena a CLEANUP(arena_done);
        Record *rec;
        int r;

        arena_init(&a, SIZE_MAX);
        r = db_begin_ro(fs->env, &txn, err);
        if (r < 0)
                return r;
        rec = record_get(&txn, &a, sn->name, key, err);
        r = txn.failed;
        db_end(&txn);
        if (r < 0)
                return r;
        if (!rec)
                return not_there(key, err);
        if (rec->kind == SNAPSHOTS__KIND__ACTIVE)
                return data_usage(fs, rec, ret, err);
        *ret = (SnapshotUsage){.size = rec->size, .inodes = rec->inodes};
        return 0;
}

static void sync_removed(Snapshotter *sn, void (*done)(void *arg), void *arg)
{
        pool_submit(folder_snapshotter(sn)->reaper, done, arg);
}

static void free_snapshotter(Snapshotter *sn)
{
        FolderSnapshotter *fs = folder_snapshotter(sn);

        if (fs->reaper)
                pool_free(fs->reaper);
        if (fs->fops->free)
                fs->fops->free(fs);
        fd_close(fs->dir);
        free(sn->root);
        free(fs);
}

static const SnapshotterOps ops = {
        .prepare = prepare,
        .commit = commit,
        .remove = remove_snapshot,
        .change_record = change_record,
        .change_done = change_done,
        .change_end = change_end,
        .change_mounts = change_mounts,
        .stat = stat_snapshot,
        .mounts = mounts,
        .update = update,
        .usage = usage,
        .sync = sync_removed,
        .free = free_snapshotter,
};

/* ---- start ---- */

typedef struct Known {
        VEC(uint64_t) ids;
} Known;

static int collect_id(void *ctx, const Record *rec)
{
        Known *k = ctx;

        VEC_PUSH(&k->ids, rec->id);
        return 0;
}

static int compare_ids(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return (x > y) - (x < y);
}

static int known_ids(FolderSnapshotter *fs, Known *k, Err *err)
{
        DbTxn txn CLEANUP(db_end) = {};
        Arena a CLEANUP(arena_done);
        int r;

        arena_init(&a, SIZE_MAX);
        r = db_begin_ro(fs->env, &txn, err);
        if (r == 0)
                r = record_walk(&txn, &a, fs->base.name, collect_id, k, err);
        if (r == 0 && k->ids.n > 0)
                qsort(k->ids.v, k->ids.n, sizeof(uint64_t), compare_ids);
        return r;
}

/* Counts ids and trashes what no record names. */
static int sweep(FolderSnapshotter *fs, const Known *k, Err *err)
{
        int fd = openat(fs->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *e;

        if (!dir) {
                int saved = errno;

                fd_close(fd);
                return err_sys(err, saved, "open %s/snapshots", fs->base.root);
        }
        if (k->ids.n > 0)
                fs->last_id = k->ids.v[k->ids.n - 1];
        while ((e = readdir(dir))) {
                uint64_t id;

                if (str_to_u64(e->d_name, &id) == 0) {
                        fs->last_id = MAX(fs->last_id, id);
                        if (k->ids.n > 0 &&
                            bsearch(&id, k->ids.v, k->ids.n, sizeof(id), compare_ids))
                                continue;
                        trash(fs, e->d_name, 0);
                } else if (str_starts(e->d_name, "rm-") && strlen(e->d_name) < NAME_BYTES) {
                        trash(fs, e->d_name, 0);
                }
        }
        closedir(dir);
        return 0;
}

int folders_open(FolderSnapshotter *fs, const char *name, DbEnv *env, const char *root,
                 Snapshotter **ret, Err *err)
{
        Snapshotter *sn CLEANUP(snapshotter_freep) = &fs->base;
        char *path CLEANUP(cleanup_free) = mem_printf("%s/snapshots", root);
        Known known = {};
        int r;

        sn->ops = &ops;
        sn->name = name;
        sn->root = mem_strdup(root);
        fs->env = env;
        fs->dir = -1;
        fs->reaper = pool_new(1);
        r = path_mkdirs(root, 0700, err);
        if (r == 0)
                r = path_mkdirs(path, 0700, err);
        if (r < 0)
                return r;
        fs->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fs->dir < 0)
                return err_sys(err, errno, "open %s", path);
        r = known_ids(fs, &known, err);
        if (r == 0)
                r = sweep(fs, &known, err);
        VEC_DONE(&known.ids);
        if (r < 0)
                return r;
        *ret = TAKE(sn);
        return 0;
}
