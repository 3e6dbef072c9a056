/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line is
 *         36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
 * with any number of optional fields before the dash, and blanks, tabs, newlines and backslashes as
 * \040 and so on.
 */
#include "mount/mountinfo.h"

#include <fcntl.h>
#include <stdio.h>
#include "base/fd.h"

enum { MOUNTINFO_MAX = 64 * 1024 * 1024 };

static int is_octal(char c)
{
        return c >= '0' && c <= '7';
}

static char *unescape(char *s)
{
        char *out = s;

        for (char *p = s; *p; p++) {
                if (*p == '\\' && p[1] >= '0' && p[1] <= '3' && is_octal(p[2]) && is_octal(p[3])) {
                        *out++ = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
                        p += 3;
                } else {
                        *out++ = *p;
                }
        }
        *out = 0;
        return s;
}

/* The next field of a line, or NULL. */
static char *next_field(char **pos)
{
        char *start = *pos, *blank;

        if (!start)
                return NULL;
        blank = strchr(start, ' ');
        if (blank)
                *blank = 0;
        *pos = blank ? blank + 1 : NULL;
        return start;
}

static int parse_line(Arena *a, char *line, MountInfo *ret)
{
        char *pos = line, *f[6], *opt;
        char *optional = arena_alloc(a, strlen(line) + 1), *out = optional;
        MountInfo m = {};

        for (int i = 0; i < 6; i++)
                if (!(f[i] = next_field(&pos)))
                        return -1;
        for (;;) {
                opt = next_field(&pos);
                if (!opt)
                        return -1;
                if (str_eq(opt, "-"))
                        break;
                if (out != optional)
                        *out++ = ' ';
                out = stpcpy(out, opt);
        }
        m.type = next_field(&pos);
        m.source = next_field(&pos);
        m.super_options = next_field(&pos);
        if (!m.super_options || sscanf(f[0], "%d", &m.id) != 1 ||
            sscanf(f[1], "%d", &m.parent) != 1 || sscanf(f[2], "%u:%u", &m.major, &m.minor) != 2)
                return -1;
        m.root = unescape(f[3]);
        m.point = unescape(f[4]);
        m.options = f[5];
        m.optional = optional;
        unescape((char *)m.type);
        unescape((char *)m.source);
        *ret = m;
        return 0;
}

int mountinfo_parse(Arena *a, char *text, MountInfo **ret, size_t *ret_n, Err *err)
{
        size_t lines = 0, n = 0;
        MountInfo *v;

        for (const char *p = text; (p = strchr(p, '\n')); p++)
                lines++;
        v = arena_array(a, MountInfo, lines + 1);
        for (char *line = text, *next; line && *line; line = next) {
                next = strchr(line, '\n');
                if (next)
                        *next++ = 0;
                if (!*line)
                        continue;
                if (parse_line(a, line, &v[n]) < 0)
                        return err_set(err, INVALID_ARGUMENT, "mountinfo line %zu cannot be read",
                                       n + 1);
                n++;
        }
        *ret = v;
        *ret_n = n;
        return 0;
}

int mountinfo_read(Arena *a, const char *path, MountInfo **ret, size_t *ret_n, Err *err)
{
        char *text;
        int r;

        r = file_read(a, AT_FDCWD, path ? path : "/proc/self/mountinfo", MOUNTINFO_MAX, &text, NULL,
                      err);
        if (r < 0)
                return r;
        return mountinfo_parse(a, text, ret, ret_n, err);
}
