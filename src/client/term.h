/* SPDX-License-Identifier: Apache-2.0 */
/* Our own terminal in raw mode, given back on every way out: term_restore(), exit, and signals that
 * kill. */
#pragma once

#include "base/err.h"

/* FAILED_PRECONDITION when standard input is no terminal. */
int term_check(Err *err);
int term_raw(Err *err);
void term_restore(void); /* does nothing when there is nothing to restore */
/* 0 with the size, -1 without a terminal. */
int term_size(uint32_t *ret_cols, uint32_t *ret_rows);
