/* SPDX-License-Identifier: Apache-2.0 */
#include "metadata/gc_testing.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/fault.h"
#include "base/path.h"
#include "base/test.h"
#include "metadata/containers.h"
#include "metadata/content_priv.h"
#include "metadata/images.h"
#include "metadata/leases.h"
#include "metadata/sandboxes.h"
#include "rpc/message.h"

static void no_wake(void *ctx)
{
}

void gc_fixture_open(GcFixture *f)
{
        GcOptions o;

        arena_init(&f->a, 0);
        f->ns = "n";
        f->dir = arena_strdup(&f->a, test_tmpdir());
        f->ex = exchange_new();
        if (db_env_open(path_join(&f->a, f->dir, "db"), NULL, &f->env, &f->err) < 0 ||
            content_store_open(path_join(&f->a, f->dir, "content"), &f->store, &f->err) < 0 ||
            native_open(f->env, path_join(&f->a, f->dir, "native"), &f->sn, &f->err) < 0 ||
            exchange_subscribe(f->ex, NULL, 0, no_wake, NULL, &f->events, &f->err) < 0)
                abort();
        f->m = metadata_new(f->env, f->ex);
        f->b = blobs_new(f->m, f->store, 0);
        f->s = snapshots_new(f->m);
        snapshots_add(f->s, f->sn);
        o = (GcOptions){.meta = f->m, .blobs = f->b, .snapshots = f->s};
        f->gc = gc_new(&o);
}

void gc_fixture_done(GcFixture *f)
{
        static const char *const dirs[] = {"db", "content", "native"};

        fault_arm(0);
        gc_free(f->gc);
        snapshots_free(f->s);
        blobs_free(f->b);
        content_store_free(f->store);
        metadata_free(f->m);
        snapshotter_free(f->sn);
        db_env_close(f->env);
        subscription_close(f->events);
        exchange_free(f->ex);
        for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
                path_remove_tree(AT_FDCWD, path_join(&f->a, f->dir, dirs[i]), &f->err);
        arena_done(&f->a);
}

int gc_fixture_collect(GcFixture *f)
{
        return gc_collect(f->gc, &f->stats, &f->err);
}

/* ---- making things ---- */

const char *gc_digest(Arena *a, const char *name)
{
        Digest d;

        digest_of(name, strlen(name), &d);
        return arena_strdup(a, d.text);
}

/* "$a", "@-1h", "any". */
static const char *value(Arena *a, const char *word)
{
        char text[TIME_TEXT_MAX];
        int64_t ns;
        Time t = time_now();

        if (word[0] == '$')
                return gc_digest(a, word + 1);
        if (word[0] != '@')
                return arena_strdup(a, word);
        if (duration_parse(word + 2, &ns) < 0)
                abort();
        t.sec += (word[1] == '-' ? -1 : 1) * ns / (int64_t)NS_PER_SEC;
        return arena_strdup(a, time_format(t, text));
}

/* KEY=VALUE from the words at `from` on; entries of every kind have one shape. */
void *gc_labels(Arena *a, const GcLine *l, int from, const ProtobufCMessageDescriptor *desc,
                size_t *ret_n)
{
        LabelEntry **v = arena_array(a, LabelEntry *, GC_WORDS);

        *ret_n = 0;
        for (int i = from; i < l->n; i++) {
                char *eq = strchr(l->w[i], '=');
                LabelEntry *e = (LabelEntry *)message_new(a, desc);

                if (!eq)
                        continue;
                *eq = 0;
                e->key = str_starts(l->w[i], "gc.") ? arena_printf(a, "containerd.io/%s", l->w[i])
                                                    : arena_strdup(a, l->w[i]);
                e->value = value(a, eq + 1);
                v[(*ret_n)++] = e;
        }
        return v;
}

static int make_blob(GcFixture *f, Arena *a, const GcLine *l, const char *lease)
{
        IngestSpec spec = {.who = {.ns = f->ns, .lease = lease},
                           .ref = arena_printf(a, "ref-%s", l->w[1])};
        Ingest *in CLEANUP(ingest_closep) = NULL;
        IngestCommit what = {};
        Digest d;
        int r;

        what.labels = gc_labels(a, l, 2, &content__info__labels_entry__descriptor, &what.n_labels);
        r = ingest_open(f->b, &spec, a, &in, &f->err);
        if (r == 0 && ingest_offset(in) > 0)
                r = ingest_truncate(in, &f->err);
        if (r == 0)
                r = ingest_write(in, l->w[1], strlen(l->w[1]), &f->err);
        return r < 0 ? r : ingest_commit(in, a, &what, &d, &f->err);
}

static int make_snapshot(GcFixture *f, Arena *a, const GcLine *l, const char *lease)
{
        int layer = str_eq(l->w[0], "layer");
        MetaCaller who = {.ns = f->ns, .lease = lease};
        SnapshotsPrepare p = {.snapshotter = "native",
                              .kind = SNAPSHOT_ACTIVE,
                              .key = layer ? arena_printf(a, "tmp-%s", l->w[1]) : l->w[1],
                              .parent = str_eq(l->w[2], "-") ? "" : l->w[2]};
        SnapshotsCommit c = {.snapshotter = "native", .name = l->w[1], .key = p.key};
        size_t n;
        void *v = gc_labels(a, l, 3, &snapshots__info__labels_entry__descriptor, &n);
        int r;

        if (!layer) {
                p.labels = v;
                p.n_labels = n;
        }
        r = snapshots_prepare(f->s, &who, a, &p, NULL, &f->err);
        if (r < 0 || !layer)
                return r;
        c.labels = v;
        c.n_labels = n;
        return snapshots_commit(f->s, &who, a, &c, &f->err);
}

static void make_image(MetaTxn *txn, const char *ns, const GcLine *l, const char *lease)
{
        Images__Image image = IMAGES__IMAGE__INIT;
        Types__Descriptor target = TYPES__DESCRIPTOR__INIT;

        image.name = l->w[1];
        image.target = &target;
        target.digest = value(txn->arena, l->w[2]);
        target.media_type = "m";
        target.size = 1;
        image.labels = gc_labels(txn->arena, l, 3, &images__image__labels_entry__descriptor,
                                 &image.n_labels);
        images_create(txn, ns, &image, NULL, lease);
}

static void make_lease(MetaTxn *txn, const char *ns, const GcLine *l)
{
        Leases__CreateRequest req = LEASES__CREATE_REQUEST__INIT;

        req.id = l->w[1];
        req.labels = gc_labels(txn->arena, l, 2, &leases__create_request__labels_entry__descriptor,
                               &req.n_labels);
        leases_create(txn, ns, &req);
}

static void make_container(MetaTxn *txn, const char *ns, const GcLine *l)
{
        Containers__Container c = CONTAINERS__CONTAINER__INIT;
        Containers__Container__Runtime runtime = CONTAINERS__CONTAINER__RUNTIME__INIT;

        c.id = l->w[1];
        c.runtime = &runtime;
        runtime.name = "r";
        if (!str_eq(l->w[2], "-")) {
                c.snapshotter = "native";
                c.snapshot_key = l->w[2];
        }
        c.labels = gc_labels(txn->arena, l, 3, &containers__container__labels_entry__descriptor,
                             &c.n_labels);
        containers_create(txn, ns, &c);
}

static void make_sandbox(MetaTxn *txn, const char *ns, const GcLine *l)
{
        Types__Sandbox s = TYPES__SANDBOX__INIT;
        Types__Sandbox__Runtime runtime = TYPES__SANDBOX__RUNTIME__INIT;

        s.sandbox_id = l->w[1];
        s.sandboxer = "shim";
        s.runtime = &runtime;
        runtime.name = "r";
        s.labels =
                gc_labels(txn->arena, l, 2, &types__sandbox__labels_entry__descriptor, &s.n_labels);
        sandboxes_create(txn, ns, &s);
}

static int make_record(GcFixture *f, Arena *a, const GcLine *l, const char *lease)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};

        if (meta_begin_rw(f->m, &txn, a, &f->err) < 0)
                return -1;
        if (str_eq(l->w[0], "image"))
                make_image(&txn, f->ns, l, lease);
        else if (str_eq(l->w[0], "lease"))
                make_lease(&txn, f->ns, l);
        else if (str_eq(l->w[0], "hold"))
                leases_add_resource(&txn, f->ns, l->w[1], l->w[2], value(a, l->w[3]));
        else if (str_eq(l->w[0], "container"))
                make_container(&txn, f->ns, l);
        else if (str_eq(l->w[0], "sandbox"))
                make_sandbox(&txn, f->ns, l);
        else if (str_eq(l->w[0], "unlease"))
                leases_delete(&txn, f->ns, l->w[1]);
        else if (str_eq(l->w[0], "uncontainer"))
                containers_delete(&txn, f->ns, l->w[1]);
        else if (str_eq(l->w[0], "unimage"))
                images_delete(&txn, f->ns, l->w[1], NULL, NULL);
        else
                abort();
        return meta_commit(&txn);
}

/* One line of a script. */
int gc_make(GcFixture *f, const char *lease, const char *line)
{
        Arena a CLEANUP(arena_done) = {};
        GcLine l = {};
        char *rest;

        arena_init(&a, 0);
        rest = arena_strdup(&a, line);
        for (char *w; (w = strtok_r(l.n ? NULL : rest, " ", &rest)) && l.n < GC_WORDS; l.n++)
                l.w[l.n] = w;
        if (str_eq(l.w[0], "ns")) {
                f->ns = arena_strdup(&f->a, l.w[1]);
                return 0;
        }
        if (str_eq(l.w[0], "blob"))
                return make_blob(f, &a, &l, lease);
        if (str_eq(l.w[0], "layer") || str_eq(l.w[0], "snap"))
                return make_snapshot(f, &a, &l, lease);
        return make_record(f, &a, &l, lease);
}

int gc_script(GcFixture *f, const char *script)
{
        char *text = arena_strdup(&f->a, script), *rest = NULL;
        int r = 0;

        for (char *line = strtok_r(text, ";", &rest); line && r == 0;
             line = strtok_r(NULL, ";", &rest)) {
                r = gc_make(f, NULL, line + strspn(line, " "));
                if (r < 0)
                        fprintf(stderr, "%s: %s\n", line, f->err.msg);
        }
        return r;
}

/* ---- what is left ---- */

static const char blob_names[] = "abcde"; /* which gc_left() knows */

typedef struct Seen {
        GcFixture *f;
        int there[sizeof(blob_names)];
} Seen;

static int add_blob(void *ctx, DbVal v)
{
        Seen *seen = ctx;
        GcFixture *f = seen->f;
        ProtobufCMessage *m;

        if (message_unpack(&f->a, &content__info__descriptor, v.data, v.n, &m, &f->err) < 0)
                abort();
        for (size_t i = 0; blob_names[i]; i++) {
                char name[] = {blob_names[i], 0};

                if (str_eq(gc_digest(&f->a, name), ((Content__Info *)(void *)m)->digest))
                        seen->there[i] = 1;
        }
        return 0;
}

static void add_names(GcFixture *f, MetaTxn *txn, DbTable table, const char *kind, char **text)
{
        uint32_t ns = meta_ns_find(txn, f->ns);
        DbCursor c CLEANUP(db_cursor_done) = {};
        DbKey k;

        db_cursor_init(&c, &txn->db, db_key(&k, table, ns));
        while (ns && db_cursor_next(&c)) {
                const char *name = c.rest.data;
                size_t n = c.rest.n;

                if (table == DB_SNAPSHOTS) {
                        n -= strlen(name) + 1;
                        name += strlen(name) + 1;
                }
                *text = arena_printf(&f->a, "%s%s%s:%.*s", *text, **text ? " " : "", kind, (int)n,
                                     name);
        }
}

/* Of f->ns. */
const char *gc_left(GcFixture *f)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        char *text = arena_strdup(&f->a, "");
        Seen seen = {.f = f};

        if (blobs_list(f->b, f->ns, &f->a, NULL, 0, add_blob, &seen, &f->err) < 0)
                return f->err.msg;
        for (size_t i = 0; blob_names[i]; i++)
                if (seen.there[i])
                        text = arena_printf(&f->a, "%s%sblob:%c", text, *text ? " " : "",
                                            blob_names[i]);
        if (meta_begin_ro(f->m, &txn, &f->a, &f->err) < 0)
                return f->err.msg;
        add_names(f, &txn, DB_IMAGES, "image", &text);
        add_names(f, &txn, DB_LEASES, "lease", &text);
        add_names(f, &txn, DB_SNAPSHOTS, "snap", &text);
        return text;
}

int gc_file_there(GcFixture *f, const char *name)
{
        ContentInfo info;
        Digest d;

        digest_of(name, strlen(name), &d);
        return content_info(f->store, &d, &info, &f->err) == 0;
}
