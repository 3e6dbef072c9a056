/* SPDX-License-Identifier: Apache-2.0 */
/* What a process may be asked in which state, and what the client is told otherwise. */
#pragma once

#include "base/err.h"

typedef enum ProcState {
        PROC_CREATED,
        PROC_RUNNING,
        PROC_PAUSED,
        PROC_STOPPED,
        PROC_DELETED
} ProcState;

typedef enum ProcAction {
        ACT_START,
        ACT_DELETE,
        ACT_PAUSE,
        ACT_RESUME,
        ACT_UPDATE,
        ACT_EXEC,
        ACT_KILL,
        ACT_RESIZE,
        ACT_CHECKPOINT,
} ProcAction;

/* UNKNOWN, NOT_FOUND or FAILED_PRECONDITION with containerd's words. */
int state_check(int is_exec, ProcState state, ProcAction action, Err *err);
