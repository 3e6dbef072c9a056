/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jansson under limits. jansson's own nesting limit is a compile-time 2048, so depth is counted
 * before it sees the text. Numbers beyond int64 make it refuse the document; then the text is
 * decoded again with integers as reals, and every real that came from an integer is checked: 2^64-1
 * is kept by a table of its own, the rest is refused.
 */
#include "base/json.h"

#include <inttypes.h>
#include "base/limits.h"
#include "base/mem.h"
#include "base/str.h"

/* How 18446744073709551615 arrives as a double: 2^64. No other integer up to 2^64-1 within a spec
 * needs it. */
#define U64_MAX_AS_REAL 18446744073709551616.0
/* 2^53: every integer up to here has a double of its own. */
#define EXACT_MAX 9007199254740992.0

static int check_depth(const char *text, size_t n, const char *what, Err *err)
{
        int depth = 0, in_string = 0;

        for (size_t i = 0; i < n; i++) {
                char c = text[i];

                if (in_string) {
                        if (c == '\\')
                                i++;
                        else if (c == '"')
                                in_string = 0;
                } else if (c == '"') {
                        in_string = 1;
                } else if (c == '{' || c == '[') {
                        if (++depth > LIMIT_JSON_DEPTH)
                                return err_set(err, INVALID_ARGUMENT,
                                               "%s: nested deeper than %d levels", what,
                                               LIMIT_JSON_DEPTH);
                } else if (c == '}' || c == ']') {
                        depth--;
                }
        }
        return 0;
}

/* Where a value stands, made into text only when it is complained about. */
typedef struct Place {
        const struct Place *up; /* NULL for the document */
        const char *key;        /* a member's, or the document's name; NULL for an element */
        size_t index;
} Place;

static void add_path(Str *out, const Place *p)
{
        if (p->up)
                add_path(out, p->up);
        if (!p->key)
                str_addf(out, "[%zu]", p->index);
        else
                str_addf(out, p->up ? ".%s" : "%s", p->key);
}

static int settle_number(json_t *parent, const Place *at, const json_t *j, Err *err)
{
        double v = json_real_value(j);
        json_t *exact;

        if (v == U64_MAX_AS_REAL)
                return 0;
        if (v > EXACT_MAX || v < -EXACT_MAX) {
                Str path CLEANUP(str_done) = {};

                add_path(&path, at);
                return err_set(err, INVALID_ARGUMENT, "%s: number is not exact", str_get(&path));
        }
        if (v != (double)(json_int_t)v)
                return 0;
        exact = json_integer((json_int_t)v);
        if (at->key)
                json_object_set_new_nocheck(parent, at->key, exact);
        else
                json_array_set_new(parent, at->index, exact);
        return 0;
}

/* Decoded with integers as reals: those within int64 become integers again, 2^64 stays, what is
 * inexact is named. */
static int settle_numbers(json_t *parent, const Place *at, json_t *j, Err *err)
{
        const char *k;
        json_t *child;
        size_t i;
        int r;

        if (json_is_object(j)) {
                json_object_foreach(j, k, child)
                {
                        r = settle_numbers(j, &(Place){at, k, 0}, child, err);
                        if (r < 0)
                                return r;
                }
        } else if (json_is_array(j)) {
                json_array_foreach(j, i, child)
                {
                        r = settle_numbers(j, &(Place){at, NULL, i}, child, err);
                        if (r < 0)
                                return r;
                }
        } else if (json_is_real(j) && parent) {
                return settle_number(parent, at, j, err);
        }
        return 0;
}

int json_read(const char *text, size_t n, size_t max, const char *what, json_t **ret, Err *err)
{
        const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;
        json_t *j CLEANUP(json_decrefp) = NULL;
        json_error_t e;
        int r;

        if (n > max)
                return err_set(err, INVALID_ARGUMENT,
                               "%s: %zu bytes are more than the limit of %zu", what, n, max);
        r = check_depth(text, n, what, err);
        if (r < 0)
                return r;
        j = json_loadb(text, n, flags, &e);
        if (!j && json_error_code(&e) == json_error_numeric_overflow) {
                j = json_loadb(text, n, flags | JSON_DECODE_INT_AS_REAL, &e);
                r = j ? settle_numbers(NULL, &(Place){.key = what}, j, err) : 0;
                if (r < 0)
                        return r;
        }
        if (!j)
                return err_set(err, INVALID_ARGUMENT, "%s: line %d, column %d: %s", what, e.line,
                               e.column, e.text);
        *ret = TAKE(j);
        return 0;
}

/* 1 and the member if it is there, 0 when absent or null. */
static int member(const json_t *obj, const char *key, const json_t **ret)
{
        *ret = json_object_get(obj, key);
        return *ret && !json_is_null(*ret);
}

static int wrong_type(const char *key, const char *wanted, Err *err)
{
        return err_set(err, INVALID_ARGUMENT, "member \"%s\" must be %s", key, wanted);
}

int json_get_str(const json_t *obj, const char *key, const char **ret, Err *err)
{
        const json_t *j;

        if (!member(obj, key, &j))
                return 0;
        if (!json_is_string(j) || strlen(json_string_value(j)) != json_string_length(j))
                return wrong_type(key, "a string", err);
        *ret = json_string_value(j);
        return 0;
}

int json_get_i64(const json_t *obj, const char *key, int64_t *ret, Err *err)
{
        const json_t *j;

        if (!member(obj, key, &j))
                return 0;
        if (!json_is_integer(j))
                return wrong_type(key, "an integer", err);
        *ret = json_integer_value(j);
        return 0;
}

int json_get_bool(const json_t *obj, const char *key, int *ret, Err *err)
{
        const json_t *j;

        if (!member(obj, key, &j))
                return 0;
        if (!json_is_boolean(j))
                return wrong_type(key, "a boolean", err);
        *ret = json_is_true(j);
        return 0;
}

int json_get_obj(const json_t *obj, const char *key, const json_t **ret, Err *err)
{
        const json_t *j;

        if (!member(obj, key, &j))
                return 0;
        if (!json_is_object(j))
                return wrong_type(key, "an object", err);
        *ret = j;
        return 0;
}

int json_get_arr(const json_t *obj, const char *key, const json_t **ret, Err *err)
{
        const json_t *j;

        if (!member(obj, key, &j))
                return 0;
        if (!json_is_array(j))
                return wrong_type(key, "an array", err);
        *ret = j;
        return 0;
}

json_t *json_u64(uint64_t n)
{
        return n > INT64_MAX ? json_real((double)n) : json_integer((json_int_t)n);
}

/* jansson has no integers beyond int64, so a document is written by ourselves: numbers as they were
 * read. */
static void write_text(const json_t *j, Str *out)
{
        const char *k;
        json_t *child;
        size_t i;
        char *s;

        if (json_is_object(j)) {
                str_add_char(out, '{');
                i = 0;
                json_object_foreach((json_t *)(uintptr_t)j, k, child)
                {
                        json_t *key CLEANUP(json_decrefp) = json_string_nocheck(k);

                        if (i++)
                                str_add_char(out, ',');
                        write_text(key, out);
                        str_add_char(out, ':');
                        write_text(child, out);
                }
                str_add_char(out, '}');
        } else if (json_is_array(j)) {
                str_add_char(out, '[');
                json_array_foreach(j, i, child)
                {
                        if (i)
                                str_add_char(out, ',');
                        write_text(child, out);
                }
                str_add_char(out, ']');
        } else if (json_is_real(j) && json_real_value(j) == U64_MAX_AS_REAL) {
                str_addf(out, "%" PRIu64, UINT64_MAX);
        } else {
                s = json_dumps(j, JSON_ENCODE_ANY);
                str_add(out, s ? s : "null");
                free(s);
        }
}

char *json_text(const json_t *j)
{
        Str out CLEANUP(str_done) = {};

        write_text(j, &out);
        return str_steal(&out);
}
