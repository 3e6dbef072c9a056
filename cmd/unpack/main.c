/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lighter-unpack: reads compressed streams and archives, and trees that containers have made, for a
 * parent that does not want to.
 * Descriptor 3 is a socket to it (worker/message.h has the conversation). One job, then the end;
 * also the end when the parent hangs up. There is nothing to clean up: whatever goes wrong, the
 * process goes.
 */
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "cmd/unpack/unpack.h"
#include "worker/sandbox.h"

enum { PARENT = 3 };

static uint8_t packet[WORKER_MSG_MAX];

/* A thread of its own, for the others may sit in a read that never ends. */
static void *watch_parent(void *arg)
{
        struct pollfd p = {.fd = PARENT, .events = POLLRDHUP};

        while (poll(&p, 1, -1) <= 0)
                ;
        _exit(1);
}

static int start_watch(Err *err)
{
        pthread_t thread;
        int r = pthread_create(&thread, NULL, watch_parent, NULL);

        return r ? err_sys(err, r, "start a thread") : 0;
}

static int take_job(WorkerMsg *ret_job, int fds[WORKER_FDS_MAX], Err *err)
{
        WorkerMsg hello = {.type = WORKER_MSG_HELLO};
        int r;

        r = sandbox_unshare(err);
        if (r == 0)
                r = worker_msg_send(PARENT, &hello, NULL, 0, err);
        return r < 0 ? r : worker_msg_recv(PARENT, -1, packet, ret_job, fds, err);
}

static int count_trees(const WorkerCompareMsg *job)
{
        return __builtin_popcount(job->trees);
}

/* Which job it is decides which folders the sandbox leaves in reach. */
static int confine(const WorkerMsg *job, const int *fds, Err *err)
{
        SandboxDir dirs[WORKER_FDS_MAX] = {};
        size_t n = 0, n_fds = 2;

        if (job->type == WORKER_MSG_APPLY)
                dirs[n++] = (SandboxDir){.fd = fds[1], .writable = 1};
        if (job->type == WORKER_MSG_COMPARE) {
                for (int i = 0; i < count_trees(&job->compare); i++)
                        dirs[n++] = (SandboxDir){.fd = fds[1 + i]};
                n_fds = n + 1;
        }
        for (size_t i = 0; i < n_fds; i++)
                if (fds[i] < 0)
                        return err_set(err, INTERNAL, "no job for lighter-unpack");
        return sandbox_enter(dirs, n, err);
}

static int run(WorkerMsg *ret, Err *err)
{
        int fds[WORKER_FDS_MAX], r;
        WorkerMsg job;

        r = take_job(&job, fds, err);
        if (r == 0)
                r = confine(&job, fds, err);
        if (r == 0)
                r = start_watch(err);
        if (r < 0)
                return r;
        switch (job.type) {
        case WORKER_MSG_APPLY:
                return unpack_apply(PARENT, &job.apply, fds[0], fds[1], ret, err);
        case WORKER_MSG_IMPORT:
                return unpack_import(PARENT, &job.import, fds[0], fds[1], ret, err);
        case WORKER_MSG_COMPARE:
                return unpack_compare(PARENT, &job.compare, fds, ret, err);
        default:
                return err_set(err, INTERNAL, "no job for lighter-unpack");
        }
}

int main(int argc, char **argv)
{
        WorkerMsg result = {};
        Err err = {}, ignored = {};
        struct stat st;

        if (fstat(PARENT, &st) < 0 || !S_ISSOCK(st.st_mode)) {
                fprintf(stderr, "%s is started by lighterd and lighter, not by people\n", argv[0]);
                return 2;
        }
        signal(SIGPIPE, SIG_IGN);
        umask(0);
        mallopt(M_ARENA_MAX,
                1); /* one arena: address space is limited, and threads hardly allocate */
        if (run(&result, &err) < 0)
                result = (WorkerMsg){.type = WORKER_MSG_FAILED,
                                     .failed = {.code = (uint32_t)err.code, .text = err.msg}};
        worker_msg_send(PARENT, &result, NULL, 0, &ignored);
        _exit(0); /* threads may still run, and the memory is the kernel's anyway */
}
