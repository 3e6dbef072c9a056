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
#include "mount/mountinfo.h"
#include "runtime/mounts_priv.h"
#include "rpc/message.h"

typedef struct Fixture {
        Arena a;
        Err err;
        const char *dir, *state;
        MountManager *m;
} Fixture;

static void fixture_done(Fixture *f)
{
        fault_arm(0);
        mount_manager_free(f->m);
        if (f->dir)
                unmount_recursive(f->dir, MNT_DETACH, &f->err);
        arena_done(&f->a);
}

static void open_manager(Fixture *f)
{
        const char *const roots[] = {f->dir};
        const MountHandler *const handlers[] = {&loop_handler, &erofs_handler};
        const MountManagerOptions o = {f->state, roots, 1, handlers, 2};

        f->m = NULL;
        if (mount_manager_open(&o, &f->m, &f->err) < 0) {
                test_fail(__FILE__, __LINE__, "%s", f->err.msg);
                abort();
        }
}

static const char *make_dir(Fixture *f, const char *name)
{
        char *path = path_join(&f->a, f->dir, name);

        if (path_mkdirs(path, 0755, &f->err) < 0)
                abort();
        return path;
}

static int fixture_init(Fixture *f)
{
        static int state;

        if (!state)
                state = unshare(CLONE_NEWNS) == 0 &&
                                        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0
                                ? 1
                                : -1;
        if (state < 0) {
                test_skip("needs CAP_SYS_ADMIN");
                return 0;
        }
        arena_init(&f->a, SIZE_MAX);
        f->dir = test_tmpdir();
        f->state = make_dir(f, "state");
        open_manager(f);
        return 1;
}

/* A daemon killed and started again. */
static void reopen(Fixture *f)
{
        mount_manager_free(f->m);
        open_manager(f);
}

/* Everything that is mounted or lies below the state, but for the two folders and the boot. */
static int leftovers(Fixture *f)
{
        char *text = arena_printf(&f->a, "exit $(find %s -mindepth 2 | wc -l; true)", f->state);
        MountInfo *v;
        size_t n, mounts = 0;
        int status;

        if (mountinfo_read(&f->a, NULL, &v, &n, &f->err) < 0)
                abort();
        for (size_t i = 0; i < n; i++)
                mounts += str_starts(v[i].point, f->state);
        status = system(text);
        return (int)mounts + WEXITSTATUS(status);
}

#define OPTIONS(...)                                   \
        .options = (const char *const[]){__VA_ARGS__}, \
        .n_options = sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)

static int activate(Fixture *f, const char *name, Mount *v, size_t n, int temporary,
                    Types__ActivationInfo **ret)
{
        const MountsActivate what = {
                .ns = "default", .name = name, .mounts = {v, n}, .temporary = temporary};

        return mounts_activate(f->m, &what, &f->a, ret, &f->err);
}

/* Two tmpfs below an overlay whose folders are made. */
static void stack(Mount v[3])
{
        static const char *const mode[] = {"mode=711"};
        static const char *const overlay[] = {
                "X-containerd.mkdir.path={{ mount 0 }}/up:755",
                "X-containerd.mkdir.path={{ mount 0 }}/work:0711:5:6", "workdir={{ mount 0 }}/work",
                "upperdir={{ mount 0 }}/up", "lowerdir={{ overlay 1 1 }}"};

        v[0] = (Mount){.type = "tmpfs", .source = "one"};
        v[1] = (Mount){.type = "tmpfs", .source = "two", .options = mode, .n_options = 1};
        v[2] = (Mount){.type = "format/mkdir/overlay",
                       .source = "overlay",
                       .options = overlay,
                       .n_options = ARRAY_LEN(overlay)};
}

TEST(nothing_to_do_is_not_implemented)
{
        Fixture f CLEANUP(fixture_done) = {};
        Mount v[] = {{.type = "bind", .source = "/"}, {.type = "foo/format/bind"}, {}};
        Types__ActivationInfo *info;

        if (!fixture_init(&f))
                return;
        CHECK(activate(&f, "m", v, 3, 0, &info) == -UNIMPLEMENTED);
        CHECK(activate(&f, "m", v, 0, 1, &info) == -UNIMPLEMENTED);
        CHECK(leftovers(&f) == 0);
}

TEST(activation_mounts_what_the_rest_needs)
{
        Fixture f CLEANUP(fixture_done) = {};
        Types__ActivationInfo *info, *same, **list;
        const char *dst;
        struct stat st;
        Mount v[3];
        size_t n;

        if (!fixture_init(&f))
                return;
        stack(v);
        CHECK(activate(&f, "m", v, 3, 0, &info) == 0);
        CHECK(info->n_active == 2 && info->n_system == 1);
        CHECK_STR(info->active[0]->mount->source, "one");
        CHECK(mount_is_point(info->active[0]->mount_point) &&
              mount_is_point(info->active[1]->mount_point));
        CHECK_STR(info->system[0]->type, "overlay");
        CHECK(info->system[0]->n_options == 3);
        CHECK_STR(info->system[0]->options[0],
                  arena_printf(&f.a, "workdir=%s/work", info->active[0]->mount_point));
        CHECK_STR(info->system[0]->options[2],
                  arena_printf(&f.a, "lowerdir=%s", info->active[1]->mount_point));
        CHECK(stat(info->system[0]->options[0] + strlen("workdir="), &st) == 0);
        CHECK((st.st_mode & 07777) == 0711 && st.st_uid == 5 && st.st_gid == 6);

        dst = make_dir(&f, "dst");
        v[0] = (Mount){.type = "overlay",
                       .source = "overlay",
                       .options = (const char *const *)info->system[0]->options,
                       .n_options = 3};
        CHECK(mount_one(&v[0], dst, &f.err) == 0);
        CHECK(unmount_all(dst, 0, &f.err) == 0);

        stack(v);
        CHECK(activate(&f, "m", v, 3, 0, &same) == -ALREADY_EXISTS);
        CHECK_STR(f.err.msg, "mount \"m\": already exists");
        reopen(&f); /* and what it says and holds is the same */
        CHECK(mounts_info(f.m, "default", "m", &f.a, &same, &f.err) == 0);
        CHECK(protobuf_c_message_get_packed_size(&same->base) ==
              protobuf_c_message_get_packed_size(&info->base));
        CHECK(mount_is_point(info->active[0]->mount_point));
        CHECK(mounts_info(f.m, "other", "m", &f.a, &same, &f.err) == -NOT_FOUND);
        CHECK(mounts_list(f.m, "other", NULL, &f.a, &list, &n, &f.err) == 0 && n == 0);
        CHECK(mounts_deactivate(f.m, "default", "m", &f.err) == 0);
        CHECK(mounts_deactivate(f.m, "default", "m", &f.err) == -NOT_FOUND);
        CHECK_STR(f.err.msg, "mount \"m\" not found");
        CHECK(leftovers(&f) == 0);
}

TEST(what_the_caller_does_itself_is_left_to_him)
{
        static const struct {
                const char *allow[4];
                int active, system; /* -1: nobody's business */
        } cases[] = {
                {{"mkdir/*"}, 1, 1},
                {{"mkdir/*", "format/*"}, -1, 0},
                {{"format/mkdir/bind"}, -1, 0},
                {{"format/mkdir/*", "bind", "mkdir", "format/"}, 1, 1},
        };
        Fixture f CLEANUP(fixture_done) = {};
        Mount v[] = {{.type = "tmpfs"}, {.type = "format/mkdir/bind", .source = "{{ mount 0 }}"}};

        if (!fixture_init(&f))
                return;
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                MountsActivate what = {
                        .ns = "default", .name = "m", .mounts = {v, 2}, .allow = cases[i].allow};
                Types__ActivationInfo *info;
                int r;

                while (what.n_allow < 4 && what.allow[what.n_allow])
                        what.n_allow++;
                r = mounts_activate(f.m, &what, &f.a, &info, &f.err);
                if (cases[i].active < 0) {
                        CHECK(r == -UNIMPLEMENTED);
                        continue;
                }
                CHECK(r == 0 && (int)info->n_active == cases[i].active &&
                      (int)info->n_system == cases[i].system);
                CHECK(mounts_deactivate(f.m, "default", "m", &f.err) == 0);
        }
        CHECK(leftovers(&f) == 0);
}

TEST(temporary_activation_mounts_everything)
{
        Fixture f CLEANUP(fixture_done) = {};
        Types__ActivationInfo *info;
        Mount v[3];

        if (!fixture_init(&f))
                return;
        stack(v);
        CHECK(activate(&f, "m", v, 3, 1, &info) == 0);
        CHECK(info->n_active == 3 && info->n_system == 1);
        CHECK_STR(info->system[0]->type, "bind");
        CHECK_STR(info->system[0]->source, info->active[2]->mount_point);
        CHECK_STR(info->system[0]->options[0], "rbind");
        CHECK(mkdir(arena_printf(&f.a, "%s/new", info->system[0]->source), 0700) == 0);
        CHECK(mounts_deactivate(f.m, "default", "m", &f.err) == 0);
        CHECK(leftovers(&f) == 0);
}

TEST(failing_activation_leaves_nothing)
{
        for (int nth = 1;; nth++) {
                Fixture f CLEANUP(fixture_done) = {};
                Types__ActivationInfo *info;
                int r, fired;
                Mount v[3];

                if (!fixture_init(&f))
                        return;
                stack(v);
                fault_arm(nth);
                r = activate(&f, "m", v, 3, 0, &info);
                fired = fault_fired;
                fault_arm(0);
                if (!fired) {
                        if (r < 0 || nth <= 6)
                                test_fail(__FILE__, __LINE__, "%d %d %s", nth, r, f.err.msg);
                        break;
                }
                CHECK(r < 0 && f.err.msg[0]);
                CHECK(mounts_info(f.m, "default", "m", &f.a, &info, &f.err) == -NOT_FOUND);
                CHECK(leftovers(&f) == 0);
                stack(v);
                CHECK(activate(&f, "m", v, 3, 0, &info) == 0);
                CHECK(mounts_deactivate(f.m, "default", "m", &f.err) == 0);
        }
}

TEST(failing_deactivation_can_be_tried_again)
{
        for (int nth = 1;; nth++) {
                Fixture f CLEANUP(fixture_done) = {};
                Types__ActivationInfo *info;
                int r, fired;
                Mount v[3];

                if (!fixture_init(&f))
                        return;
                stack(v);
                CHECK(activate(&f, "m", v, 3, 0, &info) == 0);
                fault_arm(nth);
                r = mounts_deactivate(f.m, "default", "m", &f.err);
                fired = fault_fired;
                fault_arm(0);
                if (!fired) {
                        CHECK(r == 0 && nth > 2);
                        break;
                }
                if (r < 0)
                        CHECK(mounts_deactivate(f.m, "default", "m", &f.err) == 0);
                CHECK(leftovers(&f) == 0);
        }
}

TEST(busy_mount_stays_under_its_name)
{
        Fixture f CLEANUP(fixture_done) = {};
        int held CLEANUP(cleanup_fd) = -1;
        Types__ActivationInfo *info;
        Mount v[3];

        if (!fixture_init(&f))
                return;
        stack(v);
        CHECK(activate(&f, "m", v, 3, 0, &info) == 0);
        held = open(info->active[0]->mount_point, O_RDONLY | O_CLOEXEC);
        CHECK(mounts_deactivate(f.m, "default", "m", &f.err) == -FAILED_PRECONDITION);
        CHECK(strstr(f.err.msg, "mount \"m\": unmount "));
        CHECK(mounts_info(f.m, "default", "m", &f.a, &info, &f.err) == 0 && info->n_active == 1);
        reopen(&f);
        CHECK(mounts_info(f.m, "default", "m", &f.a, &info, &f.err) == 0 && info->n_active == 1);
        fd_close(TAKE_FD(held));
        CHECK(mounts_deactivate(f.m, "default", "m", &f.err) == 0);
        CHECK(leftovers(&f) == 0);
}

/* Folders with mounts whose record never came, records that are none, records without mounts. */
TEST(what_a_killed_daemon_left_is_ended)
{
        Fixture f CLEANUP(fixture_done) = {};
        Types__ActivationInfo *info;
        Mount v[3];

        if (!fixture_init(&f))
                return;
        stack(v);
        CHECK(activate(&f, "m", v, 3, 0, &info) == 0);
        CHECK(record_remove(f.m, 1, &f.err) == 0);
        stack(v);
        CHECK(activate(&f, "n", v, 3, 0, &info) == 0);
        CHECK(file_write(AT_FDCWD, arena_printf(&f.a, "%s/r/2", f.state), "\xff\xff", 2, 0600,
                         &f.err) == 0);
        CHECK(file_write(AT_FDCWD, arena_printf(&f.a, "%s/r/9", f.state), "", 0, 0600, &f.err) ==
              0);
        reopen(&f);
        CHECK(mounts_info(f.m, "default", "n", &f.a, &info, &f.err) == -NOT_FOUND);
        CHECK(leftovers(&f) == 0);
        stack(v);
        CHECK(activate(&f, "m", v, 3, 0, &info) == 0); /* under an id that nobody had */
        CHECK(strstr(info->active[0]->mount_point, "/t/10/0"));
}

TEST(another_boot_forgets)
{
        Fixture f CLEANUP(fixture_done) = {};
        Types__ActivationInfo *info;
        Mount v = {.type = "format/bind", .source = "/"};

        if (!fixture_init(&f))
                return;
        CHECK(activate(&f, "m", &v, 1, 0, &info) == 0 && info->n_active == 0);
        CHECK(file_write(AT_FDCWD, arena_printf(&f.a, "%s/boot", f.state), "x", 1, 0600, &f.err) ==
              0);
        reopen(&f);
        CHECK(mounts_info(f.m, "default", "m", &f.a, &info, &f.err) == -NOT_FOUND);
        CHECK(leftovers(&f) == 0);
}

static size_t collected;

static void collect_one(void *arg, const GcResource *r)
{
        Fixture *f = arg;

        collected++;
        CHECK_STR(r->lease, "lease");
        CHECK(!mounts_collector.forget(f->m, r->ns, r->name, r->id + 1));
        CHECK(mounts_collector.forget(f->m, r->ns, r->name, r->id));
        CHECK(!mounts_collector.forget(f->m, r->ns, r->name, r->id));
}

TEST(collection_takes_what_nobody_refers_to)
{
        Fixture f CLEANUP(fixture_done) = {};
        int held CLEANUP(cleanup_fd) = -1;
        Types__ActivationInfo *info;
        MountsActivate what;
        Mount v[3];

        if (!fixture_init(&f))
                return;
        stack(v);
        what = (MountsActivate){
                .ns = "default", .name = "m", .lease = "lease", .mounts = {v, ARRAY_LEN(v)}};
        CHECK(mounts_activate(f.m, &what, &f.a, &info, &f.err) == 0);
        held = open(info->active[0]->mount_point, O_RDONLY | O_CLOEXEC);
        collected = 0;
        CHECK(mounts_collector.list(f.m, collect_one, &f, &f.err) == 0 && collected == 1);
        CHECK(mounts_info(f.m, "default", "m", &f.a, &info, &f.err) == -NOT_FOUND);
        stack(v);
        CHECK(mounts_activate(f.m, &what, &f.a, &info, &f.err) == 0); /* the name is free */
        mounts_collector.clean(f.m);
        CHECK(mount_is_point(info->active[0]->mount_point));
        CHECK(mounts_deactivate(f.m, "default", "m", &f.err) == 0);
        CHECK(leftovers(&f) == 0);
}

TEST(loop_devices_over_images_that_are_made)
{
        Fixture f CLEANUP(fixture_done) = {};
        Types__ActivationInfo *info;
        char device[64] = "";
        Mount v[2];

        if (!fixture_init(&f))
                return;
        if (access("/dev/loop-control", W_OK) < 0) {
                test_skip("no loop devices");
                return;
        }
        v[0] = (Mount){.type = "mkfs/loop",
                       .source = path_join(&f.a, f.dir, "image"),
                       OPTIONS("X-containerd.mkfs.size=4MiB", "X-containerd.mkfs.fs=ext4")};
        v[1] = (Mount){.type = "format/ext4", .source = "{{ mount 0 }}"};
        CHECK(activate(&f, "m", v, 2, 1, &info) == 0 || (puts(f.err.msg), 0));
        if (f.err.code)
                return;
        CHECK(readlink(info->active[0]->mount_point, device, sizeof(device) - 1) > 0);
        CHECK(str_starts(device, "/dev/loop"));
        CHECK(access(arena_printf(&f.a, "%s/lost+found", info->active[1]->mount_point), F_OK) == 0);
        CHECK(mounts_deactivate(f.m, "default", "m", &f.err) == 0);
        CHECK(leftovers(&f) == 0);
        CHECK(access(arena_printf(&f.a, "/sys/block/%s/loop", device + 5), F_OK) < 0);

        /* a daemon that dies before the record leaves no device either */
        CHECK(activate(&f, "m", v, 1, 0, &info) == 0);
        CHECK(record_remove(f.m, 2, &f.err) == 0);
        reopen(&f);
        CHECK(leftovers(&f) == 0);
}

TEST(mkdir_and_mkfs_stay_below_their_roots)
{
        static const struct {
                const char *type, *option;
                int code;
        } cases[] = {
                {"mkdir/bind", "X-containerd.mkdir.path=/etc/x", UNIMPLEMENTED},
                {"mkdir/bind", "X-containerd.mkdir.path=%s2/x", UNIMPLEMENTED},
                {"mkdir/bind", "X-containerd.mkdir.path=%s", UNIMPLEMENTED},
                {"mkdir/bind", "X-containerd.mkdir.path=%s/../x", UNKNOWN},
                {"mkdir/bind", "X-containerd.mkdir.path=%s/..", INVALID_ARGUMENT},
                {"mkdir/bind", "X-containerd.mkdir.path=%s/out/x", UNKNOWN},
                {"mkdir/bind", "X-containerd.mkdir.path=%s/none/x", NOT_FOUND},
                {"mkdir/bind", "X-containerd.mkdir.path=%s/file", FAILED_PRECONDITION},
                {"mkdir/bind", "X-containerd.mkdir.path=%s/out", FAILED_PRECONDITION},
                {"mkdir/bind", "X-containerd.mkdir.path=%s/state:0123", UNIMPLEMENTED},
                {"mkdir/bind", "X-containerd.mkdir.path=", INVALID_ARGUMENT},
                {"mkdir/bind", "X-containerd.mkdir.path=%s/x:8", UNKNOWN},
                {"mkdir/bind", "X-containerd.mkdir.path=%s/x:", UNKNOWN},
                {"mkdir/bind", "X-containerd.mkdir.path=%s/x:1777", UNKNOWN},
                {"mkdir/bind", "X-containerd.mkdir.path=%s/x:700:0", INVALID_ARGUMENT},
                {"mkdir/bind", "X-containerd.mkdir.path=%s/x:700:a:0", INVALID_ARGUMENT},
                {"mkdir/bind", "X-containerd.mkdir.path=%s/x:700:0:4294967295", INVALID_ARGUMENT},
                {"mkdir/bind", "X-containerd.mkdir.path=%s/x:700:0:0:0", INVALID_ARGUMENT},
                {"mkdir/bind", "X-containerd.mkdir.mode=7", INVALID_ARGUMENT},
                {"mkfs/ext4", "size", INVALID_ARGUMENT},
                {"mkfs/ext4", "X-containerd.mkfs.size=0", INVALID_ARGUMENT},
                {"mkfs/ext4", "X-containerd.mkfs.size=x", UNKNOWN},
                {"mkfs/ext4", "X-containerd.mkfs.size=-1", UNKNOWN},
                {"mkfs/ext4", "X-containerd.mkfs.size=1zb", UNKNOWN},
                {"mkfs/ext4", "X-containerd.mkfs.size=0x10", UNKNOWN},
                {"mkfs/ext4", "X-containerd.mkfs.size=9e99", UNKNOWN},
                {"mkfs/ext4", "X-containerd.mkfs.size", INVALID_ARGUMENT},
                {"mkfs/ext4", "X-containerd.mkfs.other=1", INVALID_ARGUMENT},
                {"mkfs/ext4", "X-containerd.mkfs.size=1m", UNIMPLEMENTED},
                {"format/bind", "{{ mount 0 }}", UNKNOWN},
        };
        Fixture f CLEANUP(fixture_done) = {};
        Types__ActivationInfo *info;

        if (!fixture_init(&f))
                return;
        CHECK(symlink("/tmp", path_join(&f.a, f.dir, "out")) == 0);
        CHECK(file_write(AT_FDCWD, path_join(&f.a, f.dir, "file"), "", 0, 0600, &f.err) == 0);
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                const char *p = strstr(cases[i].option, "%s");
                const char *option = p ? arena_printf(&f.a, "%.*s%s%s", (int)(p - cases[i].option),
                                                      cases[i].option, f.dir, p + 2)
                                       : cases[i].option;
                Mount v = {.type = cases[i].type, .source = "/etc/image", OPTIONS(option)};
                int r = activate(&f, "m", &v, 1, 0, &info);

                if (r != -cases[i].code)
                        test_fail(__FILE__, __LINE__, "%s: %d %s", option, r, f.err.msg);
                CHECK(leftovers(&f) == 0);
        }
        CHECK(access("/etc/image", F_OK) < 0 && access("/etc/x", F_OK) < 0);
}

TEST(names_and_numbers_have_limits)
{
        Fixture f CLEANUP(fixture_done) = {};
        Types__ActivationInfo *info;
        Mount *v;

        if (!fixture_init(&f))
                return;
        v = arena_array(&f.a, Mount, 300);
        for (size_t i = 0; i < 300; i++)
                v[i] = (Mount){.type = i ? "bind" : "format/bind", .source = "/"};
        CHECK(activate(&f, "m", v, 300, 0, &info) == -UNKNOWN);
        CHECK_STR(f.err.msg, "too many system mounts (300): maximum 255");
        CHECK(activate(&f, "m", v, 300, 1, &info) == -UNKNOWN);
        CHECK_STR(f.err.msg, "too many active mounts (300): maximum 255");
        CHECK(activate(&f, "", v, 1, 0, &info) == -UNKNOWN);
        CHECK(activate(&f, "m", v, 255, 0, &info) == 0 && info->n_system == 255);
        CHECK(mounts_deactivate(f.m, "default", "m", &f.err) == 0);
        v[0].options = (const char *const[]){"bind"};
        v[0].n_options = 1;
        v[1].options = (const char *const[]){"X-containerd.mkfs.size=1"};
        v[1].n_options = 1;
        CHECK(activate(&f, "m", v, 2, 1, &info) == -UNKNOWN);
        CHECK(strstr(f.err.msg, "is for a mount handler"));
        CHECK(leftovers(&f) == 0);
}

/* What the peer chose to send costs about as much as it has sent. */
TEST(long_lists_and_types_cost_little)
{
        enum { OPTIONS = 10 * 1000, PREFIXES = 1000 };
        Fixture f CLEANUP(fixture_done) = {};
        Types__ActivationInfo *info;
        Str type CLEANUP(str_done) = {};
        const char **options;
        Mount m;

        if (!fixture_init(&f))
                return;
        options = arena_array(&f.a, const char *, OPTIONS);
        for (size_t i = 0; i < OPTIONS; i++)
                options[i] = "x";
        m = (Mount){.type = "loop", .source = "/", .options = options, .n_options = OPTIONS};
        CHECK(activate(&f, "m", &m, 1, 0, &info) == -UNKNOWN);
        for (size_t i = 0; i < PREFIXES; i++)
                str_add(&type, "mkdir/");
        str_add(&type, "bind");
        m.type = str_get(&type);
        CHECK(activate(&f, "m", &m, 1, 1, &info) == -INVALID_ARGUMENT);
        CHECK(f.a.used < 500 * OPTIONS);
        CHECK(leftovers(&f) == 0);
}

TEST(labels_are_all_that_changes)
{
        Fixture f CLEANUP(fixture_done) = {};
        static const char *const labels[] = {"labels.a"}, *const name[] = {"name"};
        Types__ActivationInfo__LabelsEntry a = TYPES__ACTIVATION_INFO__LABELS_ENTRY__INIT, b = a;
        Types__ActivationInfo__LabelsEntry *both[] = {&b, &a};
        Types__ActivationInfo change = TYPES__ACTIVATION_INFO__INIT, *info;
        Mount v = {.type = "format/bind", .source = "/"};

        if (!fixture_init(&f))
                return;
        a.key = "a";
        a.value = "1";
        b.key = "b";
        b.value = "2";
        change.name = "m";
        change.labels = both;
        change.n_labels = 2;
        CHECK(mounts_update(f.m, "default", &change, NULL, 0, &f.a, &info, &f.err) == -NOT_FOUND);
        CHECK(activate(&f, "m", &v, 1, 0, &info) == 0);
        CHECK(mounts_update(f.m, "default", &change, labels, 1, &f.a, &info, &f.err) == 0);
        CHECK(info->n_labels == 1);
        CHECK_STR(info->labels[0]->key, "a");
        CHECK(mounts_update(f.m, "default", &change, name, 1, &f.a, &info, &f.err) ==
              -INVALID_ARGUMENT);
        CHECK_STR(f.err.msg, "cannot update \"name\" field on mount \"m\": invalid argument");
        CHECK(mounts_update(f.m, "default", &change, NULL, 0, &f.a, &info, &f.err) == 0);
        reopen(&f);
        CHECK(mounts_info(f.m, "default", "m", &f.a, &info, &f.err) == 0 && info->n_labels == 2);
}
