/* SPDX-License-Identifier: Apache-2.0 */
/* Archives, handed over in pieces whose size the first byte chooses, each in memory of exactly its
 * size. */
#include <stdlib.h>
#include "base/cleanup.h"
#include "base/limits.h"
#include "diff/tar.h"
#include "diff/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Source {
        const uint8_t *data;
        size_t n, step;
        uint8_t *piece;
} Source;

static int next(void *ctx, const uint8_t **ret, size_t *ret_n, Err *err)
{
        Source *s = ctx;
        size_t n = MIN(s->n, s->step);

        free(s->piece);
        s->piece = malloc(n ? n : 1);
        memcpy(s->piece, s->data, n);
        s->data += n;
        s->n -= n;
        *ret = s->piece;
        *ret_n = n;
        return 0;
}

/* What a reader must promise whatever it reads. */
static void check_entry(TarReader *t, const TarEntry *e)
{
        char clean[LIMIT_TAR_NAME];
        uint64_t offset, end = 0;
        const uint8_t *p;
        Err err = {};
        size_t n;

        if (strlen(e->name) >= LIMIT_TAR_NAME || strlen(e->link) >= LIMIT_TAR_NAME ||
            e->mode > 07777)
                abort();
        if (tree_clean(e->name, clean, &err) == 0 && (clean[0] == '/' || str_starts(clean, "../") ||
                                                      strstr(clean, "/../") || str_eq(clean, "..")))
                abort();
        while (tar_data(t, &p, &n, &offset, &err) == 0 && n > 0) {
                if (offset < end || n > e->size || offset > e->size - n)
                        abort();
                end = offset + n;
        }
}

/* A header that says ustar gets the checksum it needs, or the search would end at it. */
static void mend(uint8_t *p, size_t n)
{
        for (; n >= 512; p += 512, n -= 512) {
                unsigned sum = 0;

                if (memcmp(p + 257, "ustar", 5) != 0)
                        continue;
                memset(p + 148, ' ', 8);
                for (int i = 0; i < 512; i++)
                        sum += p[i];
                for (int i = 5; i >= 0; i--, sum >>= 3)
                        p[148 + i] = (uint8_t)('0' + (sum & 7));
                p[154] = 0;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        size_t n = size - (size > 0);
        uint8_t *copy CLEANUP(cleanup_free) = malloc(n + 1);
        Source s = {.data = copy, .n = n, .step = size > 0 ? data[0] * 8 + 1 : 1};
        TarReader t CLEANUP(tar_reader_done);
        TarEntry e;
        Err err = {};

        memcpy(copy, data + (size > 0), n);
        if (size > 0 && data[0] & 1)
                mend(copy, n);
        tar_reader_init(&t, next, &s);
        while (tar_next(&t, &e, &err) == 1)
                check_entry(&t, &e);
        free(s.piece);
        return 0;
}
