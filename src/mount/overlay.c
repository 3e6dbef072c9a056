/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packing of overlay options. mount(2) takes one page of them, and an image of some 60 layers with
 * absolute paths is longer than that. The lower folders of one snapshotter share a parent, so names
 * relative to it take a tenth.
 */
#include "mount/mount_priv.h"

/* The end of one path of a lowerdir list; a backslash escapes a colon. */
const char *overlay_path_end(const char *p, const char *end)
{
        while (p < end && *p != ':')
                p += *p == '\\' && p + 1 < end ? 2 : 1;
        return p;
}

/* Length of what both begin with, up to and with a slash. */
static size_t common_folder(const char *a, size_t n, const char *b, size_t m)
{
        size_t last = 0;

        for (size_t i = 0; i < MIN(n, m) && a[i] == b[i]; i++)
                if (a[i] == '/')
                        last = i + 1;
        return last;
}

const char *overlay_find_lowerdir(const char *data)
{
        const char *p = data;

        if (str_starts(p, "lowerdir="))
                return p + strlen("lowerdir=");
        p = strstr(p, ",lowerdir=");
        return p ? p + strlen(",lowerdir=") : NULL;
}

const char *overlay_option_end(const char *p)
{
        while (*p && *p != ',')
                p += *p == '\\' && p[1] ? 2 : 1;
        return p;
}

void overlay_pack(Arena *a, const char *data, const char **ret_dir, char **ret_data)
{
        const char *first = overlay_find_lowerdir(data), *end, *p;
        size_t common, dirs = 0;
        char *out;

        *ret_dir = NULL;
        if (!first || *first != '/')
                return;
        end = overlay_option_end(first);
        common = (size_t)(overlay_path_end(first, end) - first);
        for (p = first; p < end; dirs++) {
                const char *e = overlay_path_end(p, end);

                common = common_folder(first, common, p, (size_t)(e - p));
                p = e < end ? e + 1 : end;
        }
        /* "/" alone gains nothing; an escape in the folder's name would have to be undone. */
        if (dirs < 2 || common < 2 || memchr(first, '\\', common))
                return;

        *ret_dir = arena_strndup(a, first, common - 1);
        *ret_data = out = arena_alloc(a, strlen(data) + 1);
        out = mempcpy(out, data, (size_t)(first - data));
        for (p = first; p < end;) {
                const char *e = overlay_path_end(p, end);

                out = mempcpy(out, p + common, (size_t)(e - p) - common);
                if (e < end)
                        *out++ = ':';
                p = e < end ? e + 1 : end;
        }
        strcpy(out, end);
}
