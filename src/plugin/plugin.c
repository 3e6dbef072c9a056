/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The set of plugins. Rows of the table become nodes; a depth-first walk over "requires" puts them
 * in an order in which what is required comes first, and finds cycles on the way: a node met again
 * while it is still on the walk's stack closes one, and the stack names it. Among rows that do not
 * depend on each other the table's order stays.
 *
 * Starting never stops at a failure: each node keeps its own outcome, and a node whose requirement
 * did not come up learns so when it asks for it.
 */
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "plugin/plugin.h"

#define SKIP_TEXT "skip plugin"

enum { WALK_NEW, WALK_OPEN, WALK_DONE };

typedef struct Node {
        const PluginRegistration *reg;
        PluginContext context;
        const char *uri;
        PluginState state;
        void *instance;
        Err err;
        int walk;
        VEC(Platform) platforms;
        VEC(const char *) capabilities, export_keys, export_values;
} Node;

struct PluginSet {
        Arena arena;
        PluginSetOptions options;
        Node *nodes;
        size_t n;
        Node **order; /* n of them, requirements first */
        size_t n_order;
        int serial; /* nodes before this one in order have been started */
};

static const char *uri_of(Arena *a, const PluginRegistration *reg)
{
        return arena_printf(a, "%s.%s", reg->type, reg->id);
}

static Node *find_uri(const PluginSet *s, const char *uri)
{
        for (size_t i = 0; i < s->n; i++)
                if (str_eq(s->nodes[i].uri, uri))
                        return &s->nodes[i];
        return NULL;
}

static int listed(const ConfigStrings *list, const char *uri)
{
        for (size_t i = 0; i < list->n; i++)
                if (str_eq(list->v[i], uri))
                        return 1;
        return 0;
}

/* The walk's stack as "a -> b -> a", from the node that is met again. */
static int report_cycle(Node *const *stack, size_t depth, const Node *again, Err *err)
{
        Str text CLEANUP(str_done) = {};
        size_t from = 0;

        while (stack[from] != again)
                from++;
        for (; from < depth; from++)
                str_addf(&text, "%s -> ", stack[from]->uri);
        str_add(&text, again->uri);
        return err_set(err, INVALID_ARGUMENT, "plugins require each other: %s", str_get(&text));
}

static int visit(PluginSet *s, Node *n, Node **stack, size_t depth, Err *err)
{
        if (n->walk == WALK_DONE)
                return 0;
        if (n->walk == WALK_OPEN)
                return report_cycle(stack, depth, n, err);
        n->walk = WALK_OPEN;
        stack[depth++] = n;
        for (const char *const *type = n->reg->requires; type && *type; type++)
                for (size_t i = 0; i < s->n; i++) {
                        int r;

                        if (!str_eq(s->nodes[i].reg->type, *type))
                                continue;
                        r = visit(s, &s->nodes[i], stack, depth, err);
                        if (r < 0)
                                return r;
                }
        n->walk = WALK_DONE;
        s->order[s->n_order++] = n;
        return 0;
}

static int sort(PluginSet *s, Err *err)
{
        Node **stack = arena_array(&s->arena, Node *, s->n);

        for (size_t i = 0; i < s->n; i++) {
                int r = visit(s, &s->nodes[i], stack, 0, err);

                if (r < 0)
                        return r;
        }
        return 0;
}

static void plugin_set_freep(PluginSet **s)
{
        plugin_set_free(*s);
}

static int add(PluginSet *s, const PluginRegistration *reg, Err *err)
{
        const PluginSetOptions *o = &s->options;
        const char *uri = uri_of(&s->arena, reg);
        Node *n = &s->nodes[s->n];

        if (find_uri(s, uri))
                return err_set(err, INVALID_ARGUMENT, "plugin %s: registered twice", uri);
        *n = (Node){.reg = reg, .uri = uri};
        n->context = (PluginContext){
                .registration = reg,
                .set = s,
                .host = o->host,
                .root = arena_printf(&s->arena, "%s/%s", o->root, uri),
                .state = arena_printf(&s->arena, "%s/%s", o->state, uri),
        };
        s->n++;
        return 0;
}

int plugin_set_new(const PluginRegistration *table, size_t n, const PluginSetOptions *o,
                   PluginSet **ret, Err *err)
{
        PluginSet *s CLEANUP(plugin_set_freep) = mem_new(PluginSet);
        const ConfigDaemon *d = config_daemon(o->config);
        int r;

        arena_init(&s->arena, SIZE_MAX);
        s->options = *o;
        s->nodes = arena_array(&s->arena, Node, n);
        s->order = arena_array(&s->arena, Node *, n);
        for (size_t i = 0; i < n; i++) {
                if (listed(&d->disabled_plugins, uri_of(&s->arena, &table[i])))
                        continue;
                r = add(s, &table[i], err);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < d->required_plugins.n; i++)
                if (!find_uri(s, d->required_plugins.v[i]))
                        return err_set(err, INVALID_ARGUMENT, "required plugin %s %s",
                                       d->required_plugins.v[i],
                                       listed(&d->disabled_plugins, d->required_plugins.v[i])
                                               ? "is disabled"
                                               : "does not exist");
        r = sort(s, err);
        if (r < 0)
                return r;
        *ret = TAKE(s);
        return 0;
}

static void start(PluginSet *s, Node *n)
{
        int r;

        log_info("loading plugin", "id", n->uri, "type", n->reg->type);
        r = config_plugin(s->options.config, n->uri, n->reg->schema, &n->context.settings, &n->err);
        if (r == 0 && n->reg->init)
                r = n->reg->init(&n->context, &n->instance, &n->err);
        if (r == 0) {
                n->state = PLUGIN_READY;
                return;
        }
        n->instance = NULL;
        n->state = str_ends(n->err.msg, SKIP_TEXT) ? PLUGIN_SKIPPED : PLUGIN_FAILED;
        if (n->state == PLUGIN_SKIPPED)
                log_info("skip loading plugin", "error", n->err.msg, "id", n->uri, "type",
                         n->reg->type);
        else
                log_warn("failed to load plugin", "error", n->err.msg, "id", n->uri, "type",
                         n->reg->type);
}

int plugin_set_start(PluginSet *s, Err *err)
{
        const ConfigStrings *required = &config_daemon(s->options.config)->required_plugins;

        for (; (size_t)s->serial < s->n_order; s->serial++)
                start(s, s->order[s->serial]);
        for (size_t i = 0; i < required->n; i++) {
                const Node *n = find_uri(s, required->v[i]);

                if (n->state == PLUGIN_READY)
                        continue;
                err_copy(err, &n->err);
                return err_wrap(err, "load required plugin %s", n->uri);
        }
        return 0;
}

PluginSet *plugin_set_free(PluginSet *s)
{
        if (!s)
                return NULL;
        while (s->serial > 0) {
                Node *n = s->order[--s->serial];

                if (n->state == PLUGIN_READY && n->reg->close)
                        n->reg->close(n->instance);
        }
        for (size_t i = 0; i < s->n; i++) {
                Node *n = &s->nodes[i];

                VEC_DONE(&n->platforms);
                VEC_DONE(&n->capabilities);
                VEC_DONE(&n->export_keys);
                VEC_DONE(&n->export_values);
        }
        arena_done(&s->arena);
        free(s);
        return NULL;
}

/* A plugin that did not start answers with its own reason. */
static int instance_of(const Node *n, void **ret, Err *err)
{
        if (n->state == PLUGIN_READY) {
                *ret = n->instance;
                return 0;
        }
        if (n->state == PLUGIN_NEW)
                return err_set(err, INTERNAL,
                               "plugin %s is asked for before its start: is it in requires?",
                               n->uri);
        err_set(err, FAILED_PRECONDITION, "requires %s, which did not start: %s", n->uri,
                n->err.msg);
        return -err->code;
}

int plugin_get(PluginContext *pc, const char *type, void **ret, Err *err)
{
        const PluginSet *s = pc->set;
        const Node *found = NULL;

        for (size_t i = 0; i < s->n_order; i++) {
                const Node *n = s->order[i];

                if (!str_eq(n->reg->type, type))
                        continue;
                if (found && found->state == PLUGIN_READY && n->state == PLUGIN_READY)
                        return err_set(err, INVALID_ARGUMENT, "multiple plugins registered for %s",
                                       type);
                if (!found || found->state != PLUGIN_READY)
                        found = n;
        }
        if (!found)
                return err_set(err, NOT_FOUND, "no plugins registered for %s: plugin: not found",
                               type);
        return instance_of(found, ret, err);
}

int plugin_get_id(PluginContext *pc, const char *type, const char *id, void **ret, Err *err)
{
        const PluginSet *s = pc->set;

        for (size_t i = 0; i < s->n_order; i++)
                if (str_eq(s->order[i]->reg->type, type) && str_eq(s->order[i]->reg->id, id))
                        return instance_of(s->order[i], ret, err);
        return err_set(err, NOT_FOUND, "no plugin registered for %s.%s: plugin: not found", type,
                       id);
}

int plugin_each(PluginContext *pc, const char *type,
                int (*fn)(void *ctx, const char *id, void *instance), void *ctx)
{
        const PluginSet *s = pc->set;

        for (size_t i = 0; i < s->n_order; i++) {
                const Node *n = s->order[i];
                int r;

                if (!str_eq(n->reg->type, type) || n->state != PLUGIN_READY)
                        continue;
                r = fn(ctx, n->reg->id, n->instance);
                if (r)
                        return r;
        }
        return 0;
}

int plugin_skip(Err *err, const char *why)
{
        return err_set(err, UNKNOWN, "%s: " SKIP_TEXT, why);
}

static Node *node_of(PluginContext *pc)
{
        return CONTAINER_OF(pc, Node, context);
}

void plugin_export(PluginContext *pc, const char *key, const char *value)
{
        Node *n = node_of(pc);
        Arena *a = &pc->set->arena;

        VEC_PUSH(&n->export_keys, arena_strdup(a, key));
        VEC_PUSH(&n->export_values, arena_strdup(a, value));
}

void plugin_capability(PluginContext *pc, const char *name)
{
        VEC_PUSH(&node_of(pc)->capabilities, arena_strdup(&pc->set->arena, name));
}

void plugin_platform(PluginContext *pc, const Platform *p)
{
        Arena *a = &pc->set->arena;
        Platform copy = {
                .os = arena_strdup(a, p->os),
                .arch = arena_strdup(a, p->arch),
                .variant = arena_strdup(a, p->variant),
                .os_version = arena_strdup(a, p->os_version),
        };

        VEC_PUSH(&node_of(pc)->platforms, copy);
}

size_t plugin_set_count(const PluginSet *s)
{
        return s->n_order;
}

PluginInfo plugin_set_at(const PluginSet *s, size_t i)
{
        static const char *const none[] = {NULL};
        const Node *n = s->order[i];

        return (PluginInfo){
                .type = n->reg->type,
                .id = n->reg->id,
                .requires = n->reg->requires ? n->reg->requires : none,
                .state = n->state,
                .err = n->state == PLUGIN_SKIPPED || n->state == PLUGIN_FAILED ? &n->err : NULL,
                .platforms = n->platforms.v,
                .n_platforms = n->platforms.n,
                .capabilities = n->capabilities.v,
                .n_capabilities = n->capabilities.n,
                .export_keys = n->export_keys.v,
                .export_values = n->export_values.v,
                .n_exports = n->export_keys.n,
                .instance = n->instance,
        };
}
