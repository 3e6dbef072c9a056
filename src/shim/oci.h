/* SPDX-License-Identifier: Apache-2.0 */
/* Running the OCI runtime's binary. Everything here blocks: for op children and the delete action.
 */
#pragma once

#include "api/containerd/runc/v1/options.pb-c.h"
#include "base/arena.h"
#include "base/err.h"

/* How to call the runtime for one container; strings on the heap. */
typedef struct Oci {
        char *binary; /* as the options name it; "" means runc */
        char *root;   /* with the namespace */
        char *bundle;
        int systemd_cgroup, no_pivot, no_new_keyring;
} Oci;

void oci_init(Oci *o, const Runc__Options *options, const char *ns, const char *bundle);
void oci_done(Oci *o);

typedef struct OciIo {
        int fds[3];       /* the container's; -1: /dev/null */
        int console;      /* listening socket of --console-socket; -1: none */
        int *ret_console; /* the terminal that came */
} OciIo;

/* Runs it to the end with its verb and arguments (NULL-terminated). A failure is told in the
 * runtime's own words: "what: last error of its log". Collected output, at most 256 KiB, goes to
 * ret_out (arena) if not NULL. */
int oci_run(const Oci *o, Arena *a, const char *what, const char *const *args, const char *input,
            char **ret_out, Err *err);
/* The same with the process' own stdio and terminal. */
int oci_run_io(const Oci *o, Arena *a, const char *what, const char *const *args, const OciIo *io,
               Err *err);
/* What `features` prints. */
int oci_features(const Oci *o, Arena *a, char **ret, Err *err);
/* The last line of level "error" in a runtime's JSON log, or NULL. */
char *oci_log_last_error(Arena *a, const char *text, size_t n);
/* The pid that the runtime has written, UNKNOWN if it is none. */
int oci_read_pid(Arena *a, const char *path, pid_t *ret, Err *err);
