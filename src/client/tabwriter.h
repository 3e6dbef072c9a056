/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Columns of text, aligned by the rules of Go's text/tabwriter, so that what scripts cut out of
 * ctr's tables they cut out of ours: a column is a run of lines that have a cell there which is not
 * their last; its width is its widest cell plus padding. Embedded: `Table t CLEANUP(table_done) =
 * TABLE(4, 8, 4, ' ');`
 */
#pragma once

#include <stdio.h>
#include "base/str.h"
#include "base/vec.h"

typedef struct Table {
        int minwidth, tabwidth, padding;
        char padchar;
        int escape; /* cells may carry anything: see text_escape() */
        VEC(char *) cells;
        VEC(size_t) rows; /* index of each row's first cell */
} Table;

#define TABLE(minwidth_, tabwidth_, padding_, padchar_)                                  \
        {                                                                                \
                .minwidth = (minwidth_), .tabwidth = (tabwidth_), .padding = (padding_), \
                .padchar = (padchar_)                                                    \
        }

void table_done(Table *t);
/* Starts a row; cells follow. A row that is to end in padding gets an empty last cell. */
void table_row(Table *t);
void table_cell(Table *t, const char *text);
void table_cellf(Table *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A whole row from texts. */
#define TABLE_ROW(t, ...) table_row_of((t), (const char *const[]){__VA_ARGS__, NULL})
void table_row_of(Table *t, const char *const *cells);
void table_format(const Table *t, Str *out);
