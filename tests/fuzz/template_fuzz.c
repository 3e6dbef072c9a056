/* SPDX-License-Identifier: Apache-2.0 */
/* Templates, and the options of mkdir/ and mkfs/ mounts. What is filled in stays within its limit,
 * and without a template the text stays as it is. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "runtime/mounts_priv.h"

enum { LIMIT = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        static const char *const types[] = {"format/x", "mkdir/x", "mkfs/x", "format/mkdir/mkfs/x"};
        Types__Mount mount = TYPES__MOUNT__INIT;
        Types__ActiveMount active = TYPES__ACTIVE_MOUNT__INIT;
        const Types__ActiveMount *v[] = {&active, &active};
        MountManager nowhere = {};
        Arena a CLEANUP(arena_done);
        const char *text, *got = NULL;
        size_t left = LIMIT;
        Err err = {};

        arena_init(&a, SIZE_MAX);
        mount.source = "/source";
        active.mount = &mount;
        active.mount_point = "/point";
        text = arena_strndup(&a, (const char *)data, n);
        if (template_fill(&a, text, v, ARRAY_LEN(v), &left, &got, &err) == 0) {
                if (strlen(got) + left != LIMIT || (!strstr(text, "{{") && strcmp(got, text) != 0))
                        abort();
        } else if (!err.code || !err.msg[0]) {
                abort();
        }
        for (size_t i = 0; i < ARRAY_LEN(types); i++) {
                Mount m = {.type = types[i], .source = text, .options = &text, .n_options = 1};

                /* there are no roots, so nothing is made */
                if (transform_mount(&nowhere, &a, &m, v, ARRAY_LEN(v), &err) == 0 &&
                    strcmp(m.type, "x") != 0)
                        abort();
        }
        return 0;
}
