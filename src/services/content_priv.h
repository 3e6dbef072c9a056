/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "services/content.h"

extern const RpcStreamOps content_read_ops, content_list_ops, content_write_ops;

/* The caller, with its namespace checked; borrows the call's strings. */
int content_caller(Call *c, MetaCaller *ret);
/* INVALID_ARGUMENT "\"x\" failed validation". */
int content_check_digest(Call *c, const char *digest);
