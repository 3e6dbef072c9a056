// SPDX-License-Identifier: Apache-2.0
/*
 * The arguments are Go templates at containerd. What a hook can use of them is a value in braces;
 * that much is read here, and anything else between braces is refused rather than passed on.
 * https://github.com/opencontainers/runtime-spec/blob/main/runtime.md#state
 */
#include "oci_hook.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/str.h"

typedef struct Hook {
        json_t *state;
        const char *id, *bundle, *status, *root;
} Hook;

static int read_state(Hook *h, Err *err)
{
        char *text CLEANUP(cleanup_free) = mem_alloc(LIMIT_DOCUMENT + 1);
        ssize_t n = fd_read_all(STDIN_FILENO, text, LIMIT_DOCUMENT + 1);
        int r;

        if (n < 0)
                return err_sys(err, errno, "read the state from stdin");
        r = json_read(text, (size_t)n, LIMIT_DOCUMENT, "state", &h->state, err);
        if (r == 0)
                r = json_get_str(h->state, "id", &h->id, err);
        if (r == 0)
                r = json_get_str(h->state, "bundle", &h->bundle, err);
        if (r == 0)
                r = json_get_str(h->state, "status", &h->status, err);
        return r;
}

/* The root as the spec has it; relative ones are meant from the bundle. */
static int read_root(Hook *h, Str *root, Err *err)
{
        char *text CLEANUP(cleanup_free) = NULL;
        json_t *spec CLEANUP(json_decrefp) = NULL;
        Str path CLEANUP(str_done) = {};
        const char *in_spec = NULL;
        size_t n;
        int r;

        str_addf(&path, "%s/config.json", h->bundle);
        r = file_read(NULL, AT_FDCWD, str_get(&path), LIMIT_DOCUMENT, &text, &n, err);
        if (r == 0)
                r = json_read(text, n, LIMIT_DOCUMENT, "config.json", &spec, err);
        if (r == 0)
                r = json_get_str(json_object_get(spec, "root"), "path", &in_spec, err);
        if (r < 0)
                return r;
        if (str_empty(in_spec) || *in_spec != '/')
                str_addf(root, "%s/", h->bundle);
        str_add(root, in_spec ? in_spec : "");
        h->root = str_get(root);
        return 0;
}

/* What stands between the braces, without blanks around it. */
static int add_value(const Hook *h, const char *expr, size_t n, Str *out, Err *err)
{
        static const char annotation[] = "annotation";
        char name[256], key[256];

        if (n >= sizeof(name))
                return err_set(err, INVALID_ARGUMENT, "{{%.*s...}}: too long", 40, expr);
        memcpy(name, expr, n);
        name[n] = '\0';
        if (str_eq(name, "id"))
                str_add(out, h->id);
        else if (str_eq(name, "bundle"))
                str_add(out, h->bundle);
        else if (str_eq(name, "rootfs"))
                str_add(out, h->root);
        else if (str_eq(name, "status"))
                str_add(out, h->status);
        else if (str_eq(name, "pid"))
                str_addf(out, "%lld",
                         (long long)json_integer_value(json_object_get(h->state, "pid")));
        else if (str_starts(name, annotation) &&
                 (sscanf(name + strlen(annotation), " \"%255[^\"\\]\"", key) == 1 ||
                  sscanf(name + strlen(annotation), " `%255[^`]`", key) == 1)) {
                const char *v = json_string_value(
                        json_object_get(json_object_get(h->state, "annotations"), key));

                str_add(out, v ? v : "");
        } else
                return err_set(err, INVALID_ARGUMENT, "{{%s}}: not defined", name);
        return 0;
}

static int render(const Hook *h, const char *arg, Str *out, Err *err)
{
        const char *open;

        while ((open = strstr(arg, "{{"))) {
                const char *close = strstr(open, "}}"), *start = open + 2, *end = close;
                int r;

                if (!close)
                        return err_set(err, INVALID_ARGUMENT, "\"%s\": braces are not closed", arg);
                str_addf(out, "%.*s", (int)(open - arg), arg);
                while (start < end && *start == ' ')
                        start++;
                while (end > start && end[-1] == ' ')
                        end--;
                r = add_value(h, start, (size_t)(end - start), out, err);
                if (r < 0)
                        return r;
                arg = close + 2;
        }
        str_add(out, arg);
        return 0;
}

int oci_hook(char **args, Err *err)
{
        Str root CLEANUP(str_done) = {};
        Hook h = {};
        int r;

        if (*args && str_eq(*args, "--"))
                args++;
        if (!*args)
                return err_set(err, INVALID_ARGUMENT, "oci-hook needs a program to run");
        r = read_state(&h, err);
        if (r == 0)
                r = read_root(&h, &root, err);
        for (char **a = args; r == 0 && *a; a++) {
                Str s = {}; /* lives on in the program's arguments */

                r = render(&h, *a, &s, err);
                *a = (char *)(uintptr_t)str_get(&s);
        }
        if (r == 0) {
                execv(*args, args);
                r = err_sys(err, errno, "%s", *args);
        }
        json_decref(h.state);
        return err_wrap(err, "oci-hook");
}
