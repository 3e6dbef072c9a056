/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <errno.h>
#include "base/test.h"

TEST(err_reads_from_the_outside_in)
{
        Err err;

        CHECK_INT(err_set(&err, NOT_FOUND, "image \"%s\": not found", "x"), -NOT_FOUND);
        CHECK_INT(err_wrap(&err, "pull %s", "y"), -NOT_FOUND);
        CHECK_STR(err.msg, "pull y: image \"x\": not found");
        CHECK(str_ends(err.file, "err_test.c"));
}

TEST(err_maps_errno)
{
        Err err;

        CHECK_INT(err_sys(&err, ENOENT, "open %s", "/x"), -NOT_FOUND);
        CHECK_STR(err.msg, "open /x: No such file or directory");
        CHECK_INT(err_sys(&err, ENOSPC, "write"), -RESOURCE_EXHAUSTED);
        CHECK_INT(err_sys(&err, EXDEV, "link"), -UNKNOWN);
}

TEST(err_cuts_what_is_too_long)
{
        char big[3000];
        Err err;

        memset(big, 'a', sizeof(big) - 1);
        big[sizeof(big) - 1] = 0;
        err_set(&err, INTERNAL, "%s", big);
        CHECK_INT(strlen(err.msg), ERR_MSG_MAX - 1);
        err_wrap(&err, "outer");
        CHECK(str_starts(err.msg, "outer: aaa"));
        CHECK_INT(strlen(err.msg), ERR_MSG_MAX - 1);
        err_sys(&err, EIO, "%s", big);
        CHECK_INT(strlen(err.msg), ERR_MSG_MAX - 1);
}

TEST(err_cut_within_a_character_loses_it)
{
        char big[ERR_MSG_MAX + 8] = "";
        Err err;

        for (size_t before = 0; before < 4; before++) {
                memset(big, 'a', sizeof(big) - 1);
                memcpy(big + ERR_MSG_MAX - 1 - before, "\xf0\x9f\x9a\xa2", 4);
                err_set(&err, INTERNAL, "%s", big);
                CHECK_INT(strlen(err.msg), ERR_MSG_MAX - 1 - before);
        }
        memset(big, 'a', sizeof(big) - 1);
        memcpy(big + ERR_MSG_MAX - 1 - 4, "\xf0\x9f\x9a\xa2", 4);
        err_set(&err, INTERNAL, "%s", big);
        CHECK_INT(strlen(err.msg), ERR_MSG_MAX - 1);
}
