/* SPDX-License-Identifier: Apache-2.0 */
/* The runner that every test binary links. */
#include "base/test.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/path.h"

static TestCase *first, **last = &first;
static int failed_now, skipped_now;
static char tmpdir[256];

void test_register(TestCase *t)
{
        *last = t;
        last = &t->next;
}

void test_fail(const char *file, int line, const char *fmt, ...)
{
        va_list ap;

        failed_now = 1;
        printf("    %s:%d: ", file, line);
        va_start(ap, fmt);
        vprintf(fmt, ap);
        va_end(ap);
        printf("\n");
}

void test_skip(const char *why)
{
        skipped_now = 1;
        printf("    skipped: %s\n", why);
}

const char *test_tmpdir(void)
{
        const char *base = getenv("TMPDIR");

        if (!tmpdir[0]) {
                snprintf(tmpdir, sizeof(tmpdir), "%s/lighter-test-XXXXXX", base ? base : "/tmp");
                if (!mkdtemp(tmpdir))
                        abort();
        }
        return tmpdir;
}

static void remove_tmpdir(void)
{
        Err err;

        if (tmpdir[0])
                path_remove_tree(AT_FDCWD, tmpdir, &err);
        tmpdir[0] = 0;
}

static int wanted(const TestCase *t, int argc, char **argv)
{
        for (int i = 1; i < argc; i++)
                if (strstr(t->name, argv[i]))
                        return 1;
        return argc < 2;
}

int main(int argc, char **argv)
{
        int passed = 0, failed = 0, skipped = 0;

        setvbuf(stdout, NULL, _IOLBF, 0);
        for (TestCase *t = first; t; t = t->next) {
                if (!wanted(t, argc, argv))
                        continue;
                failed_now = skipped_now = 0;
                t->fn();
                remove_tmpdir();
                if (failed_now)
                        printf("FAIL %s (%s)\n", t->name, t->file);
                failed += failed_now;
                skipped += skipped_now && !failed_now;
                passed += !failed_now && !skipped_now;
        }
        printf("%d passed, %d failed", passed, failed);
        if (skipped)
                printf(", %d skipped", skipped);
        printf("\n");
        return failed > 0;
}
