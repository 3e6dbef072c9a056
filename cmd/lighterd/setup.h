/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon needs of its machine before it serves: folders, their locks, sockets; and telling
 * systemd. */
#pragma once

#include <sys/types.h>
#include "config/config.h"

/* Makes the folder (mode applies when it is made; 0700 is enforced for root) and takes its lock for
 * this process' life. FAILED_PRECONDITION with the pid of the daemon that has it. Returns the
 * lock's fd. */
int setup_folder(const char *path, mode_t mode, int enforce_mode, Err *err);
/* A folder for temporary files, 0700, exported as TMPDIR; "" leaves things as they are. Before
 * threads start. */
int setup_temp(const char *path, Err *err);
/* A listening unix socket, 0660 and owned by uid:gid (-1: ours). A stale one is replaced; one that
 * is served by a living process is FAILED_PRECONDITION. Returns the fd. */
int setup_socket(const char *path, int64_t uid, int64_t gid, Err *err);
int setup_oom_score(int64_t score, Err *err);
/* Into the group of this path, in every hierarchy; without a leading slash it is meant from the
 * root, too. */
int setup_cgroup(const char *path, Err *err);
/* "READY=1" to $NOTIFY_SOCKET, see sd_notify(3); nothing where there is none. */
void setup_notify(const char *state);
