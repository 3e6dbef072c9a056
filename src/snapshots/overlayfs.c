/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overlayfs: a snapshot's folder holds fs, what it adds to its parents, and for an active one work,
 * overlay's own. The mounts, their options and the order of these are containerd's, because clients
 * show and compare them. https://docs.kernel.org/filesystems/overlayfs.html
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "snapshots/snapshotter_priv.h"

#define LABEL_UIDMAP "containerd.io/snapshot/uidmapping"
#define LABEL_GIDMAP "containerd.io/snapshot/gidmapping"

enum {
        TMPFS_SUPER = 0x01021994,
        EXT_SUPER = 0xef53,
        XFS_SUPER = 0x58465342,
        CAP_SYS_ADMIN_BIT = 21,
};

typedef struct Overlay {
        char **options; /* what every overlay mount ends with; NULL-terminated */
        size_t n_options;
        int remap; /* the kernel maps the owners of lowerdirs here */
} Overlay;

static void overlay_free(FolderSnapshotter *fs)
{
        Overlay *o = fs->data;

        if (!o)
                return;
        for (size_t i = 0; i < o->n_options; i++)
                free(o->options[i]);
        free(o->options);
        free(o);
}

static int has_folder(const Folder *f)
{
        return 1;
}

/* "0:100000:65536,...": the host's id for the container's root. -1 when there is none. */
static int64_t root_of_map(const char *map)
{
        while (map && *map) {
                unsigned inside, outside, length;

                if (sscanf(map, "%u:%u:%u", &inside, &outside, &length) != 3)
                        return -1;
                if (inside == 0 && length > 0)
                        return outside;
                map = strchr(map, ',');
                map = map ? map + 1 : NULL;
        }
        return -1;
}

static const char *find_label(const Folder *f, const char *key)
{
        for (size_t i = 0; i < f->n_labels; i++)
                if (str_eq(f->labels[i].key, key))
                        return f->labels[i].value;
        return NULL;
}

/* The root folder of a container belongs to whom it belongs in the layer below, or to its mapped
 * root. */
static int own_like_parent(FolderSnapshotter *fs, const Folder *f, int data, Err *err)
{
        int64_t uid = root_of_map(find_label(f, LABEL_UIDMAP)),
                gid = root_of_map(find_label(f, LABEL_GIDMAP));

        if ((uid < 0 || gid < 0) && f->n_chain > 0) {
                char path[40];
                struct stat st;

                snprintf(path, sizeof(path), "%" PRIu64 "/fs", f->chain[0]);
                if (fault_hit() || fstatat(fs->dir, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        return err_sys(err, errno, "stat %s/snapshots/%s", fs->base.root, path);
                uid = st.st_uid;
                gid = st.st_gid;
        }
        if (uid < 0 || gid < 0 || (uid == (int64_t)geteuid() && gid == (int64_t)getegid()))
                return 0;
        if (fault_hit() || fchown(data, (uid_t)uid, (gid_t)gid) < 0)
                return err_sys(err, errno, "chown %s/snapshots/%" PRIu64 "/fs", fs->base.root,
                               f->id);
        return 0;
}

static int make_dir(int dir, const char *name, mode_t mode, int *ret, Err *err)
{
        if (fault_hit() || mkdirat(dir, name, mode) < 0)
                return err_sys(err, errno, "mkdir %s", name);
        *ret = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (*ret < 0 || fchmod(*ret, mode) < 0)
                return err_sys(err, errno, "open %s", name);
        return 0;
}

static int fill(FolderSnapshotter *fs, const Folder *f, int dir, Err *err)
{
        int data CLEANUP(cleanup_fd) = -1;
        int work CLEANUP(cleanup_fd) = -1;
        int r;

        r = make_dir(dir, "fs", 0755, &data, err);
        if (r == 0 && f->kind == SNAPSHOT_ACTIVE)
                r = make_dir(dir, "work", 0711, &work, err);
        return r < 0 ? r : own_like_parent(fs, f, data, err);
}

static char *data_path(FolderSnapshotter *fs, Arena *a, uint64_t id)
{
        return arena_printf(a, "%s/snapshots/%" PRIu64 "/fs", fs->base.root, id);
}

/* "lowerdir=P1:P2:...", nearest parent first. */
static char *lowerdir(FolderSnapshotter *fs, Arena *a, const Folder *f)
{
        Str s CLEANUP(str_done) = {};

        for (size_t i = 0; i < f->n_chain; i++)
                str_addf(&s, "%s%s/snapshots/%" PRIu64 "/fs", i ? ":" : "lowerdir=", fs->base.root,
                         f->chain[i]);
        return arena_strdup(a, str_get(&s));
}

/* Owners as a user namespace sees them: for whoever mounts it (src/mount). */
static size_t map_options(const Overlay *o, const Folder *f, Arena *a, const char **options)
{
        const char *uids = find_label(f, LABEL_UIDMAP), *gids = find_label(f, LABEL_GIDMAP);

        if (!o->remap || str_empty(uids) || str_empty(gids))
                return 0;
        options[0] = arena_printf(a, "uidmap=%s", uids);
        options[1] = arena_printf(a, "gidmap=%s", gids);
        return 2;
}

static void bind_mount(Mount *m, const char *source, const char **options, size_t n, int writable)
{
        options[n++] = writable ? "rw" : "ro";
        options[n++] = "rbind";
        *m = (Mount){.type = "bind", .source = source, .options = options, .n_options = n};
}

static void overlay_mounts(FolderSnapshotter *fs, const Folder *f, Arena *a, MountList *ret)
{
        const Overlay *o = fs->data;
        const char **options = arena_array(a, const char *, o->n_options + 8);
        Mount *m = arena_new(a, Mount);
        size_t n = map_options(o, f, a, options);

        *ret = (MountList){.v = m, .n = 1};
        if (f->n_chain == 0) {
                bind_mount(m, data_path(fs, a, f->id), options, n, f->kind == SNAPSHOT_ACTIVE);
                return;
        }
        if (f->kind != SNAPSHOT_ACTIVE && f->n_chain == 1) {
                bind_mount(m, data_path(fs, a, f->chain[0]), options, n, 0);
                return;
        }
        if (f->kind == SNAPSHOT_ACTIVE) {
                options[n++] = arena_printf(a, "workdir=%s/snapshots/%" PRIu64 "/work",
                                            fs->base.root, f->id);
                options[n++] = arena_printf(a, "upperdir=%s/snapshots/%" PRIu64 "/fs",
                                            fs->base.root, f->id);
        }
        options[n++] = lowerdir(fs, a, f);
        for (size_t i = 0; i < o->n_options; i++)
                options[n++] = arena_strdup(a, o->options[i]);
        *m = (Mount){.type = "overlay", .source = "overlay", .options = options, .n_options = n};
}

static const FolderOps folder_ops = {
        .has_folder = has_folder,
        .fill = fill,
        .mounts = overlay_mounts,
        .data = "fs",
        .mounts_error = "failed to get active mount",
        .mode = 0700,
        .free = overlay_free,
};

/* ---- what this kernel and file system can do ---- */

static int in_user_namespace(void)
{
        unsigned long long inside = 0, outside = 0, length = 0;
        FILE *f = fopen("/proc/self/uid_map", "re");
        int n;

        if (!f)
                return 0;
        n = fscanf(f, "%llu %llu %llu", &inside, &outside, &length);
        fclose(f);
        return n == 3 && !(inside == 0 && outside == 0 && length == 4294967295ULL);
}

/* Whiteouts hide behind trusted.* attributes, which a user namespace may not set: there it is
 * user.*, but for tmpfs. */
static int needs_userxattr(const char *root)
{
        struct statfs st;

        return in_user_namespace() && !(statfs(root, &st) == 0 && st.f_type == TMPFS_SUPER);
}

static void add_option(Overlay *o, const char *option)
{
        o->options = mem_realloc(o->options, (o->n_options + 2) * sizeof(char *));
        o->options[o->n_options++] = mem_strdup(option);
        o->options[o->n_options] = NULL;
}

static Overlay *overlay_new(const char *root, const OverlayfsOptions *options)
{
        Overlay *o = mem_new(Overlay);
        int has_index = 0;

        for (const char *const *p = options ? options->mount_options : NULL; p && *p; p++) {
                add_option(o, *p);
                has_index |= str_eq(*p, "index");
        }
        if (needs_userxattr(root))
                add_option(o, "userxattr");
        if (!has_index && access("/sys/module/overlay/parameters/index", F_OK) == 0)
                add_option(o, "index=off");
        return o;
}

/* Overlay reads the type of a folder's entries from the folder. */
static int check_d_type(const char *dir, Err *err)
{
        DIR *d = opendir(dir);
        struct dirent *e;
        int known = 1;

        if (!d)
                return err_sys(err, errno, "open %s", dir);
        while ((e = readdir(d)))
                known &= e->d_type != DT_UNKNOWN;
        closedir(d);
        return known ? 0
                     : err_set(err, UNIMPLEMENTED,
                               "%s does not support d_type. If the backing filesystem is xfs, please "
                               "reformat with ftype=1 to enable d_type support",
                               dir);
}

static int try_mount(const char *dir, const Overlay *o, int mapped, Err *err)
{
        static const char *const names[] = {"lower1", "lower2", "upper",
                                            "work",   "mapped", "merged"};
        Arena a CLEANUP(arena_done);
        const char *options[10];
        Mount m = {.type = "overlay", .source = "overlay", .options = options};
        char *merged;
        Err ignored;
        int r;

        arena_init(&a, SIZE_MAX);
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                r = path_mkdirs(path_join(&a, dir, names[i]), 0700, err);
                if (r < 0)
                        return r;
        }
        r = check_d_type(dir, err);
        if (r < 0)
                return r;
        if (mapped) {
                options[m.n_options++] = "uidmap=0:1000:10";
                options[m.n_options++] = "gidmap=0:1000:10";
        }
        options[m.n_options++] = arena_printf(&a, "lowerdir=%s/lower2:%s/lower1", dir, dir);
        options[m.n_options++] = arena_printf(&a, "upperdir=%s/upper", dir);
        options[m.n_options++] = arena_printf(&a, "workdir=%s/%s", dir, mapped ? "mapped" : "work");
        /* Unmounting an overlay flushes the disk below it, unless it is told that nobody cares; its
         * workdir is not taken again then. */
        options[m.n_options++] = "volatile";
        for (size_t i = 0; i < o->n_options; i++)
                if (str_eq(o->options[i], "userxattr"))
                        options[m.n_options++] = "userxattr";
        merged = path_join(&a, dir, "merged");
        r = mount_one(&m, merged, err);
        if (r < 0)
                return r;
        unmount_all(merged, MNT_DETACH | UMOUNT_NOFOLLOW, &ignored);
        return 0;
}

/* Where a mount is known to succeed it is not tried: that costs half of the daemon's start. */
static int is_known_to_work(const char *root)
{
        struct statfs st;
        Err ignored;

        return geteuid() == 0 && prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN_BIT) == 1 &&
               !in_user_namespace() && access("/sys/module/overlay", F_OK) == 0 &&
               statfs(root, &st) == 0 &&
               (st.f_type == EXT_SUPER || st.f_type == XFS_SUPER || st.f_type == TMPFS_SUPER) &&
               check_d_type(root, &ignored) == 0;
}

/* Overlay takes mapped lowerdirs since Linux 5.19; tmpfs can be mapped since 6.3. */
static int is_known_to_map(const char *root)
{
        struct utsname u;
        struct statfs st;
        int major, minor;

        if (statfs(root, &st) < 0 || uname(&u) < 0 ||
            sscanf(u.release, "%d.%d", &major, &minor) != 2)
                return 0;
        minor += 1000 * major;
        return minor >= (st.f_type == TMPFS_SUPER ? 6003 : 5019);
}

static int check_support(const char *root, Overlay *o, Err *err)
{
        char *dir CLEANUP(cleanup_free) = mem_printf("%s/overlay-check-XXXXXX", root);
        Err why, ignored;
        int r;

        r = path_mkdirs(root, 0700, err);
        if (r < 0)
                return r;
        if (is_known_to_work(root)) {
                o->remap = is_known_to_map(root);
                return 0;
        }
        if (!mkdtemp(dir))
                return err_sys(err, errno, "mkdir %s", dir);
        r = try_mount(dir, o, 0, &why);
        o->remap = r == 0 && try_mount(dir, o, 1, &ignored) == 0;
        path_remove_tree(AT_FDCWD, dir, &ignored);
        if (r < 0)
                return err_set(err, UNIMPLEMENTED, "overlayfs cannot be used below %s: %.600s",
                               root, why.msg);
        return 0;
}

static void add_capabilities(FolderSnapshotter *fs)
{
        const Overlay *o = fs->data;
        size_t n = 0;

        if (o->remap) {
                fs->base.capabilities[n++] = "remap-ids";
                fs->base.capabilities[n++] = "only-remap-ids";
        }
        if (!in_user_namespace())
                fs->base.capabilities[n++] = "rebase";
}

int overlayfs_open(DbEnv *env, const char *root, const OverlayfsOptions *options, Snapshotter **ret,
                   Err *err)
{
        FolderSnapshotter *fs = mem_new(FolderSnapshotter);
        int r;

        fs->fops = &folder_ops;
        fs->data = overlay_new(root, options);
        if (options) {
                fs->sync_remove = options->sync_remove;
                fs->upperdir_label = options->upperdir_label;
        }
        r = check_support(root, fs->data, err);
        if (r < 0) {
                overlay_free(fs);
                free(fs);
                return r;
        }
        add_capabilities(fs);
        return folders_open(fs, "overlayfs", env, root, ret, err);
}
