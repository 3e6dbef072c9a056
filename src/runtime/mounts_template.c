/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Templates in sources, targets and options of "format/" mounts. Of Go's templates they use one
 * form,
 *
 *         {{ FUNCTION NUMBER... }}        with "{{- " and " -}}" taking blanks away around it
 *
 * with four functions over the mounts before: source, target and mount of the n-th, and overlay of
 * a range (backwards too), a list of lowerdirs.
 */
#include <ctype.h>
#include <stdlib.h>
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "runtime/mounts_priv.h"

enum { ARGS_MAX = 2 };

typedef struct Actives {
        const Types__ActiveMount *const *v;
        size_t n;
} Actives;

static int in_range(const Actives *a, int64_t i)
{
        return i >= 0 && (uint64_t)i < a->n;
}

static int one(const Actives *a, int64_t i, Err *err)
{
        if (in_range(a, i))
                return 0;
        return err_set(err, UNKNOWN, "index out of bounds: %lld, has %zu active mounts",
                       (long long)i, a->n);
}

static int put_source(const Actives *a, const int64_t *args, Str *out, Err *err)
{
        int r = one(a, args[0], err);

        if (r == 0)
                str_add(out, a->v[args[0]]->mount->source);
        return r;
}

static int put_target(const Actives *a, const int64_t *args, Str *out, Err *err)
{
        int r = one(a, args[0], err);

        if (r == 0)
                str_add(out, a->v[args[0]]->mount->target);
        return r;
}

static int put_mount(const Actives *a, const int64_t *args, Str *out, Err *err)
{
        int r = one(a, args[0], err);

        if (r == 0)
                str_add(out, a->v[args[0]]->mount_point);
        return r;
}

static int put_overlay(const Actives *a, const int64_t *args, Str *out, Err *err)
{
        int64_t from = args[0], to = args[1], step = from > to ? -1 : 1;

        if (!in_range(a, from) || !in_range(a, to))
                return err_set(err, UNKNOWN, "invalid range: %lld-%lld, has %zu active mounts",
                               (long long)from, (long long)to, a->n);
        for (int64_t i = from; i != to + step; i += step)
                str_addf(out, "%s%s", i == from ? "" : ":", a->v[i]->mount_point);
        return 0;
}

static const struct {
        const char *name;
        size_t n_args;
        int (*put)(const Actives *a, const int64_t *args, Str *out, Err *err);
} functions[] = {
        {"source", 1, put_source},
        {"target", 1, put_target},
        {"mount", 1, put_mount},
        {"overlay", 2, put_overlay},
};

static const char *blanks(const char *p)
{
        return p + strspn(p, " \t\r\n");
}

/* What stands between the braces. */
static int run(Arena *arena, const Actives *a, const char *inside, Str *out, Err *err)
{
        const char *p = blanks(inside);
        char *name = arena_strndup(arena, p, strcspn(p, " \t\r\n"));
        int64_t args[ARGS_MAX];
        size_t n = 0;

        for (p = blanks(p + strlen(name)); *p; p = blanks(p)) {
                char *word = arena_strndup(arena, p, strcspn(p, " \t\r\n"));

                if (n == ARGS_MAX || str_to_i64(word, &args[n]) < 0)
                        return err_set(err, UNKNOWN, "template: \"{{%s}}\": unexpected \"%s\"",
                                       inside, word);
                n++;
                p += strlen(word);
        }
        for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
                if (!str_eq(functions[i].name, name))
                        continue;
                if (n != functions[i].n_args)
                        return err_set(err, UNKNOWN,
                                       "template: \"{{%s}}\": wrong number of args for %s: want "
                                       "%zu got %zu",
                                       inside, name, functions[i].n_args, n);
                return functions[i].put(a, args, out, err);
        }
        return err_set(err, UNKNOWN, "template: \"{{%s}}\": function \"%s\" not defined", inside,
                       name);
}

static void trim_end(Str *out)
{
        size_t n = out->len;

        while (n > 0 && strchr(" \t\r\n", out->data[n - 1]))
                n--;
        if (n < out->len)
                str_truncate(out, n);
}

/* One "{{ ... }}" at p; returns what follows it, NULL when failed. */
static const char *action(Arena *arena, const Actives *a, const char *p, Str *out, Err *err)
{
        const char *from = p + 2, *end = strstr(from, "}}"), *to = end;
        int trims_after;

        if (!end) {
                err_set(err, UNKNOWN, "template: \"%s\": unclosed action", p);
                return NULL;
        }
        if (*from == '-' && from + 1 < end && isspace((unsigned char)from[1])) {
                trim_end(out);
                from++;
        }
        trims_after = to - from >= 2 && to[-1] == '-' && isspace((unsigned char)to[-2]);
        if (trims_after)
                to--;
        if (run(arena, a, arena_strndup(arena, from, (size_t)(to - from)), out, err) < 0)
                return NULL;
        return trims_after ? blanks(end + 2) : end + 2;
}

int template_fill(Arena *arena, const char *text, const Types__ActiveMount *const *active,
                  size_t n_active, size_t *left, const char **ret, Err *err)
{
        Actives a = {active, n_active};
        Str out CLEANUP(str_done) = {};
        const char *p = text;

        for (;;) {
                const char *open = strstr(p, "{{");

                if (!open)
                        break;
                str_add_n(&out, p, (size_t)(open - p));
                p = action(arena, &a, open, &out, err);
                if (!p)
                        return -err->code;
                if (out.len > *left)
                        break;
        }
        str_add(&out, p);
        if (out.len > *left)
                return err_set(err, RESOURCE_EXHAUSTED,
                               "templates fill in more than %d bytes: resource exhausted",
                               LIMIT_MOUNT_TEMPLATES);
        *left -= out.len;
        *ret = arena_strdup(arena, str_get(&out));
        return 0;
}
