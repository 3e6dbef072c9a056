/* SPDX-License-Identifier: Apache-2.0 */
/* References, digests and platforms from foreign text; what parses must format and parse
 * again. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "spec/platform.h"
#include "spec/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        Arena a CLEANUP(arena_done);
        Reference r, again;
        Platform p;
        Digest d;
        Err err = {};
        char *text, buf[PLATFORM_TEXT_MAX];

        arena_init(&a, SIZE_MAX);
        text = arena_strndup(&a, (const char *)data, n);
        if (reference_parse_familiar(&a, text, &r, &err) == 0) {
                const char *whole = reference_format(&a, &r);

                if (reference_parse(&a, whole, &again, &err) < 0 ||
                    !str_eq(whole, reference_format(&a, &again)))
                        abort();
        }
        if (reference_parse(&a, text, &r, &err) == 0 && !str_eq(text, reference_format(&a, &r)))
                abort();
        digest_parse(text, &d, &err);
        if (platform_parse(&a, text, &p, &err) == 0)
                platform_format(&p, buf);
        return 0;
}
