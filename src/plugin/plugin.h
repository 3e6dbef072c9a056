/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plugins: every part of the daemon is one row of a table. A row says what it is (type and id,
 * together its URI), which types it requires, what its configuration may hold, and how it starts
 * and ends. The set sorts the rows so that requirements start first, starts them on one thread, and
 * keeps the outcome of each for introspection.
 *
 *         static int bolt_init(PluginContext *pc, void **ret, Err *err)
 *         {
 *                 ContentStore *content;
 *                 int r = plugin_get(pc, PLUGIN_CONTENT, (void **)&content, err);
 *                 ...
 *         }
 *
 * A plugin that fails is recorded, and what needs it fails after it; only one of required_plugins
 * stops the start. One that finds it cannot work here says so with plugin_skip(). There are no
 * constructor side effects: a row acts only through its init, and only if somebody put it into the
 * table.
 */
#pragma once

#include "config/config.h"
#include "spec/platform.h"

#define PLUGIN_CONTENT            "io.containerd.content.v1"
#define PLUGIN_SNAPSHOTTER        "io.containerd.snapshotter.v1"
#define PLUGIN_EVENT              "io.containerd.event.v1"
#define PLUGIN_METADATA           "io.containerd.metadata.v1"
#define PLUGIN_GC                 "io.containerd.gc.v1"
#define PLUGIN_DIFFER             "io.containerd.differ.v1"
#define PLUGIN_MOUNT_MANAGER      "io.containerd.mount-manager.v1"
#define PLUGIN_MOUNT_HANDLER      "io.containerd.mount-handler.v1"
#define PLUGIN_SHIM               "io.containerd.shim.v1"
#define PLUGIN_RUNTIME            "io.containerd.runtime.v2"
#define PLUGIN_GRPC               "io.containerd.grpc.v1"
#define PLUGIN_INTERNAL           "io.containerd.internal.v1"
#define PLUGIN_WARNING            "io.containerd.warning.v1"
#define PLUGIN_SANDBOX_STORE      "io.containerd.sandbox.store.v1"
#define PLUGIN_SANDBOX_CONTROLLER "io.containerd.sandbox.controller.v1"

typedef struct PluginContext PluginContext;
typedef struct PluginSet PluginSet;

typedef struct PluginRegistration {
        const char *type, *id;
        const char *const *requires; /* types, NULL-terminated; NULL for none */
        const ConfigSchema *schema;  /* NULL: no keys */
        /* Fills *ret, which may stay NULL. Runs on the main thread before any client is served. */
        int (*init)(PluginContext *pc, void **ret, Err *err);
        void (*close)(void *instance); /* NULL: nothing to do; in reverse order of init */
} PluginRegistration;

struct PluginContext {
        const PluginRegistration *registration;
        PluginSet *set;
        void *host;           /* what the daemon hands to everybody */
        const void *settings; /* the struct of the row's schema */
        const char *root;     /* "<root>/<type>.<id>"; made by the plugin that wants it */
        const char *state;    /* "<state>/<type>.<id>" */
};

/* The one working plugin of a type. NOT_FOUND "no plugins registered for TYPE: plugin: not found";
 * INVALID_ARGUMENT when there are several. A failed one passes its error on. */
int plugin_get(PluginContext *pc, const char *type, void **ret, Err *err);
int plugin_get_id(PluginContext *pc, const char *type, const char *id, void **ret, Err *err);
/* Each working plugin of a type; stops at the first that does not return 0. */
int plugin_each(PluginContext *pc, const char *type,
                int (*fn)(void *ctx, const char *id, void *instance), void *ctx);

/* return plugin_skip(err, "no such device"): recorded as "no such device: skip plugin", logged
 * quietly. */
int plugin_skip(Err *err, const char *why);
void plugin_export(PluginContext *pc, const char *key, const char *value); /* copied */
void plugin_capability(PluginContext *pc, const char *name);
void plugin_platform(PluginContext *pc, const Platform *p);

typedef enum PluginState { PLUGIN_NEW, PLUGIN_READY, PLUGIN_SKIPPED, PLUGIN_FAILED } PluginState;

/* One plugin as introspection shows it; borrowed from the set. */
typedef struct PluginInfo {
        const char *type, *id;
        const char *const *requires;
        PluginState state;
        const Err *err; /* of a skipped or failed one, else NULL */
        const Platform *platforms;
        size_t n_platforms;
        const char *const *capabilities;
        size_t n_capabilities;
        const char *const *export_keys, *const *export_values;
        size_t n_exports;
        void *instance; /* NULL unless ready */
} PluginInfo;

typedef struct PluginSetOptions {
        Config *config;
        const char *root, *state;
        void *host;
} PluginSetOptions;

/* Drops what disabled_plugins names, sorts. INVALID_ARGUMENT: duplicates, cycles by name, bad URIs,
 * required_plugins that do not exist. The table must outlive the set. */
int plugin_set_new(const PluginRegistration *table, size_t n, const PluginSetOptions *o,
                   PluginSet **ret, Err *err);
/* Starts all in order. An error only when one of required_plugins did not start. */
int plugin_set_start(PluginSet *s, Err *err);
/* Closes in reverse order and frees. Takes NULL, returns NULL. */
PluginSet *plugin_set_free(PluginSet *s);

/* In order of start. After plugin_set_start() the set is constant and any thread may read. */
size_t plugin_set_count(const PluginSet *s);
PluginInfo plugin_set_at(const PluginSet *s, size_t i);
