/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of a peer, cut at places that the input chooses: whatever the cuts, the same frames come
 * out. */
#include <stdlib.h>
#include <string.h>

#include "ttrpc/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* A sum over all frames; step 0: all at once. */
static uint64_t read_all(const uint8_t *data, size_t n, size_t step)
{
        TtrpcReader r = {};
        uint64_t sum = 0;

        for (size_t at = 0; at < n;) {
                size_t chunk = step ? MIN(step, n - at) : n - at, used;
                uint8_t *copy = malloc(chunk);

                memcpy(copy, data + at, chunk);
                for (size_t off = 0; off < chunk; off += used) {
                        TtrpcFrame f;
                        int got = ttrpc_reader_feed(&r, copy + off, chunk - off, &used, &f);

                        if (got < 0 || used > chunk - off || (got == 0 && used != chunk - off))
                                abort();
                        if (got == 0)
                                continue;
                        if (!f.data != (f.length > LIMIT_TTRPC_MESSAGE))
                                abort();
                        sum = sum * 31 + f.stream + f.type * 7 + f.flags;
                        for (size_t i = 0; f.data && i < f.length; i++)
                                sum = sum * 31 + f.data[i];
                }
                free(copy);
                at += chunk;
        }
        ttrpc_reader_done(&r);
        return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        uint64_t whole = read_all(data, n, 0);

        if (n > 0 && (read_all(data, n, 1) != whole || read_all(data, n, 1 + data[0]) != whole))
                abort();
        return 0;
}
