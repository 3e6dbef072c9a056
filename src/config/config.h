/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.toml: versions 0 to 4 are read, each with its imports, and brought to the form of
 * version 3. What a table may hold is a schema (rows of ConfigKey) that fills a plain struct; so
 * the daemon's own tables and each plugin's are written the same way, and `config default` and
 * `config dump` print from the same rows.
 *
 * A wrong type or value is an error that names key, file and line. An unknown key is a warning, and
 * so is a key that containerd knows and Lighter does not serve. Warnings are kept for the caller,
 * which logs once it knows how.
 *
 * Lifetime: a Config owns everything read from it, schema structs included (strings borrow).
 * Constant once loaded: any thread may read it.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"

#define CONFIG_DEFAULT_PATH    "/etc/lighter/config.toml"
#define CONFIG_DEFAULT_ROOT    "/var/lib/lighter"
#define CONFIG_DEFAULT_STATE   "/run/lighter"
#define CONFIG_DEFAULT_ADDRESS "/run/lighter/lighter.sock"

enum { CONFIG_VERSION = 3, CONFIG_VERSION_MAX = 4 };

typedef enum ConfigKind {
        CONFIG_STRING,   /* const char *   */
        CONFIG_STRINGS,  /* ConfigStrings  */
        CONFIG_INT,      /* int64_t        */
        CONFIG_BOOL,     /* int            */
        CONFIG_FLOAT,    /* double         */
        CONFIG_DURATION, /* int64_t, ns; written "10s" */
        CONFIG_UNSERVED, /* no field: known to containerd; setting it is warned about */
} ConfigKind;

typedef struct ConfigStrings {
        const char **v; /* NULL-terminated, never NULL */
        size_t n;
} ConfigStrings;

typedef struct ConfigKey {
        const char *name;
        ConfigKind kind;
        size_t offset;
        const char *fallback; /* as text: "", "16777216", "true", "10s", "a,b" */
        int64_t min, max;     /* CONFIG_INT; both 0: any */
} ConfigKey;

typedef struct ConfigSchema {
        const ConfigKey *keys;
        size_t n_keys;
        size_t size; /* of the struct */
} ConfigSchema;

#define CONFIG_SCHEMA(keys_, type)                                                \
        {                                                                         \
                .keys = (keys_), .n_keys = ARRAY_LEN(keys_), .size = sizeof(type) \
        }

/* [grpc] and [ttrpc]; uid and gid are -1 for those of the daemon. */
typedef struct ConfigServer {
        const char *address;
        int64_t uid, gid;
        int64_t max_recv, max_send; /* bytes; grpc only */
} ConfigServer;

/* [cgroup]: where the daemon goes itself; "" for where it is. */
typedef struct ConfigCgroup {
        const char *path;
} ConfigCgroup;

/* [stream_processors.ID]: a program that turns layers of some media types into another. */
typedef struct ConfigProcessor {
        const char *id, *returns, *path;
        ConfigStrings accepts, args, env;
} ConfigProcessor;

/* The daemon's own tables. */
typedef struct ConfigDaemon {
        const char *root, *state, *temp;
        int64_t oom_score;
        ConfigStrings disabled_plugins, required_plugins, imports;
        ConfigServer grpc, ttrpc;
        ConfigCgroup cgroup;
        const char *log_level, *log_format;
        ConfigProcessor *processors;
        size_t n_processors;
} ConfigDaemon;

typedef struct ConfigWarning {
        const char *msg, *key, *file, *plugin; /* plugin: NULL outside of plugins */
        int row, column;
} ConfigWarning;

typedef struct Config Config;

/* Reads path with its imports; an absent file gives the defaults unless must_exist.
 * INVALID_ARGUMENT for what is wrong in a file, NOT_FOUND "open F: no such file or directory".
 * Blocks (reads files). */
int config_load(const char *path, int must_exist, Config **ret, Err *err);
Config *config_free(Config *c); /* takes NULL, returns NULL */

/* What flags override; the strings are copied. Before anybody reads. */
void config_set_root(Config *c, const char *path);
void config_set_state(Config *c, const char *path);
/* Also moves the ttrpc address to path.ttrpc unless the file names one. */
void config_set_address(Config *c, const char *path);
void config_set_log_level(Config *c, const char *level);

const ConfigDaemon *config_daemon(const Config *c);

/* The struct for [plugins."uri"] with defaults filled in; from the config's arena. Unknown keys
 * below it become warnings. INVALID_ARGUMENT. Call once per plugin, from one thread. */
int config_plugin(Config *c, const char *uri, const ConfigSchema *schema, const void **ret,
                  Err *err);
/* Warns about tables of plugins that nobody has asked for with config_plugin(). */
void config_check_plugins(Config *c);
const ConfigWarning *config_warnings(const Config *c, size_t *ret_n);
/* A duration of [timeouts] in ns, or fallback_ns when the file has none. */
int64_t config_timeout(Config *c, const char *name, int64_t fallback_ns);

/* The effective configuration as TOML, heap. schemas: what to print under [plugins]. */
typedef struct ConfigPluginSchema {
        const char *uri;
        const ConfigSchema *schema;
} ConfigPluginSchema;
char *config_dump(Config *c, const ConfigPluginSchema *plugins, size_t n);
