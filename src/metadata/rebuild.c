/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The new database: first what could be read of the old one, then names for the blobs that it does
 * not name, if any of its names were lost. Each of those gets a record in one namespace, with the
 * labels by which collection finds what an index or a manifest is made of, as clients set them.
 *
 * Images: an index that was written by an export says what its entries are called; they get these
 * names. Any other index or manifest that nothing else is made of must have been somebody's image:
 * it is called recovered@DIGEST, so that it can be found, run and given a name again.
 *
 * Nothing of it may be collected before somebody has looked: a lease holds all of it, and ingests
 * too. It does not expire, because nobody knows when somebody will look; deleting it ends the
 * matter.
 */
#include <fcntl.h>
#include <stdio.h>
#include "api/containerd/services/content/v1/content.pb-c.h"
#include "base/mem.h"
#include "content/store.h"
#include "metadata/content_priv.h"
#include "metadata/images.h"
#include "metadata/leases.h"
#include "metadata/rebuild_priv.h"
#include "rpc/message.h"
#include "spec/identifier.h"
#include "spec/reference.h"

#define LABEL_CHILD   "containerd.io/gc.ref.content."
#define NAME_EXPORTED "io.containerd.image.name"
#define NAME_OCI      "org.opencontainers.image.ref.name"

enum { BATCH = 200 };

DEFINE_CLEANUP(DbEnv *, db_env_close)
DEFINE_CLEANUP(Metadata *, metadata_free)

void rebuild_say(Rebuild *rb, const char *fmt, ...)
{
        char text[ERR_MSG_MAX + 200];
        va_list ap;

        if (!rb->o->progress)
                return;
        va_start(ap, fmt);
        vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        rb->o->progress(rb->o->ctx, text);
}

static int is_ours(const Rebuild *rb, const Doc *d)
{
        return rb->adopt && !d->owned;
}

/* ---- what blobs are to each other ---- */

static void relate(Rebuild *rb)
{
        VEC_FOREACH (d, &rb->docs) {
                for (size_t i = 0; i < d->n_children; i++) {
                        Doc *child = rebuild_find_doc(rb, d->children[i].digest.text);

                        if (child && child != d)
                                child->inside = 1;
                }
                if (!is_ours(rb, d))
                        continue;
                rb->res->adopted++;
                rb->res->indexes += d->kind == DOC_INDEX;
                rb->res->manifests += d->kind == DOC_MANIFEST;
                rb->res->configs += d->kind == DOC_CONFIG;
        }
}

/* ---- records of blobs ---- */

static Content__Info__LabelsEntry *label(Arena *a, const char *key, const char *value)
{
        Content__Info__LabelsEntry *l = message_make(a, content__info__labels_entry);

        l->key = key;
        l->value = value;
        return l;
}

/* An index often lists platforms that were never fetched: only those that are here. */
static size_t child_labels(Rebuild *rb, const Doc *d, Content__Info__LabelsEntry **out)
{
        size_t n = 0;

        for (size_t i = 0; i < d->n_children; i++) {
                const char *digest = d->children[i].digest.text;

                if (d->kind == DOC_INDEX && !rebuild_find_doc(rb, digest))
                        continue;
                if (d->kind == DOC_INDEX)
                        out[n] = label(rb->arena, arena_printf(rb->arena, LABEL_CHILD "m.%zu", n),
                                       digest);
                else if (i == 0)
                        out[n] = label(rb->arena, LABEL_CHILD "config", digest);
                else
                        out[n] = label(rb->arena,
                                       arena_printf(rb->arena, LABEL_CHILD "l.%zu", i - 1), digest);
                n++;
        }
        return n;
}

static void adopt(Rebuild *rb, MetaTxn *txn, const Doc *d)
{
        Content__Info *info = message_make(rb->arena, content__info);

        info->digest = d->digest;
        info->size = d->size;
        info->created_at = time_to_pb(rb->arena, d->time);
        info->updated_at = time_to_pb(rb->arena, time_now());
        info->labels = arena_array(rb->arena, Content__Info__LabelsEntry *, d->n_children + 1);
        info->n_labels = child_labels(rb, d, info->labels);
        labels_normalise(info->labels, &info->n_labels);
        blob_record(txn, rb->o->ns, info);
        leases_add_resource(txn, rb->o->ns, rb->o->lease, "content", d->digest);
}

static int make_lease(Rebuild *rb, Metadata *m, const char *ns, Err *err)
{
        Leases__CreateRequest req = LEASES__CREATE_REQUEST__INIT;
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        int r;

        r = meta_begin_rw(m, &txn, rb->arena, err);
        if (r < 0)
                return r;
        req.id = rb->o->lease;
        leases_create(&txn, ns, &req);
        return meta_commit(&txn);
}

static int adopt_all(Rebuild *rb, Metadata *m, Err *err)
{
        Doc *d = rb->docs.v, *end = d + rb->docs.n;
        int r = 0;

        if (rb->res->adopted)
                r = make_lease(rb, m, rb->o->ns, err);
        while (r == 0 && d < end) {
                MetaTxn txn CLEANUP(meta_txn_end) = {};

                r = meta_begin_rw(m, &txn, rb->arena, err);
                if (r < 0)
                        return r;
                for (int n = 0; n < BATCH && d < end; n++, d++)
                        if (is_ours(rb, d))
                                adopt(rb, &txn, d);
                r = meta_commit(&txn);
        }
        return r;
}

/* ---- images ---- */

/* What an export calls an entry: containerd's annotation has the whole name, OCI's has it from some
 * tools and only a tag from others. */
static const char *exported_name(Arena *a, const Descriptor *d)
{
        const char *name = descriptor_annotation(d, NAME_EXPORTED);
        Reference ref;
        Err ignored;

        if (name && *name)
                return name;
        name = descriptor_annotation(d, NAME_OCI);
        if (!name || !strpbrk(name, "/:") || reference_parse(a, name, &ref, &ignored) < 0)
                return NULL;
        return name;
}

/* 1: made, 0: there is one of that name, or it is none. A dry run only counts. */
static int make_image(Rebuild *rb, Metadata *m, const char *name, const Doc *d, Err *err)
{
        Images__Image image = IMAGES__IMAGE__INIT;
        Types__Descriptor target = TYPES__DESCRIPTOR__INIT;
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        int r;

        if (!m)
                return 1;
        target.digest = d->digest;
        target.size = d->size;
        target.media_type = d->type;
        image.name = name;
        image.target = &target;
        r = meta_begin_rw(m, &txn, rb->arena, err);
        if (r < 0)
                return r;
        images_create(&txn, rb->o->ns, &image, NULL, NULL);
        r = meta_commit(&txn);
        if (r == -ALREADY_EXISTS || r == -INVALID_ARGUMENT) { /* a blob may say anything */
                err_clear(err);
                return 0;
        }
        return r < 0 ? err_wrap(err, "image %s", name) : 1;
}

static int name_entries(Rebuild *rb, Metadata *m, Doc *index, Err *err)
{
        for (size_t i = 0; i < index->n_children; i++) {
                const char *name = exported_name(rb->arena, &index->children[i]);
                Doc *d = name ? rebuild_find_doc(rb, index->children[i].digest.text) : NULL;
                int r;

                if (!d || (d->kind != DOC_INDEX && d->kind != DOC_MANIFEST))
                        continue;
                r = make_image(rb, m, name, d, err);
                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                d->named = index->named = 1;
                rb->res->images++;
                rebuild_say(rb, "image %s", name);
        }
        return 0;
}

static int newest_first(const void *a, const void *b)
{
        const Doc *x = *(Doc *const *)a, *y = *(Doc *const *)b;
        int r = (x->time.sec < y->time.sec) - (x->time.sec > y->time.sec);

        return r ? r : (x->time.nsec < y->time.nsec) - (x->time.nsec > y->time.nsec);
}

/* Of two exports that use one name the later is right. */
static int make_images(Rebuild *rb, Metadata *m, Err *err)
{
        VEC(Doc *) indexes = {};
        int r = 0;

        VEC_FOREACH (d, &rb->docs)
                if (is_ours(rb, d) && d->kind == DOC_INDEX)
                        VEC_PUSH(&indexes, d);
        if (indexes.n)
                qsort(indexes.v, indexes.n, sizeof(Doc *), newest_first);
        for (size_t i = 0; r == 0 && i < indexes.n; i++)
                r = name_entries(rb, m, indexes.v[i], err);
        VEC_DONE(&indexes);
        for (size_t i = 0; r == 0 && i < rb->docs.n; i++) {
                Doc *d = &rb->docs.v[i];
                const char *name;

                if (!is_ours(rb, d) || d->inside || d->named ||
                    (d->kind != DOC_INDEX && d->kind != DOC_MANIFEST))
                        continue;
                name = arena_printf(rb->arena, "recovered@%s", d->digest);
                r = make_image(rb, m, name, d, err);
                if (r == 1) {
                        rb->res->images++;
                        rb->res->unnamed++;
                        rebuild_say(rb, "image %s", name);
                }
                r = MIN(r, 0);
        }
        return r;
}

/* ---- ingests: a folder says whose it is ---- */

static int keep_ingest(Rebuild *rb, Metadata *m, const char *ns, const char *ref, Err *err)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        int r;

        r = make_lease(rb, m, ns, err);
        if (r == -ALREADY_EXISTS)
                err_clear(err);
        else if (r < 0)
                return r;
        r = meta_begin_rw(m, &txn, rb->arena, err);
        if (r < 0)
                return r;
        leases_add_resource(&txn, ns, rb->o->lease, "ingests", ref);
        return meta_commit(&txn);
}

static int keep_ingests(Rebuild *rb, Metadata *m, Err *err)
{
        ContentStore *store CLEANUP(content_store_freep) = NULL;
        ContentStatus *found;
        size_t n;
        int r;

        r = content_store_open(rb->o->content_root, &store, err);
        if (r == 0)
                r = content_statuses(store, rb->arena, "", &found, &n, err);
        for (size_t i = 0; r == 0 && i < n; i++) {
                const char *slash = strchr(found[i].ref, '/');
                const char *ref = slash ? strchr(slash + 1, '/') : NULL;
                char *ns = slash ? arena_strndup(rb->arena, found[i].ref,
                                                 (size_t)(slash - found[i].ref))
                                 : NULL;
                Err ignored;

                if (!ref || identifier_check(NULL, ns, &ignored) < 0)
                        continue;
                rb->res->ingests++;
                if (m)
                        r = keep_ingest(rb, m, ns, ref + 1, err);
        }
        return r;
}

/* ---- all of it ---- */

static int write_new(Rebuild *rb, Err *err)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        Metadata *m CLEANUP(metadata_freep) = NULL;
        int r = 0;

        if (rb->o->new_db) {
                r = db_env_open(rb->o->new_db, NULL, &env, err);
                if (r == 0)
                        r = rebuild_write_old(rb, env, err);
                if (r < 0)
                        return r;
                m = metadata_new(env, NULL);
                r = adopt_all(rb, m, err);
        }
        if (r == 0)
                r = make_images(rb, m, err);
        if (r == 0 && rb->adopt)
                r = keep_ingests(rb, m, err);
        return r;
}

static void rebuild_done(Rebuild *rb)
{
        VEC_DONE(&rb->docs);
        VEC_DONE(&rb->old);
        VEC_DONE(&rb->bad);
        VEC_DONE(&rb->folders);
}

int rebuild_run(const RebuildOptions *o, Arena *a, RebuildResult *ret, Err *err)
{
        RebuildResult res = {};
        Rebuild rb CLEANUP(rebuild_done) = {.o = o, .arena = a, .res = &res, .adopt = !o->old_db};
        int r;

        r = rebuild_read_blobs(&rb, err);
        if (r == 0 && o->old_db)
                r = rebuild_read_old(&rb, err);
        if (r < 0)
                return r;
        relate(&rb);
        r = write_new(&rb, err);
        if (r < 0)
                return r;
        rebuild_find_folders(&rb);
        res.blobs = rb.docs.n;
        res.bad = arena_memdup(a, rb.bad.v, rb.bad.n * sizeof(*rb.bad.v));
        res.n_bad = rb.bad.n;
        res.folders = arena_memdup(a, rb.folders.v, rb.folders.n * sizeof(*rb.folders.v));
        res.n_folders = rb.folders.n;
        *ret = res;
        return 0;
}
