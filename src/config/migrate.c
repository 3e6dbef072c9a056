/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Older and newer versions of the file, brought to version 3, which is the form the rest reads:
 *
 *   0, 1  plugins had short names ("cri"), also in disabled_plugins: they get their URIs;
 *   2     a few plugins had other URIs;
 *   4     [grpc] and [ttrpc] had become plugins of type io.containerd.server.v1: they move back.
 *
 * Tables that nobody knows stay under their URI, and are warned about like any other.
 */
#include "config/config_priv.h"

static const char *const short_names[][2] = {
        {"cri", "io.containerd.grpc.v1.cri"},
        {"cgroups", "io.containerd.monitor.v1.cgroups"},
        {"linux", "io.containerd.runtime.v1.linux"},
        {"scheduler", "io.containerd.gc.v1.scheduler"},
        {"bolt", "io.containerd.metadata.v1.bolt"},
        {"task", "io.containerd.runtime.v2.task"},
        {"opt", "io.containerd.internal.v1.opt"},
        {"restart", "io.containerd.internal.v1.restart"},
        {"tracing", "io.containerd.internal.v1.tracing"},
        {"otlp", "io.containerd.tracing.processor.v1.otlp"},
        {"aufs", "io.containerd.snapshotter.v1.aufs"},
        {"btrfs", "io.containerd.snapshotter.v1.btrfs"},
        {"devmapper", "io.containerd.snapshotter.v1.devmapper"},
        {"native", "io.containerd.snapshotter.v1.native"},
        {"overlayfs", "io.containerd.snapshotter.v1.overlayfs"},
        {"zfs", "io.containerd.snapshotter.v1.zfs"},
};

static const char *const renamed_in_3[][2] = {
        {"io.containerd.internal.v1.restart", "io.containerd.monitor.container.v1.restart"},
        {"io.containerd.monitor.v1.cgroups", "io.containerd.monitor.task.v1.cgroups"},
};

/* Version 4's server plugins and the tables they were before. */
static const char *const servers[][2] = {
        {"io.containerd.server.v1.grpc", "grpc"},
        {"io.containerd.server.v1.ttrpc", "ttrpc"},
};

static const char *uri_of(Arena *a, const char *name)
{
        if (strchr(name, '.'))
                return name;
        for (size_t i = 0; i < ARRAY_LEN(short_names); i++)
                if (str_eq(name, short_names[i][0]))
                        return short_names[i][1];
        if (str_ends(name, "-service"))
                return arena_printf(a, "io.containerd.service.v1.%s", name);
        return arena_printf(a, "io.containerd.grpc.v1.%s", name);
}

static void lengthen_list(Arena *a, TomlNode *list)
{
        for (TomlNode *n = list && list->type == TOML_ARRAY ? list->first : NULL; n; n = n->next)
                if (n->type == TOML_STRING) {
                        n->str = uri_of(a, n->str);
                        n->num = (int64_t)strlen(n->str);
                }
}

/* From version 2 on, lists of plugins hold URIs. */
static int check_list(const TomlNode *list, const char *what, Err *err)
{
        for (const TomlNode *n = list && list->type == TOML_ARRAY ? list->first : NULL; n;
             n = n->next)
                if (n->type == TOML_STRING && !strchr(n->str, '.'))
                        return err_set(err, INVALID_ARGUMENT,
                                       "invalid %s plugin URI \"%s\" expect io.containerd.x.vx",
                                       what, n->str);
        return 0;
}

int config_migrate(Arena *a, TomlNode *root, Err *err)
{
        TomlNode *version = toml_find(root, "version"), *plugins = toml_find(root, "plugins");
        TomlNode *disabled = toml_find(root, "disabled_plugins"),
                 *required = toml_find(root, "required_plugins");
        int64_t v = version ? version->num : 0;
        int r;

        if (version && version->type != TOML_INT)
                return config_wrong_type(version, "", "version", "an integer", err);
        if (v < 0 || v > CONFIG_VERSION_MAX)
                return err_set(
                        err, INVALID_ARGUMENT,
                        "expected containerd config version equal to or less than `%d`, got `%lld`",
                        CONFIG_VERSION_MAX, (long long)v);
        if (plugins && plugins->type != TOML_TABLE)
                return config_wrong_type(plugins, "", "plugins", "a table", err);
        if (v < 2) {
                lengthen_list(a, disabled);
                lengthen_list(a, required);
                for (TomlNode *n = plugins ? plugins->first : NULL; n; n = n->next)
                        n->key = uri_of(a, n->key);
        }
        if ((r = check_list(disabled, "disabled", err)) < 0 ||
            (r = check_list(required, "required", err)) < 0)
                return r;
        for (size_t i = 0; v < 3 && plugins && i < ARRAY_LEN(renamed_in_3); i++) {
                TomlNode *n = toml_take(plugins, renamed_in_3[i][0]);

                if (n)
                        toml_put(a, plugins, renamed_in_3[i][1], n);
        }
        for (size_t i = 0; v > 3 && plugins && i < ARRAY_LEN(servers); i++) {
                TomlNode *n = toml_take(plugins, servers[i][0]);

                if (n)
                        toml_put(a, root, servers[i][1], n);
        }
        return 0;
}
