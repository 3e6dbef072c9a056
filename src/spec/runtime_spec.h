/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.json of a bundle: the typed reading of what Lighter itself needs of it. The OCI runtime
 * reads the rest. https://github.com/opencontainers/runtime-spec/blob/main/config.md
 */
#pragma once

#include "spec/descriptor.h"

typedef struct RuntimeSpec {
        const char *root_path; /* "" if there is no root */
        int root_readonly;
        int terminal;
        const char *cwd;
        const char **args; /* NULL-terminated */
        size_t n_args;
        const char *hostname;
        const char *cgroups_path;
        int has_linux;
        int pid_namespace; /* a pid namespace of its own or joined: its init takes the others along
                            */
} RuntimeSpec;

/* Everything borrows from the arena. INVALID_ARGUMENT naming the member. */
int runtime_spec_parse(Arena *a, const char *text, size_t n, RuntimeSpec *ret, Err *err);

#define RUNTIME_SPEC_TYPE_URL    "types.containerd.io/opencontainers/runtime-spec/1/Spec"
#define RUNTIME_PROCESS_TYPE_URL "types.containerd.io/opencontainers/runtime-spec/1/Process"
