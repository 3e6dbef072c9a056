/* SPDX-License-Identifier: Apache-2.0 */
#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/test.h"

static int run(const char *script, const char *input, int timeout_ms, char **out, Err *err)
{
        const char *argv[] = {"sh", "-c", script, NULL};
        int status, r;

        r = proc_run(&(ProcSpec){.path = "/bin/sh", .argv = argv}, input, strlen(input), 1, 1 << 20,
                     timeout_ms, &status, out, NULL, err);
        return r < 0 ? r : proc_exit_code(status);
}

TEST(proc_run_feeds_and_collects)
{
        char *out CLEANUP(cleanup_free) = NULL;
        Err err;

        CHECK_INT(run("cat; echo oops >&2; exit 3", "hello\n", 5000, &out, &err), 3);
        CHECK_STR(out, "hello\noops\n");
}

TEST(proc_run_kills_at_the_deadline)
{
        char *out CLEANUP(cleanup_free) = NULL;
        Err err;

        CHECK_INT(run("exec sleep 100", "", 50, &out, &err), -DEADLINE_EXCEEDED);
}

TEST(proc_failed_exec_is_an_error_not_a_status)
{
        const char *argv[] = {"x", NULL};
        Proc p;
        Err err;

        CHECK_INT(proc_spawn(&(ProcSpec){.path = "/nowhere/x", .argv = argv}, &p, &err),
                  -NOT_FOUND);
        CHECK_STR(err.msg, "exec /nowhere/x: No such file or directory");
        CHECK_INT(proc_spawn(&(ProcSpec){.path = "/bin/sh", .argv = argv, .cwd = "/nowhere"}, &p,
                             &err),
                  -NOT_FOUND);
        CHECK_STR(err.msg, "chdir /nowhere: No such file or directory");
}

TEST(proc_hands_over_exactly_the_named_descriptors)
{
        const char *argv[] = {"sh", "-c", "ls /proc/self/fd | tr '\\n' ' '; cat <&3; cat <&4",
                              NULL};
        char *out CLEANUP(cleanup_free) = NULL;
        int leak = open("/dev/null", O_RDONLY); /* not O_CLOEXEC, as a library might */
        int a[2], b[2], status;
        Err err;

        /* 3 and 4 crossed over: each source lies where the other must go */
        CHECK(pipe2(a, O_CLOEXEC) == 0 && pipe2(b, O_CLOEXEC) == 0);
        CHECK(write(a[1], "A", 1) == 1 && write(b[1], "B", 1) == 1);
        close(a[1]);
        close(b[1]);
        {
                ProcFd fds[] = {{b[0], 3}, {a[0], 4}};
                ProcSpec spec = {.path = "/bin/sh", .argv = argv, .fds = fds, .n_fds = 2};

                CHECK(proc_run(&spec, NULL, 0, 0, 1000, 5000, &status, &out, NULL, &err) == 0);
        }
        CHECK_STR(out, "0 1 2 3 4 5 BA"); /* 5 is ls reading its folder */
        close(a[0]);
        close(b[0]);
        close(leak);
}

TEST(proc_child_starts_with_default_signals)
{
        char *out CLEANUP(cleanup_free) = NULL;
        sigset_t usr1;
        Err err;

        sigemptyset(&usr1);
        sigaddset(&usr1, SIGUSR1);
        sigprocmask(SIG_BLOCK, &usr1, NULL);
        signal(SIGPIPE, SIG_IGN);
        CHECK_INT(run("grep -E 'Sig(Blk|Ign)' /proc/self/status | cut -f2 | sort -u", "", 5000,
                      &out, &err),
                  0);
        CHECK_STR(out, "0000000000000000\n");
        signal(SIGPIPE, SIG_DFL);
        sigprocmask(SIG_UNBLOCK, &usr1, NULL);
}

TEST(proc_find_ignores_the_working_directory)
{
        char *found CLEANUP(cleanup_free) = proc_find("sh");
        char *none CLEANUP(cleanup_free) = NULL;
        char *old = mem_strdup(getenv("PATH"));

        CHECK(found && found[0] == '/');
        setenv("PATH", ".:", 1);
        CHECK(chdir("/bin") == 0);
        none = proc_find("sh");
        CHECK(none == NULL);
        setenv("PATH", old, 1);
        free(old);
}
