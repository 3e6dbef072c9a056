/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Users. A number needs no file; a name must be in the container's passwd. The two files are read
 * whole, at most LIMIT_USER_FILE, and only if they are regular files: opening a fifo somebody left
 * there must not hang.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/path.h"
#include "base/str.h"
#include "spec/user.h"

enum { USER_FIELDS = 4, LIMIT_USER_FILE = 1024 * 1024 };

/* The text of a file below root, "" when it is not there. */
static int read_below(Arena *a, int root_fd, const char *path, char **ret, Err *err)
{
        int fd CLEANUP(cleanup_fd) = -1;
        struct stat st;
        ssize_t n;

        *ret = arena_strdup(a, "");
        if (root_fd < 0)
                return 0;
        fd = path_open_in_root(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
        if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
                return 0;
        if (fd < 0 || fstat(fd, &st) < 0)
                return err_sys(err, errno, "open %s of the container", path);
        if (!S_ISREG(st.st_mode) || st.st_size > LIMIT_USER_FILE)
                return err_set(err, INVALID_ARGUMENT,
                               "%s of the container: not a file of at most %d bytes", path,
                               LIMIT_USER_FILE);
        *ret = arena_alloc(a, (size_t)st.st_size + 1);
        n = fd_read_all(fd, *ret, (size_t)st.st_size);
        if (n < 0)
                return err_sys(err, errno, "read %s of the container", path);
        return 0;
}

/* The next line of *rest cut into its first four fields; 0 at the end. Lines with fewer are
 * skipped. */
static int next_entry(char **rest, char *fields[USER_FIELDS])
{
        char *line;

        while (*rest && (line = strsep(rest, "\n"))) {
                int n = 0;

                if (*line == '#')
                        continue;
                while (n < USER_FIELDS && line)
                        fields[n++] = strsep(&line, ":");
                if (n == USER_FIELDS)
                        return 1;
        }
        return 0;
}

static int to_id(const char *s, uint32_t *ret)
{
        uint64_t n;

        if (str_to_u64(s, &n) < 0 || n > INT32_MAX)
                return -1;
        *ret = (uint32_t)n;
        return 0;
}

/* By name, or by uid when name is NULL. */
static int find_user(Arena *a, const char *passwd, const char *name, uint32_t uid,
                     const char **ret_name, uint32_t *ret_uid, uint32_t *ret_gid)
{
        char *rest = arena_strdup(a, passwd), *f[USER_FIELDS];
        uint32_t u, g;

        while (next_entry(&rest, f)) {
                if (to_id(f[2], &u) < 0 || to_id(f[3], &g) < 0)
                        continue;
                if (name ? !str_eq(f[0], name) : u != uid)
                        continue;
                *ret_name = f[0];
                *ret_uid = u;
                *ret_gid = g;
                return 1;
        }
        return 0;
}

static int find_group(Arena *a, const char *group, const char *name, uint32_t *ret_gid)
{
        char *rest = arena_strdup(a, group), *f[USER_FIELDS];

        while (next_entry(&rest, f))
                if (str_eq(f[0], name) && to_id(f[2], ret_gid) == 0)
                        return 1;
        return 0;
}

static int lists(char *members, const char *name)
{
        for (char *m; (m = strsep(&members, ","));)
                if (str_eq(m, name))
                        return 1;
        return 0;
}

static void add_groups(Arena *a, const char *group, const char *name, UserIds *ids)
{
        char *rest = arena_strdup(a, group), *f[USER_FIELDS];
        uint32_t gid;

        while (next_entry(&rest, f)) {
                int known = 0;

                if (str_eq(f[0], name) || to_id(f[2], &gid) < 0 || !lists(f[3], name))
                        continue;
                for (size_t i = 0; i < ids->n_additional_gids; i++)
                        known |= ids->additional_gids[i] == gid;
                if (known)
                        continue;
                ids->additional_gids =
                        arena_grow(a, ids->additional_gids, ids->n_additional_gids * sizeof(gid),
                                   (ids->n_additional_gids + 1) * sizeof(gid));
                ids->additional_gids[ids->n_additional_gids++] = gid;
        }
}

/* A number, also one out of range, which is then no name. */
static int is_number(const char *s)
{
        s += *s == '-' || *s == '+';
        return *s && strspn(s, "0123456789") == strlen(s);
}

int user_resolve(Arena *a, int root_fd, const char *user, int with_groups, UserIds *ret, Err *err)
{
        char *passwd, *group, *user_part = arena_strdup(a, str_empty(user) ? "0:0" : user),
                              *group_part;
        const char *name = NULL;
        uint32_t uid, gid;
        UserIds ids = {};
        int r;

        group_part = strchr(user_part, ':');
        if (group_part)
                *group_part++ = '\0';
        if (group_part && strchr(group_part, ':'))
                return err_set(err, INVALID_ARGUMENT, "invalid USER value %s", user);
        if ((r = read_below(a, root_fd, "/etc/passwd", &passwd, err)) < 0 ||
            (r = read_below(a, root_fd, "/etc/group", &group, err)) < 0)
                return r;
        if (is_number(user_part)) {
                if (to_id(user_part, &ids.uid) < 0)
                        return err_set(err, INVALID_ARGUMENT,
                                       "invalid USER value \"%s\": uid out of range", user);
                if (find_user(a, passwd, NULL, ids.uid, &name, &uid, &gid))
                        ids.gid = gid;
        } else if (!find_user(a, passwd, user_part, 0, &name, &ids.uid, &ids.gid)) {
                return err_set(err, NOT_FOUND, "user \"%s\": no users found", user_part);
        }
        if (group_part && is_number(group_part)) {
                if (to_id(group_part, &ids.gid) < 0)
                        return err_set(err, INVALID_ARGUMENT,
                                       "invalid USER value \"%s\": gid out of range", user);
        } else if (group_part && !find_group(a, group, group_part, &ids.gid)) {
                return err_set(err, NOT_FOUND, "group \"%s\": no groups found", group_part);
        }
        ids.additional_gids = arena_new(a, uint32_t);
        ids.additional_gids[0] = ids.gid;
        ids.n_additional_gids = 1;
        if (with_groups && (name || ids.uid == 0))
                add_groups(a, group, name ? name : "root", &ids);
        *ret = ids;
        return 0;
}
