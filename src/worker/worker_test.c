/* SPDX-License-Identifier: Apache-2.0 */
/* Parents of workers that are not ours: /bin/sh plays one that says nothing, complains, or never
 * ends. What the real one does is tested with the real one, in tests/. */
#include "worker/worker.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fd.h"
#include "base/test.h"

static const char *script(const char *body)
{
        static char path[512];
        char text[1024];
        Err err = {};

        snprintf(path, sizeof(path), "%s/worker", test_tmpdir());
        snprintf(text, sizeof(text), "#!/bin/sh\n%s\n", body);
        if (file_write(AT_FDCWD, path, text, strlen(text), 0755, &err) < 0)
                test_fail(__FILE__, __LINE__, "%s", err.msg);
        return path;
}

static int start(const char *path, uint64_t deadline_ns, int (*cancelled)(void *), Err *err)
{
        Worker *w CLEANUP(worker_endp) = NULL;
        WorkerOptions o = {
                .name = "w", .path = path, .deadline_ns = deadline_ns, .cancelled = cancelled};

        return worker_start(&o, &w, err);
}

static int always(void *ctx)
{
        return 1;
}

TEST(worker_that_is_absent)
{
        WorkerOptions o = {.name = "lighter-no-such-worker"};
        Worker *w = NULL;
        Err err = {};

        CHECK(worker_start(&o, &w, &err) == -NOT_FOUND);
        CHECK(strstr(err.msg, "lighter-no-such-worker") != NULL);
        CHECK(start("/nonexistent/worker", 0, NULL, &err) == -NOT_FOUND);
}

TEST(worker_that_dies_says_why)
{
        Err err = {};

        CHECK(start(script("echo 'no such library' >&2; exit 127"), 0, NULL, &err) == -INTERNAL);
        CHECK_STR(err.msg, "w ended with status 127 before its job was done: no such library");
        CHECK(start(script("kill -SYS $$"), 0, NULL, &err) == -INTERNAL);
        CHECK_STR(err.msg, "w died of signal 31 (a system call that it may not make)");
}

TEST(worker_that_floods_stderr_does_not_hang)
{
        Err err = {};

        CHECK(start(script("yes 'a line' | head -c 1000000 >&2 2>/dev/null; exit 3"), 0, NULL,
                    &err) == -INTERNAL);
        CHECK(strstr(err.msg, "ended with status 3") != NULL);
        CHECK(strchr(err.msg, '\n') == NULL);
}

TEST(worker_that_never_answers)
{
        Err err = {};

        CHECK(start(script("sleep 60"), time_mono_ns() + 50 * NS_PER_MS, NULL, &err) ==
              -DEADLINE_EXCEEDED);
        CHECK(start(script("sleep 60"), 0, always, &err) == -CANCELLED);
}

TEST(worker_that_talks_nonsense)
{
        Err err = {};

        CHECK(start(script("printf nonsense >&3; sleep 60"), 0, NULL, &err) == -INTERNAL);
        CHECK_STR(err.msg, "malformed message from worker");
}
