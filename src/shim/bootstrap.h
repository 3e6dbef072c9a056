/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a daemon talks to a shim that it starts: flags, environment and stdin in, an address out, in
 * two dialects. The one of containerd 2.3 is a protobuf message each way; the older one is an Any
 * of runtime options in, and the bare address out, which every version before understands.
 */
#pragma once

#include "api/containerd/runc/v1/options.pb-c.h"
#include "api/google/protobuf/any.pb-c.h"
#include "base/arena.h"
#include "base/err.h"

typedef struct ShimFlags {
        const char *ns, *id, *address, *publish_binary, *bundle;
        const char *action; /* "" for the shim itself */
        int debug, version, info;
} ShimFlags;

typedef struct Bootstrap {
        int modern; /* the caller speaks the dialect of 2.3 */
        const char *id, *ns, *grpc_address, *ttrpc_address;
        const char *socket_dir; /* NULL: the shim's choice */
        int debug;
        const Google__Protobuf__Any *options; /* NULL: none */
} Bootstrap;

/* Go's flag syntax: -name value, -name=value, one dash or two. INVALID_ARGUMENT. Borrows from argv.
 */
int shim_flags_parse(int argc, const char *const *argv, ShimFlags *ret, Err *err);
/* Never fails for what stdin holds: what is neither dialect counts as no options. INVALID_ARGUMENT
 * when the flags lack what is needed. */
int bootstrap_read(Arena *a, const ShimFlags *flags, const char *env_ttrpc_address,
                   const void *input, size_t n, Bootstrap *ret, Err *err);
/* The answer in the caller's dialect. */
const void *bootstrap_answer(Arena *a, const Bootstrap *b, const char *address, size_t *ret_n);

/* The options of runc's shim; all defaults for NULL. INVALID_ARGUMENT for another type. */
int runc_options_read(Arena *a, const Google__Protobuf__Any *any, Runc__Options **ret, Err *err);
/* As options.json in the bundle: members that are at their default are left out. Heap. */
char *runc_options_json(const Runc__Options *o);
