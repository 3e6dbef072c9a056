/* SPDX-License-Identifier: Apache-2.0 */
/* A shim's binary: finding it by the runtime's name, running its actions. All functions block (pool
 * threads). */
#pragma once

#include "runtime/bootstrap.h"
#include "runtime/runtime.h"

/* The executable for a runtime's name, on the heap: an absolute path as it stands; else, for
 * "a.b.NAME.VERSION", containerd-shim-NAME-VERSION in our helper folders, then on PATH, never in
 * the working directory. io.containerd.runc.v2 is ours in the helper folders. UNKNOWN with
 * containerd's texts. */
int shim_resolve(const char *runtime, char **ret, Err *err);
/* The same with other folders, for tests. NULL-terminated. */
int shim_resolve_in(const char *const *folders, const char *runtime, char **ret, Err *err);

/* Runs `SHIM start` in the bundle and reads its answer. */
int shim_start(Runtime *rt, const char *binary, const char *bundle, const char *ns, const char *id,
               const Google__Protobuf__Any *options, Arena *a, Bootstrap *ret, Err *err);
/* bootstrap.json and shim-binary-path of the bundle, for the next daemon. */
int shim_remember(const char *bundle, const char *binary, const Bootstrap *b, Err *err);
/* NOT_FOUND. The binary is on the heap. */
int shim_recall_binary(const char *bundle, char **ret, Err *err);
/* Runs `SHIM delete` in the bundle, at most as long as the timeout of clean-up. */
int shim_delete(Runtime *rt, const char *binary, const char *bundle, const char *ns, const char *id,
                uint32_t *ret_pid, TaskExit *ret, Err *err);
/* Whether a `-v` text tells of a shim that expects its options alone on stdin: built on containerd
 * below 2.3. */
int shim_is_legacy_version(const char *text);
