/* SPDX-License-Identifier: Apache-2.0 */
/* TOML text as a plain C tree; toml.cc is the only C++ in the daemon. Everything lies in the arena.
 */
#pragma once

#ifdef __cplusplus
extern "C" { /* around base too, which knows of no C++ */
#endif

#include "base/arena.h"
#include "base/err.h"

typedef enum TomlType {
        TOML_TABLE,
        TOML_ARRAY,
        TOML_STRING,
        TOML_INT,
        TOML_FLOAT,
        TOML_BOOL,
        TOML_TIME, /* dates and times: no key of ours takes one */
} TomlType;

typedef struct TomlNode TomlNode;
struct TomlNode {
        TomlType type;
        const char *key; /* of a table's member; NULL in arrays and for the root */
        const char *file;
        int row, column;
        const char *str;
        int64_t num; /* TOML_INT, TOML_BOOL */
        double real;
        TomlNode *first, *next; /* members or elements, in order */
};

/* INVALID_ARGUMENT with row and column. */
int toml_read(Arena *a, const char *text, size_t n, const char *file, TomlNode **ret, Err *err);

#ifdef __cplusplus
}
#endif
