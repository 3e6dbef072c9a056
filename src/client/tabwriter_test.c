// SPDX-License-Identifier: Apache-2.0
#include "client/tabwriter.h"

#include "base/test.h"

/* Expectations were printed by ctr 1.6.20. */
TEST(tabwriter_trailing_cell_pads)
{
        Table t CLEANUP(table_done) = TABLE(4, 8, 4, ' ');
        Str s CLEANUP(str_done) = {};

        TABLE_ROW(&t, "TASK", "PID", "STATUS", "");
        TABLE_ROW(&t, "c1", "12345", "RUNNING");
        TABLE_ROW(&t, "long-name", "7", "STOPPED");
        table_format(&t, &s);
        CHECK_STR(str_get(&s), "TASK         PID      STATUS    \n"
                               "c1           12345    RUNNING\n"
                               "long-name    7        STOPPED\n");
}

TEST(tabwriter_a_column_is_a_run_of_lines)
{
        Table t CLEANUP(table_done) = TABLE(1, 8, 4, ' ');
        Str s CLEANUP(str_done) = {};

        TABLE_ROW(&t, "ID", "TIMESTAMP");
        TABLE_ROW(&t, "a-long-id", "x");
        TABLE_ROW(&t, "");
        TABLE_ROW(&t, "METRIC", "VALUE");
        table_format(&t, &s);
        CHECK_STR(str_get(&s), "ID           TIMESTAMP\na-long-id    x\n\nMETRIC    VALUE\n");
}

TEST(tabwriter_pads_with_tabs)
{
        Table t CLEANUP(table_done) = TABLE(1, 8, 1, '\t');
        Str s CLEANUP(str_done) = {};

        TABLE_ROW(&t, "DIGEST", "SIZE", "AGE", "LABELS");
        TABLE_ROW(&t, "sha256:0123", "371B", "7 minutes", "-");
        table_format(&t, &s);
        CHECK_STR(str_get(&s), "DIGEST\t\tSIZE\tAGE\t\tLABELS\nsha256:0123\t371B\t7 minutes\t-\n");
}

TEST(tabwriter_counts_characters_and_escapes)
{
        Table t CLEANUP(table_done) = TABLE(1, 8, 1, ' ');
        Str s CLEANUP(str_done) = {};

        t.escape = 1;
        TABLE_ROW(&t, "\xc3\xa4\xc3\xb6", "1");
        TABLE_ROW(&t, "ab\x1b[2J", "2");
        table_format(&t, &s);
        CHECK_STR(str_get(&s), "\xc3\xa4\xc3\xb6        1\nab\\x1b[2J 2\n");
}

TEST(tabwriter_empty)
{
        Table t CLEANUP(table_done) = TABLE(1, 8, 1, ' ');
        Str s CLEANUP(str_done) = {};

        table_format(&t, &s);
        CHECK_STR(str_get(&s), "");
}
