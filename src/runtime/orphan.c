/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A daemon that ends between `SHIM start` and the record of its answer leaves a shim which no
 * bundle names. What identifies it, whoever built it, are its working directory, which is the
 * bundle and nobody else's since a folder made again is another inode, and `-id` in its arguments
 * (see proc(5)). The helper may still be about to make the shim, so the search goes on until a
 * round finds nobody: who has ended makes no more children.
 */
#include "runtime/orphan.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

enum { ROUNDS = 16, ARGS_MAX = 16 * 1024, TERM_MS = 1000, KILL_MS = 2000 };

/* Whether "-id ID" is among the arguments, which end in a NUL each. */
static int names_id(const char *args, size_t n, const char *id)
{
        const char *end = args + n, *next;

        for (const char *arg = args; arg < end; arg = next) {
                next = arg + strlen(arg) + 1;
                if (str_eq(arg, "-id") && next < end && str_eq(next, id))
                        return 1;
        }
        return 0;
}

static int is_orphan(pid_t pid, const struct stat *bundle, const char *id)
{
        char *cwd CLEANUP(cleanup_free) = mem_printf("/proc/%d/cwd", pid);
        char *path CLEANUP(cleanup_free) = mem_printf("/proc/%d/cmdline", pid);
        char *args CLEANUP(cleanup_free) = NULL;
        Err ignored = {};
        struct stat st;
        size_t n;

        return stat(cwd, &st) == 0 && st.st_dev == bundle->st_dev && st.st_ino == bundle->st_ino &&
               file_read(NULL, AT_FDCWD, path, ARGS_MAX, &args, &n, &ignored) == 0 &&
               names_id(args, n, id);
}

static int ended_within(int pidfd, int ms)
{
        struct pollfd p = {.fd = pidfd, .events = POLLIN};

        return poll(&p, 1, ms) == 1;
}

/* A shim told to end takes its socket with it; one that does not listen is killed. */
static void end(pid_t pid, const struct stat *bundle, const char *id)
{
        int pidfd CLEANUP(cleanup_fd) = pidfd_open(pid, 0);

        /* What was seen under this number may have been another process. */
        if (pidfd < 0 || !is_orphan(pid, bundle, id))
                return;
        log_info("ending a shim without a container", "id", id, "pid", log_num(pid));
        if (pidfd_send_signal(pidfd, SIGTERM, NULL, 0) == 0 && ended_within(pidfd, TERM_MS))
                return;
        if (pidfd_send_signal(pidfd, SIGKILL, NULL, 0) == 0 && !ended_within(pidfd, KILL_MS))
                log_warn("shim without a container does not end", "id", id, "pid", log_num(pid));
}

void orphans_end(const char *bundle, const char *id)
{
        struct stat st;

        if (stat(bundle, &st) < 0)
                return;
        for (int round = 0, found = 1; found && round < ROUNDS; round++) {
                DIR *proc = opendir("/proc");
                struct dirent *e;

                found = 0;
                while (proc && (e = readdir(proc))) {
                        pid_t pid = atoi(e->d_name);

                        if (pid > 0 && is_orphan(pid, &st, id)) {
                                found = 1;
                                end(pid, &st, id);
                        }
                }
                if (proc)
                        closedir(proc);
        }
}
