/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding and merging files. The imports of a file are read after it, breadth first; a file is read
 * once, so that two that import each other end. What comes later overrides scalars unless it is a
 * zero value, appends to lists without repeating, and merges tables; the tables of proxies, stream
 * processors and timeouts are replaced per entry.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>

#include "base/fd.h"
#include "base/limits.h"
#include "config/config_priv.h"

#define DEFAULT_IMPORTS "/etc/lighter/conf.d/*.toml"

enum { LIMIT_CONFIG_FILES = 256 };

TomlNode *toml_find(const TomlNode *table, const char *key)
{
        for (TomlNode *n = table->first; n; n = n->next)
                if (str_eq(n->key, key))
                        return n;
        return NULL;
}

TomlNode *toml_take(TomlNode *table, const char *key)
{
        for (TomlNode **p = &table->first; *p; p = &(*p)->next)
                if (str_eq((*p)->key, key)) {
                        TomlNode *n = *p;

                        *p = n->next;
                        n->next = NULL;
                        return n;
                }
        return NULL;
}

void toml_put(Arena *a, TomlNode *table, const char *key, TomlNode *child)
{
        TomlNode **p = &table->first;

        toml_take(table, key);
        while (*p)
                p = &(*p)->next;
        child->key = arena_strdup(a, key);
        child->next = NULL;
        *p = child;
}

TomlNode *toml_table(Arena *a, TomlNode *parent, const char *key)
{
        TomlNode *n = toml_find(parent, key);

        if (n)
                return n;
        n = arena_new(a, TomlNode);
        n->type = TOML_TABLE;
        n->file = "";
        toml_put(a, parent, key, n);
        return n;
}

static int scalar_is_zero(const TomlNode *n)
{
        return (n->type == TOML_STRING && !*n->str) ||
               ((n->type == TOML_INT || n->type == TOML_BOOL) && n->num == 0);
}

static int same_string(const TomlNode *a, const TomlNode *b)
{
        return a->type == TOML_STRING && b->type == TOML_STRING && str_eq(a->str, b->str);
}

/* Appends the elements of from that into does not have. Elements are taken over. */
static void merge_lists(TomlNode *into, TomlNode *from)
{
        for (TomlNode *n = from->first, *next; n; n = next) {
                TomlNode **end = &into->first;
                int known = 0;

                next = n->next;
                for (; *end; end = &(*end)->next)
                        known |= same_string(*end, n);
                if (known)
                        continue;
                n->next = NULL;
                *end = n;
        }
}

static int replaced_whole(const char *key)
{
        return str_eq(key, "proxy_plugins") || str_eq(key, "stream_processors") ||
               str_eq(key, "timeouts");
}

/* Members of from are taken over. per_entry: members are replaced, never merged. */
static void merge(Arena *a, TomlNode *into, TomlNode *from, int per_entry)
{
        for (TomlNode *n = from->first, *next; n; n = next) {
                TomlNode *have = toml_find(into, n->key);

                next = n->next;
                if (have && !per_entry && have->type == TOML_TABLE && n->type == TOML_TABLE)
                        merge(a, have, n, replaced_whole(n->key));
                else if (have && !per_entry && have->type == TOML_ARRAY && n->type == TOML_ARRAY)
                        merge_lists(have, n);
                else if (!have || !scalar_is_zero(n))
                        toml_put(a, into, n->key, n);
        }
}

typedef VEC(char *) Paths;

static void paths_done(Paths *p)
{
        VEC_FOREACH (path, p) {
                free(*path);
        }
        VEC_DONE(p);
}

static int known_path(const Paths *seen, const char *path)
{
        for (size_t i = 0; i < seen->n; i++)
                if (str_eq(seen->v[i], path))
                        return 1;
        return 0;
}

/* Adds what a pattern names, relative to the folder of file; without a wildcard the file itself. */
static int add_import(Paths *queue, const char *file, const char *pattern, Err *err)
{
        const char *slash = strrchr(file, '/');
        char *whole CLEANUP(cleanup_free) =
                *pattern == '/' || !slash
                        ? mem_strdup(pattern)
                        : mem_printf("%.*s/%s", (int)(slash - file), file, pattern);
        glob_t g = {};
        int r;

        if (!strchr(whole, '*')) {
                VEC_PUSH(queue, TAKE(whole));
                return 0;
        }
        r = glob(whole, 0, NULL, &g);
        if (r == GLOB_NOSPACE)
                return err_set(err, RESOURCE_EXHAUSTED, "import \"%s\": too many files", whole);
        for (size_t i = 0; r == 0 && i < g.gl_pathc; i++)
                VEC_PUSH(queue, mem_strdup(g.gl_pathv[i]));
        globfree(&g);
        return 0;
}

static int add_imports(Paths *queue, const TomlNode *tree, const char *file, Err *err)
{
        const TomlNode *list = toml_find(tree, "imports");

        if (!list)
                return 0;
        if (list->type != TOML_ARRAY)
                return config_wrong_type(list, "", "imports", "an array of strings", err);
        for (const TomlNode *n = list->first; n; n = n->next) {
                int r;

                if (n->type != TOML_STRING)
                        return config_wrong_type(n, "", "imports", "an array of strings", err);
                r = add_import(queue, file, n->str, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int64_t version_of(const TomlNode *tree)
{
        const TomlNode *v = toml_find(tree, "version");

        return v && v->type == TOML_INT ? v->num : 0;
}

/* Reads one file and brings it to our form. */
static int read_one(Config *c, const char *path, TomlNode **ret, int64_t *ret_version, Err *err)
{
        char *text CLEANUP(cleanup_free) = NULL;
        size_t n;
        int r;

        r = file_read(NULL, AT_FDCWD, path, LIMIT_CONFIG_FILE, &text, &n, err);
        if (r < 0)
                return r;
        if (!str_is_utf8(text, n))
                return err_set(err, INVALID_ARGUMENT, "failed to load TOML from %s: not UTF-8 text",
                               path);
        r = toml_read(&c->arena, text, n, path, ret, err);
        if (r == 0) {
                *ret_version = version_of(*ret);
                r = config_migrate(&c->arena, *ret, err);
        }
        return r < 0 ? err_wrap(err, "failed to load TOML from %s", path) : 0;
}

int config_read_files(Config *c, const char *path, int must_exist, Err *err)
{
        Paths queue CLEANUP(paths_done) = {}, seen CLEANUP(paths_done) = {};
        int64_t root_version = CONFIG_VERSION_MAX;
        int r;

        c->root = arena_new(&c->arena, TomlNode);
        c->root->type = TOML_TABLE;
        c->root->file = arena_strdup(&c->arena, path);
        VEC_PUSH(&queue, mem_strdup(path));
        for (size_t i = 0; i < queue.n; i++) {
                char *real CLEANUP(cleanup_free) = realpath(queue.v[i], NULL);
                TomlNode *tree;
                int64_t version = 0;

                if (!real && i == 0 && errno == ENOENT && !must_exist)
                        continue;
                if (!real)
                        return err_sys(err, errno, "open %s", queue.v[i]);
                if (known_path(&seen, real))
                        continue;
                if (seen.n == LIMIT_CONFIG_FILES)
                        return err_set(err, RESOURCE_EXHAUSTED, "%s: more than %d files imported",
                                       path, LIMIT_CONFIG_FILES);
                VEC_PUSH(&seen, mem_strdup(real));
                r = read_one(c, queue.v[i], &tree, &version, err);
                if (r < 0)
                        return r;
                if (seen.n == 1 && i == 0)
                        root_version = version;
                else if (version > root_version)
                        return err_set(
                                err, INVALID_ARGUMENT,
                                "%s: drop-in config version %lld higher than root config version %lld",
                                queue.v[i], (long long)version, (long long)root_version);
                if (i == 0 && (r = add_import(&queue, path, DEFAULT_IMPORTS, err)) < 0)
                        return r;
                if ((r = add_imports(&queue, tree, queue.v[i], err)) < 0)
                        return r;
                merge(&c->arena, c->root, tree, 0);
        }
        return 0;
}
