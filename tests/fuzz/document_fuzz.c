/* SPDX-License-Identifier: Apache-2.0 */
/* JSON documents from outside: manifests, indexes, image configs, runtime specs. */
#include "base/cleanup.h"
#include "spec/image_config.h"
#include "spec/manifest.h"
#include "spec/runtime_spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        Arena a CLEANUP(arena_done);
        const char *text = (const char *)data;
        Err err = {};

        arena_init(&a, SIZE_MAX);
        manifest_parse(&a, text, n, &(Manifest){}, &err);
        index_parse(&a, text, n, &(Index){}, &err);
        image_config_parse(&a, text, n, &(ImageConfig){}, &err);
        runtime_spec_parse(&a, text, n, &(RuntimeSpec){}, &err);
        return 0;
}
