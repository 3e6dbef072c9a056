/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox of a worker, from the inside. Two halves with the parent's id map in between; both
 * before a byte of the job is read and before a second thread exists. What cannot be had fails: no
 * worker runs without it.
 */
#pragma once

#include "base/err.h"

/* New user, mount, network, IPC and UTS namespaces, in which we are nobody until the parent maps
 * the ids. FAILED_PRECONDITION. */
int sandbox_unshare(Err *err);

/* A folder that may be reached by path. */
typedef struct SandboxDir {
        int fd;
        int writable;
} SandboxDir;

/* An empty root folder that cannot be written, no capabilities but those over files, Landlock with
 * dirs as the only folders to reach by path, resource limits, no_new_privs and the system call
 * filter, after which a forbidden call ends the process. Open descriptors stay. */
int sandbox_enter(const SandboxDir *dirs, size_t n_dirs, Err *err);
