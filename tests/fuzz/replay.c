/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A main() for fuzz targets without a fuzzer: runs the target over every file of its corpus, and
 * over variations of each (cut short, one byte changed), so that each build checks what fuzzing has
 * found. Closes as a test does.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include "base/fd.h"
#include "base/hash.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { VARIATIONS = 200, FILE_MAX = 16 * 1024 * 1024 };

static void run(const char *bytes, size_t n)
{
        /* exactly n bytes on the heap, so that a read past the end is seen */
        uint8_t *copy = mem_alloc(n);

        memcpy(copy, bytes, n);
        LLVMFuzzerTestOneInput(copy, n);
        free(copy);
}

static void run_varied(char *bytes, size_t n, uint64_t seed)
{
        run(bytes, n);
        for (int i = 0; i < VARIATIONS && n > 0; i++) {
                size_t at;
                char old;

                seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
                at = (size_t)(seed >> 20) % n;
                old = bytes[at];
                bytes[at] = (char)(seed >> 56);
                run(bytes, n);
                bytes[at] = old;
                run(bytes, at);
        }
}

int main(int argc, char **argv)
{
        const char *dir = argc > 1 ? argv[1] : FUZZ_CORPUS;
        DIR *d = opendir(dir);
        struct dirent *e;
        int n = 0;

        run("", 0);
        while (d && (e = readdir(d))) {
                char *text CLEANUP(cleanup_free) = NULL;
                size_t len;
                Err err;

                if (e->d_name[0] == '.')
                        continue;
                if (file_read(NULL, dirfd(d), e->d_name, FILE_MAX, &text, &len, &err) < 0) {
                        printf("%s\n0 passed, 1 failed\n", err.msg);
                        return 1;
                }
                run_varied(text, len, (uint64_t)n++);
        }
        if (d)
                closedir(d);
        printf("%d passed, %d failed\n", n, n == 0);
        if (n == 0)
                printf("no corpus in %s\n", dir);
        return n == 0;
}
