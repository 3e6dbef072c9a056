/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/test.h"

TEST(file_read_has_a_limit)
{
        char *path CLEANUP(cleanup_free) = mem_printf("%s/f", test_tmpdir());
        char *text CLEANUP(cleanup_free) = NULL;
        size_t n;
        Err err;

        CHECK(file_write(AT_FDCWD, path, "hello", 5, 0600, &err) == 0);
        CHECK(file_read(NULL, AT_FDCWD, path, 5, &text, &n, &err) == 0 && n == 5);
        CHECK_STR(text, "hello");
        free(TAKE(text));
        CHECK_INT(file_read(NULL, AT_FDCWD, path, 4, &text, &n, &err), -RESOURCE_EXHAUSTED);
        CHECK_INT(file_read(NULL, AT_FDCWD, "/nowhere", 4, &text, &n, &err), -NOT_FOUND);
        CHECK(file_read(NULL, AT_FDCWD, "/proc/self/status", 1 << 20, &text, &n, &err) == 0 &&
              n > 100);
}

TEST(file_write_durable_is_all_or_nothing)
{
        char *path CLEANUP(cleanup_free) = mem_printf("%s/f", test_tmpdir());
        int renamed = 0;
        Err err;

        CHECK(file_write(AT_FDCWD, path, "old", 3, 0600, &err) == 0);
        for (int nth = 1;; nth++) {
                char *text CLEANUP(cleanup_free) = NULL;
                int r;

                fault_arm(nth);
                r = file_write_durable(AT_FDCWD, path, "new text", 8, 0600, &err);
                fault_arm(0);
                CHECK(file_read(NULL, AT_FDCWD, path, 100, &text, NULL, &err) == 0);
                CHECK(str_eq(text, "old") || str_eq(text, "new text"));
                renamed |= str_eq(text, "new text");
                if (r == 0)
                        break;
                CHECK(nth < 10);
        }
        CHECK(renamed);
}

TEST(fd_passing)
{
        int sv[2], got, p[2];
        char c = 0;

        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) == 0 &&
              pipe2(p, O_CLOEXEC) == 0);
        CHECK(fd_send(sv[0], "m", 1, p[0]) == 1);
        CHECK(fd_recv(sv[1], &c, 1, &got) == 1 && c == 'm' && got >= 0);
        CHECK(fcntl(got, F_GETFD) & FD_CLOEXEC);
        CHECK(write(p[1], "z", 1) == 1 && read(got, &c, 1) == 1 && c == 'z');
        close(got);
        CHECK(fd_send(sv[0], "n", 1, -1) == 1);
        CHECK(fd_recv(sv[1], &c, 1, &got) == 1 && got == -1);
        close(sv[0]);
        CHECK(fd_recv(sv[1], &c, 1, &got) == 0);
        close(sv[1]);
        close(p[0]);
        close(p[1]);
}
