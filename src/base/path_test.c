/* SPDX-License-Identifier: Apache-2.0 */
#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/test.h"

TEST(remove_tree_takes_any_depth_and_follows_nothing)
{
        char *keep CLEANUP(cleanup_free) = mem_printf("%s/keep", test_tmpdir());
        char *top CLEANUP(cleanup_free) = mem_printf("%s/top", test_tmpdir());
        int tmp CLEANUP(cleanup_fd) = open(test_tmpdir(), O_DIRECTORY | O_RDONLY);
        int at = -1;
        Err err;

        CHECK(mkdir(keep, 0700) == 0 && mkdir(top, 0700) == 0);
        at = open(top, O_DIRECTORY | O_RDONLY);
        CHECK(symlinkat(keep, at, "link") == 0);
        for (int i = 0; i < 1000; i++) {
                int next;

                CHECK(mkdirat(at, "d", 0700) == 0 && mkdirat(at, "e", 0700) == 0);
                next = openat(at, "d", O_DIRECTORY | O_RDONLY);
                CHECK(next >= 0);
                close(at);
                at = next;
                close(openat(at, "file", O_CREAT | O_WRONLY, 0600));
        }
        close(at);
        CHECK(path_remove_tree(tmp, "top", &err) == 0);
        CHECK(access(top, F_OK) < 0 && access(keep, F_OK) == 0);
        CHECK(path_remove_tree(tmp, "top", &err) == 0);
        CHECK(unlinkat(tmp, "keep", AT_REMOVEDIR) == 0);
        CHECK(rmdir(test_tmpdir()) == 0); /* nothing was left beside it */
        CHECK(mkdir(test_tmpdir(), 0700) == 0);
}

TEST(confined_opens_do_not_leave)
{
        int root CLEANUP(cleanup_fd) = open(test_tmpdir(), O_DIRECTORY | O_RDONLY);
        int fd;

        CHECK(symlinkat("/etc", root, "abs") == 0 && symlinkat("../../../etc", root, "up") == 0);
        CHECK(mkdirat(root, "etc", 0700) == 0);
        fd = path_open_in_root(root, "etc/passwd", O_CREAT | O_WRONLY, 0600);
        CHECK(fd >= 0);
        close(fd);
        fd = path_open_in_root(root, "abs/passwd", O_RDONLY, 0);
        CHECK(fd >= 0);
        close(fd);
        fd = path_open_in_root(root, "../../up/passwd", O_RDONLY, 0);
        CHECK(fd >= 0);
        close(fd);
        CHECK(path_open_beneath(root, "abs/passwd", O_RDONLY, 0) < 0 && errno == EXDEV);
        CHECK(path_open_beneath(root, "../x", O_RDONLY, 0) < 0 && errno == EXDEV);
        CHECK(path_open_beneath(root, "/etc/passwd", O_RDONLY, 0) < 0 && errno == EXDEV);
}

TEST(mkdirs)
{
        char *deep CLEANUP(cleanup_free) = mem_printf("%s/a/b//c", test_tmpdir());
        char *bad CLEANUP(cleanup_free) = mem_printf("%s/f/x", test_tmpdir());
        char *file CLEANUP(cleanup_free) = mem_printf("%s/f", test_tmpdir());
        Err err;

        CHECK(path_mkdirs(deep, 0700, &err) == 0 && access(deep, F_OK) == 0);
        CHECK(path_mkdirs(deep, 0700, &err) == 0);
        CHECK(file_write(AT_FDCWD, file, "", 0, 0600, &err) == 0);
        CHECK(path_mkdirs(bad, 0700, &err) < 0 && strstr(err.msg, "/f/x"));
        CHECK_INT(path_mkdirs("", 0700, &err), -INVALID_ARGUMENT);
}

/* As with a state folder on the tmpfs of /run: the working directory lies on another file system.
 */
TEST(a_tree_on_another_mount_is_removed)
{
        char dir[] = "/dev/shm/lighter-path-XXXXXX", deep[64];
        Err err = {};

        if (!mkdtemp(dir))
                return; /* no such file system here */
        snprintf(deep, sizeof(deep), "%s/a/b/c", dir);
        CHECK(path_mkdirs(deep, 0755, &err) == 0);
        CHECK(path_remove_tree(AT_FDCWD, dir, &err) == 0);
        CHECK(access(dir, F_OK) < 0 && errno == ENOENT);
        CHECK(path_remove_tree(AT_FDCWD, deep, &err) == 0);
}
