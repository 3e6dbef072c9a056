/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making processes. In the daemon this is the only way: vfork-like, between clone and exec only
 * async-signal-safe calls, signal mask and handlers reset, descriptors closed but the ones handed
 * over. The child's pidfd comes back, so that nobody waits for a pid that is somebody else's.
 */
#pragma once

#include <sys/types.h>
#include "base/err.h"

typedef struct ProcFd {
        int from; /* descriptor of the parent; stays the parent's */
        int to;   /* number in the child */
} ProcFd;

typedef struct ProcSpec {
        const char *path;        /* executable; no PATH search (see proc_find) */
        const char *const *argv; /* NULL-terminated */
        const char *const *envp; /* NULL-terminated; NULL inherits */
        const char *cwd;         /* NULL inherits */
        const ProcFd *
                fds; /* what is not named here and above 2 is closed; 0-2 not named are /dev/null */
        size_t n_fds;
        int keep_stderr; /* fd 2 stays the parent's when not named */
        int new_group;   /* setpgid(0, 0) */
        int new_session; /* setsid() */
        int pdeathsig;   /* 0: none */
} ProcSpec;

typedef struct Proc {
        pid_t pid;
        int pidfd; /* owner closes */
} Proc;

/* NOT_FOUND when there is no such executable. A failing exec is reported here, not as exit 127. */
int proc_spawn(const ProcSpec *spec, Proc *ret, Err *err);
/* Waits for it at most timeout_ms (-1 for ever), kills it (SIGKILL) and reaps it at the deadline,
 * closes pidfd. ret_status as waitpid(2). DEADLINE_EXCEEDED. Blocks: for pool threads, tools and op
 * children. */
int proc_wait(Proc *p, int timeout_ms, int *ret_status, Err *err);
/* Runs to the end, feeds input, collects at most max_out bytes of stdout (and of stderr into the
 * same buffer if merge_stderr). ret_out is on the heap, NUL-terminated. Blocks. */
int proc_run(const ProcSpec *spec, const void *input, size_t n_input, int merge_stderr,
             size_t max_out, int timeout_ms, int *ret_status, char **ret_out, size_t *ret_len,
             Err *err);
/* execvp's search of PATH without the working directory. Heap; NULL if there is none. */
char *proc_find(const char *name);
/* Exit code of a wait status: the code, or 128 + signal. */
int proc_exit_code(int status);
