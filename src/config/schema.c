/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a table of TOML to a struct and back, driven by rows of ConfigKey. One reader and one writer
 * for all tables means that a key's type, default and spelling stand in one place.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "config/config_priv.h"

static const char *const type_names[] = {
        [TOML_TABLE] = "a table",  [TOML_ARRAY] = "an array", [TOML_STRING] = "a string",
        [TOML_INT] = "an integer", [TOML_FLOAT] = "a number", [TOML_BOOL] = "a boolean",
        [TOML_TIME] = "a time",
};

void config_warn(Config *c, const char *msg, const char *key, const TomlNode *at,
                 const char *plugin)
{
        ConfigWarning w = {
                .msg = msg,
                .key = arena_strdup(&c->arena, key),
                .file = at->file,
                .plugin = plugin ? arena_strdup(&c->arena, plugin) : NULL,
                .row = at->row,
                .column = at->column,
        };

        VEC_PUSH(&c->warnings, w);
}

int config_wrong_type(const TomlNode *n, const char *path, const char *key, const char *wanted,
                      Err *err)
{
        return err_set(err, INVALID_ARGUMENT, "%s: row %d column %d: %s%s must be %s, not %s",
                       n->file, n->row, n->column, path, key, wanted, type_names[n->type]);
}

static int bad_value(const TomlNode *n, const char *path, const char *key, const char *why,
                     Err *err)
{
        return err_set(err, INVALID_ARGUMENT, "%s: row %d column %d: %s%s %s", n->file, n->row,
                       n->column, path, key, why);
}

/* A string that C can hold. */
static int read_string(const TomlNode *n, const char *path, const char *key, const char **ret,
                       Err *err)
{
        if (n->type != TOML_STRING)
                return config_wrong_type(n, path, key, "a string", err);
        if (strlen(n->str) != (size_t)n->num)
                return bad_value(n, path, key, "must not contain a NUL", err);
        *ret = n->str;
        return 0;
}

static int read_strings(Arena *a, const TomlNode *n, const char *path, const char *key,
                        ConfigStrings *ret, Err *err)
{
        ConfigStrings list = {};
        size_t count = 0;

        if (n->type != TOML_ARRAY)
                return config_wrong_type(n, path, key, "an array of strings", err);
        for (const TomlNode *e = n->first; e; e = e->next)
                count++;
        list.v = arena_array(a, const char *, count + 1);
        for (const TomlNode *e = n->first; e; e = e->next) {
                int r = read_string(e, path, key, &list.v[list.n++], err);

                if (r < 0)
                        return r;
        }
        *ret = list;
        return 0;
}

static int read_int(const TomlNode *n, const char *path, const ConfigKey *k, int64_t *ret, Err *err)
{
        if (n->type != TOML_INT)
                return config_wrong_type(n, path, k->name, "an integer", err);
        if ((k->min || k->max) && (n->num < k->min || n->num > k->max)) {
                char why[80];

                snprintf(why, sizeof(why), "must be between %" PRId64 " and %" PRId64, k->min,
                         k->max);
                return bad_value(n, path, k->name, why, err);
        }
        *ret = n->num;
        return 0;
}

static int read_key(Config *c, const TomlNode *n, const char *path, const ConfigKey *k, char *out,
                    Err *err)
{
        const char *text;
        int r;

        switch (k->kind) {
        case CONFIG_STRING:
                return read_string(n, path, k->name, (const char **)(out + k->offset), err);
        case CONFIG_STRINGS:
                return read_strings(&c->arena, n, path, k->name, (ConfigStrings *)(out + k->offset),
                                    err);
        case CONFIG_INT:
                return read_int(n, path, k, (int64_t *)(out + k->offset), err);
        case CONFIG_BOOL:
                if (n->type != TOML_BOOL)
                        return config_wrong_type(n, path, k->name, "true or false", err);
                *(int *)(out + k->offset) = (int)n->num;
                return 0;
        case CONFIG_FLOAT:
                if (n->type != TOML_FLOAT && n->type != TOML_INT)
                        return config_wrong_type(n, path, k->name, "a number", err);
                *(double *)(out + k->offset) = n->type == TOML_INT ? (double)n->num : n->real;
                return 0;
        case CONFIG_DURATION:
                r = read_string(n, path, k->name, &text, err);
                if (r < 0)
                        return r;
                if (duration_parse(text, (int64_t *)(out + k->offset)) < 0)
                        return bad_value(n, path, k->name, "must be a duration such as \"10s\"",
                                         err);
                return 0;
        case CONFIG_UNSERVED:
                return 0;
        }
        return 0;
}

/* Fallbacks are written by us: they parse. */
static void set_fallback(Config *c, const ConfigKey *k, char *out)
{
        const char *text = k->fallback ? k->fallback : "";

        switch (k->kind) {
        case CONFIG_STRING:
                *(const char **)(out + k->offset) = text;
                return;
        case CONFIG_STRINGS: {
                ConfigStrings *list = (ConfigStrings *)(out + k->offset);
                char *rest = arena_strdup(&c->arena, text);

                list->v = arena_array(&c->arena, const char *, strlen(text) + 2);
                for (char *s; (s = strsep(&rest, ","));)
                        if (*s)
                                list->v[list->n++] = s;
                return;
        }
        case CONFIG_INT:
                *(int64_t *)(out + k->offset) = strtoll(text, NULL, 10);
                return;
        case CONFIG_BOOL:
                *(int *)(out + k->offset) = str_eq(text, "true");
                return;
        case CONFIG_FLOAT:
                *(double *)(out + k->offset) = strtod(text, NULL);
                return;
        case CONFIG_DURATION:
                duration_parse(*text ? text : "0s", (int64_t *)(out + k->offset));
                return;
        case CONFIG_UNSERVED:
                return;
        }
}

/* Go's zero value: what a file writes to say nothing. */
static int is_zero(const TomlNode *n)
{
        switch (n->type) {
        case TOML_STRING:
                return !*n->str;
        case TOML_INT:
        case TOML_BOOL:
                return n->num == 0;
        case TOML_FLOAT:
                return fpclassify(n->real) == FP_ZERO;
        case TOML_ARRAY:
                return !n->first;
        case TOML_TABLE:
                for (const TomlNode *m = n->first; m; m = m->next)
                        if (!is_zero(m))
                                return 0;
                return 1;
        case TOML_TIME:
                return 0;
        }
        return 0;
}

static const ConfigKey *find_key(const ConfigSchema *schema, const char *name)
{
        for (size_t i = 0; i < schema->n_keys; i++)
                if (str_eq(schema->keys[i].name, name))
                        return &schema->keys[i];
        return NULL;
}

static int listed(const char *const *list, const char *name)
{
        for (; list && *list; list++)
                if (str_eq(*list, name))
                        return 1;
        return 0;
}

int config_decode(Config *c, const TomlNode *table, const char *path, const char *plugin,
                  const ConfigSchema *schema, const char *const *ignore, void *out, Err *err)
{
        memset(out, 0, schema->size);
        for (size_t i = 0; i < schema->n_keys; i++)
                set_fallback(c, &schema->keys[i], out);
        for (const TomlNode *n = table ? table->first : NULL; n; n = n->next) {
                const ConfigKey *k = find_key(schema, n->key);
                int r;

                if (!k) {
                        if (!listed(ignore, n->key))
                                config_warn(
                                        c,
                                        plugin ? "Ignoring unknown key in TOML for plugin"
                                               : "Ignoring unknown key in TOML",
                                        arena_printf(&c->arena, "%s%s", plugin ? "" : path, n->key),
                                        n, plugin);
                        continue;
                }
                if (k->kind == CONFIG_UNSERVED) {
                        if (!is_zero(n))
                                config_warn(
                                        c, "Ignoring key in TOML: lighter does not serve it",
                                        arena_printf(&c->arena, "%s%s", plugin ? "" : path, n->key),
                                        n, plugin);
                        continue;
                }
                r = read_key(c, n, path, k, out, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Literal strings as containerd prints them; a basic one where a quote or a control character is
 * inside. */
static void print_string(Str *s, const char *text)
{
        int plain = !strchr(text, '\'');

        for (const char *p = text; *p; p++)
                plain &= (unsigned char)*p >= ' ' && *p != 0x7f;
        if (plain) {
                str_addf(s, "'%s'", text);
                return;
        }
        str_add_char(s, '"');
        for (const char *p = text; *p; p++) {
                if (*p == '"' || *p == '\\')
                        str_addf(s, "\\%c", *p);
                else if ((unsigned char)*p < ' ' || *p == 0x7f)
                        str_addf(s, "\\u%04x", (unsigned char)*p);
                else
                        str_add_char(s, *p);
        }
        str_add_char(s, '"');
}

static void print_value(Str *s, const ConfigKey *k, const char *in)
{
        const ConfigStrings *list;
        char text[TIME_TEXT_MAX];

        switch (k->kind) {
        case CONFIG_STRING:
                print_string(s, *(const char *const *)(in + k->offset));
                return;
        case CONFIG_STRINGS:
                list = (const ConfigStrings *)(in + k->offset);
                str_add_char(s, '[');
                for (size_t i = 0; i < list->n; i++) {
                        str_add(s, i ? ", " : "");
                        print_string(s, list->v[i]);
                }
                str_add_char(s, ']');
                return;
        case CONFIG_INT:
                str_addf(s, "%" PRId64, *(const int64_t *)(in + k->offset));
                return;
        case CONFIG_BOOL:
                str_add(s, *(const int *)(in + k->offset) ? "true" : "false");
                return;
        case CONFIG_FLOAT:
                str_addf(s, "%.15g", *(const double *)(in + k->offset));
                return;
        case CONFIG_DURATION:
                str_addf(s, "'%s'", duration_format(*(const int64_t *)(in + k->offset), text));
                return;
        case CONFIG_UNSERVED:
                return;
        }
}

void config_print(Str *s, int indent, const ConfigSchema *schema, const void *in)
{
        for (size_t i = 0; i < schema->n_keys; i++) {
                const ConfigKey *k = &schema->keys[i];

                if (k->kind == CONFIG_UNSERVED)
                        continue;
                str_addf(s, "%*s%s = ", indent, "", k->name);
                print_value(s, k, in);
                str_add_char(s, '\n');
        }
}
