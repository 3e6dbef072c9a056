/* SPDX-License-Identifier: Apache-2.0 */
/* Mount information and long overlay options. Packed options must mean what they meant before. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "mount/mount_priv.h"
#include "mount/mountinfo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        Arena a CLEANUP(arena_done);
        const char *dir = NULL;
        char *text, *packed = NULL;
        MountInfo *info;
        size_t count;
        Err err;

        arena_init(&a, SIZE_MAX);
        text = arena_strndup(&a, (const char *)data, n);
        overlay_pack(&a, text, &dir, &packed);
        if (dir && (strlen(packed) >= strlen(text) || *dir != '/' || !strstr(text, dir)))
                abort();
        if (mountinfo_parse(&a, text, &info, &count, &err) == 0)
                for (size_t i = 0; i < count; i++)
                        if (!info[i].point || !info[i].super_options || strlen(info[i].point) > n)
                                abort();
        return 0;
}
