/* SPDX-License-Identifier: Apache-2.0 */
/* What the command line prints of foreign bytes: an Any as JSON, and text for a terminal. The first
 * byte picks the type. */
#include <stdlib.h>

#include "base/str.h"
#include "base/cleanup.h"
#include "client/any.h"
#include "client/human.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        static const char *const types[] = {
                "containerd.events.ContainerCreate",
                "containerd.events.TaskCreate",
                "containerd.events.TaskExit",
                "containerd.services.images.v1.ImageUpdate",
                "io.containerd.cgroups.v1.Metrics",
                "io.containerd.cgroups.v2.Metrics",
                "types.containerd.io/opencontainers/runtime-spec/1/Spec",
                "unknown",
        };
        char *text CLEANUP(cleanup_free) = NULL, *input CLEANUP(cleanup_free) = NULL;
        Str safe CLEANUP(str_done) = {};
        json_t *j;

        if (n == 0)
                return 0;
        j = any_json(types[data[0] % ARRAY_LEN(types)],
                     (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)data + 1, .len = n - 1});
        text = json_text(j);
        json_decref(j);
        input = strndup((const char *)data + 1, n - 1);
        text_escape(&safe, input);
        for (size_t i = 0; i < safe.len; i++)
                if ((unsigned char)safe.data[i] < 0x20 || safe.data[i] == 0x7f)
                        abort();
        if (!text)
                abort();
        return 0;
}
