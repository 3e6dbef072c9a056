/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/test.h"
#include "runtime/bundle.h"

typedef struct Dirs {
        char *root, *state;
} Dirs;

static Dirs dirs(void)
{
        static char root[300], state[300];
        Err err = {};

        snprintf(root, sizeof(root), "%s/root", test_tmpdir());
        snprintf(state, sizeof(state), "%s/state", test_tmpdir());
        path_mkdirs(root, 0711, &err);
        path_mkdirs(state, 0711, &err);
        return (Dirs){root, state};
}

static int mode_of(const char *dir, const char *name)
{
        char *path CLEANUP(cleanup_free) = mem_printf("%s/%s", dir, name);
        struct stat st;

        return lstat(path, &st) < 0 ? -1 : (int)(st.st_mode & (S_IFMT | 07777));
}

static int create(Dirs d, const char *id, const char *spec, Err *err)
{
        char *path CLEANUP(cleanup_free) = NULL;

        return bundle_create(d.root, d.state, "default", id, spec, strlen(spec), &path, err);
}

TEST(bundle_has_its_files_and_modes)
{
        const char *spec = "{\"ociVersion\": \"1.0.2\"}";
        char *path CLEANUP(cleanup_free) = NULL, *text CLEANUP(cleanup_free) = NULL;
        char link[400] = "", want[400];
        Dirs d = dirs();
        Err err = {};

        umask(022);
        CHECK(bundle_create(d.root, d.state, "default", "c1", spec, strlen(spec), &path, &err) ==
              0);
        CHECK_INT(mode_of(path, "."), S_IFDIR | 0700);
        CHECK_INT(mode_of(path, ".."), S_IFDIR | 0711);
        CHECK_INT(mode_of(path, "config.json"), S_IFREG | 0644);
        CHECK_INT(mode_of(path, "rootfs"), S_IFDIR | 0711);
        CHECK_INT(mode_of(path, "log"), -1);
        CHECK_INT(bundle_make_log(path, &err), 0);
        CHECK_INT(mode_of(path, "log"), S_IFIFO | 0700);
        CHECK_INT(mode_of(d.root, "default/c1"), S_IFDIR | 0711);
        snprintf(want, sizeof(want), "%s/default/c1", d.root);
        {
                char *work CLEANUP(cleanup_free) = mem_printf("%s/work", path);
                char *config CLEANUP(cleanup_free) = mem_printf("%s/config.json", path);

                CHECK(readlink(work, link, sizeof(link) - 1) > 0);
                CHECK_STR(link, want);
                CHECK(file_read(NULL, AT_FDCWD, config, 1000, &text, NULL, &err) == 0);
                CHECK_STR(text, spec);
        }
        CHECK(bundle_remove(d.root, d.state, "default", "c1", &err) == 0);
        CHECK_INT(mode_of(d.state, "default/c1"), -1);
        CHECK_INT(mode_of(d.root, "default/c1"), -1);
        CHECK(bundle_remove(d.root, d.state, "default", "c1", &err) == 0);
}

TEST(bundle_belongs_to_the_containers_root_group)
{
        const char *spec =
                "{\"linux\": {\"gidMappings\": [{\"containerID\": 0, \"hostID\": 1234, \"size\": 1}]}}";
        struct stat st;
        char path[400];
        Dirs d = dirs();
        Err err = {};

        if (getuid() != 0) {
                test_skip("needs root to change a group");
                return;
        }
        CHECK(create(d, "c1", spec, &err) == 0);
        CHECK_INT(mode_of(d.state, "default/c1"), S_IFDIR | 0710);
        snprintf(path, sizeof(path), "%s/default/c1", d.state);
        CHECK(stat(path, &st) == 0 && st.st_gid == 1234);
}

TEST(bad_names_and_specs_make_no_bundle)
{
        Dirs d = dirs();
        Err err = {};

        CHECK(create(d, "../x", "{}", &err) == -INVALID_ARGUMENT);
        CHECK(str_starts(err.msg, "invalid task id ../x: identifier"));
        CHECK(create(d, "", "{}", &err) == -INVALID_ARGUMENT);
        CHECK(create(d, "c1", "no json", &err) == -INVALID_ARGUMENT);
        CHECK(create(d, "c1", "{\"linux\": {\"gidMappings\": 7}}", &err) == -INVALID_ARGUMENT);
        CHECK_INT(mode_of(d.state, "default/c1"), -1);
        CHECK(create(d, "c1", "{}", &err) == 0);
        CHECK(create(d, "c1", "{}", &err) == -ALREADY_EXISTS);
        CHECK_INT(mode_of(d.state, "default/c1/config.json"), S_IFREG | 0644);
}

TEST(bundle_create_is_all_or_nothing)
{
        Dirs d = dirs();
        int n = 0;

        for (int nth = 1;; nth++) {
                Err err = {};
                int r;

                fault_arm(nth);
                r = create(d, "c1", "{}", &err);
                if (!fault_fired)
                        break;
                fault_arm(0);
                n++;
                CHECK(r < 0 && err.msg[0]);
                CHECK_INT(mode_of(d.state, "default/c1"), -1);
                CHECK_INT(mode_of(d.root, "default/c1"), -1);
        }
        fault_arm(0);
        CHECK(n > 3);
}

TEST(files_in_a_rootfs_are_not_removed)
{
        char path[400];
        Dirs d = dirs();
        Err err = {};

        CHECK(create(d, "c1", "{}", &err) == 0);
        snprintf(path, sizeof(path), "%s/default/c1/rootfs/data", d.state);
        CHECK(file_write(AT_FDCWD, path, "x", 1, 0600, &err) == 0);
        CHECK(bundle_remove(d.root, d.state, "default", "c1", &err) < 0);
        CHECK(strstr(err.msg, "rootfs"));
        CHECK(access(path, F_OK) == 0);
        unlink(path);
        CHECK(bundle_remove(d.root, d.state, "default", "c1", &err) == 0);
}

TEST(interrupted_removal_does_not_stop_the_next)
{
        char path[400];
        Dirs d = dirs();
        Err err = {};

        CHECK(create(d, "c1", "{}", &err) == 0);
        snprintf(path, sizeof(path), "%s/default/.c1/left", d.state);
        CHECK(path_mkdirs(path, 0700, &err) == 0);
        CHECK(bundle_remove(d.root, d.state, "default", "c1", &err) == 0);
        CHECK_INT(mode_of(d.state, "default/.c1"), -1);
        CHECK_INT(mode_of(d.state, "default/c1"), -1);
}
