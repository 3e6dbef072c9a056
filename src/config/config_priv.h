/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the configuration reader share. */
#pragma once

#include "base/str.h"
#include "base/vec.h"
#include "config/config.h"
#include "config/toml.h"

struct Config {
        Arena arena;
        TomlNode *root; /* merged, in the form of version 3 */
        ConfigDaemon daemon;
        VEC(ConfigWarning) warnings;
        VEC(const char *) asked; /* plugin URIs and timeouts that somebody wanted */
};

/* tree.c-like helpers, files.c */
TomlNode *toml_find(const TomlNode *table, const char *key);
/* Appends child under key, replacing one of that name. */
void toml_put(Arena *a, TomlNode *table, const char *key, TomlNode *child);
/* Takes the member out; NULL when absent. */
TomlNode *toml_take(TomlNode *table, const char *key);
TomlNode *toml_table(Arena *a, TomlNode *parent, const char *key); /* found or made */

/* files.c: reads path and all it imports, merged and migrated. */
int config_read_files(Config *c, const char *path, int must_exist, Err *err);

/* migrate.c: brings one file's tree to CONFIG_VERSION. */
int config_migrate(Arena *a, TomlNode *root, Err *err);

/* schema.c */
void config_warn(Config *c, const char *msg, const char *key, const TomlNode *at,
                 const char *plugin);
/* table may be NULL: all defaults. path prefixes keys in messages ("grpc."); plugin for warnings.
 * Members named in ignore (NULL-terminated, may be NULL) belong to somebody else. */
int config_decode(Config *c, const TomlNode *table, const char *path, const char *plugin,
                  const ConfigSchema *schema, const char *const *ignore, void *out, Err *err);
void config_print(Str *s, int indent, const ConfigSchema *schema, const void *in);
int config_wrong_type(const TomlNode *n, const char *path, const char *key, const char *wanted,
                      Err *err);
