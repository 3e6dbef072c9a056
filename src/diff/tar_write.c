/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A header field that cannot hold its value is left at zero or cut, and a pax record before the
 * header says it in full. Records are in order of their keys.
 * https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html
 */
#include "diff/tar_write.h"

#include <stdio.h>
#include <string.h>

enum {
        BLOCK = 512,
        NAME_SIZE = 100,
        PREFIX_SIZE = 155,
        ID_DIGITS = 7, /* of mode, ids and device numbers */
        LONG_DIGITS = 11,
};

enum {
        AT_NAME = 0,
        AT_MODE = 100,
        AT_UID = 108,
        AT_GID = 116,
        AT_SIZE = 124,
        AT_MTIME = 136,
        AT_CHECKSUM = 148,
        AT_TYPE = 156,
        AT_LINK = 157,
        AT_MAGIC = 257,
        AT_MAJOR = 329,
        AT_MINOR = 337,
        AT_PREFIX = 345,
};

void tar_writer_init(TarWriter *w, TarSinkFn sink, void *ctx)
{
        *w = (TarWriter){.sink = sink, .ctx = ctx};
}

void tar_writer_done(TarWriter *w)
{
        str_done(&w->pax);
}

static int fits(int64_t v, int digits)
{
        return v >= 0 && v < INT64_C(1) << (3 * digits);
}

static void put_number(char *field, int digits, int64_t v)
{
        uint64_t rest = fits(v, digits) ? (uint64_t)v : 0;

        while (digits > 0) {
                field[--digits] = (char)('0' + (rest & 7));
                rest >>= 3;
        }
}

static int is_ascii(const char *s)
{
        for (; *s; s++)
                if ((unsigned char)*s >= 0x80)
                        return 0;
        return 1;
}

/* The name's ASCII, cut. A cut that ends in a slash would look like a folder to old readers. */
static void put_name(char *field, const char *name)
{
        size_t n = 0, whole = 0;

        for (const char *s = name; *s; s++)
                if ((unsigned char)*s < 0x80) {
                        if (n < NAME_SIZE)
                                field[n++] = *s;
                        whole++;
                }
        if (whole > NAME_SIZE && field[NAME_SIZE - 1] == '/') {
                while (n > 0 && field[n - 1] == '/')
                        n--;
                field[n] = 0;
        }
}

static void put_checksum(char *h)
{
        unsigned sum = 0;

        memset(h + AT_CHECKSUM, ' ', 8);
        for (int i = 0; i < BLOCK; i++)
                sum += (unsigned char)h[i];
        put_number(h + AT_CHECKSUM, 6, sum);
        h[AT_CHECKSUM + 6] = 0;
}

static void begin_header(char h[BLOCK], char type, int64_t mode, int64_t uid, int64_t gid,
                         int64_t size, int64_t mtime)
{
        static const char magic[] = {'u', 's', 't', 'a', 'r', 0, '0', '0'};

        memset(h, 0, BLOCK);
        h[AT_TYPE] = type;
        put_number(h + AT_MODE, ID_DIGITS, mode);
        put_number(h + AT_UID, ID_DIGITS, uid);
        put_number(h + AT_GID, ID_DIGITS, gid);
        put_number(h + AT_SIZE, LONG_DIGITS, size);
        put_number(h + AT_MTIME, LONG_DIGITS, mtime);
        memcpy(h + AT_MAGIC, magic, sizeof(magic));
}

static int emit(TarWriter *w, const void *p, size_t n, Err *err)
{
        return n ? w->sink(w->ctx, p, n, err) : 0;
}

static int emit_padding(TarWriter *w, unsigned n, Err *err)
{
        static const char zeros[BLOCK];

        return emit(w, zeros, n, err);
}

static unsigned padding(uint64_t n)
{
        return (unsigned)(-n & (BLOCK - 1));
}

/* "LEN KEY=VALUE\n", where LEN counts itself. */
static void add_record(TarWriter *w, const char *key, const void *value, size_t n)
{
        size_t rest = strlen(key) + n + 3, len = rest;
        char digits[24];

        for (size_t before = 0; before != len;) {
                before = len;
                len = rest + (size_t)snprintf(digits, sizeof(digits), "%zu", before);
        }
        str_addf(&w->pax, "%zu %s=", len, key);
        str_add_n(&w->pax, value, n);
        str_add_char(&w->pax, '\n');
}

static void add_number(TarWriter *w, const char *key, int64_t v)
{
        char text[24];
        int n = snprintf(text, sizeof(text), "%lld", (long long)v);

        add_record(w, key, text, (size_t)n);
}

static int needs_record(const char *name)
{
        return strlen(name) > NAME_SIZE || !is_ascii(name);
}

static void collect_records(TarWriter *w, const TarEntry *e, int with_path)
{
        str_truncate(&w->pax, 0);
        for (size_t i = 0; i < e->n_xattrs; i++) {
                char key[300];

                snprintf(key, sizeof(key), "SCHILY.xattr.%s", e->xattrs[i].name);
                add_record(w, key, e->xattrs[i].value, e->xattrs[i].n_value);
        }
        if (!fits(e->gid, ID_DIGITS))
                add_number(w, "gid", e->gid);
        if (e->link && needs_record(e->link))
                add_record(w, "linkpath", e->link, strlen(e->link));
        if (!fits(e->mtime.sec, LONG_DIGITS))
                add_number(w, "mtime", e->mtime.sec);
        if (with_path && needs_record(e->name))
                add_record(w, "path", e->name, strlen(e->name));
        if (!fits((int64_t)e->size, LONG_DIGITS))
                add_number(w, "size", (int64_t)e->size);
        if (!fits(e->uid, ID_DIGITS))
                add_number(w, "uid", e->uid);
}

/* "a/b" gives "a/PaxHeaders.0/b", and "a/b/" gives "a/b/PaxHeaders.0". */
static void put_pax_name(char *field, const char *name)
{
        const char *base = strrchr(name, '/');
        char full[NAME_SIZE + 1] = {};
        Str s CLEANUP(str_done) = {};
        size_t n;

        base = base ? base + 1 : name;
        str_add_n(&s, name, (size_t)(base - name));
        str_add(&s, "PaxHeaders.0");
        if (*base)
                str_addf(&s, "/%s", base);
        put_name(full, str_get(&s));
        for (n = strlen(full); n > 0 && full[n - 1] == '/'; n--)
                ;
        memcpy(field, full, n);
}

static int emit_pax(TarWriter *w, const char *name, Err *err)
{
        char h[BLOCK];
        int r;

        begin_header(h, 'x', 0, 0, 0, (int64_t)w->pax.len, 0);
        put_pax_name(h + AT_NAME, name);
        put_checksum(h);
        r = emit(w, h, BLOCK, err);
        if (r == 0)
                r = emit(w, str_get(&w->pax), w->pax.len, err);
        return r < 0 ? r : emit_padding(w, padding(w->pax.len), err);
}

/* Where the old header's prefix may end, 0 if the name cannot be split. */
static size_t split_at(const char *name)
{
        size_t n = strlen(name), len = n, i;

        if (n <= NAME_SIZE || !is_ascii(name))
                return 0;
        if (len > PREFIX_SIZE + 1)
                len = PREFIX_SIZE + 1;
        else if (name[len - 1] == '/')
                len--;
        for (i = len; i > 0 && name[i - 1] != '/'; i--)
                ;
        if (i <= 1)
                return 0;
        i--;
        return n - i - 1 <= NAME_SIZE && n - i - 1 > 0 && i <= PREFIX_SIZE ? i : 0;
}

int tar_write_entry(TarWriter *w, const TarEntry *e, Err *err)
{
        size_t prefix = split_at(e->name);
        char h[BLOCK];
        int r = 0;

        assert(w->data_left == 0 && w->pad_left == 0);
        if (!fits(e->major, ID_DIGITS) || !fits(e->minor, ID_DIGITS))
                return err_set(err, INVALID_ARGUMENT,
                               "device number %u:%u of %.200s does not fit: invalid argument",
                               e->major, e->minor, e->name);
        collect_records(w, e, prefix == 0);
        if (w->pax.len > 0 && prefix > 0) {
                prefix = 0;
                collect_records(w, e, 1);
        }
        if (w->pax.len > 0)
                r = emit_pax(w, e->name, err);
        if (r < 0)
                return r;
        begin_header(h, e->type, e->mode, e->uid, e->gid, (int64_t)e->size, e->mtime.sec);
        put_name(h + AT_NAME, prefix ? e->name + prefix + 1 : e->name);
        memcpy(h + AT_PREFIX, e->name, prefix);
        if (e->link)
                put_name(h + AT_LINK, e->link);
        put_number(h + AT_MAJOR, ID_DIGITS, e->major);
        put_number(h + AT_MINOR, ID_DIGITS, e->minor);
        put_checksum(h);
        w->data_left = e->size;
        w->pad_left = padding(e->size);
        return emit(w, h, BLOCK, err);
}

int tar_write_data(TarWriter *w, const void *p, size_t n, Err *err)
{
        int r;

        assert(n <= w->data_left);
        r = emit(w, p, n, err);
        w->data_left -= n;
        if (r < 0 || w->data_left > 0)
                return r;
        r = emit_padding(w, w->pad_left, err);
        w->pad_left = 0;
        return r;
}

int tar_write_end(TarWriter *w, Err *err)
{
        int r = emit_padding(w, BLOCK, err);

        return r < 0 ? r : emit_padding(w, BLOCK, err);
}
