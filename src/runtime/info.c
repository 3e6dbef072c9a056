/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shim is asked by a process of its own, which somebody has to wait for. How many threads may
 * do so at once is bounded: a binary that hangs must not hold them all.
 */
#include "runtime/info.h"

#include <sys/wait.h>
#include "api/containerd/types/types.pb-c.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/proc.h"
#include "base/str.h"
#include "rpc/message.h"
#include "runtime/shim.h"

enum { ASKING_MAX = 4 };

static int run(const char *binary, const Google__Protobuf__Any *options, Arena *a,
               ProtobufCBinaryData *ret, Err *err)
{
        const char *argv[] = {binary, "-info", NULL};
        ProcSpec spec = {.path = binary, .argv = argv, .new_group = 1, .keep_stderr = 1};
        ProtobufCMessage *info;
        char *out CLEANUP(cleanup_free) = NULL;
        size_t n_input = 0;
        void *input = options ? message_pack(a, options, &n_input) : NULL;
        int status, r;

        r = proc_run(&spec, input, n_input, 0, LIMIT_DOCUMENT, LIMIT_SHIM_START_MS, &status, &out,
                     &ret->len, err);
        if (r < 0)
                return err_wrap(err, "failed to run [%s -info]", binary);
        if (status != 0)
                return err_set(err, UNKNOWN, "failed to run [%s -info]: exit status %d", binary,
                               proc_exit_code(status));
        r = message_unpack(a, &types__runtime_info__descriptor, out, ret->len, &info, err);
        if (r < 0) {
                err_wrap(err, "failed to unmarshal stdout from [%s -info]", binary);
                err->code = UNKNOWN;
                return -UNKNOWN;
        }
        ret->data = arena_memdup(a, out, ret->len);
        return 0;
}

int runtime_info(const char *runtime, const Google__Protobuf__Any *options, Arena *a,
                 ProtobufCBinaryData *ret, Err *err)
{
        static int asking; /* atomic */
        char *binary CLEANUP(cleanup_free) = NULL;
        int r;

        r = str_empty(runtime) ? err_set(err, UNKNOWN, "no runtime name")
                               : shim_resolve(runtime, &binary, err);
        if (r < 0)
                return err_wrap(err, "failed to resolve runtime path");
        if (__atomic_add_fetch(&asking, 1, __ATOMIC_RELAXED) > ASKING_MAX)
                r = err_set(err, UNAVAILABLE,
                            "runtime \"%s\": %d others are being asked for what they can: "
                            "unavailable",
                            runtime, ASKING_MAX);
        else
                r = run(binary, options, a, ret, err);
        __atomic_sub_fetch(&asking, 1, __ATOMIC_RELAXED);
        return r;
}
