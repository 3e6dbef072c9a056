/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/orphan.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/test.h"

/* A process with a shim's arguments; says on its stdout when it is ready. */
static pid_t shim(const char *cwd, const char *id, const char *script)
{
        int said[2];
        char byte;
        pid_t pid;

        if (pipe2(said, O_CLOEXEC) < 0)
                abort();
        pid = fork();
        if (pid == 0) {
                if (chdir(cwd) == 0 && dup2(said[1], 1) == 1)
                        execl("/bin/sh", "sh", "-c", script, "shim", "-namespace", "ns", "-id", id,
                              NULL);
                _exit(127);
        }
        close(said[1]);
        if (read(said[0], &byte, 1) != 1)
                abort();
        close(said[0]);
        return pid;
}

/* The signal it died of, or 0 while it runs. */
static int died_of(pid_t pid)
{
        int status;

        return waitpid(pid, &status, WNOHANG) == pid && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

#define WAITS    "echo; while :; do sleep 0.05; done"
#define DEAF     "trap '' TERM; " WAITS
#define FORKS_ON "trap '(" WAITS ") & kill -9 $$' TERM; " WAITS

static char *make_bundle(const char *name)
{
        char *path = mem_printf("%s/%s", test_tmpdir(), name);

        if (mkdir(path, 0700) < 0)
                abort();
        return path;
}

TEST(whoever_start_left_in_the_bundle_ends)
{
        char *bundle CLEANUP(cleanup_free) = make_bundle("a");
        pid_t polite = shim(bundle, "a", WAITS), deaf = shim(bundle, "a", DEAF);

        orphans_end(bundle, "a");
        CHECK_INT(died_of(polite), SIGTERM);
        CHECK_INT(died_of(deaf), SIGKILL);
}

TEST(a_child_made_while_its_parent_ends_ends_too)
{
        char *bundle CLEANUP(cleanup_free) = make_bundle("forking");
        pid_t pid = shim(bundle, "a", FORKS_ON);

        orphans_end(bundle, "a");
        CHECK(died_of(pid) != 0);
        CHECK(rmdir(bundle) == 0);
        /* nobody's working directory, or a second search would still find it */
        CHECK_INT(system("! ls -l /proc/*/cwd 2>/dev/null | grep -q 'forking (deleted)'"), 0);
}

TEST(others_go_on)
{
        char *bundle CLEANUP(cleanup_free) = make_bundle("a");
        char *other CLEANUP(cleanup_free) = make_bundle("b");
        pid_t elsewhere = shim(other, "a", WAITS), named_else = shim(bundle, "b", WAITS);

        orphans_end(bundle, "a");
        CHECK_INT(died_of(elsewhere), 0);
        CHECK_INT(died_of(named_else), 0);
        orphans_end("/nonexistent", "a");
        kill(elsewhere, SIGKILL);
        kill(named_else, SIGKILL);
        waitpid(elsewhere, NULL, 0);
        waitpid(named_else, NULL, 0);
}
