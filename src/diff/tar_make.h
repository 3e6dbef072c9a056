/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: archives written by hand, so that they can be wrong in any way. */
#pragma once

#include <stdio.h>
#include "base/str.h"
#include "diff/tar.h"

typedef struct MakeEntry {
        char type;
        const char *name, *link;
        unsigned mode, uid, gid, major, minor;
        int64_t mtime;
        const char *data;
        size_t n_data; /* 0: strlen(data) */
        const char *claim; /* the size field as text, instead of the truth */
        const char *magic; /* NULL: ustar */
        int bad_checksum;
} MakeEntry;

static inline void make_pad(Str *s)
{
        while (s->len % 512)
                str_add_char(s, 0);
}

static inline void make_entry(Str *s, MakeEntry e)
{
        char h[513] = {};
        unsigned sum = 0;
        size_t n = e.n_data ? e.n_data : e.data ? strlen(e.data) : 0;

        strncpy(h, e.name ? e.name : "", 100);
        snprintf(h + 100, 8, "%07o", e.mode ? e.mode : 0644);
        snprintf(h + 108, 8, "%07o", e.uid);
        snprintf(h + 116, 8, "%07o", e.gid);
        snprintf(h + 124, 12, "%s", e.claim ? e.claim : "");
        if (!e.claim)
                snprintf(h + 124, 12, "%011zo", n);
        snprintf(h + 136, 12, "%011llo", (unsigned long long)e.mtime);
        h[156] = e.type;
        strncpy(h + 157, e.link ? e.link : "", 100);
        memcpy(h + 257, e.magic ? e.magic : "ustar\00000", 8);
        snprintf(h + 329, 8, "%07o", e.major);
        snprintf(h + 337, 8, "%07o", e.minor);
        memset(h + 148, ' ', 8);
        for (int i = 0; i < 512; i++)
                sum += (unsigned char)h[i];
        snprintf(h + 148, 8, "%06o", (sum + (unsigned)e.bad_checksum) & 0777777);
        str_add_n(s, h, 512);
        str_add_n(s, e.data ? e.data : "", n);
        make_pad(s);
}

static inline void make_file(Str *s, const char *name, const char *data)
{
        make_entry(s, (MakeEntry){.type = '0', .name = name, .data = data});
}

static inline void make_dir(Str *s, const char *name)
{
        make_entry(s, (MakeEntry){.type = '5', .name = name, .mode = 0755});
}

static inline void make_link(Str *s, char type, const char *name, const char *link)
{
        make_entry(s, (MakeEntry){.type = type, .name = name, .link = link, .mode = 0777});
}

/* One pax header with one record; the next entry is what it speaks about. */
static inline void make_pax(Str *s, const char *key, const char *value)
{
        char rec[8192];
        int n = (int)(strlen(key) + strlen(value)) + 3, len = n;

        while (snprintf(rec, sizeof(rec), "%d", len) + n != len)
                len = n + snprintf(rec, sizeof(rec), "%d", len);
        snprintf(rec, sizeof(rec), "%d %s=%s\n", len, key, value);
        make_entry(s, (MakeEntry){.type = 'x', .name = "pax", .data = rec});
}

static inline void make_end(Str *s)
{
        for (int i = 0; i < 1024; i++)
                str_add_char(s, 0);
}

/* A source that gives at most step bytes at a time, each in memory of its own size so that overreads are seen. */
typedef struct MakeSource {
        const Str *s;
        size_t pos, step;
        uint8_t *piece;
} MakeSource;

static inline int make_next(void *ctx, const uint8_t **ret, size_t *ret_n, Err *err)
{
        MakeSource *m = ctx;
        size_t n = MIN(m->step, m->s->len - m->pos);

        free(m->piece);
        m->piece = malloc(n ? n : 1);
        memcpy(m->piece, str_get(m->s) + m->pos, n);
        m->pos += n;
        *ret = m->piece;
        *ret_n = n;
        return 0;
}

static inline void make_source_done(MakeSource *m)
{
        free(m->piece);
}
