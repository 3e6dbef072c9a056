/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ingests of a namespace: its refs over the store's, "<namespace>/1/<ref>". An ingest has no
 * record; its folder is all there is of it until commit. Only what it was opened with by a lease is
 * recorded: that the lease holds it. What it expects is known in memory while it is open, and is in
 * its folder when it has been left.
 *
 * When the store has the expected blob already, from another namespace, and the policy lets this
 * one see it, the ingest is virtual: it pretends to be complete, pins the blob, and commit is a
 * record. Whoever writes to it from the start makes a real one of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"
#include "metadata/content_priv.h"
#include "metadata/leases.h"
#include "metadata/metadata_priv.h"
#include "metadata/namespaces.h"
#include "rpc/message.h"

#define LABEL_SHAREABLE "containerd.io/namespace.shareable"

enum { COPY_BUF = 1024 * 1024 };

struct Ingest {
        Blobs *blobs;
        char *ns, *lease, *ref, *backend;
        char *expected; /* NULL when unknown */
        int64_t total;
        ContentWriter *w; /* NULL: virtual */
        Digest digest;    /* virtual: pinned */
        int64_t size;
        Time opened;
};

static char *backend_ref(Arena *a, const char *ns, const char *ref)
{
        return arena_printf(a, "%s/1/%s", ns, ref);
}

static void unpin(Ingest *in)
{
        if (in->digest.text[0])
                content_unpin(in->blobs->store, &in->digest);
        in->digest.text[0] = 0;
}

/* ---- what open ingests are to become ---- */

static char *expected_name(char *buf, size_t n, const char *ns, const char *digest)
{
        snprintf(buf, n, "%s/%s", ns, digest);
        return buf;
}

enum { EXPECTED_NAME = 256 }; /* longer than any digest's */

static void expect(Ingest *in, const char *digest)
{
        char name[EXPECTED_NAME];
        unsigned *n;
        Err ignored;
        Digest d;

        if (str_empty(digest) || digest_parse(digest, &d, &ignored) < 0)
                return;
        in->expected = mem_strdup(digest);
        expected_name(name, sizeof(name), in->ns, digest);
        LOCKED(&in->blobs->lock);
        n = map_find(&in->blobs->expected, name);
        if (!n) {
                n = mem_new(unsigned);
                map_put(&in->blobs->expected, name, n);
        }
        ++*n;
}

/* The collection under way has looked for what was left before it began, and looks for what is
 * open: what is left just now, it is told. */
static void left_just_now(Ingest *in)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        Arena a CLEANUP(arena_done) = {};
        uint32_t number = 0;
        Err ignored;
        DbKey k;

        arena_init(&a, 0);
        if (meta_begin_ro(in->blobs->meta, &txn, &a, &ignored) == 0)
                number = meta_ns_find(&txn, in->ns);
        meta_txn_end(&txn);
        if (number)
                metadata_touch(in->blobs->meta, blob_key(&k, number, in->expected));
}

static void expect_no_more(Ingest *in)
{
        char name[EXPECTED_NAME];
        unsigned *n;

        if (!in->expected)
                return;
        expected_name(name, sizeof(name), in->ns, in->expected);
        LOCKED(&in->blobs->lock);
        n = map_find(&in->blobs->expected, name);
        if (--*n == 0)
                free(map_remove(&in->blobs->expected, name));
}

int ingest_expected(Blobs *b, const char *ns, const char *digest)
{
        char name[EXPECTED_NAME];
        LOCKED(&b->lock);

        return map_find(&b->expected, expected_name(name, sizeof(name), ns, digest)) != NULL;
}

Ingest *ingest_close(Ingest *in)
{
        if (!in)
                return NULL;
        if (in->w && content_writer_leave(in->w, in->expected, !str_empty(in->lease)) &&
            in->expected)
                left_just_now(in);
        content_writer_close(in->w);
        unpin(in);
        expect_no_more(in);
        free(in->expected);
        free(in->ns);
        free(in->lease);
        free(in->ref);
        free(in->backend);
        free(in);
        return NULL;
}

int ingest_is_virtual(const Ingest *in)
{
        return in->w == NULL;
}

/* ---- open ---- */

typedef struct Sharing {
        MetaTxn *txn;
        const char *digest;
        int shared;
} Sharing;

static int look_if_shared(void *ctx, DbVal stored)
{
        Sharing *s = ctx;
        Namespaces__Namespace *ns = meta_decode(s->txn, stored, &namespaces__namespace__descriptor);

        if (ns && str_eq(labels_find(ns->labels, ns->n_labels, LABEL_SHAREABLE), "true") &&
            blob_exists(s->txn, ns->name, s->digest))
                s->shared = 1;
        return s->shared;
}

/* Whether the policy lets a namespace have the blob without its bytes. */
static int may_share(MetaTxn *txn, const Blobs *b, const char *digest, Err *err)
{
        Sharing s = {.txn = txn, .digest = digest};
        int r;

        if (!b->isolated)
                return 1;
        r = namespaces_list(txn, look_if_shared, &s);
        return r < 0 ? r : s.shared;
}

static int check_lease(MetaTxn *txn, const MetaCaller *who, Err *err)
{
        uint32_t number;
        DbKey k;
        DbVal v;

        if (str_empty(who->lease))
                return 0;
        number = meta_ns_find(txn, who->ns);
        if (number && db_get(&txn->db, db_key_name(db_key(&k, DB_LEASES, number), who->lease), &v))
                return 0;
        return meta_failed(txn) ? meta_failed(txn)
                                : err_set(err, NOT_FOUND, "lease does not exist: not found");
}

/* The namespace has it: the lease holds it, so that it stays as long as the caller needs it. 0 when
 * it is gone meanwhile. */
static int exists(Blobs *b, const MetaCaller *who, Arena *a, const char *digest, Err *err)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        int r;

        if (!str_empty(who->lease)) {
                r = meta_begin_rw(b->meta, &txn, a, err);
                if (r < 0)
                        return r;
                if (!blob_exists(&txn, who->ns, digest))
                        return meta_failed(&txn);
                lease_add_resource(&txn, who->ns, who->lease, "content", digest);
                r = meta_commit(&txn);
                if (r < 0)
                        return r;
        }
        return err_set(err, ALREADY_EXISTS, "content %s: already exists", digest);
}

/* The lease holds what is being written. */
static int hold(Blobs *b, const MetaCaller *who, Arena *a, const char *ref, Err *err)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        int r;

        if (str_empty(who->lease))
                return 0;
        r = meta_begin_rw(b->meta, &txn, a, err);
        if (r < 0)
                return r;
        lease_add_resource(&txn, who->ns, who->lease, "ingests", ref);
        return meta_commit(&txn);
}

/* 1: the namespace has expected; 0: it has not, *ret_share says whether others' bytes will do. */
static int look(const IngestSpec *spec, Blobs *b, Arena *a, int *ret_share, Err *err)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        int r;

        *ret_share = 0;
        r = meta_begin_ro(b->meta, &txn, a, err);
        if (r == 0)
                r = check_lease(&txn, &spec->who, err);
        if (r < 0 || str_empty(spec->expected))
                return r;
        if (blob_exists(&txn, spec->who.ns, spec->expected))
                return 1;
        r = may_share(&txn, b, spec->expected, err);
        if (r >= 0)
                *ret_share = r;
        return meta_failed(&txn) ? meta_failed(&txn) : MIN(r, 0);
}

/* Pins the blob if the store has it in the size that was told. */
static int try_virtual(Ingest *in, const IngestSpec *spec)
{
        ContentInfo info;
        Err ignored;
        Digest d;

        if (digest_parse(spec->expected, &d, &ignored) < 0)
                return 0;
        content_pin(in->blobs->store, &d);
        in->digest = d;
        if (content_info(in->blobs->store, &d, &info, &ignored) < 0 ||
            (spec->total > 0 && (uint64_t)spec->total != info.size)) {
                unpin(in);
                return 0;
        }
        in->size = in->total = (int64_t)info.size;
        in->opened = time_now();
        return 1;
}

int ingest_open(Blobs *b, const IngestSpec *spec, Arena *a, Ingest **ret, Err *err)
{
        Ingest *in CLEANUP(ingest_closep) = NULL;
        int share, r;

        if (strlen(spec->ref) > LIMIT_REF)
                return err_set(err, INVALID_ARGUMENT,
                               "reference is longer than %d bytes: invalid argument", LIMIT_REF);
        while ((r = look(spec, b, a, &share, err)) == 1) {
                r = exists(b, &spec->who, a, spec->expected, err);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        in = mem_new(Ingest);
        in->blobs = b;
        in->ns = mem_strdup(spec->who.ns);
        in->lease = mem_strdup(spec->who.lease);
        in->ref = mem_strdup(spec->ref);
        in->backend = mem_strdup(backend_ref(a, spec->who.ns, spec->ref));
        in->total = MAX(spec->total, 0);
        expect(in, spec->expected);
        if (!share || !try_virtual(in, spec)) {
                r = hold(b, &spec->who, a, spec->ref, err);
                if (r < 0)
                        return r;
                r = content_writer_open(b->store, in->backend, (uint64_t)in->total, &in->w, err);
                if (r < 0)
                        return r;
        }
        *ret = TAKE(in);
        return 0;
}

/* ---- writing ---- */

static int copy_blob(Ingest *in, Err *err)
{
        int fd CLEANUP(cleanup_fd) = -1;
        char *buf CLEANUP(cleanup_free) = mem_alloc(COPY_BUF);
        uint64_t size;
        ssize_t n;
        int r;

        r = content_open(in->blobs->store, &in->digest, &fd, &size, err);
        if (r < 0)
                return r;
        while ((n = fd_read_all(fd, buf, COPY_BUF)) > 0) {
                r = content_writer_write(in->w, buf, (size_t)n, err);
                if (r < 0)
                        return r;
        }
        return n < 0 ? err_sys(err, errno, "read blob %s", in->digest.text) : 0;
}

/* A virtual ingest becomes a real one, with the blob's bytes or with none. */
static int make_real(Ingest *in, int with_bytes, Err *err)
{
        int r;

        r = content_writer_open(in->blobs->store, in->backend, 0, &in->w, err);
        if (r == 0 && content_writer_offset(in->w) > 0)
                r = content_writer_truncate(in->w, 0, err);
        if (r == 0 && with_bytes)
                r = copy_blob(in, err);
        if (r < 0) {
                in->w = content_writer_close(in->w);
                return r;
        }
        unpin(in);
        return 0;
}

int ingest_write(Ingest *in, const void *data, size_t n, Err *err)
{
        int r;

        if (!in->w && n > 0) {
                r = make_real(in, 1, err);
                if (r < 0)
                        return r;
        }
        return n > 0 ? content_writer_write(in->w, data, n, err) : 0;
}

int ingest_truncate(Ingest *in, Err *err)
{
        return in->w ? content_writer_truncate(in->w, 0, err) : make_real(in, 0, err);
}

int64_t ingest_offset(const Ingest *in)
{
        return in->w ? (int64_t)content_writer_offset(in->w) : in->size;
}

void ingest_status(const Ingest *in, ContentStatus *ret)
{
        if (in->w) {
                content_writer_status(in->w, ret);
        } else {
                *ret = (ContentStatus){
                        .offset = (uint64_t)in->size,
                        .total = (uint64_t)in->size,
                        .started = in->opened,
                        .updated = in->opened,
                };
        }
        ret->ref = in->ref;
}

void ingest_digest(const Ingest *in, Digest *ret)
{
        if (in->w)
                content_writer_digest(in->w, ret);
        else
                *ret = in->digest;
}

int ingest_exists(Ingest *in, Arena *a, const char *digest, int *ret, Err *err)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        int r;

        r = meta_begin_ro(in->blobs->meta, &txn, a, err);
        if (r < 0)
                return r;
        *ret = blob_exists(&txn, in->ns, digest);
        return meta_failed(&txn);
}

/* ---- commit ---- */

/* The blob stands and is pinned: the record makes it this namespace's. */
static int record(Ingest *in, Arena *a, const IngestCommit *what, const Digest *d, int64_t size,
                  Err *err)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        Content__Info *info = message_make(a, content__info);
        int existed, r;

        info->digest = d->text;
        info->size = size;
        info->created_at = info->updated_at = time_to_pb(a, time_now());
        info->labels = arena_memdup(a, what->labels, what->n_labels * sizeof(*what->labels));
        info->n_labels = what->n_labels;
        labels_normalise(info->labels, &info->n_labels);

        r = meta_begin_rw(in->blobs->meta, &txn, a, err);
        if (r < 0)
                return r;
        existed = blob_exists(&txn, in->ns, d->text);
        if (!existed)
                blob_record(&txn, in->ns, info);
        if (!existed || !str_empty(in->lease)) {
                lease_remove_resource(&txn, in->ns, in->lease, "ingests", in->ref);
                lease_add_resource(&txn, in->ns, in->lease, "content", d->text);
                r = meta_commit(&txn);
        }
        if (r == 0 && existed)
                r = err_set(err, ALREADY_EXISTS, "content %s: already exists", d->text);
        return r;
}

static int wrong_digest(const Digest *got, const char *expected, Err *err)
{
        return err_set(err, FAILED_PRECONDITION,
                       "unexpected commit digest %s, expected %s: failed precondition", got->text,
                       expected);
}

/* *ret is pinned on success, once more than a virtual ingest pins it itself. */
static int commit_bytes(Ingest *in, const IngestCommit *what, Digest *ret, Err *err)
{
        Digest expected, now;
        Err ignored;

        if (!in->w) {
                if (!str_empty(what->expected) && !str_eq(what->expected, in->digest.text))
                        return wrong_digest(&in->digest, what->expected, err);
                content_pin(in->blobs->store, &in->digest);
                *ret = in->digest;
                return 0;
        }
        if (!str_empty(what->expected) && digest_parse(what->expected, &expected, &ignored) < 0) {
                content_writer_digest(in->w, &now);
                return wrong_digest(&now, what->expected, err);
        }
        return content_writer_commit(in->w, 0, str_empty(what->expected) ? NULL : &expected, ret,
                                     err);
}

int ingest_commit(Ingest *in, Arena *a, const IngestCommit *what, Digest *ret_digest, Err *err)
{
        int64_t size = ingest_offset(in);
        Err ignored;
        Digest d;
        int r;

        r = labels_check(what->labels, what->n_labels, "info.Labels", err);
        if (r < 0)
                return r;
        if (what->size != 0 && what->size != size)
                return err_set(err, FAILED_PRECONDITION,
                               "\"%s\" failed size validation: %lld != %lld: failed precondition",
                               in->ref, (long long)size, (long long)what->size);
        r = commit_bytes(in, what, &d, err);
        if (r < 0)
                return r;
        r = record(in, a, what, &d, size, err);
        content_unpin(in->blobs->store, &d);
        if (r == 0 || r == -ALREADY_EXISTS) {
                *ret_digest = d;
                return r;
        }
        unpin(in);
        blob_drop_file(in->blobs, &d, &ignored);
        return r;
}

/* ---- those that are open or were left behind ---- */

static int is_ours(const char *backend, const char *ns, const char **ret_ref)
{
        size_t n = strlen(ns);

        if (strncmp(backend, ns, n) != 0 || strncmp(backend + n, "/1/", 3) != 0)
                return 0;
        *ret_ref = backend + n + 3;
        return 1;
}

static Content__Status *status_to_pb(Arena *a, const ContentStatus *st, const char *ref)
{
        Content__Status *pb = message_make(a, content__status);

        pb->ref = ref;
        pb->offset = (int64_t)st->offset;
        pb->total = (int64_t)st->total;
        pb->started_at = time_to_pb(a, st->started);
        pb->updated_at = time_to_pb(a, st->updated);
        return pb;
}

static int no_such_ref(const char *ref, Err *err)
{
        return err_set(err, NOT_FOUND, "reference %s: not found", ref);
}

int ingests_status(Blobs *b, const char *ns, Arena *a, const char *ref, Content__Status **ret,
                   Err *err)
{
        ContentStatus st;
        int r;

        r = content_status(b->store, a, backend_ref(a, ns, ref), &st, err);
        if (r == -NOT_FOUND)
                return no_such_ref(ref, err);
        if (r == 0)
                *ret = status_to_pb(a, &st, ref);
        return r;
}

static const char *status_field(void *ctx, const char *const *path, size_t n)
{
        const Content__Status *st = ctx;

        return n == 1 && str_eq(path[0], "ref") ? st->ref : NULL;
}

int ingests_list(Blobs *b, const char *ns, Arena *a, const char *const *filters, size_t n_filters,
                 Content__Status ***ret, size_t *ret_n, Err *err)
{
        Filter *filter CLEANUP(filter_freep) = NULL;
        Content__Status **out;
        ContentStatus *st;
        size_t n, k = 0;
        int r;

        r = filter_parse(filters, n_filters, &filter, err);
        if (r == 0)
                r = content_statuses(b->store, a, arena_printf(a, "%s/", ns), &st, &n, err);
        if (r < 0)
                return r;
        out = arena_array(a, Content__Status *, n);
        for (size_t i = 0; i < n; i++) {
                Content__Status *pb;
                const char *ref;

                if (!is_ours(st[i].ref, ns, &ref))
                        continue;
                pb = status_to_pb(a, &st[i], ref);
                if (filter_match(filter, status_field, pb))
                        out[k++] = pb;
        }
        *ret = out;
        *ret_n = k;
        return 0;
}

int ingests_abort(Blobs *b, const MetaCaller *who, Arena *a, const char *ref, Err *err)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        int r;

        r = content_abort(b->store, backend_ref(a, who->ns, ref), err);
        if (r < 0 || str_empty(who->lease))
                return r == -NOT_FOUND ? no_such_ref(ref, err) : r;
        r = meta_begin_free(b->meta, &txn, a, err);
        if (r < 0)
                return r;
        lease_remove_resource(&txn, who->ns, who->lease, "ingests", ref);
        return meta_commit(&txn);
}

char *ingest_split(Arena *a, const char *backend, const char **ret_ref)
{
        const char *number = strchr(backend, '/'), *ref = number ? strchr(number + 1, '/') : NULL;

        if (!ref || number == backend)
                return NULL;
        *ret_ref = ref + 1;
        return arena_strndup(a, backend, (size_t)(number - backend));
}
