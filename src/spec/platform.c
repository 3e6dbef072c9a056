/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Platforms. Normalising maps the many spellings to one, so that comparing is comparing strings.
 * The preference order is containerd's: amd64 takes its own micro-architecture level, then lower
 * ones, then 386; arm64 takes its version, lower ones, then 32-bit arm from v8 down; arm takes its
 * version and lower ones.
 */
#include <stdio.h>
#include <stdlib.h>

#include "spec/platform.h"

/* From spelling to (architecture, variant); a NULL variant keeps the given one. */
static const struct {
        const char *from, *arch, *variant;
} aliases[] = {
        {"i386", "386", ""},        {"x86_64", "amd64", NULL}, {"x86-64", "amd64", NULL},
        {"aarch64", "arm64", NULL}, {"armhf", "arm", "v7"},    {"armel", "arm", "v6"},
};

static const struct {
        const char *arch, *from, *variant;
} variants[] = {
        {"amd64", "v1", ""},     {"arm64", "8", ""},   {"arm64", "v8", ""},
        {"arm64", "v8.0", ""},   {"arm64", "9", "v9"}, {"arm64", "9.0", "v9"},
        {"arm64", "v9.0", "v9"}, {"arm", "", "v7"},    {"arm", "7", "v7"},
        {"arm", "5", "v5"},      {"arm", "6", "v6"},   {"arm", "8", "v8"},
};

/* Go's list, as far as images carry them; decides whether a lone word is an OS or an architecture.
 */
static const char *const known_os[] = {
        "aix",     "android", "darwin",  "dragonfly", "freebsd", "hurd",    "illumos",
        "ios",     "js",      "linux",   "nacl",      "netbsd",  "openbsd", "plan9",
        "solaris", "wasip1",  "windows", "zos",       "macos",
};
static const char *const known_arch[] = {
        "386",  "amd64", "arm",     "arm64",  "loong64", "mips",  "mips64", "mips64le", "mipsle",
        "ppc",  "ppc64", "ppc64le", "riscv",  "riscv64", "s390",  "s390x",  "sparc",    "sparc64",
        "wasm", "i386",  "x86_64",  "x86-64", "aarch64", "armhf", "armel",
};

static int in_list(const char *s, const char *const *list, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (strcasecmp(s, list[i]) == 0)
                        return 1;
        return 0;
}

Platform platform_host(void)
{
        Platform p = {.os = "linux", .arch = "", .variant = "", .os_version = ""};

#if defined(__x86_64__)
        p.arch = "amd64";
#elif defined(__aarch64__)
        p.arch = "arm64";
#elif defined(__i386__)
        p.arch = "386";
#elif defined(__arm__)
        p.arch = "arm";
        p.variant = "v7";
#elif defined(__riscv) && __riscv_xlen == 64
        p.arch = "riscv64";
#elif defined(__powerpc64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        p.arch = "ppc64le";
#elif defined(__s390x__)
        p.arch = "s390x";
#else
#error "name this architecture"
#endif
        return p;
}

void platform_normalize(Platform *p)
{
        p->os = p->os ? p->os : "";
        p->arch = p->arch ? p->arch : "";
        p->variant = p->variant ? p->variant : "";
        p->os_version = p->os_version ? p->os_version : "";
        if (strcasecmp(p->os, "macos") == 0)
                p->os = "darwin";
        for (size_t i = 0; i < ARRAY_LEN(aliases); i++) {
                if (strcasecmp(p->arch, aliases[i].from) != 0)
                        continue;
                p->arch = aliases[i].arch;
                if (aliases[i].variant)
                        p->variant = aliases[i].variant;
                break;
        }
        for (size_t i = 0; i < ARRAY_LEN(variants); i++) {
                if (str_eq(p->arch, variants[i].arch) &&
                    strcasecmp(p->variant, variants[i].from) == 0) {
                        p->variant = variants[i].variant;
                        break;
                }
        }
}

/* [A-Za-z0-9_.-]+ and nothing else */
static int component_ok(const char *s)
{
        return *s &&
               strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
                       strlen(s);
}

static void lower(char *s)
{
        for (; *s; s++)
                if (*s >= 'A' && *s <= 'Z')
                        *s += 'a' - 'A';
}

/* Cuts "windows(10.0.17763)" at the parenthesis; the text inside, "" for none, NULL for a bad one.
 */
static const char *cut_version(char *os)
{
        char *open = strchr(os, '('), *close;

        if (!open)
                return "";
        close = strchr(open, ')');
        if (!close || close[1] || close == open + 1)
                return NULL;
        *open = *close = '\0';
        return component_ok(open + 1) ? open + 1 : NULL;
}

int platform_parse(Arena *a, const char *s, Platform *ret, Err *err)
{
        Platform host = platform_host(), p = {};
        char *parts[3] = {};
        int n = 0;

        if (strlen(s) >= PLATFORM_TEXT_MAX)
                return err_set(err, INVALID_ARGUMENT,
                               "platform specifier is too long: invalid argument");
        if (strchr(s, '*'))
                return err_set(err, INVALID_ARGUMENT,
                               "\"%s\": wildcards not yet supported: invalid argument", s);
        for (char *rest = arena_strdup(a, s), *part; (part = strsep(&rest, "/"));) {
                if (n == 3)
                        return err_set(err, INVALID_ARGUMENT,
                                       "\"%s\": cannot parse platform specifier: invalid argument",
                                       s);
                parts[n++] = part;
        }
        p.os_version = cut_version(parts[0]);
        for (int i = 0; i < n; i++) {
                lower(parts[i]);
                if (!p.os_version || !component_ok(parts[i]))
                        return err_set(
                                err, INVALID_ARGUMENT,
                                "\"%s\" is an invalid component of \"%s\": platform specifier "
                                "component must match \"^[A-Za-z0-9_.-]+$\": invalid argument",
                                parts[i], s);
        }
        if (n > 1) {
                p.os = parts[0];
                p.arch = parts[1];
                p.variant = parts[2];
        } else if (in_list(parts[0], known_os, ARRAY_LEN(known_os))) {
                p.os = parts[0];
                p.arch = host.arch;
                p.variant = host.variant;
        } else if (in_list(parts[0], known_arch, ARRAY_LEN(known_arch))) {
                p.os = host.os;
                p.arch = parts[0];
        } else {
                return err_set(err, INVALID_ARGUMENT,
                               "\"%s\": unknown operating system or architecture: invalid argument",
                               s);
        }
        platform_normalize(&p);
        *ret = p;
        return 0;
}

const char *platform_format(const Platform *p, char buf[PLATFORM_TEXT_MAX])
{
        const char *version = str_empty(p->os_version) ? "" : p->os_version;

        if (str_empty(p->os))
                return strcpy(buf, "unknown");
        snprintf(buf, PLATFORM_TEXT_MAX, "%s%s%s%s%s%s%s%s", p->os, *version ? "(" : "", version,
                 *version ? ")" : "", str_empty(p->arch) ? "" : "/", p->arch ? p->arch : "",
                 str_empty(p->variant) ? "" : "/", p->variant ? p->variant : "");
        return buf;
}

/* "v8.2" is 802, "" is the architecture's base, -1 for what is no version. */
static int variant_number(const char *variant, int base)
{
        char *end;
        long major, minor = 0;

        if (!*variant)
                return base;
        if (variant[0] != 'v' || variant[1] < '0' || variant[1] > '9')
                return -1;
        major = strtol(variant + 1, &end, 10);
        if (*end == '.')
                minor = strtol(end + 1, &end, 10);
        if (*end || major > 1000 || minor < 0 || minor > 99)
                return -1;
        return (int)(major * 100 + minor);
}

static int rank_within(const char *want, const char *have, int base)
{
        int w = variant_number(want, base), h = variant_number(have, base);

        if (str_eq(want, have))
                return 0;
        return w < 0 || h < 0 || h > w ? -1 : w - h;
}

enum { RANK_OTHER_ARCH = 1000000 };

int platform_rank(const Platform *want, const Platform *p)
{
        int r;

        if (!str_eq(want->os, p->os))
                return -1;
        if (*want->os_version && *p->os_version && !str_eq(want->os_version, p->os_version))
                return -1;
        if (str_eq(want->arch, p->arch)) {
                if (str_eq(p->arch, "amd64"))
                        return rank_within(want->variant, p->variant, 100);
                if (str_eq(p->arch, "arm64"))
                        return rank_within(want->variant, p->variant, 800);
                if (str_eq(p->arch, "arm"))
                        return rank_within(want->variant, p->variant, 700);
                return str_eq(want->variant, p->variant) ? 0 : -1;
        }
        if (str_eq(want->arch, "amd64") && str_eq(p->arch, "386"))
                return RANK_OTHER_ARCH;
        if (str_eq(want->arch, "arm64") && str_eq(p->arch, "arm")) {
                r = rank_within("v8", p->variant, 700);
                return r < 0 ? -1 : RANK_OTHER_ARCH + r;
        }
        return -1;
}
