/* SPDX-License-Identifier: Apache-2.0 */
#include "base/lock.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/test.h"

TEST(locks_in_rising_rank)
{
        Lock a, b;

        lock_init(&a, LOCK_TASKS);
        lock_init(&b, LOCK_EVENTS);
        {
                LOCKED(&a);
                LOCKED(&b);
                lock_assert_held(&a);
        }
        lock_take(&b);
        lock_drop(&b);
        lock_done(&a);
        lock_done(&b);
}

TEST(locks_in_falling_rank_abort_debug_builds)
{
#ifdef LIGHTER_DEBUG_LOCKS
        int status;
        pid_t pid = fork();

        if (pid == 0) {
                Lock a, b;

                close(STDERR_FILENO);
                signal(SIGABRT, SIG_DFL);
                lock_init(&a, LOCK_TASKS);
                lock_init(&b, LOCK_EVENTS);
                lock_take(&b);
                lock_take(&a);
                _exit(0);
        }
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
#else
        test_skip("the order of locks is checked in debug builds");
#endif
}
