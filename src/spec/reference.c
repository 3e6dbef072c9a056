/* SPDX-License-Identifier: Apache-2.0 */
/*
 * References. The upstream grammar is one regular expression; here it is cut from the right: the
 * digest after the last "@", the tag after the last ":" behind the last "/", and what remains is
 * the name, whose first component is the domain if it can be one and something follows it. None of
 * the parts may hold the separator that ends it, so the cuts give what the expression gives.
 */

#include "base/limits.h"
#include "spec/reference.h"

enum { NAME_MAX_LEN = 255, TAG_MAX_LEN = 128 };

static int is_lower_alnum(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static int is_upper(char c)
{
        return c >= 'A' && c <= 'Z';
}

/* [a-z0-9]+ joined by ".", "_", "__" or any number of "-" */
static int path_component_ok(const char *s, const char *end)
{
        while (s < end && is_lower_alnum(*s)) {
                while (s < end && is_lower_alnum(*s))
                        s++;
                if (s == end)
                        return 1;
                if (*s == '-') {
                        while (s < end && *s == '-')
                                s++;
                } else if (*s == '.') {
                        s++;
                } else if (*s == '_') {
                        s += s + 1 < end && s[1] == '_' ? 2 : 1;
                } else {
                        return 0;
                }
        }
        return 0;
}

static int path_ok(const char *s)
{
        for (;;) {
                const char *end = s + strcspn(s, "/");

                if (!path_component_ok(s, end))
                        return 0;
                if (!*end)
                        return 1;
                s = end + 1;
        }
}

static int host_component_ok(const char *s, const char *end)
{
        if (s == end || *s == '-' || end[-1] == '-')
                return 0;
        for (; s < end; s++)
                if (!is_lower_alnum(*s) && !is_upper(*s) && *s != '-')
                        return 0;
        return 1;
}

/* host[:port]; a host is names joined by dots, or [IPv6] */
static int domain_ok(const char *s, const char *end)
{
        const char *port;

        if (s < end && *s == '[') {
                size_t n = strspn(s + 1, "0123456789abcdefABCDEF:");

                port = s + 1 + n;
                if (n == 0 || port >= end || *port != ']')
                        return 0;
                port++;
        } else {
                port = memchr(s, ':', (size_t)(end - s));
                port = port ? port : end;
                for (const char *dot = s;; s = dot) {
                        while (dot < port && *dot != '.')
                                dot++;
                        if (!host_component_ok(s, dot))
                                return 0;
                        if (dot++ == port)
                                break;
                }
        }
        if (port == end)
                return 1;
        if (*port++ != ':' || port == end)
                return 0;
        for (; port < end; port++)
                if (*port < '0' || *port > '9')
                        return 0;
        return 1;
}

static int tag_ok(const char *s)
{
        size_t n = strlen(s);

        if (n == 0 || n > TAG_MAX_LEN || *s == '.' || *s == '-')
                return 0;
        for (; *s; s++)
                if (!is_lower_alnum(*s) && !is_upper(*s) && !strchr("_.-", *s))
                        return 0;
        return 1;
}

static int has_upper(const char *s)
{
        for (; *s; s++)
                if (is_upper(*s))
                        return 1;
        return 0;
}

static int bad_format(Err *err)
{
        return err_set(err, INVALID_ARGUMENT, "invalid reference format");
}

int reference_parse(Arena *a, const char *s, Reference *ret, Err *err)
{
        Reference ref = {.domain = "", .tag = ""};
        char *name, *at, *slash, *colon;
        int r;

        if (!*s)
                return err_set(err, INVALID_ARGUMENT,
                               "repository name must have at least one component");
        if (strlen(s) > LIMIT_REF)
                return bad_format(err);
        name = arena_strdup(a, s);
        at = strchr(name, '@');
        if (at) {
                *at = '\0';
                r = digest_parse(at + 1, &ref.digest, err);
                if (r < 0)
                        return r;
        }
        slash = strrchr(name, '/');
        colon = strchr(slash ? slash : name, ':');
        if (colon) {
                *colon = '\0';
                ref.tag = colon + 1;
                if (!tag_ok(ref.tag))
                        return bad_format(err);
        }
        slash = strchr(name, '/');
        ref.path = name;
        if (slash && domain_ok(name, slash) && path_ok(slash + 1)) {
                *slash = '\0';
                ref.domain = name;
                ref.path = slash + 1;
        }
        if (!path_ok(ref.path))
                return has_upper(ref.path)
                               ? err_set(err, INVALID_ARGUMENT, "repository name must be lowercase")
                               : bad_format(err);
        if (strlen(ref.path) > NAME_MAX_LEN)
                return err_set(err, INVALID_ARGUMENT,
                               "repository name must not be more than %d characters", NAME_MAX_LEN);
        *ret = ref;
        return 0;
}

/* 64 hex digits are an image id to whoever typed them. */
static int looks_like_id(const char *s)
{
        return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

int reference_parse_familiar(Arena *a, const char *s, Reference *ret, Err *err)
{
        const char *slash, *rest = s, *domain = "docker.io", *remote;
        size_t n;

        if (looks_like_id(s))
                return err_set(
                        err, INVALID_ARGUMENT,
                        "invalid repository name (%s), cannot specify 64-byte hexadecimal strings",
                        s);
        if (strlen(s) > LIMIT_REF)
                return bad_format(err);
        slash = strchr(s, '/');
        n = slash ? (size_t)(slash - s) : 0;
        if (slash) {
                char *first = arena_strndup(a, s, n);

                /* a first component is a host only if it could be no repository: it has a dot, a
                 * port, capitals */
                if (strpbrk(first, ".:") || str_eq(first, "localhost") || has_upper(first)) {
                        domain = str_eq(first, "index.docker.io") ? "docker.io" : first;
                        rest = slash + 1;
                }
        }
        remote = arena_strndup(a, rest, strcspn(rest, ":@"));
        if (has_upper(remote))
                return err_set(err, INVALID_ARGUMENT,
                               "invalid reference format: repository name (%s) must be lowercase",
                               remote);
        if (str_eq(domain, "docker.io") && *rest && !strchr(remote, '/'))
                rest = arena_printf(a, "library/%s", rest);
        return reference_parse(a, arena_printf(a, "%s/%s", domain, rest), ret, err);
}

void reference_default_tag(Reference *r)
{
        if (!*r->tag && !*r->digest.text)
                r->tag = "latest";
}

const char *reference_format(Arena *a, const Reference *r)
{
        return arena_printf(a, "%s%s%s%s%s%s%s", r->domain, *r->domain ? "/" : "", r->path,
                            *r->tag ? ":" : "", r->tag, *r->digest.text ? "@" : "", r->digest.text);
}

/* "a//b/./c/../d" is "a/b/d", as Go's path.Join has it. */