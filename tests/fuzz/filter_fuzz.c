/* SPDX-License-Identifier: Apache-2.0 */
/* Filters, one a line, matched against a record; each line also as a regular expression. */
#include "base/mem.h"
#include "base/vec.h"
#include "db/filter.h"
#include "db/regex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *field(void *ctx, const char *const *path, size_t n)
{
        return n > 1 ? "some value, of /any/ length: 0123456789 aaaaaaaaaaaaaaaaaaaa" : path[0];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *text CLEANUP(cleanup_free) = mem_strndup((const char *)data, size);
        char *save = NULL;
        VEC(const char *) lines = {};
        Filter *f CLEANUP(filter_freep) = NULL;
        Err err = {};

        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                Regex *re CLEANUP(regex_freep) = NULL;

                VEC_PUSH(&lines, line);
                if (regex_compile(line, &re) == 0)
                        regex_search(re, "abc ABC 0123 \xc3\xa4\n_x");
        }
        if (filter_parse(lines.v, lines.n, &f, &err) == 0)
                filter_match(f, field, NULL);
        VEC_DONE(&lines);
        return 0;
}
