/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/test.h"
#include "spec/user.h"

static const char passwd[] =
        "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken line\n::\nhuge:x:4294967296:1::\n"
        "alice:x:1000:1001::/home/alice:/bin/sh\nneg:x:-1:0:::\n";
static const char group[] =
        "root:x:0:\nwheel:x:10:root,alice\nalice:x:1001:alice\nbig:x:99999999999:root\n"
        "staff:x:50:bob,alice";

static int make_root(const char *dir)
{
        Err err = {};
        int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        mkdirat(fd, "etc", 0755);
        file_write(fd, "etc/passwd", passwd, strlen(passwd), 0644, &err);
        file_write(fd, "etc/group", group, strlen(group), 0644, &err);
        return fd;
}

TEST(users_are_looked_up_in_the_container)
{
        static const struct {
                const char *user;
                uint32_t uid, gid, gids[4];
                size_t n;
        } cases[] = {
                {"", 0, 0, {0, 10}, 2},
                {"0", 0, 0, {0, 10}, 2},
                {"alice", 1000, 1001, {1001, 10, 50}, 3},
                {"1000", 1000, 1001, {1001, 10, 50}, 3},
                {"1234", 1234, 0, {0}, 1},
                {"1234:55", 1234, 55, {55}, 1},
                {"alice:staff", 1000, 50, {50, 10}, 2},
        };
        int root CLEANUP(cleanup_fd) = make_root(test_tmpdir());

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                Arena a CLEANUP(arena_done);
                UserIds ids;
                Err err = {};

                arena_init(&a, SIZE_MAX);
                CHECK_INT(user_resolve(&a, root, cases[i].user, 1, &ids, &err), 0);
                CHECK_INT(ids.uid, cases[i].uid);
                CHECK_INT(ids.gid, cases[i].gid);
                CHECK_INT(ids.n_additional_gids, cases[i].n);
                for (size_t k = 0; k < cases[i].n; k++)
                        CHECK_INT(ids.additional_gids[k], cases[i].gids[k]);
        }
}

TEST(bad_users)
{
        static const char *const bad[] = {
                "nobodyhere", "2147483648",           "-1",          "1:2:3", "0:nogroup", "neg",
                "huge",       "99999999999999999999", "1:4294967295"};
        int root CLEANUP(cleanup_fd) = make_root(test_tmpdir());
        Arena a CLEANUP(arena_done);

        arena_init(&a, SIZE_MAX);
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                UserIds ids;
                Err err = {};

                if (user_resolve(&a, root, bad[i], 1, &ids, &err) == 0)
                        test_fail(__FILE__, __LINE__, "accepted: %s", bad[i]);
        }
}

TEST(numbers_need_no_files)
{
        Arena a CLEANUP(arena_done);
        UserIds ids;
        Err err = {};

        arena_init(&a, SIZE_MAX);
        CHECK(user_resolve(&a, -1, "7", 1, &ids, &err) == 0);
        CHECK_INT(ids.uid, 7);
        CHECK_INT(user_resolve(&a, -1, "alice", 1, &ids, &err), -NOT_FOUND);
}

TEST(a_trap_in_place_of_passwd)
{
        const char *dir = test_tmpdir();
        int root CLEANUP(cleanup_fd) = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        Arena a CLEANUP(arena_done);
        UserIds ids;
        Err err = {};

        arena_init(&a, SIZE_MAX);
        mkdirat(root, "etc", 0755);
        /* the host's file must not be read, and a fifo must not hang us */
        CHECK(symlinkat("../../../../../../etc/passwd", root, "etc/passwd") == 0);
        CHECK(user_resolve(&a, root, "root", 0, &ids, &err) < 0);
        unlinkat(root, "etc/passwd", 0);
        CHECK(mkfifoat(root, "etc/passwd", 0600) == 0);
        CHECK_INT(user_resolve(&a, root, "root", 0, &ids, &err), -INVALID_ARGUMENT);
}
