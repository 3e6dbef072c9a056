/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters: one pass over the text makes branches (ORed) of selectors (ANDed). Whitespace between
 * tokens is skipped. What a token is depends on whether an operator has just been read: after one,
 * anything up to a comma or blank is a value.
 */
#include "db/filter.h"

#include "base/arena.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "db/regex.h"
#include "db/utf8_priv.h"

#include <stdio.h>

enum { REGEX_COUNT_MAX = 64, QUICK_SELECTORS = 16 };

typedef enum Operator { PRESENT, EQUAL, NOT_EQUAL, MATCHES } Operator;

typedef struct Selector {
        const char **path;
        size_t n_path;
        Operator op;
        const char *value;
        Regex *regex; /* NULL: did not compile, matches nothing */
        struct Selector *next;
} Selector;

typedef struct Branch {
        Selector *first;
        struct Branch *next;
} Branch;

struct Filter {
        Arena arena;
        Branch *branches;
        int everything;
        int n_regexes, n_steps;  /* n_steps: of all their programs */
        int n_selectors, nested; /* nested: some path has more than one part */
};

typedef struct Parser {
        Filter *filter;
        const char *input, *p;
        Err *err;
} Parser;

/* ---- scanning ---- */

static int fail_at(Parser *ps, const char *at, const char *msg)
{
        int n;

        if (*at == '\0')
                return err_set(ps->err, INVALID_ARGUMENT,
                               "filters: parse error: [%s]: %s: invalid argument", ps->input, msg);
        utf8_next(at, &n);
        return err_set(ps->err, INVALID_ARGUMENT,
                       "filters: parse error: [%.*s >|%.*s|< %s]: %s: invalid argument",
                       (int)(at - ps->input), ps->input, n, at, at + n, msg);
}

static int is_space(int32_t r)
{
        return (r >= '\t' && r <= '\r') || r == ' ' || r == 0x85 || r == 0xa0 || r == 0x1680 ||
               (r >= 0x2000 && r <= 0x200a) || r == 0x2028 || r == 0x2029 || r == 0x202f ||
               r == 0x205f || r == 0x3000;
}

static int is_control(int32_t r)
{
        return r < 0x20 || (r >= 0x7f && r < 0xa0);
}

static int is_field(char c)
{
        return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
               (c >= 'A' && c <= 'Z');
}

static int is_operator(char c)
{
        return c == '=' || c == '!' || c == '~';
}

static int is_quote(char c)
{
        return c == '"' || c == '/' || c == '|';
}

static void skip_space(Parser *ps)
{
        int n;

        while (*ps->p != '\0' && is_space(utf8_next(ps->p, &n)))
                ps->p += n;
}

static int hex_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c |= 0x20;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
}

/* n digits of a base after "\x" and its like. -1 when malformed. */
static int64_t digits(const char **p, int base, int n)
{
        int64_t v = 0;

        for (; n > 0; n--, (*p)++) {
                if (hex_value(**p) >= base)
                        return -1;
                v = v * base + hex_value(**p);
        }
        return v;
}

/* After a backslash; Go's escapes, which a quote may be among. Appends what it stands for. 0 or -1.
 */
static int unescape(const char **p, char quote, Str *out)
{
        static const char from[] = "abfnrtv\\", to[] = "\a\b\f\n\r\t\v\\";
        char c = *(*p)++, utf8[4];
        const char *at;
        int64_t v;

        if (c == '\0')
                return -1;
        at = strchr(from, c);
        if (at || c == quote) {
                str_add_char(out, at ? to[at - from] : quote);
                return 0;
        }
        if (c >= '0' && c <= '7') {
                (*p)--;
                v = digits(p, 8, 3);
        } else if (c == 'x' || c == 'u' || c == 'U') {
                v = digits(p, 16, c == 'x' ? 2 : c == 'u' ? 4 : 8);
        } else {
                return -1;
        }
        if (v <= 0 || v > (c == 'u' || c == 'U' ? RUNE_MAX : 0xff) || (v >= 0xd800 && v < 0xe000))
                return -1; /* a NUL is in no field */
        if (c == 'u' || c == 'U')
                str_add_n(out, utf8, (size_t)utf8_put(utf8, (int32_t)v));
        else
                str_add_char(out, (char)v);
        return 0;
}

static int quoted(Parser *ps, int alternatives, const char **ret)
{
        Str s CLEANUP(str_done) = {};
        const char *begin = ps->p;
        char quote = *ps->p++;

        while (*ps->p != quote) {
                if (*ps->p == '\0' || *ps->p == '\n')
                        return fail_at(ps, begin, "quoted literal not terminated");
                if (*ps->p != '\\') {
                        str_add_char(&s, *ps->p++);
                        continue;
                }
                ps->p++;
                if (unescape(&ps->p, quote, &s) < 0)
                        return fail_at(ps, begin, "illegal escape sequence");
        }
        ps->p++;
        if (quote != '"' && !alternatives)
                return fail_at(ps, begin, "invalid quote encountered");
        *ret = arena_strndup(&ps->filter->arena, str_get(&s), s.len);
        return 0;
}

/* ---- the grammar ---- */

static int field(Parser *ps, const char **ret)
{
        const char *begin;

        skip_space(ps);
        begin = ps->p;
        if (is_quote(*ps->p))
                return quoted(ps, 0, ret);
        while (is_field(*ps->p))
                ps->p++;
        if (ps->p == begin)
                return fail_at(ps, begin, "expected field or quoted");
        *ret = arena_strndup(&ps->filter->arena, begin, (size_t)(ps->p - begin));
        return 0;
}

static int fieldpath(Parser *ps, Selector *s)
{
        VEC(const char *) parts = {};
        const char *part;
        int r;

        for (;;) {
                r = field(ps, &part);
                if (r < 0)
                        break;
                VEC_PUSH(&parts, part);
                skip_space(ps);
                if (*ps->p != '.')
                        break;
                ps->p++;
        }
        s->n_path = parts.n;
        s->path = arena_memdup(&ps->filter->arena, parts.v, parts.n * sizeof(*parts.v));
        VEC_DONE(&parts);
        return r;
}

static int operator(Parser *ps, Operator *ret)
{
        const char *begin = ps->p;
        char msg[64];
        size_t n;

        while (is_operator(*ps->p))
                ps->p++;
        n = (size_t)(ps->p - begin);
        if (n == 0)
                return fail_at(ps, begin, "expected an operator (\"==\"|\"!=\"|\"~=\")");
        if (n == 2 && strncmp(begin, "==", 2) == 0)
                *ret = EQUAL;
        else if (n == 2 && strncmp(begin, "!=", 2) == 0)
                *ret = NOT_EQUAL;
        else if (n == 2 && strncmp(begin, "~=", 2) == 0)
                *ret = MATCHES;
        else {
                snprintf(msg, sizeof(msg), "unsupported operator \"%.*s\"", (int)MIN(n, (size_t)20),
                         begin);
                return fail_at(ps, begin, msg);
        }
        return 0;
}

static int value(Parser *ps, Operator op, const char **ret)
{
        const char *begin;
        int32_t r;
        int n;

        skip_space(ps);
        begin = ps->p;
        if (is_quote(*ps->p))
                return quoted(ps, op == MATCHES, ret);
        if (*ps->p == '.')
                return fail_at(ps, begin, "expected value or quoted");
        while (*ps->p != '\0' && *ps->p != ',') {
                r = utf8_next(ps->p, &n);
                if (is_space(r) || is_control(r))
                        break;
                ps->p += n;
        }
        if (ps->p == begin)
                return fail_at(ps, begin, "expected value or quoted");
        *ret = arena_strndup(&ps->filter->arena, begin, (size_t)(ps->p - begin));
        return 0;
}

static int selector(Parser *ps, Selector *s)
{
        Filter *f = ps->filter;
        int r;

        r = fieldpath(ps, s);
        f->n_selectors++;
        f->nested |= s->n_path > 1;
        if (r < 0 || *ps->p == '\0' || *ps->p == ',')
                return r;
        r = operator(ps, &s->op);
        if (r == 0)
                r = value(ps, s->op, &s->value);
        if (r < 0 || s->op != MATCHES)
                return r;
        if (++f->n_regexes > REGEX_COUNT_MAX)
                return err_set(ps->err, INVALID_ARGUMENT,
                               "filters: more than %d regular expressions: invalid argument",
                               REGEX_COUNT_MAX);
        if (regex_compile(s->value, &s->regex) < 0)
                s->regex = NULL;
        else
                f->n_steps += regex_size(s->regex);
        if (f->n_steps > REGEX_PROGRAM_MAX)
                return err_set(ps->err, INVALID_ARGUMENT,
                               "filters: regular expressions of more than %d steps in all: "
                               "invalid argument",
                               REGEX_PROGRAM_MAX);
        return 0;
}

static int branch(Parser *ps, Branch *b)
{
        Selector **tail = &b->first;
        char msg[64];
        int r, n;

        for (;;) {
                *tail = arena_new(&ps->filter->arena, Selector);
                r = selector(ps, *tail);
                if (r < 0)
                        return r;
                tail = &(*tail)->next;
                skip_space(ps);
                if (*ps->p == '\0')
                        return 0;
                if (*ps->p != ',') {
                        utf8_next(ps->p, &n);
                        snprintf(msg, sizeof(msg), "unexpected input: %.*s", n, ps->p);
                        return fail_at(ps, ps->p, msg);
                }
                ps->p++;
        }
}

int filter_parse(const char *const *filters, size_t n, Filter **ret, Err *err)
{
        Filter *f CLEANUP(filter_freep) = mem_new(Filter);
        Branch **tail = &f->branches;
        size_t total = 0;
        int r;

        arena_init(&f->arena, SIZE_MAX);
        f->everything = n == 0;
        for (size_t i = 0; i < n; i++) {
                Parser ps = {.filter = f, .input = filters[i], .p = filters[i], .err = err};

                total += strlen(filters[i]) + 1;
                if (total > LIMIT_FILTER)
                        return err_set(err, INVALID_ARGUMENT,
                                       "filters: longer than %d bytes in all: invalid argument",
                                       LIMIT_FILTER);
                if (filters[i][0] == '\0') {
                        f->everything = 1;
                        continue;
                }
                *tail = arena_new(&f->arena, Branch);
                r = branch(&ps, *tail);
                if (r < 0)
                        return r;
                tail = &(*tail)->next;
        }
        *ret = TAKE(f);
        return 0;
}

Filter *filter_free(Filter *f)
{
        if (!f)
                return NULL;
        for (Branch *b = f->branches; b; b = b->next)
                for (Selector *s = b->first; s; s = s->next)
                        regex_free(s->regex);
        arena_done(&f->arena);
        free(f);
        return NULL;
}

/* ---- matching ---- */

static int selector_match(const Selector *s, FilterFieldFn fn, void *ctx)
{
        const char *got = fn(ctx, s->path, s->n_path);

        switch (s->op) {
        case PRESENT:
                return got != NULL;
        case EQUAL:
                return got && strcmp(got, s->value) == 0;
        case NOT_EQUAL:
                return strcmp(got ? got : "", s->value) != 0;
        case MATCHES:
                return s->regex && regex_search(s->regex, got ? got : "");
        }
        return 0;
}

int filter_match(const Filter *f, FilterFieldFn fn, void *ctx)
{
        const Selector *s;

        if (f->everything)
                return 1;
        for (const Branch *b = f->branches; b; b = b->next) {
                for (s = b->first; s && selector_match(s, fn, ctx);)
                        s = s->next;
                if (!s)
                        return 1;
        }
        return 0;
}

int filter_matches_all(const Filter *f)
{
        return f->everything;
}

int filter_is_quick(const Filter *f)
{
        return f->everything ||
               (f->n_regexes == 0 && !f->nested && f->n_selectors <= QUICK_SELECTORS);
}

int filter_path_is(const char *const *path, size_t n, size_t from, const char *key)
{
        size_t len;

        for (size_t i = from; i < n; i++) {
                len = strlen(path[i]);
                if (strncmp(key, path[i], len) != 0)
                        return 0;
                key += len;
                if (i + 1 < n && *key++ != '.')
                        return 0;
        }
        return from < n && *key == '\0';
}
