/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for the exit of a task's process or of a sandbox: the methods that may take for ever. */
#pragma once

#include "rpc/service.h"
#include "runtime/runtime.h"

typedef struct ExitWaitKind {
        Task *(*find)(Runtime *rt, const char *ns, const char *id); /* a reference, or NULL */
        int (*missing)(const char *id, Err *err);                   /* returns -code */
        /* Fills the response or returns -code. Any thread, the call being claimed. */
        int (*exited)(Call *c, const char *ns, const char *id, const TaskExit *exit);
        void (*failed)(Call *c, const char *id, const Err *err); /* sets c->err */
} ExitWaitKind;

/* RPC_PENDING: what the method's handler returns. */
int exit_wait(Call *c, Runtime *rt, const ExitWaitKind *kind, const char *ns, const char *id,
              const char *exec_id);
