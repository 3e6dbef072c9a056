/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A header block is 512 bytes; before it may stand others which speak about it: pax records ('x'),
 * GNU long names ('L', 'K'). tar_next() gathers those, then reads the header itself and lets pax
 * override it. Every size is checked before anything is allocated for it, sums are checked for
 * overflow, nothing recurses.
 *
 * https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html#tag_20_92_13
 * https://www.gnu.org/software/tar/manual/html_node/Standard.html
 * https://www.gnu.org/software/tar/manual/html_node/Sparse-Formats.html
 */
#include "diff/tar.h"

#include "base/limits.h"

enum { BLOCK = 512 };

/* What pax records said; the values borrow from TarReader.pax. */
typedef struct Pax {
        const char *path, *linkpath, *size, *uid, *gid, *mtime, *atime;
        const char *sparse_major, *sparse_minor, *sparse_name, *sparse_size, *sparse_map,
                *sparse_blocks;
        int have_offsets; /* sparse 0.0: regions came as pairs of records */
} Pax;

static int bad_header(Err *err)
{
        return err_set(err, UNKNOWN, "archive/tar: invalid tar header");
}

static int short_read(Err *err)
{
        return err_set(err, UNKNOWN, "unexpected EOF");
}

void tar_reader_init(TarReader *t, TarSourceFn source, void *ctx)
{
        *t = (TarReader){.source = source, .ctx = ctx};
}

void tar_reader_done(TarReader *t)
{
        str_done(&t->pax);
        str_done(&t->name);
        str_done(&t->link);
        VEC_DONE(&t->xattrs);
        VEC_DONE(&t->regions);
}

/* Makes chunk non-empty, or sets ended. */
static int fill(TarReader *t, Err *err)
{
        int r;

        if (t->n_chunk || t->ended)
                return 0;
        r = t->source(t->ctx, &t->chunk, &t->n_chunk, err);
        if (r < 0)
                return r;
        t->ended = t->n_chunk == 0;
        return 0;
}

/* At most n bytes without a copy; 0 at the end of the stream. */
static int take(TarReader *t, uint64_t n, const uint8_t **ret, size_t *ret_n, Err *err)
{
        int r = fill(t, err);

        if (r < 0)
                return r;
        *ret = t->chunk;
        *ret_n = (size_t)MIN(n, (uint64_t)t->n_chunk);
        t->chunk += *ret_n;
        t->n_chunk -= *ret_n;
        return 0;
}

static int skip(TarReader *t, uint64_t n, Err *err)
{
        while (n > 0) {
                const uint8_t *p;
                size_t got;
                int r = take(t, n, &p, &got, err);

                if (r < 0)
                        return r;
                if (got == 0)
                        return short_read(err);
                n -= got;
        }
        return 0;
}

/* One block, in place where the source's piece holds it whole. 1, or 0 at a clean end of the
 * stream. */
static int read_block(TarReader *t, const uint8_t **ret, Err *err)
{
        size_t have = 0;
        int r = fill(t, err);

        if (r < 0)
                return r;
        if (t->n_chunk >= BLOCK)
                return r = take(t, BLOCK, ret, &have, err), r < 0 ? r : 1;
        while (have < BLOCK) {
                const uint8_t *p;
                size_t n;

                r = take(t, BLOCK - have, &p, &n, err);
                if (r < 0)
                        return r;
                if (n == 0)
                        return have ? short_read(err) : 0;
                memcpy(t->block + have, p, n);
                have += n;
        }
        *ret = t->block;
        return 1;
}

/* n bytes and their padding appended to out, which the caller has bounded. */
static int read_body(TarReader *t, uint64_t n, Str *out, Err *err)
{
        uint64_t pad = (BLOCK - n % BLOCK) % BLOCK;

        while (n > 0) {
                const uint8_t *p;
                size_t got;
                int r = take(t, n, &p, &got, err);

                if (r < 0)
                        return r;
                if (got == 0)
                        return short_read(err);
                str_add_n(out, p, got);
                n -= got;
        }
        return skip(t, pad, err);
}

/* Octal with blanks and NULs around it, or GNU's base 256 with the top bit set. 0 or -1. */
static int number(const uint8_t *p, size_t n, int64_t *ret)
{
        uint64_t v = 0;
        size_t i = 0;

        if (p[0] & 0x80) {
                int negative = p[0] & 0x40;
                uint8_t flip = negative ? 0xff : 0;

                for (; i < n; i++) {
                        uint8_t c = (uint8_t)(p[i] ^ flip);

                        if (i == 0)
                                c &= 0x7f;
                        if (v >> 56)
                                return -1;
                        v = v << 8 | c;
                }
                if (v >> 63)
                        return -1;
                *ret = negative ? (int64_t)~v : (int64_t)v;
                return 0;
        }
        while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == 0))
                n--;
        while (i < n && (p[i] == ' ' || p[i] == 0))
                i++;
        for (; i < n && p[i] != 0; i++) {
                if (p[i] < '0' || p[i] > '7' || v >> 60)
                        return -1;
                v = v << 3 | (uint64_t)(p[i] - '0');
        }
        *ret = (int64_t)v;
        return 0;
}

static int is_zero(const uint8_t *p)
{
        uint64_t v[BLOCK / 8], any = 0;

        memcpy(v, p, BLOCK);
        for (size_t i = 0; i < ARRAY_LEN(v); i++)
                any |= v[i];
        return any == 0;
}

/* Old tars summed signed bytes. */
static int checksum_ok(const uint8_t *p)
{
        int64_t want, sum = 0, sum_signed = 0;

        if (number(p + 148, 8, &want) < 0)
                return 0;
        for (int i = 0; i < BLOCK; i++) {
                uint8_t c = i >= 148 && i < 156 ? ' ' : p[i];

                sum += c;
                sum_signed += (int8_t)c;
        }
        return want == sum || want == sum_signed;
}

/* Seconds with a fraction of any length, maybe negative. 0 or -1. */
static int pax_time(const char *s, Time *ret)
{
        int negative = *s == '-';
        uint64_t sec = 0;
        int32_t nsec = 0, unit = 100000000;

        s += negative;
        if (*s < '0' || *s > '9')
                return -1;
        for (; *s >= '0' && *s <= '9'; s++) {
                if (sec > INT64_MAX / 10 - 1)
                        return -1;
                sec = sec * 10 + (uint64_t)(*s - '0');
        }
        if (*s == '.')
                for (s++; *s >= '0' && *s <= '9'; s++, unit /= 10)
                        nsec += unit * (*s - '0');
        if (*s)
                return -1;
        *ret = (Time){.sec = negative ? -(int64_t)sec : (int64_t)sec, .nsec = nsec};
        if (negative && nsec)
                *ret = (Time){.sec = ret->sec - 1, .nsec = 1000000000 - nsec};
        return 0;
}

static int pax_u64(const char *s, uint64_t *ret)
{
        return str_to_u64(s, ret) < 0 || *ret > INT64_MAX ? -1 : 0;
}

/* One record, already NUL-terminated where its newline was. */
static int pax_record(TarReader *t, Pax *p, char *key, char *value, size_t n_value, Err *err)
{
        static const char xattr[] = "SCHILY.xattr.";
        const struct {
                const char *key;
                const char **to;
        } table[] = {
                {"path", &p->path},
                {"linkpath", &p->linkpath},
                {"size", &p->size},
                {"uid", &p->uid},
                {"gid", &p->gid},
                {"mtime", &p->mtime},
                {"atime", &p->atime},
                {"GNU.sparse.major", &p->sparse_major},
                {"GNU.sparse.minor", &p->sparse_minor},
                {"GNU.sparse.name", &p->sparse_name},
                {"GNU.sparse.size", &p->sparse_size},
                {"GNU.sparse.realsize", &p->sparse_size},
                {"GNU.sparse.map", &p->sparse_map},
                {"GNU.sparse.numblocks", &p->sparse_blocks},
        };

        if (str_starts(key, xattr)) {
                if (n_value > LIMIT_TAR_XATTR)
                        return err_set(err, RESOURCE_EXHAUSTED,
                                       "extended attribute of %zu bytes in archive: limit is %d",
                                       n_value, LIMIT_TAR_XATTR);
                VEC_PUSH(&t->xattrs,
                         (TarXattr){key + sizeof(xattr) - 1, (uint8_t *)value, n_value});
                return 0;
        }
        if (str_eq(key, "GNU.sparse.offset") || str_eq(key, "GNU.sparse.numbytes")) {
                uint64_t n;

                if (pax_u64(value, &n) < 0)
                        return bad_header(err);
                if (key[11] == 'o') {
                        if (t->regions.n == LIMIT_TAR_SPARSE)
                                return err_set(err, RESOURCE_EXHAUSTED,
                                               "sparse file in archive has too many regions");
                        VEC_PUSH(&t->regions, (TarRegion){n, 0});
                } else if (t->regions.n == 0) {
                        return bad_header(err);
                } else {
                        t->regions.v[t->regions.n - 1].size = n;
                }
                p->have_offsets = 1;
                return 0;
        }
        for (size_t i = 0; i < ARRAY_LEN(table); i++)
                if (strcmp(key, table[i].key) == 0) {
                        /* A NUL would cut the name that others have checked. */
                        if (strlen(value) != n_value)
                                return bad_header(err);
                        /* Empty is as if the record were absent. */
                        *table[i].to = *value ? value : NULL;
                }
        return 0;
}

/* "LEN KEY=VALUE\n", LEN counting all of it. */
static int pax_parse(TarReader *t, Pax *p, Err *err)
{
        char *at = t->pax.data, *end = at + t->pax.len;

        while (at < end) {
                uint64_t len = 0;
                char *q = at, *eq;
                int r;

                for (; q < end && *q >= '0' && *q <= '9' && len <= LIMIT_TAR_PAX; q++)
                        len = len * 10 + (uint64_t)(*q - '0');
                if (q == at || q == end || *q != ' ' || len > (uint64_t)(end - at) ||
                    at + len <= q + 1 || at[len - 1] != '\n')
                        return bad_header(err);
                q++;
                at[len - 1] = 0;
                eq = memchr(q, '=', (size_t)(at + len - 1 - q));
                if (!eq || eq == q || memchr(q, 0, (size_t)(eq - q)))
                        return bad_header(err);
                *eq = 0;
                r = pax_record(t, p, q, eq + 1, (size_t)(at + len - 1 - (eq + 1)), err);
                if (r < 0)
                        return r;
                at += len;
        }
        return 0;
}

/* A field that need not end in NUL. */
static void field(Str *s, const uint8_t *p, size_t n)
{
        str_add_n(s, p, strnlen((const char *)p, n));
}

static void header_name(Str *s, const uint8_t *h)
{
        str_truncate(s, 0);
        /* GNU's magic is "ustar  \0"; it keeps other things where ustar has the prefix, star only
         * half. */
        if (memcmp(h + 257, "ustar\0", 6) == 0 && h[345]) {
                field(s, h + 345, memcmp(h + 508, "tar\0", 4) == 0 ? 131 : 155);
                str_add_char(s, '/');
        }
        field(s, h, 100);
}

/* The numbers of the header block. Device numbers are read only where they mean something: others
 * leave junk there. */
static int header_numbers(const uint8_t *h, TarEntry *e, Err *err)
{
        int64_t mode, size, mtime, major = 0, minor = 0;

        if (number(h + 100, 8, &mode) < 0 || number(h + 108, 8, &e->uid) < 0 ||
            number(h + 116, 8, &e->gid) < 0 || number(h + 124, 12, &size) < 0 ||
            number(h + 136, 12, &mtime) < 0 || size < 0)
                return bad_header(err);
        if ((e->type == TAR_CHAR || e->type == TAR_BLOCK) &&
            (number(h + 329, 8, &major) < 0 || number(h + 337, 8, &minor) < 0 || major < 0 ||
             minor < 0 || major > UINT32_MAX || minor > UINT32_MAX))
                return bad_header(err);
        e->mode = (uint32_t)mode & 07777;
        e->size = (uint64_t)size;
        e->mtime = (Time){.sec = mtime};
        e->major = (uint32_t)major;
        e->minor = (uint32_t)minor;
        return 0;
}

static int pax_apply(const Pax *p, TarEntry *e, Err *err)
{
        if ((p->size && pax_u64(p->size, &e->size) < 0) ||
            (p->uid && str_to_i64(p->uid, &e->uid) < 0) ||
            (p->gid && str_to_i64(p->gid, &e->gid) < 0) ||
            (p->mtime && pax_time(p->mtime, &e->mtime) < 0) ||
            (p->atime && pax_time(p->atime, &e->atime) < 0))
                return bad_header(err);
        if (p->path)
                e->name = p->path;
        if (p->linkpath)
                e->link = p->linkpath;
        return 0;
}

/* Regions rise, do not overlap and lie in the file; their sum is the data in the stream. */
static int sparse_check(TarReader *t, uint64_t real, uint64_t in_stream, Err *err)
{
        uint64_t end = 0, sum = 0;

        VEC_FOREACH (r, &t->regions) {
                if (r->offset < end || r->size > real || r->offset > real - r->size)
                        return bad_header(err);
                end = r->offset + r->size;
                sum += r->size;
        }
        return sum != in_stream ? bad_header(err) : 0;
}

static int add_region(TarReader *t, uint64_t offset, uint64_t size, Err *err)
{
        if (t->regions.n >= LIMIT_TAR_SPARSE)
                return err_set(err, RESOURCE_EXHAUSTED,
                               "sparse file in archive has too many regions");
        VEC_PUSH(&t->regions, (TarRegion){offset, size});
        return 0;
}

/* 0.1: "offset,size,offset,size,…". */
static int sparse_map_record(TarReader *t, const char *s, Err *err)
{
        uint64_t v[2];
        int n = 0, r;

        while (*s) {
                size_t len = strcspn(s, ",");
                char text[24];

                if (len == 0 || len >= sizeof(text))
                        return bad_header(err);
                memcpy(text, s, len);
                text[len] = 0;
                if (pax_u64(text, &v[n]) < 0)
                        return bad_header(err);
                s += len + (s[len] == ',');
                n = !n;
                if (n == 0 && (r = add_region(t, v[0], v[1], err)) < 0)
                        return r;
        }
        return n ? bad_header(err) : 0;
}

/* A decimal line of the map that stands before the data of format 1.0. */
typedef struct MapReader {
        TarReader *tar;
        const uint8_t *block;
        size_t pos; /* in block; BLOCK: read another */
} MapReader;

static int map_number(MapReader *m, uint64_t *ret, Err *err)
{
        uint64_t v = 0;

        for (int digits = 0;; digits++) {
                uint8_t c;

                if (m->pos == BLOCK) {
                        int r;

                        if (m->tar->data_left < BLOCK)
                                return bad_header(err);
                        r = read_block(m->tar, &m->block, err);
                        if (r <= 0)
                                return r < 0 ? r : short_read(err);
                        m->tar->data_left -= BLOCK;
                        m->pos = 0;
                }
                c = m->block[m->pos++];
                if (c == '\n' && digits > 0) {
                        *ret = v;
                        return 0;
                }
                if (c < '0' || c > '9' || digits == 18)
                        return bad_header(err);
                v = v * 10 + (uint64_t)(c - '0');
        }
}

static int sparse_map_data(TarReader *t, Err *err)
{
        MapReader m = {.tar = t, .pos = BLOCK};
        uint64_t count, offset, size;
        int r = map_number(&m, &count, err);

        for (; r == 0 && count > 0; count--) {
                r = map_number(&m, &offset, err);
                if (r == 0)
                        r = map_number(&m, &size, err);
                if (r == 0)
                        r = add_region(t, offset, size, err);
        }
        return r;
}

/* The three pax forms. GNU's own typeflag 'S' is refused like any other that containerd does not
 * know. */
static int sparse_setup(TarReader *t, const Pax *p, TarEntry *e, Err *err)
{
        int v1 = str_eq(p->sparse_major, "1") && str_eq(p->sparse_minor, "0");
        uint64_t real;
        int r = 0;

        if (!v1 && !p->sparse_map && !p->have_offsets)
                return p->sparse_major ? bad_header(err) : 0;
        if (!p->sparse_size || pax_u64(p->sparse_size, &real) < 0 || e->type != TAR_FILE)
                return bad_header(err);
        if (v1)
                r = sparse_map_data(t, err);
        else if (p->sparse_map)
                r = sparse_map_record(t, p->sparse_map, err);
        if (r == 0)
                r = sparse_check(t, real, t->data_left, err);
        if (r < 0)
                return r;
        if (p->sparse_name)
                e->name = p->sparse_name;
        e->size = real;
        e->sparse = t->sparse = 1;
        return 0;
}

static int header_only(char type)
{
        return type == TAR_LINK || type == TAR_SYMLINK || type == TAR_CHAR || type == TAR_BLOCK ||
               type == TAR_DIR || type == TAR_FIFO;
}

static int check_names(const TarEntry *e, Err *err)
{
        if (strlen(e->name) >= LIMIT_TAR_NAME || strlen(e->link) >= LIMIT_TAR_NAME)
                return err_set(err, RESOURCE_EXHAUSTED,
                               "name in archive is longer than %d bytes: %.60s…",
                               LIMIT_TAR_NAME - 1, e->name);
        return 0;
}

/* The header that the ones before it spoke about. */
static int finish(TarReader *t, const uint8_t *h, const Pax *pax, int long_name, int long_link,
                  TarEntry *e, Err *err)
{
        uint64_t in_stream;
        int r = header_numbers(h, e, err);

        if (r < 0)
                return r;
        if (!long_name)
                header_name(&t->name, h);
        if (!long_link) {
                str_truncate(&t->link, 0);
                field(&t->link, h + 157, 100);
        }
        e->name = str_get(&t->name);
        e->link = str_get(&t->link);
        r = pax_apply(pax, e, err);
        if (r < 0)
                return r;
        if (e->type == 0)
                e->type = str_ends(e->name, "/") ? TAR_DIR : TAR_FILE;
        if (header_only(e->type))
                e->size = 0;
        in_stream = e->size;
        t->data_left = in_stream;
        t->pad_left = (BLOCK - in_stream % BLOCK) % BLOCK;
        r = sparse_setup(t, pax, e, err);
        if (r < 0)
                return r;
        e->xattrs = t->xattrs.v;
        e->n_xattrs = t->xattrs.n;
        r = check_names(e, err);
        return r < 0 ? r : 1;
}

/* The body of a header that speaks about the next one. */
static int meta_body(TarReader *t, const uint8_t *h, Str *out, uint64_t max, Err *err)
{
        int64_t size;

        if (number(h + 124, 12, &size) < 0 || size < 0)
                return bad_header(err);
        if ((uint64_t)size > max)
                return err_set(err, RESOURCE_EXHAUSTED,
                               "header of %lld bytes in archive: limit is %llu", (long long)size,
                               (unsigned long long)max);
        str_truncate(out, 0);
        return read_body(t, (uint64_t)size, out, err);
}

/* Two zero blocks end an archive, and so does the end of the stream at a block's border. */
static int end_or_header(TarReader *t, const uint8_t **h, Err *err)
{
        int r = read_block(t, h, err);

        if (r <= 0 || !is_zero(*h))
                return r;
        r = read_block(t, h, err);
        if (r <= 0)
                return r;
        return is_zero(*h) ? 0 : bad_header(err);
}

static void forget(TarReader *t)
{
        t->xattrs.n = 0;
        t->regions.n = 0;
        t->region = 0;
        t->region_done = t->sparse_pos = 0;
        t->sparse = 0;
}

int tar_next(TarReader *t, TarEntry *ret, Err *err)
{
        int long_name = 0, long_link = 0, any = 0, r;
        Pax pax = {};

        r = skip(t, t->data_left, err);
        if (r == 0)
                r = skip(t, t->pad_left, err);
        if (r < 0)
                return r;
        t->data_left = t->pad_left = 0;
        forget(t);
        for (;;) {
                const uint8_t *h;
                TarEntry e = {};

                r = end_or_header(t, &h, err);
                if (r <= 0)
                        return r == 0 && any ? short_read(err) : r;
                if (!checksum_ok(h))
                        return bad_header(err);
                e.type = (char)h[156];
                switch (e.type) {
                case 'x':
                        t->xattrs.n = t->regions.n = 0;
                        pax = (Pax){};
                        r = meta_body(t, h, &t->pax, LIMIT_TAR_PAX, err);
                        if (r == 0)
                                r = pax_parse(t, &pax, err);
                        break;
                case 'L':
                        r = meta_body(t, h, &t->name, LIMIT_TAR_NAME, err);
                        str_truncate(&t->name, strnlen(str_get(&t->name), t->name.len));
                        long_name = 1;
                        break;
                case 'K':
                        r = meta_body(t, h, &t->link, LIMIT_TAR_NAME, err);
                        str_truncate(&t->link, strnlen(str_get(&t->link), t->link.len));
                        long_link = 1;
                        break;
                default:
                        r = finish(t, h, &pax, long_name, long_link, &e, err);
                        if (r == 1)
                                *ret = e;
                        return r;
                }
                if (r < 0)
                        return r;
                any = 1;
        }
}

/* Where the next byte of a sparse file goes, and how many there are before the next hole. */
static uint64_t sparse_room(TarReader *t)
{
        while (t->region < t->regions.n) {
                const TarRegion *r = &t->regions.v[t->region];

                if (t->region_done < r->size) {
                        t->sparse_pos = r->offset + t->region_done;
                        return r->size - t->region_done;
                }
                t->region++;
                t->region_done = 0;
        }
        return 0;
}

int tar_data(TarReader *t, const uint8_t **ret, size_t *ret_n, uint64_t *ret_offset, Err *err)
{
        uint64_t want = t->data_left;
        int r;

        *ret = NULL;
        *ret_n = 0;
        if (want == 0)
                return 0;
        if (t->sparse)
                want = MIN(want, sparse_room(t));
        r = take(t, want, ret, ret_n, err);
        if (r < 0)
                return r;
        if (*ret_n == 0)
                return short_read(err);
        t->data_left -= *ret_n;
        *ret_offset = t->sparse_pos;
        if (t->sparse)
                t->region_done += *ret_n;
        else
                t->sparse_pos += *ret_n;
        return 0;
}
