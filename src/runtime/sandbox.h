/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sandboxes: shims that hold one, whatever that is to them, and into which tasks may be put. A
 * sandbox is a Task that runtime_find() and runtime_list() do not show: it is referenced, waited
 * for (with exec_id "") and found again after a restart as they are, and dies as they do. Their ids
 * are one set.
 */
#pragma once

#include "api/containerd/runtime/sandbox/v1/sandbox.pb-c.h"
#include "runtime/runtime.h"

typedef struct SandboxCreate {
        const char *ns, *id;
        const char *runtime;                   /* name, or absolute path of a shim */
        const void *spec;                      /* config.json as it will stand in the bundle */
        size_t n_spec;                         /* 0: there is none */
        const Google__Protobuf__Any *options;  /* as `shim start` gets them; NULL: none */
        ShimSandbox__CreateSandboxRequest req; /* for the shim; id and bundle are filled in here */
        int (*cancelled)(void *ctx);           /* whether nobody wants it any more; NULL: never */
} SandboxCreate;
typedef void (*SandboxFn)(void *ctx, int r, const Err *err);
/* Bundle, shim, CreateSandbox. What `create` points at stays until fn has run (any thread).
 * ALREADY_EXISTS; CANCELLED. After a failure nothing is left. */
void sandbox_create(Runtime *rt, SandboxCreate *create, SandboxFn fn, void *ctx);

/* A reference, or NULL. One that is being recovered is found as well; see task_defer(). */
Task *sandbox_find(Runtime *rt, const char *ns, const char *id);
/* Where its shim is, as tasks of the sandbox are told: "ttrpc+unix:///..." in the arena; and its
 * version of the task API. For one that is usable. */
const char *sandbox_address(Arena *a, const Task *sandbox, uint32_t *ret_version);
/* As task_call(), for the sandbox service. */
void sandbox_call(Task *sandbox, const char *method, const void *req, int timeout_ms,
                  TtrpcReplyFn fn, void *ctx);

/* Asks the shim to end, forgets it and removes the bundle. force: also when the shim does not
 * answer, and then fn is always told 0. NOT_FOUND; what the shim says. fn runs once, on any
 * thread. */
void sandbox_shutdown(Runtime *rt, const char *ns, const char *id, int force, SandboxFn fn,
                      void *ctx);

/* Whether the task of this bundle lives in a sandbox's shim, and the note that says so. */
int sandbox_is_joined(const char *bundle);
int sandbox_note_joined(const char *bundle, const char *sandbox, Err *err);
