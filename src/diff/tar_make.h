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
        size_t n_data;     /* 0: strlen(data) */
        const char *claim; /* the size field as text, instead of the truth */
        const char *magic; /* NULL: ustar */
        int bad_checksum;
} MakeEntry;

static inline void make_pad(Str *s)
{
        while (s->len % 512)
                str_add_char(s, 0);
}

/* Cut to the field, as a writer without long names would. */
static inline void make_field(char *to, size_t n, const char *text)
{
        for (size_t i = 0; text && i < n && text[i]; i++)
                to[i] = text[i];
}

static inline void make_octal(char *to, size_t digits, uint64_t v)
{
        for (; digits > 0; v >>= 3)
                to[--digits] = (char)('0' + (v & 7));
}

static inline void make_entry(Str *s, MakeEntry e)
{
        char h[512] = {};
        unsigned sum = 0;
        size_t n = e.n_data ? e.n_data : e.data ? strlen(e.data) : 0;

        make_field(h, 100, e.name);
        make_octal(h + 100, 7, e.mode ? e.mode : 0644);
        make_octal(h + 108, 7, e.uid);
        make_octal(h + 116, 7, e.gid);
        /* A claim in base 256 has NULs in it: all twelve bytes are meant. */
        if (e.claim && (e.claim[0] & 0x80))
                memcpy(h + 124, e.claim, 12);
        else if (e.claim)
                make_field(h + 124, 12, e.claim);
        else
                make_octal(h + 124, 11, n);
        make_octal(h + 136, 11, (uint64_t)e.mtime);
        h[156] = e.type;
        make_field(h + 157, 100, e.link);
        memcpy(h + 257, e.magic ? e.magic : "ustar\00000", 8);
        make_octal(h + 329, 7, e.major);
        make_octal(h + 337, 7, e.minor);
        memset(h + 148, ' ', 8);
        for (int i = 0; i < 512; i++)
                sum += (unsigned char)h[i];
        make_octal(h + 148, 6, sum + (unsigned)e.bad_checksum);
        h[154] = 0;
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

/* A source that gives at most step bytes at a time, each in memory of its own size so that
 * overreads are seen. */
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
