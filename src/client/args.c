// SPDX-License-Identifier: Apache-2.0
/*
 * Parsing is one walk from the root command down: at each level flags until the first word without
 * a dash; at a group that word names the next command, at a leaf it begins the positional
 * arguments. Values are checked against their type while they are read, so that the getters cannot
 * fail.
 */
#include "client/args.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/str.h"

/* Whether one of the names in a comma-separated list equals name. */
static int list_has(const char *list, const char *name)
{
        size_t n = strlen(name);

        while (list && *list) {
                size_t len = strcspn(list, ",");

                if (len == n && memcmp(list, name, n) == 0)
                        return 1;
                list += len + (list[len] == ',');
        }
        return 0;
}

const Command *command_find(const Command *c, const char *name)
{
        for (const Command *s = c->subs; s && s->name; s++)
                if (str_eq(s->name, name) || list_has(s->aliases, name))
                        return s;
        return NULL;
}

void command_each_flag(const Command *c, void (*fn)(void *ctx, const Flag *f), void *ctx)
{
        for (size_t i = 0; i < COMMAND_FLAG_SETS && c->flags[i]; i++)
                for (const Flag *f = c->flags[i]; f->type != FLAG_END; f++)
                        fn(ctx, f);
}

static const Flag *command_flag(const Command *c, const char *name, size_t len)
{
        for (size_t i = 0; i < COMMAND_FLAG_SETS && c->flags[i]; i++)
                for (const Flag *f = c->flags[i]; f->type != FLAG_END; f++)
                        if ((strlen(f->name) == len && memcmp(f->name, name, len) == 0) ||
                            (f->alias && strlen(f->alias) == len &&
                             memcmp(f->alias, name, len) == 0))
                                return f;
        return NULL;
}

/* Edit distance with swaps (Damerau), cut at names of 31 characters. */
static int distance(const char *a, const char *b)
{
        int d[33][33];
        size_t n = MIN(strlen(a), (size_t)31), m = MIN(strlen(b), (size_t)31);

        for (size_t i = 0; i <= n; i++)
                d[i][0] = (int)i;
        for (size_t j = 0; j <= m; j++)
                d[0][j] = (int)j;
        for (size_t i = 1; i <= n; i++) {
                for (size_t j = 1; j <= m; j++) {
                        int best = MIN(d[i - 1][j], d[i][j - 1]) + 1;

                        best = MIN(best, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                                best = MIN(best, d[i - 2][j - 2] + 1);
                        d[i][j] = best;
                }
        }
        return d[n][m];
}

typedef struct Nearest {
        const char *typed, *name;
        int distance;
} Nearest;

static void nearest_try(Nearest *n, const char *name)
{
        int d = str_starts(name, n->typed) && strlen(n->typed) >= 2 ? 0 : distance(n->typed, name);

        if (d < n->distance) {
                n->distance = d;
                n->name = name;
        }
}

const char *command_suggest(const Command *c, const char *typed)
{
        Nearest n = {.typed = typed, .distance = strlen(typed) > 4 ? 3 : 2};

        for (const Command *s = c->subs; s && s->name; s++)
                if (!s->hidden)
                        nearest_try(&n, s->name);
        return n.name;
}

static void flag_try(void *ctx, const Flag *f)
{
        nearest_try(ctx, f->name);
}

static const char *type_error(const Flag *f, const char *text)
{
        int64_t i;
        uint64_t u;
        char *end;

        switch (f->type) {
        case FLAG_BOOL:
                return list_has("true,false,1,0,t,f,T,F,True,False,TRUE,FALSE", text)
                               ? NULL
                               : "is not true or false";
        case FLAG_INT:
                return str_to_i64(text, &i) == 0 ? NULL : "is not a whole number";
        case FLAG_UINT:
                return str_to_u64(text, &u) == 0 ? NULL : "is not a whole number of at least 0";
        case FLAG_FLOAT:
                errno = 0;
                strtod(text, &end);
                return *text && *end == '\0' && errno == 0 ? NULL : "is not a number";
        case FLAG_DURATION:
                return duration_parse(text, &i) == 0 ? NULL : "is not a duration like 1m30s";
        default:
                return NULL;
        }
}

static int add_value(Args *a, const Flag *f, const char *text, Err *err)
{
        const char *wrong = type_error(f, text);

        if (wrong)
                return err_set(err, INVALID_ARGUMENT, "invalid value \"%s\" for flag --%s: it %s",
                               text, f->name, wrong);
        VEC_PUSH(&a->values, (ArgsValue){.flag = f, .text = text});
        return 0;
}

static int unknown_flag(const Args *a, const char *name, size_t len, Err *err)
{
        char typed[64];
        Nearest n = {.typed = typed, .distance = 3};

        snprintf(typed, sizeof(typed), "%.*s", (int)MIN(len, sizeof(typed) - 1), name);
        for (size_t i = 0; i + 1 < a->depth; i++)
                if (command_flag(a->path[i], name, len))
                        return err_set(
                                err, INVALID_ARGUMENT,
                                "flag provided but not defined: -%s; it belongs to \"%s\" and stands before \"%s\"",
                                typed, a->path[i]->name, a->path[i + 1]->name);
        command_each_flag(args_command(a), flag_try, &n);
        if (n.name)
                return err_set(err, INVALID_ARGUMENT,
                               "flag provided but not defined: -%s; did you mean --%s?", typed,
                               n.name);
        return err_set(err, INVALID_ARGUMENT, "flag provided but not defined: -%s; see \"--help\"",
                       typed);
}

/* Reads the flags of the current command; *at moves to the first word that is none. */
static int parse_flags(Args *a, int argc, char **argv, int *at, Err *err)
{
        while (*at < argc) {
                const char *word = argv[*at], *name, *eq;
                const Flag *f;
                size_t len;
                int r;

                if (word[0] != '-' || word[1] == '\0')
                        return 0;
                (*at)++;
                if (str_eq(word, "--"))
                        return 0;
                name = word + (word[1] == '-' ? 2 : 1);
                eq = strchr(name, '=');
                len = eq ? (size_t)(eq - name) : strlen(name);
                if (len == 0 || name[0] == '-')
                        return err_set(err, INVALID_ARGUMENT, "bad flag syntax: %s", word);
                f = command_flag(args_command(a), name, len);
                if (!f && (str_eq(name, "help") || str_eq(name, "h"))) {
                        a->help = 1;
                        return 0;
                }
                if (!f)
                        return unknown_flag(a, name, len, err);
                if (eq)
                        r = add_value(a, f, eq + 1, err);
                else if (f->type == FLAG_BOOL)
                        r = add_value(a, f, "true", err);
                else if (*at < argc)
                        r = add_value(a, f, argv[(*at)++], err);
                else
                        r = err_set(err, INVALID_ARGUMENT, "flag needs an argument: --%s", f->name);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int unknown_command(Args *a, const char *word, Err *err)
{
        const char *near = command_suggest(args_command(a), word);
        char path[128] = "";

        for (size_t i = 0; i < a->depth; i++)
                snprintf(path + strlen(path), sizeof(path) - strlen(path), "%s%s", i ? " " : "",
                         a->path[i]->name);
        a->unknown = 1;
        if (near)
                return err_set(err, INVALID_ARGUMENT,
                               "unknown command \"%s\"; did you mean \"%s %s\"?", word, path, near);
        return err_set(err, INVALID_ARGUMENT,
                       "unknown command \"%s\"; \"%s --help\" lists what there is", word, path);
}

int args_parse(const Command *root, int argc, char **argv, Args *ret, Err *err)
{
        int at = 1, r;

        *ret = (Args){.path = {root}, .depth = 1};
        for (;;) {
                const Command *c = args_command(ret), *sub;

                if (!ret->help) {
                        r = parse_flags(ret, argc, argv, &at, err);
                        if (r < 0)
                                return r;
                }
                if (!c->subs)
                        break;
                if (at >= argc) {
                        ret->help = ret->help || !c->run;
                        break;
                }
                if (str_eq(argv[at], "help") || str_eq(argv[at], "h")) {
                        ret->help = 1;
                        at++;
                        if (at < argc && argv[at][0] == '-')
                                break;
                        continue;
                }
                sub = command_find(c, argv[at]);
                if (!sub)
                        return unknown_command(ret, argv[at], err);
                assert(ret->depth < COMMAND_DEPTH);
                ret->path[ret->depth++] = sub;
                at++;
        }
        ret->v = argv + at;
        ret->n = argc - at;
        return 0;
}

void args_done(Args *a)
{
        VEC_DONE(&a->values);
}

static const Flag *find_flag(const Args *a, const char *name)
{
        for (size_t i = a->depth; i-- > 0;) {
                const Flag *f = command_flag(a->path[i], name, strlen(name));

                if (f)
                        return f;
        }
        assert(!"a flag that no command of the path has");
        return NULL;
}

static const char *from_env(const Flag *f)
{
        const char *list = f->env;
        char name[64];

        while (list && *list) {
                size_t len = strcspn(list, ",");
                const char *value;

                snprintf(name, sizeof(name), "%.*s", (int)len, list);
                value = getenv(name);
                if (!str_empty(value))
                        return value;
                list += len + (list[len] == ',');
        }
        return NULL;
}

/* NULL when neither given, nor in the environment, nor with a default. */
static const char *raw(const Args *a, const char *name)
{
        const Flag *f = find_flag(a, name);
        const char *env;

        for (size_t i = a->values.n; i-- > 0;)
                if (a->values.v[i].flag == f)
                        return a->values.v[i].text;
        env = from_env(f);
        return env && !type_error(f, env) ? env : f->value;
}

int args_given(const Args *a, const char *name)
{
        const Flag *f = find_flag(a, name);

        for (size_t i = 0; i < a->values.n; i++)
                if (a->values.v[i].flag == f)
                        return 1;
        return 0;
}

const char *args_next(const Args *a, const char *name, size_t *at)
{
        const Flag *f = find_flag(a, name);

        while (*at < a->values.n) {
                const ArgsValue *v = &a->values.v[(*at)++];

                if (v->flag == f)
                        return v->text;
        }
        return NULL;
}

const char *args_str(const Args *a, const char *name)
{
        const char *s = raw(a, name);

        return s ? s : "";
}

int args_bool(const Args *a, const char *name)
{
        const char *s = raw(a, name);

        return s && (*s == 't' || *s == 'T' || *s == '1');
}

int64_t args_int(const Args *a, const char *name)
{
        const char *s = raw(a, name);
        int64_t n = 0;

        if (s)
                str_to_i64(s, &n);
        return n;
}

uint64_t args_uint(const Args *a, const char *name)
{
        const char *s = raw(a, name);
        uint64_t n = 0;

        if (s)
                str_to_u64(s, &n);
        return n;
}

double args_float(const Args *a, const char *name)
{
        const char *s = raw(a, name);

        return s ? strtod(s, NULL) : 0;
}

int64_t args_duration(const Args *a, const char *name)
{
        const char *s = raw(a, name);
        int64_t ns = 0;

        if (s)
                duration_parse(s, &ns);
        return ns;
}

const char *args_arg(const Args *a, int i)
{
        return i < a->n ? a->v[i] : "";
}
