/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/fd.h"
#include "base/lock.h"
#include "base/path.h"
#include "base/test.h"
#include "snapshots/snapshotter_priv.h"
#include "snapshots/tree.h"

typedef struct Fixture {
        Arena a;
        Err err;
        char *db_dir, *root;
        DbEnv *env;
        Snapshotter *sn;
} Fixture;

typedef enum Which { OVERLAYFS, NATIVE } Which;

static int own_mounts(void)
{
        static int state;

        if (!state)
                state = unshare(CLONE_NEWNS) == 0 &&
                                        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0
                                ? 1
                                : -1;
        return state > 0;
}

static int open_snapshotter(Fixture *f, Which which)
{
        static const char *const more[] = {"metacopy=off", NULL};
        OverlayfsOptions options = {.mount_options = more, .upperdir_label = 1};

        return which == NATIVE ? native_open(f->env, f->root, &f->sn, &f->err)
                               : overlayfs_open(f->env, f->root, &options, &f->sn, &f->err);
}

static int fixture_open(Fixture *f, Which which)
{
        arena_init(&f->a, SIZE_MAX);
        f->db_dir = path_join(&f->a, test_tmpdir(), "db");
        f->root = path_join(&f->a, test_tmpdir(), "root");
        if (db_env_open(f->db_dir, NULL, &f->env, &f->err) < 0)
                abort();
        if (which == OVERLAYFS && !own_mounts()) {
                test_skip("needs CAP_SYS_ADMIN");
                return -1;
        }
        if (open_snapshotter(f, which) < 0) {
                test_skip(f->err.msg);
                return -1;
        }
        return 0;
}

static void fixture_done(Fixture *f)
{
        fault_arm(0);
        snapshotter_free(f->sn);
        db_env_close(f->env);
        path_remove_tree(AT_FDCWD, f->db_dir, &f->err);
        path_remove_tree(AT_FDCWD, f->root, &f->err);
        arena_done(&f->a);
}

/* The three steps as the layer above takes them. */
static int apply(Fixture *f, SnapshotChange *made)
{
        SnapshotChange *ch CLEANUP(snapshot_change_endp) = made;
        DbTxn txn CLEANUP(db_end) = {};
        int r;

        r = db_begin_rw(f->env, &txn, &f->err);
        if (r == 0)
                r = snapshot_change_record(ch, &txn, &f->err);
        if (r == 0 && fault_hit())
                r = err_set(&f->err, UNKNOWN, "commit");
        if (r == 0)
                r = db_commit(&txn);
        db_end(&txn);
        if (r == 0)
                snapshot_change_done(ch);
        return r;
}

static int make(Fixture *f, SnapshotKind kind, const char *key, const char *parent)
{
        SnapshotSpec spec = {.kind = kind, .key = key, .parent = parent};
        SnapshotChange *ch;
        int r;

        r = snapshotter_prepare(f->sn, &spec, &ch, &f->err);
        return r < 0 ? r : apply(f, ch);
}

static int commit_as(Fixture *f, const char *name, const char *key, const char *parent)
{
        SnapshotSpec spec = {.key = key, .name = name, .parent = parent};
        SnapshotChange *ch;
        int r;

        r = snapshotter_commit(f->sn, &spec, &ch, &f->err);
        return r < 0 ? r : apply(f, ch);
}

static int take_away(Fixture *f, const char *key)
{
        SnapshotChange *ch;
        int r;

        r = snapshotter_remove(f->sn, key, &ch, &f->err);
        return r < 0 ? r : apply(f, ch);
}

static int stat_of(Fixture *f, const char *key, SnapshotInfo *ret)
{
        DbTxn txn CLEANUP(db_end) = {};
        int r;

        r = db_begin_ro(f->env, &txn, &f->err);
        return r < 0 ? r : snapshotter_stat(f->sn, &txn, &f->a, key, ret, &f->err);
}

static int mounts_of(Fixture *f, const char *key, MountList *ret)
{
        DbTxn txn CLEANUP(db_end) = {};
        int r;

        r = db_begin_ro(f->env, &txn, &f->err);
        return r < 0 ? r : snapshotter_mounts(f->sn, &txn, &f->a, key, ret, &f->err);
}

/* "type source option,option" with the root written as R. */
static const char *mount_text(Fixture *f, const char *key)
{
        char *text, *p;
        MountList l;

        if (mounts_of(f, key, &l) < 0)
                return arena_strdup(&f->a, f->err.msg);
        if (l.n != 1)
                return "not one mount";
        text = arena_printf(&f->a, "%s %s ", l.v[0].type, l.v[0].source);
        for (size_t i = 0; i < l.v[0].n_options; i++)
                text = arena_printf(&f->a, "%s%s%s", text, i ? "," : "", l.v[0].options[i]);
        while ((p = strstr(text, f->root)))
                text = arena_printf(&f->a, "%.*sR%s", (int)(p - text), text, p + strlen(f->root));
        return text;
}

static char *in_root(Fixture *f, const char *path)
{
        return arena_printf(&f->a, "%s/snapshots/%s", f->root, path);
}

static int has(Fixture *f, const char *path)
{
        return access(in_root(f, path), F_OK) == 0;
}

static void write_text(const char *path, const char *text)
{
        Err err;

        if (file_write(AT_FDCWD, path, text, strlen(text), 0644, &err) < 0)
                abort();
}

static int n_folders(Fixture *f)
{
        int n = 0;

        for (int i = 1; i < 200; i++)
                n += has(f, arena_printf(&f->a, "%d", i)) + has(f, arena_printf(&f->a, "rm-%d", i));
        return n;
}

typedef struct Gate {
        Lock lock;
        pthread_cond_t cond;
        int open;
} Gate;

static void open_gate(void *arg)
{
        Gate *g = arg;
        LOCKED(&g->lock);

        g->open = 1;
        pthread_cond_broadcast(&g->cond);
}

static void wait_removed(Fixture *f)
{
        Gate g = {};

        lock_init(&g.lock, LOCK_LEAF);
        cond_init(&g.cond);
        snapshotter_sync(f->sn, open_gate, &g);
        lock_take(&g.lock);
        while (!g.open)
                lock_wait(&g.lock, &g.cond, 0);
        lock_drop(&g.lock);
}

TEST(overlayfs_mounts_are_containerds)
{
        Fixture f CLEANUP(fixture_done) = {};
        const char *index =
                access("/sys/module/overlay/parameters/index", F_OK) == 0 ? ",index=off" : "";
        struct stat st;

        if (fixture_open(&f, OVERLAYFS) < 0)
                return;
        CHECK(make(&f, SNAPSHOT_ACTIVE, "a1", "") == 0);
        CHECK_STR(mount_text(&f, "a1"), "bind R/snapshots/1/fs rw,rbind");
        CHECK(stat(in_root(&f, "1"), &st) == 0 && (st.st_mode & 07777) == 0700);
        CHECK(stat(in_root(&f, "1/fs"), &st) == 0 && (st.st_mode & 07777) == 0755);
        CHECK(stat(in_root(&f, "1/work"), &st) == 0 && (st.st_mode & 07777) == 0711);
        CHECK(make(&f, SNAPSHOT_VIEW, "v0", "") == 0);
        CHECK_STR(mount_text(&f, "v0"), "bind R/snapshots/2/fs ro,rbind");
        CHECK(!has(&f, "2/work"));
        CHECK(chown(in_root(&f, "1/fs"), 12, 34) == 0);
        CHECK(commit_as(&f, "c1", "a1", "") == 0);
        CHECK(make(&f, SNAPSHOT_VIEW, "v1", "c1") == 0);
        CHECK_STR(mount_text(&f, "v1"), "bind R/snapshots/1/fs ro,rbind");
        CHECK(make(&f, SNAPSHOT_ACTIVE, "a2", "c1") == 0);
        CHECK_STR(
                mount_text(&f, "a2"),
                arena_printf(&f.a,
                             "overlay overlay workdir=R/snapshots/4/work,upperdir=R/snapshots/4/fs,"
                             "lowerdir=R/snapshots/1/fs,metacopy=off%s",
                             index));
        CHECK(stat(in_root(&f, "4/fs"), &st) == 0 && st.st_uid == 12 && st.st_gid == 34);
        CHECK(commit_as(&f, "c2", "a2", "") == 0);
        CHECK(make(&f, SNAPSHOT_VIEW, "v2", "c2") == 0);
        CHECK_STR(mount_text(&f, "v2"),
                  arena_printf(&f.a,
                               "overlay overlay lowerdir=R/snapshots/4/fs:R/snapshots/1/fs,"
                               "metacopy=off%s",
                               index));
        CHECK_STR(
                mount_text(&f, "c2"),
                "failed to get active mount: requested snapshot c2 not active or view: failed precondition");
        CHECK_STR(mount_text(&f, "nope"),
                  "failed to get active mount: snapshot nope does not exist: not found");
}

TEST(native_copies_and_mounts_are_containerds)
{
        Fixture f CLEANUP(fixture_done) = {};
        char *text;
        size_t n;

        if (fixture_open(&f, NATIVE) < 0)
                return;
        CHECK(make(&f, SNAPSHOT_ACTIVE, "a1", "") == 0);
        CHECK_STR(mount_text(&f, "a1"), "bind R/snapshots/1 rbind,rw");
        write_text(in_root(&f, "1/file"), "hello");
        CHECK(commit_as(&f, "c1", "a1", "") == 0);
        CHECK(make(&f, SNAPSHOT_ACTIVE, "a2", "c1") == 0);
        CHECK_STR(mount_text(&f, "a2"), "bind R/snapshots/2 rbind,rw");
        CHECK(file_read(&f.a, AT_FDCWD, in_root(&f, "2/file"), 100, &text, &n, &f.err) == 0);
        CHECK_STR(text, "hello");
        CHECK(make(&f, SNAPSHOT_VIEW, "v", "c1") == 0);
        CHECK_STR(mount_text(&f, "v"), "bind R/snapshots/1 rbind,ro");
        CHECK(!has(&f, "3"));
        CHECK_STR(
                mount_text(&f, "c1"),
                "failed to get snapshot mount: requested snapshot c1 not active or view: failed precondition");
        CHECK(commit_as(&f, "cv", "v", "") == -UNKNOWN);
        CHECK_STR(f.err.msg,
                  arena_printf(&f.a, "lstat %s/snapshots/3: no such file or directory", f.root));
}

TEST(errors_are_containerds)
{
        Fixture f CLEANUP(fixture_done) = {};
        SnapshotUsage u;
        SnapshotInfo info;

        if (fixture_open(&f, NATIVE) < 0)
                return;
        CHECK(make(&f, SNAPSHOT_ACTIVE, "a", "") == 0);
        CHECK(make(&f, SNAPSHOT_ACTIVE, "a", "") == -ALREADY_EXISTS);
        CHECK_STR(f.err.msg, "failed to create snapshot: snapshot a: already exists");
        CHECK(make(&f, SNAPSHOT_ACTIVE, "b", "nope") == -NOT_FOUND);
        CHECK_STR(f.err.msg,
                  "failed to create snapshot: parent snapshot nope does not exist: not found");
        CHECK(make(&f, SNAPSHOT_ACTIVE, "b", "a") == -INVALID_ARGUMENT);
        CHECK_STR(
                f.err.msg,
                "failed to create snapshot: parent \"a\" is not committed snapshot: invalid argument");
        CHECK(commit_as(&f, "c", "nope", "") == -NOT_FOUND);
        CHECK(commit_as(&f, "c", "a", "") == 0);
        CHECK(commit_as(&f, "d", "c", "") == -FAILED_PRECONDITION);
        CHECK_STR(f.err.msg,
                  "failed to commit snapshot c: snapshot \"c\" is not active: failed precondition");
        CHECK(make(&f, SNAPSHOT_ACTIVE, "e", "c") == 0);
        CHECK(commit_as(&f, "c", "e", "") == -ALREADY_EXISTS);
        CHECK(take_away(&f, "c") == -FAILED_PRECONDITION);
        CHECK_STR(f.err.msg, "cannot remove snapshot with child: failed precondition");
        CHECK(take_away(&f, "nope") == -NOT_FOUND);
        CHECK(snapshotter_usage(f.sn, "nope", &u, &f.err) == -NOT_FOUND);
        CHECK(stat_of(&f, "nope", &info) == -NOT_FOUND);
        CHECK_STR(f.err.msg, "snapshot nope does not exist: not found");
}

TEST(removal_takes_the_record_then_the_folder)
{
        Fixture f CLEANUP(fixture_done) = {};
        SnapshotInfo info;

        if (fixture_open(&f, OVERLAYFS) < 0)
                return;
        CHECK(make(&f, SNAPSHOT_ACTIVE, "a", "") == 0);
        write_text(in_root(&f, "1/fs/file"), "x");
        CHECK(take_away(&f, "a") == 0);
        CHECK(stat_of(&f, "a", &info) == -NOT_FOUND);
        CHECK(!has(&f, "1"));
        wait_removed(&f);
        CHECK_INT(n_folders(&f), 0);
        /* An id is never given again. */
        CHECK(make(&f, SNAPSHOT_ACTIVE, "a", "") == 0);
        CHECK(has(&f, "2"));
}

TEST(usage_counts_blocks_and_inodes)
{
        Fixture f CLEANUP(fixture_done) = {};
        SnapshotUsage u, v;
        struct stat st;

        if (fixture_open(&f, OVERLAYFS) < 0)
                return;
        CHECK(make(&f, SNAPSHOT_ACTIVE, "a", "") == 0);
        CHECK(stat(in_root(&f, "1/fs"), &st) == 0);
        CHECK(snapshotter_usage(f.sn, "a", &u, &f.err) == 0);
        CHECK_INT(u.inodes, 1);
        CHECK_INT(u.size, st.st_blocks * 512);
        write_text(in_root(&f, "1/fs/file"), "x");
        CHECK(link(in_root(&f, "1/fs/file"), in_root(&f, "1/fs/again")) == 0);
        CHECK(mkdir(in_root(&f, "1/fs/dir"), 0755) == 0);
        CHECK(snapshotter_usage(f.sn, "a", &v, &f.err) == 0);
        CHECK_INT(v.inodes, 3);
        CHECK(commit_as(&f, "c", "a", "") == 0);
        CHECK(snapshotter_usage(f.sn, "c", &u, &f.err) == 0);
        CHECK(u.inodes == 3 && u.size == v.size);
        CHECK(make(&f, SNAPSHOT_VIEW, "v", "c") == 0);
        CHECK(snapshotter_usage(f.sn, "v", &u, &f.err) == 0);
        CHECK(u.inodes == 0 && u.size == 0);
}

TEST(rebase_sets_a_parent_at_commit)
{
        Fixture f CLEANUP(fixture_done) = {};
        SnapshotInfo info;

        if (fixture_open(&f, OVERLAYFS) < 0)
                return;
        CHECK(make(&f, SNAPSHOT_ACTIVE, "a", "") == 0);
        CHECK(make(&f, SNAPSHOT_ACTIVE, "b", "") == 0);
        CHECK(commit_as(&f, "cb", "b", "nope") == -NOT_FOUND);
        CHECK(commit_as(&f, "cb", "b", "a") == -FAILED_PRECONDITION);
        CHECK_STR(
                f.err.msg,
                "failed to commit snapshot b: parent \"a\" is not committed: failed precondition");
        CHECK(commit_as(&f, "ca", "a", "") == 0);
        CHECK(commit_as(&f, "cb", "b", "ca") == 0);
        CHECK(stat_of(&f, "cb", &info) == 0);
        CHECK_STR(info.parent, "ca");
        CHECK(take_away(&f, "ca") == -FAILED_PRECONDITION);
        CHECK(make(&f, SNAPSHOT_VIEW, "v", "cb") == 0);
        CHECK(str_starts(mount_text(&f, "v"),
                         "overlay overlay lowerdir=R/snapshots/2/fs:R/snapshots/1/fs"));
}

TEST(labels_and_the_upperdir_are_told)
{
        Fixture f CLEANUP(fixture_done) = {};
        SnapshotLabel labels[] = {{"containerd.io/snapshot/x", "1"},
                                  {"containerd.io/snapshot/y", "2"}};
        DbTxn txn CLEANUP(db_end) = {};
        SnapshotInfo info;

        if (fixture_open(&f, OVERLAYFS) < 0)
                return;
        CHECK(make(&f, SNAPSHOT_ACTIVE, "a", "") == 0);
        CHECK(db_begin_rw(f.env, &txn, &f.err) == 0);
        CHECK(snapshotter_update(f.sn, &txn, "a", labels, 2, &f.err) == 0);
        CHECK(db_commit(&txn) == 0);
        CHECK(stat_of(&f, "a", &info) == 0);
        CHECK_INT(info.n_labels, 3);
        CHECK_STR(info.labels[1].key, "containerd.io/snapshot/y");
        CHECK_STR(info.labels[2].key, "containerd.io/snapshot/overlay.upperdir");
        CHECK_STR(info.labels[2].value, in_root(&f, "1/fs"));
        CHECK(info.updated.sec > info.created.sec ||
              (info.updated.sec == info.created.sec && info.updated.nsec > info.created.nsec));
}

TEST(mapped_owners_are_mount_options)
{
        Fixture f CLEANUP(fixture_done) = {};
        SnapshotLabel labels[] = {{"containerd.io/snapshot/uidmapping", "0:1000:10"},
                                  {"containerd.io/snapshot/gidmapping", "0:2000:10"}};
        DbTxn txn CLEANUP(db_end) = {};
        const char *const *c;

        if (fixture_open(&f, OVERLAYFS) < 0)
                return;
        c = snapshotter_capabilities(f.sn);
        if (!str_eq(c[0], "remap-ids")) {
                test_skip("no idmapped mounts here");
                return;
        }
        CHECK_STR(c[1], "only-remap-ids");
        CHECK(make(&f, SNAPSHOT_ACTIVE, "a", "") == 0);
        CHECK(commit_as(&f, "c", "a", "") == 0);
        CHECK(make(&f, SNAPSHOT_ACTIVE, "b", "c") == 0);
        CHECK(make(&f, SNAPSHOT_VIEW, "v", "c") == 0);
        CHECK(db_begin_rw(f.env, &txn, &f.err) == 0);
        CHECK(snapshotter_update(f.sn, &txn, "b", labels, 2, &f.err) == 0);
        CHECK(snapshotter_update(f.sn, &txn, "v", labels, 2, &f.err) == 0);
        CHECK(db_commit(&txn) == 0);
        CHECK_STR(mount_text(&f, "v"),
                  "bind R/snapshots/1/fs uidmap=0:1000:10,gidmap=0:2000:10,ro,rbind");
        CHECK(str_starts(mount_text(&f, "b"), "overlay overlay uidmap=0:1000:10,gidmap=0:2000:10,"
                                              "workdir=R/snapshots/2/work,"));
        CHECK(db_begin_rw(f.env, &txn, &f.err) == 0);
        CHECK(snapshotter_update(f.sn, &txn, "v", labels, 1, &f.err) == 0); /* one is not enough */
        CHECK(db_commit(&txn) == 0);
        CHECK_STR(mount_text(&f, "v"), "bind R/snapshots/1/fs ro,rbind");
}

TEST(start_sweeps_what_no_record_names)
{
        Fixture f CLEANUP(fixture_done) = {};

        if (fixture_open(&f, OVERLAYFS) < 0)
                return;
        CHECK(make(&f, SNAPSHOT_ACTIVE, "a", "") == 0);
        f.sn = snapshotter_free(f.sn);
        CHECK(mkdir(in_root(&f, "7"), 0700) == 0 && mkdir(in_root(&f, "7/fs"), 0700) == 0);
        CHECK(mkdir(in_root(&f, "rm-5"), 0700) == 0);
        CHECK(open_snapshotter(&f, OVERLAYFS) == 0);
        wait_removed(&f);
        CHECK(has(&f, "1/fs") && !has(&f, "7") && !has(&f, "rm-7") && !has(&f, "rm-5"));
        CHECK(make(&f, SNAPSHOT_ACTIVE, "b", "") == 0);
        CHECK(has(&f, "8"));
}

/* One run of prepare, commit, prepare on it, remove; stops at the first failure. */
static int life(Fixture *f)
{
        int r;

        if ((r = make(f, SNAPSHOT_ACTIVE, "a", "")) < 0 || (r = commit_as(f, "c", "a", "")) < 0 ||
            (r = make(f, SNAPSHOT_ACTIVE, "b", "c")) < 0 || (r = take_away(f, "b")) < 0)
                return r;
        return take_away(f, "c");
}

static int count_record(void *ctx, const Record *rec)
{
        (*(int *)ctx)++;
        return 0;
}

static int n_records(Fixture *f)
{
        DbTxn txn CLEANUP(db_end) = {};
        int n = 0;

        if (db_begin_ro(f->env, &txn, &f->err) < 0 ||
            record_walk(&txn, &f->a, f->sn->name, count_record, &n, &f->err) < 0)
                return -1;
        return n;
}

static void all_or_nothing(Which which)
{
        for (int nth = 1; nth < 1000; nth++) {
                Fixture f CLEANUP(fixture_done) = {};
                int r, fired;

                if (fixture_open(&f, which) < 0)
                        return;
                fault_arm(nth);
                r = life(&f);
                fired = fault_fired;
                fault_arm(0);
                if (!fired) {
                        CHECK(r == 0 && nth > 5);
                        break;
                }
                if (r < 0)
                        CHECK(f.err.msg[0] && f.err.code == -r);
                wait_removed(&f);
                CHECK_INT(n_folders(&f), n_records(&f));
        }
}

TEST(overlayfs_changes_are_all_or_nothing)
{
        all_or_nothing(OVERLAYFS);
}

TEST(native_changes_are_all_or_nothing)
{
        all_or_nothing(NATIVE);
}

TEST(tree_copy_keeps_everything)
{
        Fixture f CLEANUP(fixture_done) = {};
        struct timespec old[2] = {{.tv_sec = 1000, .tv_nsec = 5}, {.tv_sec = 2000, .tv_nsec = 7}};
        struct stat st, st2;
        char value[8];

        if (fixture_open(&f, NATIVE) < 0)
                return;
        if (geteuid() != 0) {
                test_skip("needs root");
                return;
        }
        CHECK(make(&f, SNAPSHOT_ACTIVE, "a", "") == 0);
        CHECK(mkdir(in_root(&f, "1/dir"), 01777) == 0 && chmod(in_root(&f, "1/dir"), 01777) == 0);
        write_text(in_root(&f, "1/dir/file"), "text");
        CHECK(chown(in_root(&f, "1/dir/file"), 5, 6) == 0 &&
              chmod(in_root(&f, "1/dir/file"), 04755) == 0);
        CHECK(link(in_root(&f, "1/dir/file"), in_root(&f, "1/hard")) == 0);
        CHECK(symlink("/etc/passwd", in_root(&f, "1/link")) == 0);
        CHECK(mkfifo(in_root(&f, "1/fifo"), 0600) == 0);
        CHECK(mknod(in_root(&f, "1/null"), S_IFCHR | 0666, makedev(1, 3)) == 0);
        CHECK(setxattr(in_root(&f, "1/dir"), "trusted.t", "v", 1, 0) == 0);
        CHECK(utimensat(AT_FDCWD, in_root(&f, "1/dir"), old, 0) == 0);
        CHECK(utimensat(AT_FDCWD, in_root(&f, "1/link"), old, AT_SYMLINK_NOFOLLOW) == 0);
        CHECK(commit_as(&f, "c", "a", "") == 0);
        CHECK(make(&f, SNAPSHOT_ACTIVE, "b", "c") == 0);

        CHECK(stat(in_root(&f, "2/dir"), &st) == 0);
        CHECK((st.st_mode & 07777) == 01777 && st.st_mtim.tv_sec == 2000 &&
              st.st_mtim.tv_nsec == 7);
        CHECK(getxattr(in_root(&f, "2/dir"), "trusted.t", value, sizeof(value)) == 1 &&
              value[0] == 'v');
        CHECK(stat(in_root(&f, "2/dir/file"), &st) == 0 && stat(in_root(&f, "2/hard"), &st2) == 0);
        CHECK(st.st_ino == st2.st_ino && st.st_nlink == 2);
        CHECK(st.st_uid == 5 && st.st_gid == 6 && (st.st_mode & 07777) == 04755 && st.st_size == 4);
        CHECK(lstat(in_root(&f, "2/link"), &st) == 0 && S_ISLNK(st.st_mode) &&
              st.st_mtim.tv_sec == 2000);
        CHECK(lstat(in_root(&f, "2/fifo"), &st) == 0 && S_ISFIFO(st.st_mode));
        CHECK(lstat(in_root(&f, "2/null"), &st) == 0 && S_ISCHR(st.st_mode) &&
              st.st_rdev == makedev(1, 3));
}

TEST(tree_too_deep_is_refused)
{
        Fixture f CLEANUP(fixture_done) = {};
        SnapshotUsage u;
        int dir;

        if (fixture_open(&f, NATIVE) < 0)
                return;
        CHECK(make(&f, SNAPSHOT_ACTIVE, "a", "") == 0);
        dir = open(in_root(&f, "1"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (int i = 0; i < TREE_DEPTH_MAX + 1; i++) {
                int next;

                if (i == TREE_DEPTH_MAX)
                        CHECK(snapshotter_usage(f.sn, "a", &u, &f.err) == 0 &&
                              u.inodes == TREE_DEPTH_MAX + 1);
                next = path_open_dir(dir, "d", 0755, &f.err);
                CHECK(next >= 0);
                fd_close(dir);
                dir = next;
        }
        fd_close(dir);
        CHECK(snapshotter_usage(f.sn, "a", &u, &f.err) == -RESOURCE_EXHAUSTED);
        CHECK(commit_as(&f, "c", "a", "") == -RESOURCE_EXHAUSTED);
}
