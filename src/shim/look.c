/* SPDX-License-Identifier: Apache-2.0 */
#include "shim/look.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/limits.h"
#include "rpc/message.h"
#include "spec/bundle.h"

static void replace(Arena *a, const char *bundle, const char *name, const void *data, size_t n)
{
        const char *path = arena_printf(a, "%s/%s", bundle, name);
        const char *temp = arena_printf(a, "%s/.%s", bundle, name);
        Err ignored;

        if (file_write(AT_FDCWD, temp, data, n, 0600, &ignored) < 0 || rename(temp, path) < 0)
                unlink(path); /* rather nothing than what is no longer true */
}

void look_note(const Container *c)
{
        Task__StateResponse state = TASK__STATE_RESPONSE__INIT;
        const void *bytes;
        size_t n;
        Arena a;

        if (c->creating || c->gone)
                return;
        arena_init(&a, LIMIT_PB_ARENA_BASE);
        process_describe(&c->init, &a, &state);
        bytes = message_pack(&a, &state, &n);
        replace(&a, c->bundle, BUNDLE_STATE, bytes, n);
        arena_done(&a);
}

void look_forget(const Container *c)
{
        Arena a;

        arena_init(&a, LIMIT_PB_ARENA_BASE);
        unlink(arena_printf(&a, "%s/" BUNDLE_STATE, c->bundle));
        arena_done(&a);
}

void look_note_cgroup(const char *bundle, const char *text)
{
        Arena a;

        arena_init(&a, SIZE_MAX);
        replace(&a, bundle, BUNDLE_CGROUP, text, strlen(text));
        arena_done(&a);
}
