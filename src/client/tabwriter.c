// SPDX-License-Identifier: Apache-2.0
/*
 * Go's algorithm: walk the lines; where a line has a cell in the current column that is not its
 * last, a block of such lines begins; measure it, then lay out the block with one column more.
 * Recursion is as deep as a table is wide.
 */
#include "client/tabwriter.h"

#include <stdarg.h>
#include "client/human.h"

typedef struct Layout {
        const Table *t;
        Str *out;
        VEC(int) widths;
        size_t printed; /* rows written so far */
} Layout;

void table_done(Table *t)
{
        VEC_FOREACH (cell, &t->cells)
                free(*cell);
        VEC_DONE(&t->cells);
        VEC_DONE(&t->rows);
}

void table_row(Table *t)
{
        VEC_PUSH(&t->rows, t->cells.n);
}

void table_cell(Table *t, const char *text)
{
        Str s = {};

        assert(t->rows.n > 0);
        if (t->escape)
                text_escape(&s, text);
        else
                str_add(&s, text);
        VEC_PUSH(&t->cells, str_steal(&s));
}

void table_cellf(Table *t, const char *fmt, ...)
{
        Str s CLEANUP(str_done) = {};
        va_list ap;

        va_start(ap, fmt);
        str_vaddf(&s, fmt, ap);
        va_end(ap);
        table_cell(t, str_get(&s));
}

void table_row_of(Table *t, const char *const *cells)
{
        table_row(t);
        for (; *cells; cells++)
                table_cell(t, *cells);
}

static size_t row_cells(const Table *t, size_t row)
{
        return (row + 1 < t->rows.n ? t->rows.v[row + 1] : t->cells.n) - t->rows.v[row];
}

static const char *cell_at(const Table *t, size_t row, size_t column)
{
        return t->cells.v[t->rows.v[row] + column];
}

static int text_width(const char *s)
{
        int n = 0;

        for (; *s; s++)
                n += (*s & 0xc0) != 0x80;
        return n;
}

static void pad(Layout *l, int textw, int cellw)
{
        const Table *t = l->t;
        int n = cellw - textw;

        if (t->padchar == '\t') {
                cellw = (cellw + t->tabwidth - 1) / t->tabwidth * t->tabwidth;
                n = (cellw - textw + t->tabwidth - 1) / t->tabwidth;
        }
        for (; n > 0; n--)
                str_add_char(l->out, t->padchar);
}

static void write_rows(Layout *l, size_t end)
{
        for (; l->printed < end; l->printed++) {
                size_t n = row_cells(l->t, l->printed);

                for (size_t i = 0; i < n; i++) {
                        const char *cell = cell_at(l->t, l->printed, i);

                        str_add(l->out, cell);
                        if (i < l->widths.n)
                                pad(l, text_width(cell), l->widths.v[i]);
                }
                str_add_char(l->out, '\n');
        }
}

static void layout_rows(Layout *l, size_t end)
{
        size_t column = l->widths.n;

        for (size_t at = l->printed; at < end; at++) {
                int width = l->t->minwidth;

                if (column + 1 >= row_cells(l->t, at))
                        continue;
                write_rows(l, at);
                for (; at < end && column + 1 < row_cells(l->t, at); at++)
                        width = MAX(width, text_width(cell_at(l->t, at, column)) + l->t->padding);
                VEC_PUSH(&l->widths, width);
                layout_rows(l, at);
                (void)VEC_POP(&l->widths);
        }
        write_rows(l, end);
}

void table_format(const Table *t, Str *out)
{
        Layout l = {.t = t, .out = out};

        layout_rows(&l, t->rows.n);
        VEC_DONE(&l.widths);
}
