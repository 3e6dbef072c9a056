/* SPDX-License-Identifier: Apache-2.0 */
/* On the way of every exit: whatever fails, the shim goes on and the daemon asks. */
#include "shim/look.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "spec/bundle.h"

static void replace(const char *bundle, const char *name, const void *data, size_t n)
{
        char path[PATH_MAX], temp[PATH_MAX];
        Err ignored;

        if (snprintf(path, sizeof(path), "%s/%s", bundle, name) >= PATH_MAX ||
            snprintf(temp, sizeof(temp), "%s/.%s", bundle, name) >= PATH_MAX)
                return;
        if (!data || file_write(AT_FDCWD, temp, data, n, 0600, &ignored) < 0 ||
            rename(temp, path) < 0)
                unlink(path); /* rather nothing than what is no longer true */
}

void look_note(const Container *c)
{
        Google__Protobuf__Timestamp exited_at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
        Task__StateResponse state = TASK__STATE_RESPONSE__INIT;
        uint8_t *bytes CLEANUP(cleanup_free) = NULL;
        size_t n = 0;

        if (c->creating || c->gone)
                return;
        process_describe(&c->init, &exited_at, &state);
        bytes = malloc(protobuf_c_message_get_packed_size(&state.base));
        if (bytes)
                n = protobuf_c_message_pack(&state.base, bytes);
        replace(c->bundle, BUNDLE_STATE, bytes, n);
}

void look_forget(const Container *c)
{
        replace(c->bundle, BUNDLE_STATE, NULL, 0);
}

void look_note_cgroup(const char *bundle, const char *text)
{
        replace(bundle, BUNDLE_CGROUP, text, strlen(text));
}
