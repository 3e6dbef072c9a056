/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done to a mount before it is mounted. The type says it, in front of the type proper, and
 * the options say how:
 *
 *         format/TYPE   templates in source, target and options are filled in
 *         mkdir/TYPE    X-containerd.mkdir.path=DIR[:MODE[:UID:GID]]
 *         mkfs/TYPE     X-containerd.mkfs.size=N, .fs=ext4, .uuid=U: makes the source, a file
 *
 * Clients name the paths, so mkdir and mkfs work only below the manager's roots, and every walk
 * ends there whatever links lie in between. A file system is made in a file without a name, which
 * gets it when it is complete.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/path.h"
#include "base/proc.h"
#include "base/str.h"
#include "runtime/mounts_priv.h"

#define PREFIX_MKDIR "X-containerd.mkdir."
#define PREFIX_MKFS  "X-containerd.mkfs."

enum { PREFIXES_MAX = 16 }; /* each copies the options */
enum { MKFS_MS = 10 * 60 * 1000, MKFS_OUTPUT = 512, MKFS_FD = 3 };

typedef struct Step {
        const MountManager *manager;
        Arena *arena;
        const Types__ActiveMount *const *active;
        size_t n_active;
} Step;

/* ---- format ---- */

static int fill(const Step *s, const char **text, size_t *left, Err *err)
{
        if (str_empty(*text) || !strstr(*text, "{{"))
                return 0;
        return template_fill(s->arena, *text, s->active, s->n_active, left, text, err);
}

static int do_format(const Step *s, Mount *m, Err *err)
{
        const char **options = arena_memdup(s->arena, m->options, m->n_options * sizeof(*options));
        size_t left = LIMIT_MOUNT_TEMPLATES;
        int r;

        r = fill(s, &m->source, &left, err);
        if (r == 0)
                r = fill(s, &m->target, &left, err);
        for (size_t i = 0; i < m->n_options && r == 0; i++)
                r = fill(s, &options[i], &left, err);
        m->options = options;
        return r;
}

/* ---- below a root ---- */

/* The root that path is below (the deepest), and what it is called there. */
static const MountRoot *find_root(const MountManager *m, const char *path, const char **ret)
{
        const MountRoot *best = NULL;
        size_t longest = 0;

        for (size_t i = 0; i < m->n_roots; i++) {
                size_t n = strlen(m->roots[i].path);

                if (strncmp(path, m->roots[i].path, n) != 0 || path[n] != '/' || n < longest)
                        continue;
                best = &m->roots[i];
                longest = n;
        }
        if (!best)
                return NULL;
        path += longest;
        *ret = path + strspn(path, "/");
        return **ret ? best : NULL;
}

/* The folder that path lies in, as a descriptor, and its last part. */
static int open_parent(const Step *s, const char *path, const char *what, const char **ret_name,
                       int *ret_fd, Err *err)
{
        const char *below;
        const MountRoot *root = find_root(s->manager, path, &below);
        char *dir, *slash;
        int fd;

        if (!root)
                return err_set(err, UNIMPLEMENTED,
                               "no root \"%s\" configured for %s: not implemented", path, what);
        dir = arena_strdup(s->arena, below);
        while ((slash = strrchr(dir, '/')) && !slash[1])
                *slash = 0;
        *ret_name = slash ? slash + 1 : dir;
        if (str_eq(*ret_name, ".") || str_eq(*ret_name, ".."))
                return err_set(err, INVALID_ARGUMENT, "%s of \"%s\": invalid argument", what, path);
        if (slash)
                *slash = 0;
        fd = path_open_beneath(root->fd, slash ? dir : ".", O_PATH | O_DIRECTORY, 0);
        if (fd < 0)
                return err_sys(err, errno, "%s of \"%s\"", what, path);
        *ret_fd = fd;
        return 0;
}

/* ---- mkdir ---- */

typedef struct MakeDir {
        char *path;
        mode_t mode;
        uid_t uid;
        gid_t gid;
} MakeDir;

static int parse_owner(const char *text, const char *what, uint32_t *ret, Err *err)
{
        uint64_t n;

        if (str_to_u64(text, &n) < 0 || n >= UINT32_MAX)
                return err_set(err, INVALID_ARGUMENT, "invalid %s \"%s\": invalid argument", what,
                               text);
        *ret = (uint32_t)n;
        return 0;
}

static int parse_mode(const char *text, mode_t *ret, Err *err)
{
        size_t digits = strspn(text, "01234567");
        unsigned long mode = digits > 0 && digits <= 8 ? strtoul(text, NULL, 8) : ULONG_MAX;

        if (text[digits] || mode > 0777)
                return err_set(err, UNKNOWN, "invalid mode %s", text);
        *ret = (mode_t)mode;
        return 0;
}

static int parse_mkdir(Arena *a, const char *option, MakeDir *ret, Err *err)
{
        const char *value = option + strlen(PREFIX_MKDIR "path=");
        char *parts[4] = {}, *rest;
        size_t n = 0;
        int r = 0;

        if (!str_starts(option, PREFIX_MKDIR "path="))
                n = ARRAY_LEN(parts) + 1;
        for (rest = arena_strdup(a, n ? "" : value); rest && n < ARRAY_LEN(parts); n++) {
                parts[n] = rest;
                rest = strchr(rest, ':');
                if (rest)
                        *rest++ = 0;
        }
        if (rest || (n != 1 && n != 2 && n != 4) || !parts[0][0])
                return err_set(err, INVALID_ARGUMENT,
                               "invalid mkdir option \"%s\": invalid argument", option);
        *ret = (MakeDir){.path = parts[0], .mode = 0700, .uid = getuid(), .gid = getgid()};
        if (n == 4)
                r = parse_owner(parts[3], "gid", &ret->gid, err);
        if (r == 0 && n == 4)
                r = parse_owner(parts[2], "uid", &ret->uid, err);
        return r == 0 && n > 1 ? parse_mode(parts[1], &ret->mode, err) : r;
}

/* One that is there stays as it is, and has to be what was asked for. */
static int check_dir(int parent, const char *name, const MakeDir *d, Err *err)
{
        struct stat st;

        if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return err_sys(err, errno, "failed to stat \"%s\"", d->path);
        if (!S_ISDIR(st.st_mode))
                return err_set(err, FAILED_PRECONDITION,
                               "mkdir target \"%s\" exists and is not a directory: failed "
                               "precondition",
                               d->path);
        if ((st.st_mode & 0777) != d->mode)
                return err_set(err, UNIMPLEMENTED,
                               "\"%s\" exists with mode %o, and is not changed to %o: not "
                               "implemented",
                               d->path, st.st_mode & 0777, d->mode);
        return 0;
}

static int make_dir(const Step *s, const MakeDir *d, Err *err)
{
        int parent CLEANUP(cleanup_fd) = -1, fd CLEANUP(cleanup_fd) = -1;
        const char *name;
        int r;

        r = open_parent(s, d->path, "mkdir", &name, &parent, err);
        if (r < 0)
                return r;
        if (fault_hit() || mkdirat(parent, name, 0700) < 0)
                return errno == EEXIST
                               ? check_dir(parent, name, d, err)
                               : err_sys(err, errno, "failed to create directory \"%s\"", d->path);
        fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fault_hit() || fd < 0 || fchown(fd, d->uid, d->gid) < 0 || fchmod(fd, d->mode) < 0) {
                int saved = errno;

                unlinkat(parent, name, AT_REMOVEDIR);
                return err_sys(err, saved, "failed to create directory \"%s\"", d->path);
        }
        return 0;
}

static int do_mkdir(const Step *s, Mount *m, Err *err)
{
        const char **options = arena_array(s->arena, const char *, m->n_options + 1);
        size_t n = 0;

        for (size_t i = 0; i < m->n_options; i++) {
                MakeDir d;
                int r;

                if (!str_starts(m->options[i], PREFIX_MKDIR)) {
                        options[n++] = m->options[i];
                        continue;
                }
                r = parse_mkdir(s->arena, m->options[i], &d, err);
                if (r == 0)
                        r = make_dir(s, &d, err);
                if (r < 0)
                        return r;
        }
        m->options = options;
        m->n_options = n;
        return 0;
}

/* ---- mkfs ---- */

typedef struct MakeFs {
        int64_t size;
        const char *fs, *uuid;
} MakeFs;

/* "100MiB", "1.5g", "4096": units are powers of 1024. */
static int parse_size(const char *text, int64_t *ret, Err *err)
{
        static const char units[] = "bkmgtp";
        char *end = NULL;
        double n = isdigit((unsigned char)text[0]) ? strtod(text, &end) : -1;
        size_t power = 0;

        if (end) {
                const char *unit;

                end += *end == ' ';
                unit = *end ? strchr(units, tolower((unsigned char)*end)) : NULL;
                power = unit ? (size_t)(unit - units) : 0;
                if (unit)
                        end++;
                if (power > 0 && (*end == 'i' || *end == 'I') && (end[1] == 'b' || end[1] == 'B'))
                        end += 2;
                else if (power > 0 && (*end == 'b' || *end == 'B'))
                        end++;
        }
        n = ldexp(n, (int)(10 * power));
        if (!end || *end || !(n >= 0 && n < 0x1p62) || strpbrk(text, "xX"))
                return err_set(err, UNKNOWN, "bad option size: invalid size: '%s'", text);
        *ret = (int64_t)n;
        return 0;
}

static int parse_mkfs(const char *option, MakeFs *f, Err *err)
{
        const char *key = option + strlen(PREFIX_MKFS), *value = strchr(key, '=');

        if (value && str_starts(key, "size="))
                return parse_size(value + 1, &f->size, err);
        if (value && str_starts(key, "fs="))
                f->fs = value + 1;
        else if (value && str_starts(key, "uuid="))
                f->uuid = value + 1;
        else
                return err_set(err, INVALID_ARGUMENT, "unknown mount option %s: invalid argument",
                               option);
        return 0;
}

static int run_mkfs(Arena *a, const MakeFs *f, int fd, Err *err)
{
        static const char *const known[] = {"ext2", "ext3", "ext4", "xfs"};
        const char *name = arena_printf(a, "mkfs.%s", f->fs), *argv[6];
        char *path CLEANUP(cleanup_free) = NULL, *out CLEANUP(cleanup_free) = NULL;
        const ProcFd image = {fd, MKFS_FD};
        ProcSpec spec = {.argv = argv, .fds = &image, .n_fds = 1};
        int r, status, xfs = str_eq(f->fs, "xfs");
        size_t n = 0;

        for (size_t i = 0; i < ARRAY_LEN(known); i++)
                if (str_eq(known[i], f->fs))
                        spec.path = path = proc_find(name);
        if (!path)
                return err_set(err, INVALID_ARGUMENT,
                               "unsupported filesystem \"%s\": invalid argument", f->fs);
        argv[n++] = name;
        argv[n++] = "-q";
        if (!str_empty(f->uuid)) {
                argv[n++] = xfs ? "-m" : "-U";
                argv[n++] = xfs ? arena_printf(a, "uuid=%s", f->uuid) : f->uuid;
        }
        argv[n++] = arena_printf(a, "/proc/self/fd/%d", MKFS_FD);
        argv[n] = NULL;
        r = proc_run(&spec, NULL, 0, 1, MKFS_OUTPUT, MKFS_MS, &status, &out, NULL, err);
        if (r < 0)
                return r;
        if (status)
                return err_set(err, UNKNOWN, "%s failed: %.400s: exit status %d", name, out,
                               proc_exit_code(status));
        return 0;
}

static int make_image(const Step *s, const MakeFs *f, const char *path, Err *err)
{
        int parent CLEANUP(cleanup_fd) = -1, fd CLEANUP(cleanup_fd) = -1;
        char link[40];
        const char *name;
        struct stat st;
        int r;

        r = open_parent(s, path, "mkfs", &name, &parent, err);
        if (r < 0)
                return r;
        if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
                if (S_ISREG(st.st_mode))
                        return 0;
                return err_set(err, FAILED_PRECONDITION,
                               "mkfs backing file \"%s\" exists and is not a regular file: failed "
                               "precondition",
                               path);
        }
        snprintf(link, sizeof(link), "/proc/self/fd/%d", parent);
        fd = open(link, O_TMPFILE | O_RDWR | O_CLOEXEC, 0640);
        if (fault_hit() || fd < 0 || fchmod(fd, 0640) < 0 || ftruncate(fd, f->size) < 0)
                return err_sys(err, errno, "failed to create file \"%s\"", path);
        r = run_mkfs(s->arena, f, fd, err);
        if (r < 0)
                return err_wrap(err, "failed format \"%s\"", path);
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        if ((fault_hit() || linkat(AT_FDCWD, link, parent, name, AT_SYMLINK_FOLLOW) < 0) &&
            errno != EEXIST)
                return err_sys(err, errno, "failed to create file \"%s\"", path);
        return 0;
}

static int do_mkfs(const Step *s, Mount *m, Err *err)
{
        const char **options = arena_array(s->arena, const char *, m->n_options + 1);
        MakeFs f = {.fs = "ext4"};
        size_t n = 0;

        for (size_t i = 0; i < m->n_options; i++) {
                if (!str_starts(m->options[i], PREFIX_MKFS)) {
                        options[n++] = m->options[i];
                        continue;
                }
                if (parse_mkfs(m->options[i], &f, err) < 0)
                        return -err->code;
        }
        if (f.size == 0)
                return err_set(err, INVALID_ARGUMENT,
                               "mkfs requires mkfs.size option: invalid argument");
        m->options = options;
        m->n_options = n;
        return make_image(s, &f, m->source ? m->source : "", err);
}

/* ---- prefixes ---- */

struct Transform {
        const char *prefix;
        int (*fn)(const Step *s, Mount *m, Err *err);
};

static const Transform transforms[] = {
        {"format/", do_format},
        {"mkdir/", do_mkdir},
        {"mkfs/", do_mkfs},
};

const Transform *transform_of(const char *type, const char **ret_rest)
{
        for (size_t i = 0; i < ARRAY_LEN(transforms); i++) {
                if (!str_starts(type, transforms[i].prefix))
                        continue;
                *ret_rest = type + strlen(transforms[i].prefix);
                return &transforms[i];
        }
        return NULL;
}

const char *transform_prefix(const Transform *t)
{
        return t->prefix;
}

int transform_mount(const MountManager *mm, Arena *a, Mount *m,
                    const Types__ActiveMount *const *active, size_t n_active, Err *err)
{
        const Step s = {mm, a, active, n_active};
        const char *rest = m->type;
        const Transform *t;
        size_t n = 0;

        while ((t = transform_of(rest, &rest))) {
                int r;

                if (++n > PREFIXES_MAX)
                        return err_set(err, INVALID_ARGUMENT,
                                       "mount type \"%.100s...\" has more than %d prefixes: "
                                       "invalid argument",
                                       m->type, PREFIXES_MAX);
                r = t->fn(&s, m, err);
                if (r < 0)
                        return r;
        }
        m->type = rest;
        return 0;
}
