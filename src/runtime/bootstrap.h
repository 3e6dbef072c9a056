/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `SHIM start` is told on stdin, what it prints, and the bundle's bootstrap.json, which keeps
 * it over a restart of the daemon.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include "base/arena.h"
#include "base/err.h"
#include "api/google/protobuf/any.pb-c.h"

typedef struct Bootstrap {
        int version;         /* of the task API: 2 or 3 */
        const char *address; /* "unix:///run/..." or an absolute path */
        int looks;           /* it leaves in the bundle what spec/bundle.h names */
} Bootstrap;

typedef struct BootstrapInput {
        const char *id, *ns;
        const char *version; /* containerd's API level */
        const char *ttrpc_address, *grpc_address, *daemon_path;
        const char *socket_dir; /* NULL: the shim's own default */
        const Google__Protobuf__Any *options;
} BootstrapInput;

/* stdin for shims of containerd 2.3 and ours. */
void *bootstrap_input_pack(Arena *a, const BootstrapInput *in, size_t *ret_n);
/* stdin for older ones: the options, or nothing. */
void *bootstrap_input_pack_legacy(Arena *a, const BootstrapInput *in, size_t *ret_n);

/* A shim's output: an encoded BootstrapResult, JSON, or an address alone, which means version 2.
 * Borrows from the arena. UNIMPLEMENTED for a protocol or version that we do not speak, UNKNOWN for
 * what is no answer at all. */
int bootstrap_parse(Arena *a, const void *bytes, size_t n, Bootstrap *ret, Err *err);

/* bootstrap.json of a bundle; load falls back to the file `address` of older shims. NOT_FOUND. */
int bootstrap_save(const char *bundle, const Bootstrap *b, Err *err);
int bootstrap_load(Arena *a, const char *bundle, Bootstrap *ret, Err *err);
