/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading what our shim leaves in a bundle, instead of asking it: a list of 200 tasks wakes 200
 * processes otherwise. A shim writes before it answers or publishes, so what is read is never older
 * than what a client has been told. One that died without a word is found by its connection, as
 * ever.
 */
#include <fcntl.h>
#include "base/fd.h"
#include "rpc/message.h"
#include "runtime/runtime_priv.h"
#include "spec/bundle.h"

enum { STATE_MAX = 64 * 1024 };

static int read_file(const Task *t, Arena *a, const char *name, size_t max, char **ret,
                     size_t *ret_n)
{
        Err ignored;

        return t->looks && file_read(a, AT_FDCWD, arena_printf(a, "%s/%s", t->bundle, name), max,
                                     ret, ret_n, &ignored) == 0;
}

int task_look_state(const Task *t, Arena *a, const Task__StateResponse **ret)
{
        ProtobufCMessage *m;
        char *bytes;
        Err ignored;
        size_t n;

        if (!read_file(t, a, BUNDLE_STATE, STATE_MAX, &bytes, &n) ||
            message_unpack(a, &task__state_response__descriptor, bytes, n, &m, &ignored) < 0)
                return 0;
        *ret = (const Task__StateResponse *)m;
        return 1;
}

int task_look_stats(const Task *t, Arena *a, const CgroupMounts *mounts, Google__Protobuf__Any *ret)
{
        CgroupSet set;
        char *text;
        Err ignored;
        size_t n;

        return read_file(t, a, BUNDLE_CGROUP, CGROUP_TEXT_MAX, &text, &n) &&
               cgroup_parse(a, text, mounts, &set, &ignored) == 0 &&
               cgroup_stats(a, &set, ret, &ignored) == 0;
}
