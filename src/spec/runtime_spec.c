/* SPDX-License-Identifier: Apache-2.0 */
/* Reading config.json: the members that the shim and the daemon act on. */
#include "base/limits.h"
#include "spec/runtime_spec.h"

static int read_str(Arena *a, const json_t *j, const char *key, const char **ret, Err *err)
{
        const char *s = "";
        int r = json_get_str(j, key, &s, err);

        *ret = arena_strdup(a, s);
        return r;
}

static int read_process(Arena *a, const json_t *p, RuntimeSpec *s, Err *err)
{
        const json_t *args = NULL;
        size_t i;
        json_t *arg;
        int r;

        s->cwd = "";
        s->args = arena_new(a, const char *);
        if (!p)
                return 0;
        if ((r = json_get_bool(p, "terminal", &s->terminal, err)) < 0 ||
            (r = read_str(a, p, "cwd", &s->cwd, err)) < 0 ||
            (r = json_get_arr(p, "args", &args, err)) < 0)
                return r;
        s->args = arena_array(a, const char *, (args ? json_array_size(args) : 0) + 1);
        json_array_foreach(args, i, arg)
        {
                if (!json_is_string(arg))
                        return err_set(err, INVALID_ARGUMENT, "args[%zu]: must be a string", i);
                s->args[s->n_args++] = arena_strdup(a, json_string_value(arg));
        }
        return 0;
}

static int read_linux(Arena *a, const json_t *l, RuntimeSpec *s, Err *err)
{
        const json_t *namespaces = NULL;
        size_t i;
        json_t *item;
        int r;

        s->cgroups_path = "";
        s->has_linux = l != NULL;
        if (!l)
                return 0;
        if ((r = read_str(a, l, "cgroupsPath", &s->cgroups_path, err)) < 0 ||
            (r = json_get_arr(l, "namespaces", &namespaces, err)) < 0)
                return r;
        json_array_foreach(namespaces, i, item)
        {
                const char *type = "";

                if (!json_is_object(item))
                        return err_set(err, INVALID_ARGUMENT, "namespaces[%zu]: must be an object",
                                       i);
                if ((r = json_get_str(item, "type", &type, err)) < 0)
                        return err_wrap(err, "namespaces[%zu]", i);
                s->pid_namespace |= str_eq(type, "pid");
        }
        return 0;
}

int runtime_spec_parse(Arena *a, const char *text, size_t n, RuntimeSpec *ret, Err *err)
{
        json_t *j CLEANUP(json_decrefp) = NULL;
        const json_t *root = NULL, *process = NULL, *lx = NULL;
        RuntimeSpec s = {.root_path = ""};
        int r;

        r = json_read(text, n, LIMIT_DOCUMENT, "runtime spec", &j, err);
        if (r < 0)
                return r;
        if (!json_is_object(j))
                return err_set(err, INVALID_ARGUMENT, "runtime spec: must be an object");
        if ((r = json_get_obj(j, "root", &root, err)) < 0 ||
            (r = json_get_obj(j, "process", &process, err)) < 0 ||
            (r = json_get_obj(j, "linux", &lx, err)) < 0 ||
            (r = read_str(a, j, "hostname", &s.hostname, err)) < 0)
                return err_wrap(err, "runtime spec");
        if (root && ((r = read_str(a, root, "path", &s.root_path, err)) < 0 ||
                     (r = json_get_bool(root, "readonly", &s.root_readonly, err)) < 0))
                return err_wrap(err, "runtime spec: root");
        if ((r = read_process(a, process, &s, err)) < 0)
                return err_wrap(err, "runtime spec: process");
        if ((r = read_linux(a, lx, &s, err)) < 0)
                return err_wrap(err, "runtime spec: linux");
        *ret = s;
        return 0;
}
