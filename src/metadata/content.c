/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of blobs. DB_BLOBS holds a Content.Info for each blob of a namespace, DB_BLOB_OWNERS the
 * namespaces of each blob, so that "does anybody still name it" is one look-up. Records are written
 * after the blob is durable and removed before it is; content_pin() covers the time in between.
 */
#include "metadata/content.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include "api/containerd/events/events.pb-c.h"
#include "base/fd.h"
#include "base/mem.h"
#include "metadata/content_priv.h"
#include "metadata/leases.h"
#include "rpc/message.h"

Blobs *blobs_new(Metadata *m, ContentStore *store, int isolated)
{
        Blobs *b = mem_new(Blobs);

        b->meta = m;
        b->store = store;
        b->isolated = isolated;
        lock_init(&b->lock, LOCK_LEAF);
        return b;
}

Blobs *blobs_free(Blobs *b)
{
        if (!b)
                return NULL;
        assert(b->expected.n == 0);
        map_done(&b->expected);
        lock_done(&b->lock);
        free(b);
        return NULL;
}

int blob_not_found(const char *digest, Err *err)
{
        return err_set(err, NOT_FOUND, "content digest %s: not found", digest);
}

/* ---- records ---- */

DbKey *blob_key(DbKey *k, uint32_t ns, const char *digest)
{
        return db_key_name(db_key(k, DB_BLOBS, ns), digest);
}

static DbKey *owners_key(DbKey *k, const char *digest)
{
        return db_key_group(db_key(k, DB_BLOB_OWNERS, 0), digest);
}

static DbKey *owner_key(DbKey *k, const char *digest, uint32_t ns)
{
        char number[16];

        snprintf(number, sizeof(number), "%u", ns);
        return db_key_name(owners_key(k, digest), number);
}

Content__Info *blob_find(MetaTxn *txn, const char *ns, const char *digest)
{
        uint32_t number = meta_ns_find(txn, ns);
        DbKey k;

        return number ? meta_get(txn, blob_key(&k, number, digest), &content__info__descriptor)
                      : NULL;
}

int blob_exists(MetaTxn *txn, const char *ns, const char *digest)
{
        uint32_t number = meta_ns_find(txn, ns);
        DbKey k;
        DbVal v;

        return number && db_get(&txn->db, blob_key(&k, number, digest), &v);
}

int blob_record(MetaTxn *txn, const char *ns, const Content__Info *info)
{
        Events__ContentCreate event = EVENTS__CONTENT_CREATE__INIT;
        uint32_t number = meta_ns_ensure(txn, ns);
        DbKey k;

        if (!number)
                return meta_failed(txn);
        meta_put(txn, blob_key(&k, number, info->digest), info);
        db_put(&txn->db, owner_key(&k, info->digest, number), "", 0);
        event.digest = info->digest;
        event.size = info->size;
        meta_event(txn, ns, "/content/create", &event);
        return meta_failed(txn);
}

/* ---- reading ---- */

int blobs_info(Blobs *b, const char *ns, Arena *a, const char *digest, Content__Info **ret,
               Err *err)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        Content__Info *info;
        int r;

        r = meta_begin_ro(b->meta, &txn, a, err);
        if (r < 0)
                return r;
        info = blob_find(&txn, ns, digest);
        if (meta_failed(&txn))
                return meta_failed(&txn);
        if (!info)
                return blob_not_found(digest, err);
        *ret = info;
        return 0;
}

int blobs_open(Blobs *b, const char *ns, Arena *a, const char *digest, int *ret_fd,
               uint64_t *ret_size, Err *err)
{
        Content__Info *info;
        Digest d;
        int r;

        r = blobs_info(b, ns, a, digest, &info, err);
        if (r == 0)
                r = digest_parse(digest, &d, err);
        return r < 0 ? r : content_open(b->store, &d, ret_fd, ret_size, err);
}

static const char *info_field(void *ctx, const char *const *path, size_t n)
{
        const Content__Info *info = ctx;

        if (n == 1 && str_eq(path[0], "digest"))
                return info->digest;
        if (n > 0 && str_eq(path[0], "labels"))
                return labels_field(info->labels, info->n_labels, path, n, 1);
        return NULL;
}

int blobs_list(Blobs *b, const char *ns, Arena *a, const char *const *filters, size_t n_filters,
               MetaListFn fn, void *ctx, Err *err)
{
        Filter *filter CLEANUP(filter_freep) = NULL;
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        uint32_t number;
        DbKey prefix;
        int r;

        r = filter_parse(filters, n_filters, &filter, err);
        if (r == 0)
                r = meta_begin_ro(b->meta, &txn, a, err);
        if (r < 0)
                return r;
        number = meta_ns_find(&txn, ns);
        if (!number)
                return meta_failed(&txn);
        return meta_list(&txn, db_key(&prefix, DB_BLOBS, number), &content__info__descriptor,
                         filter, info_field, fn, ctx);
}

/* ---- changing ---- */

static int apply_mask(Arena *a, Content__Info *to, const Content__Info *from,
                      const char *const *paths, size_t n_paths, Err *err)
{
        const char *other = labels_mask(a, &to->labels, &to->n_labels, from->labels, from->n_labels,
                                        &content__info__labels_entry__descriptor, paths, n_paths);

        if (other)
                return err_set(
                        err, INVALID_ARGUMENT,
                        "cannot update \"%s\" field on content info \"%s\": invalid argument",
                        other, to->digest);
        return labels_check(to->labels, to->n_labels, "info.Labels", err);
}

int blobs_update(Blobs *b, const char *ns, Arena *a, const Content__Info *info,
                 const char *const *paths, size_t n_paths, Content__Info **ret, Err *err)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        Content__Info *stored;
        DbKey k;
        int r;

        r = meta_begin_rw(b->meta, &txn, a, err);
        if (r < 0)
                return r;
        stored = blob_find(&txn, ns, info->digest);
        if (meta_failed(&txn))
                return meta_failed(&txn);
        if (!stored)
                return blob_not_found(info->digest, err);
        r = apply_mask(a, stored, info, paths, n_paths, err);
        if (r < 0)
                return r;
        stored->updated_at = time_to_pb(a, time_now());
        meta_put(&txn, blob_key(&k, meta_ns_find(&txn, ns), stored->digest), stored);
        *ret = stored;
        return meta_commit(&txn);
}

int blob_has_owner(DbTxn *txn, const char *digest)
{
        DbKey k;

        return db_any(txn, owners_key(&k, digest));
}

/* Whether no namespace names the blob. With nobody able to pin it, the answer stays true until it
 * is gone. */
static int unused(void *ctx, const Digest *d, Err *err)
{
        Blobs *b = ctx;
        DbTxn txn CLEANUP(db_end) = {};
        int r;

        r = db_begin_ro(metadata_db(b->meta), &txn, err);
        if (r < 0)
                return r;
        r = blob_has_owner(&txn, d->text);
        return txn.failed ? txn.failed : !r;
}

void blob_forget(MetaTxn *txn, uint32_t ns, const char *digest)
{
        DbKey k;

        db_del(&txn->db, blob_key(&k, ns, digest));
        db_del(&txn->db, owner_key(&k, digest, ns));
}

int blob_drop_file(Blobs *b, const Digest *d, Err *err)
{
        int removed;

        return content_remove(b->store, d, unused, b, &removed, err);
}

int blobs_delete(Blobs *b, const MetaCaller *who, Arena *a, const char *digest, Err *err)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        Events__ContentDelete event = EVENTS__CONTENT_DELETE__INIT;
        uint32_t number;
        Err ignored;
        Digest d;
        DbKey k;
        int r;

        r = digest_parse(digest, &d, err);
        if (r == 0)
                r = meta_begin_free(b->meta, &txn, a, err);
        if (r < 0)
                return r;
        number = meta_ns_find(&txn, who->ns);
        if (!number || !db_del(&txn.db, blob_key(&k, number, digest)))
                return meta_failed(&txn) ? meta_failed(&txn) : blob_not_found(digest, err);
        db_del(&txn.db, owner_key(&k, digest, number));
        meta_dirty(&txn);
        lease_remove_resource(&txn, who->ns, who->lease, "content", digest);
        event.digest = digest;
        meta_event(&txn, who->ns, "/content/delete", &event);
        r = meta_commit(&txn);
        if (r < 0)
                return r;
        /* The record is gone, which is what was asked for. A file that cannot be removed is left to
         * collection. */
        blob_drop_file(b, &d, &ignored);
        return 0;
}
