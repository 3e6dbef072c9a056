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
