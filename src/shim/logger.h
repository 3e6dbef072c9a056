/* SPDX-License-Identifier: Apache-2.0 */
/* binary:// and binary-v2://: a program that takes a process' output. For op children. */
#pragma once

#include "shim/stdio.h"

/* Starts it: stdout and stderr at fds 3 and 4, readiness at 5; its arguments are the keys and first
 * values of the query. v2 insists on a byte written there. Fills the io.fds and slots of the
 * outputs, and the logger's pid. */
int logger_start(Arena *a, const char *path, const char *query, int v2, const StdioWho *who,
                 int terminal, StdioChild *c, Err *err);
/* %XX and '+' undone. */
char *url_decode(Arena *a, const char *text);
