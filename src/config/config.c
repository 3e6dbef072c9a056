/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration as the daemon sees it: its own tables, decoded when loaded, and those of
 * plugins, decoded when a plugin asks. Nobody having asked for a table is how we know that no such
 * plugin exists.
 */
#include <stddef.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "config/config_priv.h"

typedef struct Debug {
        const char *level, *format;
} Debug;

static const ConfigKey top_keys[] = {
        {"root", CONFIG_STRING, offsetof(ConfigDaemon, root), CONFIG_DEFAULT_ROOT},
        {"state", CONFIG_STRING, offsetof(ConfigDaemon, state), CONFIG_DEFAULT_STATE},
        {"temp", CONFIG_STRING, offsetof(ConfigDaemon, temp), ""},
        {"disabled_plugins", CONFIG_STRINGS, offsetof(ConfigDaemon, disabled_plugins), ""},
        {"required_plugins", CONFIG_STRINGS, offsetof(ConfigDaemon, required_plugins), ""},
        {"oom_score", CONFIG_INT, offsetof(ConfigDaemon, oom_score), "0", -1000, 1000},
        {"imports", CONFIG_STRINGS, offsetof(ConfigDaemon, imports), "/etc/lighter/conf.d/*.toml"},
        {"plugin_dir", CONFIG_UNSERVED},
        {"metrics", CONFIG_UNSERVED},
        {"proxy_plugins", CONFIG_UNSERVED},
};

static const ConfigKey grpc_keys[] = {
        {"address", CONFIG_STRING, offsetof(ConfigServer, address), CONFIG_DEFAULT_ADDRESS},
        {"uid", CONFIG_INT, offsetof(ConfigServer, uid), "-1", -1, INT32_MAX},
        {"gid", CONFIG_INT, offsetof(ConfigServer, gid), "-1", -1, INT32_MAX},
        {"max_recv_message_size", CONFIG_INT, offsetof(ConfigServer, max_recv), "16777216", 0,
         INT32_MAX},
        {"max_send_message_size", CONFIG_INT, offsetof(ConfigServer, max_send), "16777216", 0,
         INT32_MAX},
        {"tcp_address", CONFIG_UNSERVED},
        {"tcp_tls_ca", CONFIG_UNSERVED},
        {"tcp_tls_cert", CONFIG_UNSERVED},
        {"tcp_tls_key", CONFIG_UNSERVED},
        {"tcp_tls_common_name", CONFIG_UNSERVED},
};

static const ConfigKey ttrpc_keys[] = {
        {"address", CONFIG_STRING, offsetof(ConfigServer, address), ""},
        {"uid", CONFIG_INT, offsetof(ConfigServer, uid), "-1", -1, INT32_MAX},
        {"gid", CONFIG_INT, offsetof(ConfigServer, gid), "-1", -1, INT32_MAX},
};

static const ConfigKey cgroup_keys[] = {
        {"path", CONFIG_STRING, offsetof(ConfigCgroup, path), ""},
};

static const ConfigKey debug_keys[] = {
        {"level", CONFIG_STRING, offsetof(Debug, level), ""},
        {"format", CONFIG_STRING, offsetof(Debug, format), ""},
        {"address", CONFIG_UNSERVED},
        {"uid", CONFIG_UNSERVED},
        {"gid", CONFIG_UNSERVED},
        {"log_trace_id", CONFIG_UNSERVED},
};

static const ConfigKey processor_keys[] = {
        {"accepts", CONFIG_STRINGS, offsetof(ConfigProcessor, accepts), ""},
        {"args", CONFIG_STRINGS, offsetof(ConfigProcessor, args), ""},
        {"env", CONFIG_STRINGS, offsetof(ConfigProcessor, env), ""},
        {"path", CONFIG_STRING, offsetof(ConfigProcessor, path), ""},
        {"returns", CONFIG_STRING, offsetof(ConfigProcessor, returns), ""},
};

#define OCI_LAYER "application/vnd.oci.image.layer.v1.tar"
#define DECODER   "io.containerd.ocicrypt.decoder.v1.tar"
#define WORDS(...)                                                          \
        {                                                                   \
                .v = (const char *[]){__VA_ARGS__, NULL},                   \
                .n = sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *) \
        }
#define DECODER_PROGRAM                                                           \
        .path = "ctd-decoder",                                                    \
        .args = WORDS("--decryption-keys-path", "/etc/containerd/ocicrypt/keys"), \
        .env = WORDS("OCICRYPT_KEYPROVIDER_CONFIG=/etc/containerd/ocicrypt/"      \
                     "ocicrypt_keyprovider.conf")

/* Those that are there unless the file has others of their names; containerd's keys are shared. */
static const ConfigProcessor default_processors[] = {
        {.id = DECODER,
         .accepts = WORDS(OCI_LAYER "+encrypted"),
         .returns = OCI_LAYER,
         DECODER_PROGRAM},
        {.id = DECODER ".gzip",
         .accepts = WORDS(OCI_LAYER "+gzip+encrypted"),
         .returns = OCI_LAYER "+gzip",
         DECODER_PROGRAM},
};

static const ConfigSchema processor_schema = CONFIG_SCHEMA(processor_keys, ConfigProcessor);
static const ConfigSchema top_schema = CONFIG_SCHEMA(top_keys, ConfigDaemon);
static const ConfigSchema grpc_schema = CONFIG_SCHEMA(grpc_keys, ConfigServer);
static const ConfigSchema ttrpc_schema = CONFIG_SCHEMA(ttrpc_keys, ConfigServer);
static const ConfigSchema cgroup_schema = CONFIG_SCHEMA(cgroup_keys, ConfigCgroup);
static const ConfigSchema debug_schema = CONFIG_SCHEMA(debug_keys, Debug);

/* What the top table holds besides its own keys. */
static const char *const subtables[] = {"version", "grpc",     "ttrpc",   "debug",
                                        "cgroup",  "timeouts", "plugins", "stream_processors",
                                        NULL};

static int find_table(const Config *c, const char *key, const TomlNode **ret, Err *err)
{
        *ret = toml_find(c->root, key);
        if (*ret && (*ret)->type != TOML_TABLE)
                return config_wrong_type(*ret, "", key, "a table", err);
        return 0;
}

static int decode_table(Config *c, const char *key, const ConfigSchema *schema, void *out, Err *err)
{
        const TomlNode *table;
        int r = find_table(c, key, &table, err);

        if (r < 0)
                return r;
        return config_decode(c, table, arena_printf(&c->arena, "%s.", key), NULL, schema, NULL, out,
                             err);
}

/* A zero in the file says "the default". */
static void settle(Config *c)
{
        ConfigDaemon *d = &c->daemon;

        d->root = *d->root ? d->root : CONFIG_DEFAULT_ROOT;
        d->state = *d->state ? d->state : CONFIG_DEFAULT_STATE;
        d->grpc.address = *d->grpc.address ? d->grpc.address : CONFIG_DEFAULT_ADDRESS;
        d->grpc.max_recv = d->grpc.max_recv ? d->grpc.max_recv : LIMIT_GRPC_MESSAGE;
        d->grpc.max_send = d->grpc.max_send ? d->grpc.max_send : LIMIT_GRPC_MESSAGE;
        d->grpc.uid = d->grpc.uid < 0 ? geteuid() : d->grpc.uid;
        d->grpc.gid = d->grpc.gid < 0 ? getegid() : d->grpc.gid;
        if (!toml_find(c->root, "ttrpc")) {
                d->ttrpc.uid = d->grpc.uid;
                d->ttrpc.gid = d->grpc.gid;
        }
        d->ttrpc.uid = d->ttrpc.uid < 0 ? geteuid() : d->ttrpc.uid;
        d->ttrpc.gid = d->ttrpc.gid < 0 ? getegid() : d->ttrpc.gid;
        if (!*d->ttrpc.address)
                d->ttrpc.address = arena_printf(&c->arena, "%s.ttrpc", d->grpc.address);
}

static int check_timeouts(const Config *c, Err *err)
{
        const TomlNode *table;
        int64_t ns;
        int r = find_table(c, "timeouts", &table, err);

        if (r < 0)
                return r;
        for (const TomlNode *n = table ? table->first : NULL; n; n = n->next) {
                if (n->type != TOML_STRING)
                        return config_wrong_type(n, "timeouts.", n->key, "a string", err);
                if (duration_parse(n->str, &ns) < 0)
                        return err_set(err, INVALID_ARGUMENT,
                                       "%s: row %d column %d: timeouts.%s: invalid duration \"%s\"",
                                       n->file, n->row, n->column, n->key, n->str);
        }
        return 0;
}

static int decode_processors(Config *c, Err *err)
{
        ConfigDaemon *d = &c->daemon;
        const TomlNode *table;
        size_t n = ARRAY_LEN(default_processors);
        int r = find_table(c, "stream_processors", &table, err);

        if (r < 0)
                return r;
        for (const TomlNode *t = table ? table->first : NULL; t; t = t->next)
                n++;
        d->processors = arena_array(&c->arena, ConfigProcessor, n);
        for (const TomlNode *t = table ? table->first : NULL; t; t = t->next) {
                ConfigProcessor *p = &d->processors[d->n_processors++];

                if (t->type != TOML_TABLE)
                        return config_wrong_type(t, "stream_processors.", t->key, "a table", err);
                r = config_decode(c, t, arena_printf(&c->arena, "stream_processors.'%s'.", t->key),
                                  NULL, &processor_schema, NULL, p, err);
                if (r < 0)
                        return r;
                p->id = t->key;
        }
        for (size_t i = 0; i < ARRAY_LEN(default_processors); i++)
                if (!table || !toml_find(table, default_processors[i].id))
                        d->processors[d->n_processors++] = default_processors[i];
        return 0;
}

static int decode(Config *c, Err *err)
{
        ConfigDaemon *d = &c->daemon;
        const TomlNode *plugins;
        Debug debug;
        int r;

        if ((r = config_decode(c, c->root, "", NULL, &top_schema, subtables, d, err)) < 0 ||
            (r = decode_table(c, "grpc", &grpc_schema, &d->grpc, err)) < 0 ||
            (r = decode_table(c, "ttrpc", &ttrpc_schema, &d->ttrpc, err)) < 0 ||
            (r = decode_table(c, "debug", &debug_schema, &debug, err)) < 0 ||
            (r = decode_table(c, "cgroup", &cgroup_schema, &d->cgroup, err)) < 0 ||
            (r = decode_processors(c, err)) < 0 || (r = check_timeouts(c, err)) < 0 ||
            (r = find_table(c, "plugins", &plugins, err)) < 0)
                return r;
        d->log_level = debug.level;
        d->log_format = debug.format;
        for (const TomlNode *n = plugins ? plugins->first : NULL; n; n = n->next)
                if (n->type != TOML_TABLE)
                        return config_wrong_type(n, "plugins.", n->key, "a table", err);
        settle(c);
        return 0;
}

static void config_freep(Config **c)
{
        config_free(*c);
}

int config_load(const char *path, int must_exist, Config **ret, Err *err)
{
        Config *c CLEANUP(config_freep) = mem_new(Config);
        int r;

        arena_init(&c->arena, SIZE_MAX);
        r = config_read_files(c, path, must_exist, err);
        if (r < 0)
                return r;
        r = decode(c, err);
        if (r < 0)
                return r;
        *ret = TAKE(c);
        return 0;
}

Config *config_free(Config *c)
{
        if (!c)
                return NULL;
        VEC_DONE(&c->warnings);
        VEC_DONE(&c->asked);
        arena_done(&c->arena);
        free(c);
        return NULL;
}

void config_set_root(Config *c, const char *path)
{
        c->daemon.root = arena_strdup(&c->arena, path);
}

void config_set_state(Config *c, const char *path)
{
        c->daemon.state = arena_strdup(&c->arena, path);
}

void config_set_address(Config *c, const char *path)
{
        const TomlNode *ttrpc = toml_find(c->root, "ttrpc"),
                       *named = ttrpc ? toml_find(ttrpc, "address") : NULL;

        c->daemon.grpc.address = arena_strdup(&c->arena, path);
        if (!named || !*named->str)
                c->daemon.ttrpc.address = arena_printf(&c->arena, "%s.ttrpc", path);
}

void config_set_log_level(Config *c, const char *level)
{
        c->daemon.log_level = arena_strdup(&c->arena, level);
}

const ConfigDaemon *config_daemon(const Config *c)
{
        return &c->daemon;
}

static void mark_asked(Config *c, const char *name)
{
        VEC_PUSH(&c->asked, arena_strdup(&c->arena, name));
}

static int was_asked(const Config *c, const char *name)
{
        for (size_t i = 0; i < c->asked.n; i++)
                if (str_eq(c->asked.v[i], name))
                        return 1;
        return 0;
}

int config_plugin(Config *c, const char *uri, const ConfigSchema *schema, const void **ret,
                  Err *err)
{
        static const ConfigSchema empty = {};
        const TomlNode *plugins = toml_find(c->root, "plugins");
        const TomlNode *table = plugins ? toml_find(plugins, uri) : NULL;
        void *out;
        int r;

        mark_asked(c, uri);
        schema = schema ? schema : &empty;
        out = arena_alloc(&c->arena, schema->size + 1);
        r = config_decode(c, table, arena_printf(&c->arena, "plugins.\"%s\".", uri), uri, schema,
                          NULL, out, err);
        if (r < 0)
                return r;
        *ret = out;
        return 0;
}

void config_check_plugins(Config *c)
{
        const TomlNode *plugins = toml_find(c->root, "plugins"),
                       *timeouts = toml_find(c->root, "timeouts");

        for (const TomlNode *n = plugins ? plugins->first : NULL; n; n = n->next)
                if (!was_asked(c, n->key))
                        config_warn(c, "Ignoring table in TOML: there is no such plugin", n->key, n,
                                    NULL);
        for (const TomlNode *n = timeouts ? timeouts->first : NULL; n; n = n->next)
                if (!was_asked(c, n->key))
                        config_warn(c, "Ignoring timeout in TOML: lighter does not have it", n->key,
                                    n, NULL);
}

const ConfigWarning *config_warnings(const Config *c, size_t *ret_n)
{
        *ret_n = c->warnings.n;
        return c->warnings.v;
}

int64_t config_timeout(Config *c, const char *name, int64_t fallback_ns)
{
        const TomlNode *timeouts = toml_find(c->root, "timeouts");
        const TomlNode *n = timeouts ? toml_find(timeouts, name) : NULL;
        int64_t ns = fallback_ns;

        mark_asked(c, name);
        if (n)
                duration_parse(n->str, &ns); /* checked when loaded */
        return ns;
}

char *config_dump(Config *c, const ConfigPluginSchema *plugins, size_t n)
{
        const ConfigDaemon *d = &c->daemon;
        const TomlNode *timeouts = toml_find(c->root, "timeouts");
        Debug debug = {.level = d->log_level, .format = d->log_format};
        Str s = {};

        str_addf(&s, "version = %d\n", CONFIG_VERSION);
        config_print(&s, 0, &top_schema, d);
        str_add(&s, "\n[grpc]\n");
        config_print(&s, 2, &grpc_schema, &d->grpc);
        str_add(&s, "\n[ttrpc]\n");
        config_print(&s, 2, &ttrpc_schema, &d->ttrpc);
        str_add(&s, "\n[debug]\n");
        config_print(&s, 2, &debug_schema, &debug);
        str_add(&s, "\n[cgroup]\n");
        config_print(&s, 2, &cgroup_schema, &d->cgroup);
        str_add(&s, "\n[stream_processors]\n");
        for (size_t i = 0; i < d->n_processors; i++) {
                str_addf(&s, "  [stream_processors.'%s']\n", d->processors[i].id);
                config_print(&s, 4, &processor_schema, &d->processors[i]);
        }
        str_add(&s, "\n[timeouts]\n");
        for (const TomlNode *t = timeouts ? timeouts->first : NULL; t; t = t->next)
                str_addf(&s, "  '%s' = '%s'\n", t->key, t->str);
        str_add(&s, "\n[plugins]\n");
        for (size_t i = 0; i < n; i++) {
                const void *values;
                Err err = {};

                if (!plugins[i].schema || plugins[i].schema->n_keys == 0 ||
                    config_plugin(c, plugins[i].uri, plugins[i].schema, &values, &err) < 0)
                        continue;
                str_addf(&s, "  [plugins.'%s']\n", plugins[i].uri);
                config_print(&s, 4, plugins[i].schema, values);
                str_add_char(&s, '\n');
        }
        return str_steal(&s);
}
