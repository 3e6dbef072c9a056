/* SPDX-License-Identifier: Apache-2.0 */
/* What names and labels may look like: namespaces, container and exec ids, labels. */
#pragma once

#include "base/err.h"

/* 1 to 76 characters, ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$. INVALID_ARGUMENT; what
 * ("container.ID") is put before the message, NULL for nothing. */
int identifier_check(const char *what, const char *s, Err *err);
/* Key and value together at most 4096 bytes. INVALID_ARGUMENT. */
int label_check(const char *key, const char *value, Err *err);
