/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/test.h"
#include "mount/mount_priv.h"
#include "mount/mountinfo.h"

typedef struct Fixture {
        Arena a;
        Err err;
        const char *dir;
} Fixture;

static void fixture_init(Fixture *f)
{
        arena_init(&f->a, SIZE_MAX);
        f->dir = test_tmpdir();
}

static void fixture_done(Fixture *f)
{
        if (f->dir)
                unmount_recursive(f->dir, MNT_DETACH, &f->err);
        arena_done(&f->a);
}

/* Mounts of these tests stay in a mount namespace of their own. */
static int own_mounts(void)
{
        static int state;

        if (!state)
                state = unshare(CLONE_NEWNS) == 0 &&
                                        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0
                                ? 1
                                : -1;
        if (state < 0)
                test_skip("needs CAP_SYS_ADMIN");
        return state > 0;
}

static const char *make_dir(Fixture *f, const char *name)
{
        char *path = path_join(&f->a, f->dir, name);

        if (path_mkdirs(path, 0755, &f->err) < 0)
                abort();
        return path;
}

static void make_file(const char *dir, const char *name, const char *text)
{
        Err err;
        int fd CLEANUP(cleanup_fd) = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (file_write(fd, name, text, strlen(text), 0644, &err) < 0)
                abort();
}

static int has_file(const char *dir, const char *name)
{
        int fd CLEANUP(cleanup_fd) = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return faccessat(fd, name, F_OK, 0) == 0;
}

#define OPTIONS(...)                                   \
        .options = (const char *const[]){__VA_ARGS__}, \
        .n_options = sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)

TEST(options_become_flags_and_data)
{
        Fixture f CLEANUP(fixture_done) = {};
        Mount m = {.type = "overlay",
                   OPTIONS("ro", "nosuid", "suid", "rbind", "index=off", "rprivate", "loop",
                           "uidmap=0:1:2", "", "noatime")};
        MountFlags flags;

        fixture_init(&f);
        CHECK(mount_parse_options(&f.a, &m, &flags, &f.err) == 0);
        CHECK(flags.flags == (MS_RDONLY | MS_BIND | MS_REC | MS_NOATIME));
        CHECK_STR(flags.data, "index=off,rprivate");
        CHECK(flags.loop);
        CHECK_STR(flags.uidmap, "0:1:2");
        CHECK(!flags.gidmap);
}

TEST(options_of_mount_handlers_are_refused)
{
        Fixture f CLEANUP(fixture_done) = {};
        Mount m = {.type = "ext4", .source = "x", OPTIONS("X-containerd.mkfs.fs=ext4")};

        fixture_init(&f);
        CHECK(mount_one(&m, "/nowhere", &f.err) == -INVALID_ARGUMENT);
        CHECK_STR(f.err.msg, "mount option \"X-containerd.mkfs.fs=ext4\" is for a mount handler");
        m = (Mount){.type = "format/overlay", .source = "x"};
        CHECK(mount_one(&m, "/nowhere", &f.err) == -UNIMPLEMENTED);
        m = (Mount){.source = "x"};
        CHECK(mount_one(&m, "/nowhere", &f.err) == -INVALID_ARGUMENT);
}

TEST(overlay_pack_makes_lowerdirs_relative)
{
        Arena a CLEANUP(arena_done);
        const char *dir;
        char *data = NULL;

        arena_init(&a, SIZE_MAX);
        overlay_pack(&a, "workdir=/s/9/work,lowerdir=/s/12/fs:/s/1/fs:/s/123/fs,index=off", &dir,
                     &data);
        CHECK_STR(dir, "/s");
        CHECK_STR(data, "workdir=/s/9/work,lowerdir=12/fs:1/fs:123/fs,index=off");
        overlay_pack(&a, "lowerdir=/a/x\\:y:/a/z", &dir, &data);
        CHECK_STR(dir, "/a");
        CHECK_STR(data, "lowerdir=x\\:y:z");
        overlay_pack(&a, "lowerdir=/a/x/1:/a/x", &dir, &data);
        CHECK_STR(dir, "/a");
        CHECK_STR(data, "lowerdir=x/1:x");

        overlay_pack(&a, "lowerdir=/a/x", &dir, &data);
        CHECK(!dir);
        overlay_pack(&a, "lowerdir=/a:/b", &dir, &data);
        CHECK(!dir);
        overlay_pack(&a, "lowerdir=/a/x:b", &dir, &data);
        CHECK(!dir);
        overlay_pack(&a, "upperdir=/a/x", &dir, &data);
        CHECK(!dir);
        overlay_pack(&a, "", &dir, &data);
        CHECK(!dir);
}

TEST(readonly_turns_the_upperdir_into_a_lowerdir)
{
        Arena a CLEANUP(arena_done);
        Mount m[] = {{.type = "overlay",
                      OPTIONS("workdir=/w", "upperdir=/u", "lowerdir=/a:/b", "index=off")},
                     {.type = "bind", .source = "/x", OPTIONS("rw", "rbind")}};
        MountList l;

        arena_init(&a, SIZE_MAX);
        l = mount_readonly(&a, m, 2);
        CHECK_INT(l.v[0].n_options, 2);
        CHECK_STR(l.v[0].options[0], "lowerdir=/u:/a:/b");
        CHECK_STR(l.v[0].options[1], "index=off");
        CHECK_INT(l.v[1].n_options, 2);
        CHECK_STR(l.v[1].options[0], "rbind");
        CHECK_STR(l.v[1].options[1], "ro");
}

TEST(mountinfo_is_parsed_and_unescaped)
{
        Arena a CLEANUP(arena_done);
        char text[] =
                "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue\n"
                "37 36 0:5 / / rw - tmpfs  rw\n";
        MountInfo *m;
        size_t n;
        Err err;

        arena_init(&a, SIZE_MAX);
        CHECK(mountinfo_parse(&a, text, &m, &n, &err) == 0);
        CHECK_INT(n, 2);
        CHECK_INT(m[0].id, 36);
        CHECK_INT(m[0].major, 98);
        CHECK_STR(m[0].root, "/mnt1");
        CHECK_STR(m[0].point, "/mnt 2");
        CHECK_STR(m[0].optional, "shared:1 master:2");
        CHECK_STR(m[0].type, "ext3");
        CHECK_STR(m[0].super_options, "rw,errors=continue");
        CHECK_STR(m[1].source, "");
        CHECK_STR(m[1].optional, "");
}

TEST(mountinfo_refuses_what_it_cannot_read)
{
        static const char *const bad[] = {"x\n",
                                          "36 35 98:0 / / rw\n",
                                          "36 35 98:0 / / rw shared:1\n",
                                          "36 35 980 / / rw - a b c\n",
                                          "36 35 98:0 / / rw - a b\n",
                                          " \n",
                                          "36 35 98:0 / / rw - \n"};

        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                Arena a CLEANUP(arena_done);
                char *text;
                MountInfo *m;
                size_t n;
                Err err;

                arena_init(&a, SIZE_MAX);
                text = arena_strdup(&a, bad[i]);
                CHECK(mountinfo_parse(&a, text, &m, &n, &err) == -INVALID_ARGUMENT);
        }
}

TEST(mountinfo_of_this_process)
{
        Arena a CLEANUP(arena_done);
        MountInfo *m;
        size_t n;
        Err err;

        arena_init(&a, SIZE_MAX);
        CHECK(mountinfo_read(&a, NULL, &m, &n, &err) == 0);
        CHECK(n > 0 && m[0].point[0] == '/');
}

TEST(bind_readonly_and_taken_off)
{
        Fixture f CLEANUP(fixture_done) = {};
        const char *src, *dst;
        Mount m;

        if (!own_mounts())
                return;
        fixture_init(&f);
        src = make_dir(&f, "src");
        dst = make_dir(&f, "dst");
        make_file(src, "file", "x");
        m = (Mount){.type = "bind", .source = src, OPTIONS("rbind", "ro")};
        CHECK(mount_one(&m, dst, &f.err) == 0);
        CHECK(has_file(dst, "file"));
        CHECK(mount_is_point(dst));
        CHECK(mkdir(path_join(&f.a, dst, "new"), 0755) < 0);
        CHECK(mount_one(&m, dst, &f.err) == 0);
        CHECK(unmount_all(dst, 0, &f.err) == 0);
        CHECK(!mount_is_point(dst));
        CHECK(unmount_all(dst, 0, &f.err) == 0);
        CHECK(unmount_all("/no/such/place", 0, &f.err) == 0);
}

TEST(bind_failing_halfway_leaves_no_mount)
{
        if (!own_mounts())
                return;
        for (int nth = 1;; nth++) {
                Fixture f CLEANUP(fixture_done) = {};
                const char *src, *dst;
                Mount m[2];
                int r;

                fixture_init(&f);
                src = make_dir(&f, "src");
                dst = make_dir(&f, "dst");
                m[0] = m[1] = (Mount){.type = "bind", .source = src, OPTIONS("rbind", "ro")};
                fault_arm(nth);
                r = mount_all(m, 2, dst, &f.err);
                if (!fault_fired) {
                        fault_arm(0);
                        CHECK(r == 0 && nth == 5);
                        break;
                }
                fault_arm(0);
                CHECK(r < 0 && f.err.msg[0]);
                CHECK(!mount_is_point(dst));
        }
}

TEST(target_is_resolved_inside_the_mount_point)
{
        Fixture f CLEANUP(fixture_done) = {};
        const char *src, *dst;
        Mount m;

        if (!own_mounts())
                return;
        fixture_init(&f);
        src = make_dir(&f, "src");
        make_file(src, "file", "x");
        dst = make_dir(&f, "dst");
        make_dir(&f, "dst/sub");
        make_dir(&f, "outside");
        if (symlink("../../outside", path_join(&f.a, dst, "climb")) < 0)
                abort();
        m = (Mount){.type = "bind", .source = src, .target = "/sub", OPTIONS("bind")};
        CHECK(mount_one(&m, dst, &f.err) == 0);
        CHECK(has_file(dst, "sub/file"));
        m.target = "climb";
        CHECK(mount_one(&m, dst, &f.err) < 0);
        CHECK(!has_file(f.dir, "outside/file"));
        CHECK(unmount_recursive(dst, 0, &f.err) == 0);
        CHECK(!has_file(dst, "sub/file"));
}

TEST(overlay_with_more_lowerdirs_than_a_page_holds)
{
        Fixture f CLEANUP(fixture_done) = {};
        const char *dst, *upper, *work;
        char *lower, cwd[4096], cwd2[4096];
        Mount m;
        Err err;

        if (!own_mounts())
                return;
        fixture_init(&f);
        m = (Mount){.type = "tmpfs", .source = "tmpfs"};
        CHECK(mount_one(&m, f.dir, &f.err) == 0);
        dst = make_dir(&f, "dst");
        upper = make_dir(&f, "a-rather-long-name-for-a-folder/up");
        work = make_dir(&f, "a-rather-long-name-for-a-folder/work");
        lower = arena_strdup(&f.a, "lowerdir=");
        for (int i = 0; i < 120; i++) {
                const char *dir =
                        make_dir(&f, arena_printf(&f.a, "a-rather-long-name-for-a-folder/%d", i));

                make_file(dir, arena_printf(&f.a, "f%d", i), "x");
                lower = arena_printf(&f.a, "%s%s%s", lower, i ? ":" : "", dir);
        }
        CHECK(strlen(lower) > 4096);
        m = (Mount){.type = "overlay",
                    .source = "overlay",
                    OPTIONS(arena_printf(&f.a, "workdir=%s", work),
                            arena_printf(&f.a, "upperdir=%s", upper), lower)};
        CHECK(getcwd(cwd, sizeof(cwd)));
        if (mount_one(&m, dst, &f.err) < 0) {
                test_fail(__FILE__, __LINE__, "%s", f.err.msg);
                return;
        }
        CHECK(getcwd(cwd2, sizeof(cwd2)));
        CHECK_STR(cwd2, cwd);
        CHECK(has_file(dst, "f0") && has_file(dst, "f119"));
        CHECK(unmount_all(dst, 0, &f.err) == 0);
        CHECK(unmount_all(f.dir, 0, &err) == 0);
}

TEST(detached_mount_lives_until_its_handle_is_closed)
{
        Fixture f CLEANUP(fixture_done) = {};
        Mount m = {.type = "tmpfs", .source = "tmpfs"};
        const char *dst;
        int handle;

        if (!own_mounts())
                return;
        fixture_init(&f);
        dst = make_dir(&f, "dst");
        CHECK(unmount_detach(dst, &handle, &f.err) == 0 && handle == -1);
        CHECK(mount_one(&m, dst, &f.err) == 0);
        make_file(dst, "file", "x");
        CHECK(unmount_detach(dst, &handle, &f.err) == 0 && handle >= 0);
        CHECK(!mount_is_point(dst));
        CHECK(faccessat(handle, "file", F_OK, 0) == 0);
        fd_close(handle);
}

static uid_t owner(const char *dir, const char *name)
{
        int fd CLEANUP(cleanup_fd) = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct stat st = {.st_uid = (uid_t)-2};

        fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW);
        return st.st_uid;
}

static void own(Fixture *f, const char *name, uid_t uid)
{
        if (lchown(path_join(&f->a, f->dir, name), uid, uid) < 0)
                abort();
}

/* Whether this kernel maps the owners of what lies in a folder of ours. */
static int can_map(Fixture *f)
{
        Mount m = {.type = "bind",
                   .source = f->dir,
                   OPTIONS("bind", "uidmap=0:1000:10", "gidmap=0:1000:10")};
        const char *probe = make_dir(f, "probe");
        int r = mount_one(&m, probe, &f->err);

        if (r == 0)
                return unmount_all(probe, MNT_DETACH, &f->err) == 0;
        test_skip("no idmapped mounts here");
        return 0;
}

TEST(bind_with_mapped_owners)
{
        Fixture f CLEANUP(fixture_done) = {};
        const char *src, *dst, *more;
        Mount m;

        if (!own_mounts())
                return;
        fixture_init(&f);
        if (!can_map(&f))
                return;
        src = make_dir(&f, "src");
        dst = make_dir(&f, "dst");
        more = make_dir(&f, "more/sub");
        make_file(src, "root", "x");
        make_file(src, "five", "x");
        make_file(src, "far", "x");
        own(&f, "src/five", 5);
        own(&f, "src/far", 5000);
        m = (Mount){.type = "bind",
                    .source = src,
                    OPTIONS("uidmap=0:100000:5,5:200005:1", "gidmap=0:100000:10", "rbind", "ro")};
        CHECK(mount_one(&m, dst, &f.err) == 0);
        CHECK(owner(dst, "root") == 100000 && owner(dst, "five") == 200005);
        CHECK(owner(dst, "far") == 65534);
        CHECK(owner(src, "root") == 0);
        CHECK(mkdir(path_join(&f.a, dst, "new"), 0755) < 0);
        CHECK(unmount_all(dst, 0, &f.err) == 0 && !mount_is_point(dst));

        m.target = "sub";
        CHECK(mount_one(&m, path_join(&f.a, f.dir, "more"), &f.err) == 0);
        CHECK(owner(more, "root") == 100000);
        CHECK(mkdir(path_join(&f.a, more, "new"), 0755) < 0);
}

TEST(file_system_with_mapped_owners)
{
        Fixture f CLEANUP(fixture_done) = {};
        const char *dst;
        Mount m;

        if (!own_mounts())
                return;
        fixture_init(&f);
        if (!can_map(&f))
                return;
        dst = make_dir(&f, "dst");
        m = (Mount){.type = "tmpfs",
                    .source = "tmpfs",
                    OPTIONS("uidmap=0:7000:10", "gidmap=0:7000:10", "mode=755")};
        CHECK(mount_one(&m, dst, &f.err) == 0);
        CHECK(owner(dst, ".") == 7000);
        CHECK(unmount_all(dst, 0, &f.err) == 0 && !mount_is_point(dst));
}

/* Lowerdirs that share no folder, one with a colon in its name; the layers themselves stay as they
 * are, and so do this thread's namespace and folders. */
TEST(overlay_with_mapped_lowerdirs)
{
        Fixture f CLEANUP(fixture_done) = {};
        const char *dst, *one, *two;
        struct stat before, after;
        char cwd[4096], cwd2[4096];
        Mount m;

        if (!own_mounts())
                return;
        fixture_init(&f);
        if (!can_map(&f))
                return;
        m = (Mount){.type = "tmpfs", .source = "tmpfs"};
        CHECK(mount_one(&m, f.dir, &f.err) == 0);
        dst = make_dir(&f, "dst");
        one = make_dir(&f, "a/one:1");
        two = make_dir(&f, "b/two");
        make_dir(&f, "up");
        make_dir(&f, "work");
        make_file(one, "f1", "x");
        make_file(two, "f2", "x");
        m = (Mount){.type = "overlay",
                    .source = "overlay",
                    OPTIONS("uidmap=0:1000:10", "gidmap=0:1000:10",
                            arena_printf(&f.a, "workdir=%s/work", f.dir),
                            arena_printf(&f.a, "upperdir=%s/up", f.dir),
                            arena_printf(&f.a, "lowerdir=%s/a/one\\:1:%s/b/two", f.dir, f.dir),
                            "index=off")};
        CHECK(stat("/proc/thread-self/ns/mnt", &before) == 0 && getcwd(cwd, sizeof(cwd)));
        if (mount_one(&m, dst, &f.err) < 0) {
                test_fail(__FILE__, __LINE__, "%s", f.err.msg);
                return;
        }
        CHECK(stat("/proc/thread-self/ns/mnt", &after) == 0 && getcwd(cwd2, sizeof(cwd2)));
        CHECK(before.st_ino == after.st_ino && before.st_dev == after.st_dev);
        CHECK_STR(cwd2, cwd);
        CHECK(owner(dst, "f1") == 1000 && owner(dst, "f2") == 1000 && owner(one, "f1") == 0);
        make_file(dst, "new", "x");
        CHECK(has_file(f.dir, "up/new"));
        CHECK(unmount_all(dst, 0, &f.err) == 0 && !mount_is_point(dst));
}

TEST(mapped_mount_that_fails_leaves_nothing)
{
        if (!own_mounts())
                return;
        for (int nth = 1;; nth++) {
                Fixture f CLEANUP(fixture_done) = {};
                const char *dst;
                Mount m[2];
                int fired = 0;

                fixture_init(&f);
                if (!can_map(&f))
                        return;
                dst = make_dir(&f, "dst");
                m[0] = (Mount){.type = "bind",
                               .source = make_dir(&f, "src"),
                               OPTIONS("bind", "uidmap=0:1:1", "gidmap=0:1:1")};
                m[1] = (Mount){.type = "overlay",
                               .source = "overlay",
                               OPTIONS(arena_printf(&f.a, "lowerdir=%s:%s", m[0].source,
                                                    make_dir(&f, "low")),
                                       "uidmap=0:1:1", "gidmap=0:1:1")};
                for (size_t i = 0; i < ARRAY_LEN(m); i++) {
                        int r;

                        fault_arm(nth);
                        r = mount_one(&m[i], dst, &f.err);
                        fired |= fault_fired;
                        CHECK(fault_fired ? r < 0 && f.err.msg[0] : r == 0);
                        fault_arm(0);
                        CHECK(mount_is_point(dst) == (r == 0));
                        unmount_all(dst, MNT_DETACH, &f.err);
                }
                if (!fired) {
                        CHECK(nth > 4);
                        break;
                }
        }
}

TEST(maps_that_are_none_are_refused)
{
        static const char *const bad[] = {
                "",        "0:1",
                "0:1:0",   "a:b:c",
                "0:1:2:3", "0:1:2,,",
                "-1:0:1",  "4294967296:0:1",
                ",",       "0:0:4294967296",
                "0 0:1:1", "0:1:2,x",
                ":0:1",    "0:1:2,0:1:\n",
        };

        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                Fixture f CLEANUP(fixture_done) = {};
                int fd = -1;

                fixture_init(&f);
                CHECK(idmap_userns(&f.a, bad[i], "0:0:1", &fd, &f.err) == -INVALID_ARGUMENT);
                CHECK(strstr(f.err.msg, "uidmap") && fd == -1);
                CHECK(idmap_userns(&f.a, "0:0:1", bad[i], &fd, &f.err) == -INVALID_ARGUMENT);
                CHECK(strstr(f.err.msg, "gidmap") && fd == -1);
        }
}

TEST(one_map_without_the_other_is_refused)
{
        Fixture f CLEANUP(fixture_done) = {};
        Mount m = {.type = "bind", .source = "/s", OPTIONS("bind", "uidmap=0:1:1")};

        fixture_init(&f);
        CHECK(mount_one(&m, f.dir, &f.err) == -INVALID_ARGUMENT);
        CHECK_STR(f.err.msg, "mount of \"/s\": uidmap without gidmap");
}

TEST(fuse_is_mounted_by_its_helper)
{
        Fixture f CLEANUP(fixture_done) = {};
        char *path CLEANUP(cleanup_free) = strdup(getenv("PATH"));
        Mount m = {.type = "fuse3.sshfs", .source = "src", OPTIONS("ro", "a=b")};
        const char *bin, *told;

        fixture_init(&f);
        bin = make_dir(&f, "bin");
        told = path_join(&f.a, f.dir, "told");
        make_file(bin, "mount.fuse3",
                  arena_printf(&f.a, "#!/bin/sh\necho \"$@\" >%s\n[ \"$1\" = src ] || exit 3\n",
                               told));
        CHECK(chmod(path_join(&f.a, bin, "mount.fuse3"), 0755) == 0);
        setenv("PATH", arena_printf(&f.a, "%s:%s", bin, path), 1);
        CHECK(mount_one(&m, f.dir, &f.err) == 0);
        CHECK(file_read(&f.a, AT_FDCWD, told, 4096, (char **)&told, NULL, &f.err) == 0);
        CHECK_STR(told, arena_printf(&f.a, "src %s -o ro -o a=b -t sshfs\n", f.dir));
        m.source = "other";
        CHECK(mount_one(&m, f.dir, &f.err) == -UNKNOWN);
        CHECK(strstr(f.err.msg, "status 3"));
        setenv("PATH", "/nowhere", 1);
        CHECK(mount_one(&m, f.dir, &f.err) == -UNIMPLEMENTED);
        setenv("PATH", path, 1);
}
