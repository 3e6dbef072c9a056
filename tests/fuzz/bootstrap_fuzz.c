/* SPDX-License-Identifier: Apache-2.0 */
/* What a stranger's shim prints on `start`, and on -v. */
#include <stdlib.h>

#include "base/mem.h"
#include "runtime/shim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        char *text = mem_alloc(n + 1);
        Bootstrap b = {};
        Err err = {};
        Arena a;

        memcpy(text, data, n);
        arena_init(&a, 16 * 1024 * 1024);
        if (bootstrap_parse(&a, text, n, &b, &err) == 0) {
                if ((b.version != 2 && b.version != 3) || !b.address)
                        abort();
        } else if (err.code == OK || !err.msg[0]) {
                abort();
        }
        shim_is_legacy_version(text);
        arena_done(&a);
        free(text);
        return 0;
}
