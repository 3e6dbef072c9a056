/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Collection over real stores. What a test makes is written as a script:
 *
 *         blob a gc.ref.content.0=$b; image i $a; layer base -; snap top base; lease l; hold l
 * content $b
 *
 * "$a" is the digest of blob a, "@-1h" a time, "gc." stands for "containerd.io/gc.". What is left
 * is told as "blob:a image:i ..." in order of kinds and names.
 */
#include "metadata/gc.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "api/lighter/store/v1/snapshots.pb-c.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/test.h"
#include "metadata/containers.h"
#include "metadata/content_priv.h"
#include "metadata/gc_priv.h"
#include "metadata/images.h"
#include "metadata/leases.h"
#include "metadata/sandboxes.h"
#include "rpc/message.h"

typedef struct Fixture {
        Arena a;
        Err err;
        char *dir;
        const char *ns;
        DbEnv *env;
        Exchange *ex;
        Metadata *m;
        ContentStore *store;
        Blobs *b;
        Snapshotter *sn;
        Snapshots *s;
        Subscription *events;
        Gc *gc;
        GcStats stats;
} Fixture;

static void no_wake(void *ctx)
{
}

static void fixture_open(Fixture *f)
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

static void fixture_done(Fixture *f)
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

static int collect(Fixture *f)
{
        return gc_collect(f->gc, &f->stats, &f->err);
}

/* ---- making things ---- */

enum { WORDS = 8 };

typedef struct Line {
        char *w[WORDS];
        int n;
} Line;

static const char *digest(Arena *a, const char *name)
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
                return digest(a, word + 1);
        if (word[0] != '@')
                return arena_strdup(a, word);
        if (duration_parse(word + 2, &ns) < 0)
                abort();
        t.sec += (word[1] == '-' ? -1 : 1) * ns / (int64_t)NS_PER_SEC;
        return arena_strdup(a, time_format(t, text));
}

/* KEY=VALUE from the words at `from` on; entries of every kind have one shape. */
static void *labels(Arena *a, const Line *l, int from, const ProtobufCMessageDescriptor *desc,
                    size_t *ret_n)
{
        LabelEntry **v = arena_array(a, LabelEntry *, WORDS);

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

static int make_blob(Fixture *f, Arena *a, const Line *l, const char *lease)
{
        IngestSpec spec = {.who = {.ns = f->ns, .lease = lease},
                           .ref = arena_printf(a, "ref-%s", l->w[1])};
        Ingest *in CLEANUP(ingest_closep) = NULL;
        IngestCommit what = {};
        Digest d;
        int r;

        what.labels = labels(a, l, 2, &content__info__labels_entry__descriptor, &what.n_labels);
        r = ingest_open(f->b, &spec, a, &in, &f->err);
        if (r == 0 && ingest_offset(in) > 0)
                r = ingest_truncate(in, &f->err);
        if (r == 0)
                r = ingest_write(in, l->w[1], strlen(l->w[1]), &f->err);
        return r < 0 ? r : ingest_commit(in, a, &what, &d, &f->err);
}

static int make_snapshot(Fixture *f, Arena *a, const Line *l, const char *lease)
{
        int layer = str_eq(l->w[0], "layer");
        MetaCaller who = {.ns = f->ns, .lease = lease};
        SnapshotsPrepare p = {.snapshotter = "native",
                              .kind = SNAPSHOT_ACTIVE,
                              .key = layer ? arena_printf(a, "tmp-%s", l->w[1]) : l->w[1],
                              .parent = str_eq(l->w[2], "-") ? "" : l->w[2]};
        SnapshotsCommit c = {.snapshotter = "native", .name = l->w[1], .key = p.key};
        size_t n;
        void *v = labels(a, l, 3, &snapshots__info__labels_entry__descriptor, &n);
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

static void make_image(MetaTxn *txn, const char *ns, const Line *l, const char *lease)
{
        Images__Image image = IMAGES__IMAGE__INIT;
        Types__Descriptor target = TYPES__DESCRIPTOR__INIT;

        image.name = l->w[1];
        image.target = &target;
        target.digest = value(txn->arena, l->w[2]);
        target.media_type = "m";
        target.size = 1;
        image.labels =
                labels(txn->arena, l, 3, &images__image__labels_entry__descriptor, &image.n_labels);
        images_create(txn, ns, &image, NULL, lease);
}

static void make_lease(MetaTxn *txn, const char *ns, const Line *l)
{
        Leases__CreateRequest req = LEASES__CREATE_REQUEST__INIT;

        req.id = l->w[1];
        req.labels = labels(txn->arena, l, 2, &leases__create_request__labels_entry__descriptor,
                            &req.n_labels);
        leases_create(txn, ns, &req);
}

static void make_container(MetaTxn *txn, const char *ns, const Line *l)
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
        c.labels = labels(txn->arena, l, 3, &containers__container__labels_entry__descriptor,
                          &c.n_labels);
        containers_create(txn, ns, &c);
}

static void make_sandbox(MetaTxn *txn, const char *ns, const Line *l)
{
        Types__Sandbox s = TYPES__SANDBOX__INIT;
        Types__Sandbox__Runtime runtime = TYPES__SANDBOX__RUNTIME__INIT;

        s.sandbox_id = l->w[1];
        s.sandboxer = "shim";
        s.runtime = &runtime;
        runtime.name = "r";
        s.labels = labels(txn->arena, l, 2, &types__sandbox__labels_entry__descriptor, &s.n_labels);
        sandboxes_create(txn, ns, &s);
}

static int make_record(Fixture *f, Arena *a, const Line *l, const char *lease)
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
static int make(Fixture *f, const char *lease, const char *line)
{
        Arena a CLEANUP(arena_done) = {};
        Line l = {};
        char *rest;

        arena_init(&a, 0);
        rest = arena_strdup(&a, line);
        for (char *w; (w = strtok_r(l.n ? NULL : rest, " ", &rest)) && l.n < WORDS; l.n++)
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

static int run_script(Fixture *f, const char *script)
{
        char *text = arena_strdup(&f->a, script), *rest = NULL;
        int r = 0;

        for (char *line = strtok_r(text, ";", &rest); line && r == 0;
             line = strtok_r(NULL, ";", &rest)) {
                r = make(f, NULL, line + strspn(line, " "));
                if (r < 0)
                        fprintf(stderr, "%s: %s\n", line, f->err.msg);
        }
        return r;
}

/* ---- what is left ---- */

static int add_blob(void *ctx, DbVal v)
{
        static const char *const names[] = {"a", "b", "c", "d", "e"};
        Fixture *f = ctx;
        ProtobufCMessage *m;

        if (message_unpack(&f->a, &content__info__descriptor, v.data, v.n, &m, &f->err) < 0)
                abort();
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
                if (str_eq(digest(&f->a, names[i]), ((Content__Info *)(void *)m)->digest)) {
                        f->err.msg[i] = names[i][0]; /* for the order; see left() */
                        return 0;
                }
        return 0;
}

static void add_names(Fixture *f, MetaTxn *txn, DbTable table, const char *kind, char **text)
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
static const char *left(Fixture *f)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        char *text = arena_strdup(&f->a, "");

        memset(f->err.msg, ' ', 5);
        f->err.msg[5] = 0;
        if (blobs_list(f->b, f->ns, &f->a, NULL, 0, add_blob, f, &f->err) < 0)
                return f->err.msg;
        for (int i = 0; i < 5; i++)
                if (f->err.msg[i] != ' ')
                        text = arena_printf(&f->a, "%s%sblob:%c", text, *text ? " " : "",
                                            f->err.msg[i]);
        if (meta_begin_ro(f->m, &txn, &f->a, &f->err) < 0)
                return f->err.msg;
        add_names(f, &txn, DB_IMAGES, "image", &text);
        add_names(f, &txn, DB_LEASES, "lease", &text);
        add_names(f, &txn, DB_SNAPSHOTS, "snap", &text);
        return text;
}

static int file_there(Fixture *f, const char *name)
{
        ContentInfo info;
        Digest d;

        digest_of(name, strlen(name), &d);
        return content_info(f->store, &d, &info, &f->err) == 0;
}

/* ---- marking ---- */

static const struct {
        const char *what, *script, *left;
} cases[] = {
        {"nothing refers", "blob a; layer s -; snap t s", ""},
        {"an image keeps its target", "blob a; blob b; image i $a", "blob:a image:i"},
        {"a label keeps content", "blob a; blob b gc.ref.content=$a; image i $b",
         "blob:a blob:b image:i"},
        {"a chain of labels",
         "blob a; blob b gc.ref.content.x=$a; blob c gc.ref.content/0=$b; blob d; image i $c",
         "blob:a blob:b blob:c image:i"},
        {"a cycle without a root goes", "blob a gc.ref.content.x=$b; blob b gc.ref.content.x=$a",
         ""},
        {"a suffix without a separator is another label",
         "blob a; blob b gc.ref.contents=$a; image i $b", "blob:b image:i"},
        {"labels of an image", "blob a; blob b; image i $a gc.ref.content.x=$b",
         "blob:a blob:b image:i"},
        {"gc.root on content", "blob a gc.root=2020-01-01; blob b gc.rootless=x; blob c root=x",
         "blob:a blob:b"},
        {"gc.root on a snapshot keeps its parents", "layer s -; layer u -; snap t s gc.root=x",
         "snap:s snap:t"},
        {"a label keeps a snapshot",
         "layer s -; layer u -; blob a gc.ref.snapshot.native=s; image i $a",
         "blob:a image:i snap:s"},
        {"the snapshotter's name ends at a slash",
         "layer s -; blob a gc.ref.snapshot.native/1=s; image i $a", "blob:a image:i snap:s"},
        {"a dot belongs to the snapshotter's name",
         "layer s -; blob a gc.ref.snapshot.native.1=s; image i $a", "blob:a image:i"},
        {"a label keeps an image that has expired",
         "blob a; image old $a gc.expire=@-1h; blob b gc.ref.image=old; image i $b",
         "blob:a blob:b image:i image:old"},
        {"an image that has expired goes", "blob a; image old $a gc.expire=@-1h", ""},
        {"one that has not stays", "blob a; image new $a gc.expire=@+1h", "blob:a image:new"},
        {"what is no time is no expiry", "blob a; image i $a gc.expire=soon", "blob:a image:i"},
        {"a container keeps its snapshot and what its labels name",
         "layer s -; snap t s; snap u s; blob a; container c t gc.ref.content.x=$a",
         "blob:a snap:s snap:t"},
        {"labels of a sandbox",
         "blob a; blob b; layer s -; "
         "sandbox p gc.ref.content.x=$a gc.ref.snapshot.native/x=s",
         "blob:a snap:s"},
        {"a lease keeps what it holds",
         "blob a gc.ref.content.x=$b; blob b; blob c; lease l; hold l content $a",
         "blob:a blob:b lease:l"},
        {"a lease keeps snapshots and images",
         "layer s -; layer u -; blob a; image i $a gc.expire=@-1h; lease l; hold l images i; "
         "hold l snapshots/native s",
         "blob:a image:i lease:l snap:s"},
        {"a lease that has expired goes with what it holds",
         "blob a; lease l gc.expire=@-1h; hold l content $a", ""},
        {"one that has not stays", "blob a; lease l gc.expire=@+1h; hold l content $a",
         "blob:a lease:l"},
        {"what is no time does not end a lease", "blob a; lease l gc.expire=x; hold l content $a",
         "blob:a lease:l"},
        {"a flat lease keeps no more than that",
         "blob a gc.ref.content.x=$b; blob b; layer s -; snap t s gc.ref.content.y=$b; "
         "lease l gc.flat=x; hold l content $a; hold l snapshots/native t",
         "blob:a lease:l snap:s snap:t"},
        {"a flat image keeps its target, and that nothing",
         "blob a gc.ref.content.x=$b; blob b; image i $a gc.expire=@-1h gc.ref.content.y=$b; "
         "lease l gc.flat=x; hold l images i",
         "blob:a image:i lease:l"},
        {"kept in full by another, flat or not",
         "blob a gc.ref.content.x=$b; blob b; lease l gc.flat=x; hold l content $a; image i $a",
         "blob:a blob:b image:i lease:l"},
        {"kept by a container",
         "blob a gc.bref.container=c; blob b gc.bref.container.x=d; container c -", "blob:a"},
        {"kept by content and image",
         "blob a; image i $a; blob b gc.bref.content.x=$a; blob c gc.bref.image=i; "
         "blob d gc.bref.content=$e",
         "blob:a blob:b blob:c image:i"},
        {"kept by a snapshot",
         "layer s - gc.root=x; blob a gc.bref.snapshot.native/1=s; "
         "blob b gc.bref.snapshot.other/1=s",
         "blob:a snap:s"},
        {"kept by what is kept",
         "blob a gc.bref.content=$b; blob b gc.bref.container=c; container c -", "blob:a blob:b"},
        {"by what is only named, not there",
         "blob a gc.bref.content=$b; container c - gc.ref.content=$b", ""},
        {"while used lately",
         "layer s - gc.cond.value-usedat=@-1h; layer t - gc.cond.value-usedat=@-3h; layer u -; "
         "blob a gc.cond.snapshot.native/1=usedat<2h|s gc.cond.snapshot.native/2=usedat<2h|t "
         "gc.cond.snapshot.native/3=usedat<2h|u; image i $a",
         "blob:a image:i snap:s"},
        {"one condition of several",
         "layer s - gc.cond.value-usedat=@-3h; layer t - gc.cond.value-usedat=@-1h; blob a; "
         "image i $a gc.cond.snapshot.native/1=usedat<1m,usedat>2h|s "
         "gc.cond.snapshot.native/2=usedat=1h,used>1s,usedat>|t",
         "blob:a image:i snap:s"},
        {"a condition does not keep its holder",
         "layer s - gc.cond.value-usedat=@-1h gc.root=x; blob a gc.cond.snapshot.native=usedat<2h|s",
         "snap:s"},
        {"only in its own namespace", "ns x; blob a; ns n; blob a; ns x; image i $a; ns n", ""},
};

TEST(mark_table)
{
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                Fixture f CLEANUP(fixture_done) = {};
                const char *got;

                fixture_open(&f);
                if (run_script(&f, cases[i].script) < 0)
                        test_fail(__FILE__, __LINE__, "%s: script", cases[i].what);
                CHECK_INT(collect(&f), 0);
                got = left(&f);
                if (!str_eq(got, cases[i].left))
                        test_fail(__FILE__, __LINE__, "%s\n     got: %s\n    want: %s",
                                  cases[i].what, got, cases[i].left);
                for (const char *n = "abcde"; *n; n++) {
                        char blob[] = {*n, 0}, text[] = {'b', 'l', 'o', 'b', ':', *n, 0};

                        if (file_there(&f, blob) && !strstr(got, text) && i + 1 < ARRAY_LEN(cases))
                                test_fail(__FILE__, __LINE__, "%s: the file of %s is left",
                                          cases[i].what, blob);
                }
        }
}

/* What is written between marking and forgetting. */
static const struct {
        const char *what, *before, *during, *left;
} changes[] = {
        {"nothing", "blob a; layer s -", "lease l", "lease:l"},
        {"a reference", "blob a; blob b", "image i $a", "blob:a image:i"},
        {"a lease", "blob a gc.ref.content=$b; blob b; layer s -; layer t s; lease l",
         "hold l content $a; hold l snapshots/native t", "blob:a blob:b lease:l snap:s snap:t"},
        {"a label of a sandbox", "blob a", "sandbox p gc.ref.content=$a", "blob:a"},
        {"a child", "layer s -; layer u -", "snap t s", "snap:s snap:t"},
        {"a container", "layer s -; layer t s", "container c t", "snap:s snap:t"},
        {"who keeps what is labelled so", "blob a gc.bref.container=c", "container c -", "blob:a"},
        {"what holds a condition",
         "layer s - gc.cond.value-usedat=@-1h; blob a gc.cond.snapshot.native=usedat<2h|s",
         "image i $a", "blob:a image:i snap:s"},
        {"an image that had expired", "blob a; image i $a gc.expire=@-1h",
         "lease l; hold l images i", "blob:a image:i lease:l"},
        {"a referrer that was live already", "blob a; blob b; lease l; hold l content $a",
         "blob c gc.ref.content=$b; hold l content $c", "blob:a blob:b blob:c lease:l"},
        {"something new", "", "blob a; snap s -", "blob:a snap:s"},
        {"the same once more", "lease l; blob a; layer s -; hold l content $a; unlease l",
         "blob a; lease l; hold l content $a", "blob:a lease:l"},
        {"the last reference goes", "blob a; image i $a", "unimage i", "blob:a"},
};

TEST(what_is_written_meanwhile_survives)
{
        for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
                Fixture f CLEANUP(fixture_done) = {};
                const char *got;
                GcRound round;
                Err err = {};

                fixture_open(&f);
                CHECK(*changes[i].before == 0 || run_script(&f, changes[i].before) == 0);
                round_init(&round, f.gc);
                CHECK_INT(gc_mark(&round, &err), 0);
                if (run_script(&f, changes[i].during) == -ALREADY_EXISTS)
                        run_script(&f, strchr(changes[i].during, ';') + 1);
                CHECK_INT(gc_sweep(&round, &err), 0);
                round_done(&round);
                got = left(&f);
                if (!str_eq(got, changes[i].left))
                        test_fail(__FILE__, __LINE__, "%s\n     got: %s\n    want: %s",
                                  changes[i].what, got, changes[i].left);
        }
}

TEST(a_batch_sees_what_was_written_since_the_one_before)
{
        Fixture f CLEANUP(fixture_done) = {};
        enum { MANY = 300 }; /* more than a batch */
        GcRound round;
        MetaTxn txn = {};
        DbKey k;

        fixture_open(&f);
        for (int i = 0; i < MANY; i++)
                CHECK_INT(make(&f, NULL, arena_printf(&f.a, "blob x%d", i)), 0);
        CHECK_INT(run_script(&f, "blob a; blob b gc.ref.content=$a; lease l"), 0);
        round_init(&round, f.gc);
        CHECK_INT(gc_mark(&round, &f.err), 0);
        /* Everything is logged that is written until the last batch is over. */
        CHECK_INT(make(&f, NULL, "hold l content $b"), 0);
        CHECK_INT(meta_begin_rw(f.m, &txn, &f.a, &f.err), 0);
        gc_mark_touched(&round, &txn);
        meta_txn_end(&txn);
        CHECK_INT(make(&f, NULL, "hold l content $x7"), 0);
        CHECK_INT(gc_sweep(&round, &f.err), 0);
        CHECK_INT(round.stats.forgotten, MANY - 1);
        round_done(&round);
        CHECK(file_there(&f, "a") && file_there(&f, "b") && file_there(&f, "x7"));
        CHECK(!file_there(&f, "x8"));
        CHECK_INT(meta_begin_ro(f.m, &txn, &f.a, &f.err), 0);
        CHECK(!db_any(&txn.db, db_key_group(db_key(&k, DB_BLOB_OWNERS, 0), digest(&f.a, "x8"))));
        meta_txn_end(&txn);
}

/* ---- events ---- */

TEST(what_goes_is_told)
{
        Fixture f CLEANUP(fixture_done) = {};
        char *text;
        EventBytes *e;

        fixture_open(&f);
        CHECK_INT(run_script(&f, "blob a; image old $a gc.expire=@-1h; layer s -; layer t s; "
                                 "lease l gc.expire=@-1h"),
                  0);
        while (subscription_next(f.events, &e, &f.err) == 1)
                event_bytes_unref(e);
        CHECK_INT(collect(&f), 0);
        text = arena_strdup(&f.a, "");
        while (subscription_next(f.events, &e, &f.err) == 1) {
                ProtobufCMessage *m;

                CHECK_INT(message_unpack(&f.a, &types__envelope__descriptor, e->data, e->n, &m,
                                         &f.err),
                          0);
                text = arena_printf(&f.a, "%s%s:%s ", text,
                                    ((Types__Envelope *)(void *)m)->namespace_,
                                    ((Types__Envelope *)(void *)m)->topic);
                event_bytes_unref(e);
        }
        CHECK_STR(text, "n:/images/delete n:/snapshot/remove n:/snapshot/remove ");
        CHECK_INT(f.stats.forgotten, 5);
}

/* ---- ingests ---- */

static int ingest(Fixture *f, const char *lease, const char *ref, const char *expected,
                  Ingest **ret)
{
        IngestSpec spec = {.who = {.ns = f->ns, .lease = lease}, .ref = ref, .expected = expected};
        int r = ingest_open(f->b, &spec, &f->a, ret, &f->err);

        return r < 0 ? r : ingest_write(*ret, "part", 4, &f->err);
}

static int ingest_there(Fixture *f, const char *ref)
{
        Content__Status *st;

        return ingests_status(f->b, f->ns, &f->a, ref, &st, &f->err) == 0;
}

/* As if it had been written so many seconds ago. */
static void age(Fixture *f, const char *ref, int seconds)
{
        Time t = time_now();
        char text[TIME_TEXT_MAX];
        Digest d;
        int fd;

        t.sec -= seconds;
        time_format(t, text);
        ref = arena_printf(&f->a, "%s/1/%s", f->ns, ref);
        digest_of(ref, strlen(ref), &d);
        fd = open(arena_printf(&f->a, "%s/content/ingest/%s", f->dir, digest_hex(&d)),
                  O_RDONLY | O_DIRECTORY);
        if (fd < 0 || file_write(fd, "updatedat", text, strlen(text), 0644, &f->err) < 0)
                abort();
        fd_close(fd);
}

TEST(ingests_live_a_day_or_as_long_as_a_lease)
{
        Fixture f CLEANUP(fixture_done) = {};
        Ingest *in, *open;

        fixture_open(&f);
        CHECK_INT(run_script(&f, "lease l; lease m"), 0);
        CHECK_INT(ingest(&f, NULL, "fresh", NULL, &in), 0);
        ingest_close(in);
        CHECK_INT(ingest(&f, NULL, "old", NULL, &in), 0);
        ingest_close(in);
        CHECK_INT(ingest(&f, "l", "held", NULL, &in), 0);
        ingest_close(in);
        CHECK_INT(ingest(&f, "m", "lost", NULL, &in), 0);
        ingest_close(in);
        CHECK_INT(ingest(&f, "m", "open", NULL, &open), 0);
        age(&f, "old", 24 * 3600 + 5);
        age(&f, "held", 48 * 3600);
        age(&f, "open", 48 * 3600);
        CHECK_INT(make(&f, NULL, "unlease m"), 0);
        CHECK_INT(collect(&f), 0);
        CHECK(ingest_there(&f, "fresh") && !ingest_there(&f, "old") && ingest_there(&f, "held"));
        CHECK(!ingest_there(&f, "lost") && ingest_there(&f, "open"));
        ingest_close(open);
        CHECK_INT(make(&f, NULL, "unlease l"), 0);
        CHECK_INT(collect(&f), 0);
        CHECK(!ingest_there(&f, "held") && !ingest_there(&f, "open"));
        CHECK(ingest_there(&f, "fresh"));
}

TEST(a_committed_ingest_is_held_no_more)
{
        Fixture f CLEANUP(fixture_done) = {};
        MetaTxn txn = {};
        Leases__Resource **res;
        Ingest *in;
        size_t n;

        fixture_open(&f);
        CHECK_INT(make(&f, NULL, "lease l"), 0);
        CHECK_INT(ingest(&f, "l", "r", NULL, &in), 0);
        ingest_close(in);
        CHECK_INT(meta_begin_ro(f.m, &txn, &f.a, &f.err), 0);
        CHECK_INT(leases_list_resources(&txn, "n", "l", &res, &n), 0);
        meta_txn_end(&txn);
        CHECK_INT(n, 1);
        CHECK_STR(res[0]->type, "ingests");
        CHECK_STR(res[0]->id, "r");
        CHECK_INT(ingests_abort(f.b, &(MetaCaller){"n", "l"}, &f.a, "r", &f.err), 0);
        CHECK_INT(make(&f, "l", "blob a"), 0);
        CHECK_INT(meta_begin_ro(f.m, &txn, &f.a, &f.err), 0);
        CHECK_INT(leases_list_resources(&txn, "n", "l", &res, &n), 0);
        meta_txn_end(&txn);
        CHECK_INT(n, 1);
        CHECK_STR(res[0]->type, "content");
}

TEST(what_an_ingest_expects_stays)
{
        Fixture f CLEANUP(fixture_done) = {};
        Ingest *open, *in;

        fixture_open(&f);
        CHECK_INT(ingest(&f, NULL, "open", digest(&f.a, "a"), &open), 0);
        CHECK_INT(ingest(&f, NULL, "left", digest(&f.a, "b"), &in), 0);
        ingest_close(in);
        CHECK_INT(run_script(&f, "blob a; blob b; blob c"), 0);
        CHECK_INT(collect(&f), 0);
        CHECK_STR(left(&f), "blob:a blob:b");
        ingest_close(open);
        CHECK_INT(ingests_abort(f.b, &(MetaCaller){.ns = "n"}, &f.a, "left", &f.err), 0);
        CHECK_INT(collect(&f), 0);
        CHECK_STR(left(&f), "blob:a");
}

/* ---- files without records ---- */

TEST(orphans_go_at_the_first_collection)
{
        Fixture f CLEANUP(fixture_done) = {};
        GcOptions o;
        Digest d;

        fixture_open(&f);
        CHECK_INT(run_script(&f, "blob a; image i $a; blob b"), 0);
        CHECK_INT(collect(&f), 0);
        CHECK(!file_there(&f, "b"));
        digest_of("c", 1, &d);
        CHECK_INT(
                file_write(AT_FDCWD,
                           arena_printf(&f.a, "%s/content/blobs/sha256/%s", f.dir, digest_hex(&d)),
                           "c", 1, 0444, &f.err),
                0);
        CHECK_INT(collect(&f), 0); /* nothing says that there may be any */
        CHECK(file_there(&f, "c"));
        gc_free(f.gc);
        o = (GcOptions){.meta = f.m, .blobs = f.b, .snapshots = f.s};
        f.gc = gc_new(&o);
        content_pin(f.store, &d);
        CHECK_INT(collect(&f), 0);
        CHECK(file_there(&f, "c"));
        content_unpin(f.store, &d);
        gc_free(f.gc);
        f.gc = gc_new(&o);
        CHECK_INT(collect(&f), 0);
        CHECK(!file_there(&f, "c") && file_there(&f, "a"));
}

/* ---- collectors ---- */

typedef struct Fake {
        struct {
                GcResource r;
                int gone, busy;
        } list[8];
        int n, cleaned;
} Fake;

static int fake_list(void *ctx, void (*fn)(void *arg, const GcResource *r), void *arg, Err *err)
{
        Fake *fake = ctx;

        for (int i = 0; i < fake->n; i++)
                if (!fake->list[i].gone)
                        fn(arg, &fake->list[i].r);
        return 0;
}

static int fake_forget(void *ctx, const char *ns, const char *name, uint64_t id)
{
        Fake *fake = ctx;

        for (int i = 0; i < fake->n; i++)
                if (fake->list[i].r.id == id && str_eq(fake->list[i].r.name, name) &&
                    str_eq(fake->list[i].r.ns, ns) && !fake->list[i].busy)
                        return fake->list[i].gone = 1;
        return 0;
}

static void fake_clean(void *ctx)
{
        ((Fake *)ctx)->cleaned++;
}

static void fake_add(Fake *fake, const char *name, const char *lease, int active, void *labels,
                     size_t n_labels)
{
        fake->list[fake->n].r = (GcResource){.ns = "n",
                                             .name = name,
                                             .lease = lease,
                                             .active = active,
                                             .labels = labels,
                                             .n_labels = n_labels,
                                             .id = (uint64_t)fake->n + 1};
        fake->n++;
}

static const char *fake_left(Fixture *f, const Fake *fake)
{
        char *text = arena_strdup(&f->a, "");

        for (int i = 0; i < fake->n; i++)
                if (!fake->list[i].gone)
                        text = arena_printf(&f->a, "%s%s ", text, fake->list[i].r.name);
        return text;
}

TEST(resources_of_others)
{
        static const GcCollector collector = {"mount", fake_list, fake_forget, fake_clean};
        Fixture f CLEANUP(fixture_done) = {};
        char by_container[] = "x y gc.bref.container=c", keeps[] = "x y gc.ref.content.0=$a";
        char *words[2][3] = {{by_container, by_container + 2, by_container + 4},
                             {keeps, keeps + 2, keeps + 4}};
        Line line = {.n = 3};
        Fake fake = {};
        size_t n;
        void *v;

        fixture_open(&f);
        gc_add_collector(f.gc, &collector, &fake);
        CHECK_INT(run_script(&f, "blob a; blob b; lease l; container c - gc.ref.mount.x=named; "
                                 "container d - gc.ref.mounts=other"),
                  0);
        by_container[1] = by_container[3] = keeps[1] = keeps[3] = 0;
        fake_add(&fake, "active", NULL, 1, NULL, 0);
        fake_add(&fake, "named", NULL, 0, NULL, 0);
        fake_add(&fake, "other", NULL, 0, NULL, 0);
        fake_add(&fake, "leased", "l", 0, NULL, 0);
        fake_add(&fake, "lost", "gone", 1, NULL, 0);
        memcpy(line.w, words[0], sizeof(words[0]));
        v = labels(&f.a, &line, 2, &images__image__labels_entry__descriptor, &n);
        fake_add(&fake, "kept", NULL, 0, v, n);
        memcpy(line.w, words[1], sizeof(words[1]));
        v = labels(&f.a, &line, 2, &images__image__labels_entry__descriptor, &n);
        fake_add(&fake, "keeps", "l", 0, v, n);
        fake_add(&fake, "busy", NULL, 0, NULL, 0);
        fake.list[7].busy = 1;
        CHECK_INT(collect(&f), 0);
        CHECK_STR(fake_left(&f, &fake), "active named leased kept keeps busy ");
        CHECK_INT(fake.cleaned, 1);
        CHECK_STR(left(&f), "blob:a lease:l");
        CHECK_INT(run_script(&f, "unlease l; uncontainer c"), 0);
        CHECK_INT(collect(&f), 0);
        CHECK_STR(fake_left(&f, &fake), "active busy ");
        CHECK_STR(left(&f), "");
}

/* ---- when ---- */

static int runs;

static int count_runs(void *ctx, void (*fn)(void *arg, const GcResource *r), void *arg, Err *err)
{
        __atomic_add_fetch(&runs, 1, __ATOMIC_RELAXED);
        return 0;
}

typedef struct Scheduled {
        Fixture f;
        Loop *loop;
        Pool *pool;
} Scheduled;

static void scheduled_open(Scheduled *s, const GcSchedule *schedule)
{
        static const GcCollector counter = {"runs", count_runs, fake_forget, NULL};
        GcOptions o;

        fixture_open(&s->f);
        gc_free(s->f.gc);
        if (loop_new(&s->loop, &s->f.err) < 0)
                abort();
        s->pool = pool_new(2);
        o = (GcOptions){s->f.m, s->f.b, s->f.s, s->loop, s->pool, *schedule};
        s->f.gc = gc_new(&o);
        gc_add_collector(s->f.gc, &counter, NULL);
        runs = 0;
}

static void scheduled_done(Scheduled *s)
{
        if (s->f.gc)
                gc_stop(s->f.gc);
        pool_free(s->pool);
        s->f.gc = gc_free(s->f.gc);
        loop_free(s->loop);
        fixture_done(&s->f);
}

static int ran(Scheduled *s, int n)
{
        uint64_t end = time_mono_ns() + 20 * NS_PER_SEC;

        while (__atomic_load_n(&runs, __ATOMIC_RELAXED) < n && time_mono_ns() < end)
                loop_once(s->loop, 20);
        for (int i = 0; i < 3; i++) /* it may run once too often */
                loop_once(s->loop, 10);
        return __atomic_load_n(&runs, __ATOMIC_RELAXED);
}

static void note_done(void *arg, int r)
{
        __atomic_store_n((int *)arg, r < 0 ? r : 1, __ATOMIC_RELEASE);
}

static void many_leases(Scheduled *s, const char *name, int n)
{
        for (int i = 0; i < n; i++)
                if (make(&s->f, NULL, arena_printf(&s->f.a, "lease %s%d", name, i)) < 0)
                        abort();
}

TEST(it_runs_at_start_after_deletions_and_after_many_changes)
{
        const GcSchedule schedule = {.pause_threshold = 0.5,
                                     .mutation_threshold = 5,
                                     .startup_delay = (int64_t)NS_PER_MS};
        Scheduled s CLEANUP(scheduled_done) = {};
        int done = 0;

        scheduled_open(&s, &schedule);
        CHECK_INT(ran(&s, 1), 1);
        many_leases(&s, "few", 4);
        CHECK_INT(ran(&s, 0), 1);
        many_leases(&s, "many", 1);
        CHECK_INT(ran(&s, 2), 2);
        CHECK_INT(make(&s.f, NULL, "unlease few1"), 0);
        CHECK_INT(ran(&s, 3), 3);
        gc_schedule_and_wait(s.f.gc, note_done, &done);
        CHECK_INT(ran(&s, 4), 4);
        while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE))
                loop_once(s.loop, 10);
        CHECK_INT(done, 1);
}

TEST(nothing_starts_it_but_who_waits)
{
        const GcSchedule schedule = {.deletion_threshold = 3};
        Scheduled s CLEANUP(scheduled_done) = {};
        int done = 0;

        scheduled_open(&s, &schedule);
        many_leases(&s, "l", 10);
        CHECK_INT(run_script(&s.f, "unlease l1; unlease l2"), 0);
        CHECK_INT(ran(&s, 0), 0);
        CHECK_INT(make(&s.f, NULL, "unlease l3"), 0);
        CHECK_INT(ran(&s, 1), 1);
        metadata_collect(s.f.m, note_done, &done);
        CHECK_INT(ran(&s, 2), 2);
        while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE))
                loop_once(s.loop, 10);
        CHECK_INT(done, 1);
}

TEST(who_waits_when_it_stops_is_told)
{
        const GcSchedule schedule = {.schedule_delay = 3600 * (int64_t)NS_PER_SEC};
        Scheduled s CLEANUP(scheduled_done) = {};
        int before = 0, after = 0;

        scheduled_open(&s, &schedule);
        gc_schedule_and_wait(s.f.gc, note_done, &before);
        CHECK_INT(ran(&s, 0), 0);
        gc_stop(s.f.gc);
        CHECK_INT(before, -UNAVAILABLE);
        gc_schedule_and_wait(s.f.gc, note_done, &after);
        CHECK_INT(after, -UNAVAILABLE);
}

/* ---- whatever fails ---- */

TEST(a_collection_that_fails_loses_nothing)
{
        static const char script[] =
                "blob a; blob b gc.ref.content=$a; image i $b; blob c; blob d; layer s -; "
                "layer t s; layer u -; snap v u; container x v; image old $c gc.expire=@-1h; "
                "lease l gc.expire=@-1h; hold l content $d; hold l snapshots/native t";
        static const char want[] = "blob:a blob:b image:i snap:u snap:v";

        for (int nth = 1, fired = 1; fired; nth++) {
                Fixture f CLEANUP(fixture_done) = {};
                const char *got;
                int r;

                fixture_open(&f);
                CHECK_INT(run_script(&f, script), 0);
                fault_arm(nth);
                r = collect(&f);
                fired = fault_fired;
                fault_arm(0);
                CHECK(r == 0 || f.err.msg[0]);
                got = left(&f);
                for (const char *w = "blob:a\0blob:b\0image:i\0snap:u\0snap:v\0"; *w;
                     w += strlen(w) + 1)
                        if (!strstr(got, w))
                                test_fail(__FILE__, __LINE__, "step %d: %s is gone: %s", nth, w,
                                          got);
                CHECK_INT(collect(&f), 0);
                CHECK_STR(left(&f), want);
                CHECK(file_there(&f, "a") && file_there(&f, "b"));
                CHECK(!file_there(&f, "c") && !file_there(&f, "d"));
        }
}

/* ---- churn ---- */

enum { CHURNERS = 4, ROUNDS = 80 };

typedef struct Churner {
        Fixture f; /* shares the stores, has its own arena and error */
        int n, failed;
        uint32_t seed;
        char why[300];
} Churner;

static uint32_t chance(Churner *c, uint32_t n)
{
        c->seed = c->seed * 1664525 + 1013904223;
        return (c->seed >> 8) % n;
}

static void churn_line(Churner *c, const char *lease, const char *line)
{
        if (!c->failed && make(&c->f, lease, line) < 0) {
                c->failed = 1;
                snprintf(c->why, sizeof(c->why), "%.80s: %.200s", line, c->f.err.msg);
        }
}

static int has(Churner *c, const char *text)
{
        Content__Info *info;

        return blobs_info(c->f.b, "n", &c->f.a, digest(&c->f.a, text), &info, &c->f.err) == 0;
}

/* Makes things under a lease, ties them to an image, lets the lease go; what was tied must be
 * there. All churners share contents, so that one writes what another's is just collected. */
static void churn_once(Churner *c, int i)
{
        char *lease = arena_printf(&c->f.a, "l%d-%d", c->n, i);
        char *part = arena_printf(&c->f.a, "p%u", chance(c, 20));
        char *top = arena_printf(&c->f.a, "t%d-%d", c->n, i);
        char *image = arena_printf(&c->f.a, "i%d", c->n);
        int r;

        churn_line(c, NULL, arena_printf(&c->f.a, "lease %s", lease));
        if (c->failed)
                return;
        r = make(&c->f, lease, arena_printf(&c->f.a, "blob %s", part));
        if (r < 0 && r != -ALREADY_EXISTS && r != -UNAVAILABLE) {
                c->failed = 1;
                snprintf(c->why, sizeof(c->why), "part: %.200s", c->f.err.msg);
        }
        if (r == -UNAVAILABLE) { /* another has the ref */
                churn_line(c, NULL, arena_printf(&c->f.a, "unlease %s", lease));
                return;
        }
        churn_line(c, lease, arena_printf(&c->f.a, "blob %s gc.ref.content.0=$%s", top, part));
        churn_line(c, lease, arena_printf(&c->f.a, "layer s%s -", top));
        churn_line(c, lease,
                   arena_printf(&c->f.a, "layer u%s s%s gc.ref.content.x=$%s", top, top, part));
        churn_line(
                c, NULL,
                arena_printf(&c->f.a, "image %s $%s gc.ref.snapshot.native=u%s", image, top, top));
        churn_line(c, NULL, arena_printf(&c->f.a, "unlease %s", lease));
        if (!c->failed && (!has(c, part) || !has(c, top))) {
                c->failed = 1;
                snprintf(c->why, sizeof(c->why), "%s or %s is gone", part, top);
        }
        if (i + 1 < ROUNDS)
                churn_line(c, NULL, arena_printf(&c->f.a, "unimage %s", image));
}

static void *churn(void *arg)
{
        Churner *c = arg;

        for (int i = 0; i < ROUNDS && !c->failed; i++)
                churn_once(c, i);
        return NULL;
}

typedef struct Collecting {
        Fixture f;
        int stop, failed, runs;
} Collecting;

static void *collect_on(void *arg)
{
        Collecting *g = arg;

        while (!__atomic_load_n(&g->stop, __ATOMIC_ACQUIRE) && !g->failed) {
                g->failed = collect(&g->f) < 0;
                g->runs++;
        }
        return NULL;
}

static int count_file(void *ctx, const Digest *d, Err *err)
{
        ++*(int *)ctx;
        return 0;
}

TEST(churn_under_collection)
{
        Fixture f CLEANUP(fixture_done) = {};
        Churner churners[CHURNERS] = {};
        pthread_t threads[CHURNERS], collector;
        Collecting g = {};
        int files = 0;
        const char *got;

        fixture_open(&f);
        CHECK_INT(make(&f, NULL, "lease l"), 0);
        g.f = f;
        arena_init(&g.f.a, 0);
        pthread_create(&collector, NULL, collect_on, &g);
        for (int i = 0; i < CHURNERS; i++) {
                churners[i].f = f;
                arena_init(&churners[i].f.a, 0);
                churners[i].n = i;
                churners[i].seed = (uint32_t)i * 7 + 1;
                pthread_create(&threads[i], NULL, churn, &churners[i]);
        }
        for (int i = 0; i < CHURNERS; i++) {
                pthread_join(threads[i], NULL);
                arena_done(&churners[i].f.a);
        }
        __atomic_store_n(&g.stop, 1, __ATOMIC_RELEASE);
        pthread_join(collector, NULL);
        if (g.failed)
                test_fail(__FILE__, __LINE__, "collection: %s", g.f.err.msg);
        arena_done(&g.f.a);
        for (int i = 0; i < CHURNERS; i++)
                if (churners[i].failed)
                        test_fail(__FILE__, __LINE__, "%s", churners[i].why);
        CHECK(g.runs > 1);
        CHECK_INT(collect(&f), 0);
        got = left(&f);
        for (int i = 0; i < CHURNERS; i++)
                CHECK(strstr(got, arena_printf(&f.a, "snap:ut%d-%d", i, ROUNDS - 1)) &&
                      strstr(got, arena_printf(&f.a, "image:i%d", i)));
        /* The last image of each, its content and part of it; parts may be the same. */
        CHECK_INT(content_walk(f.store, count_file, &files, &f.err), 0);
        CHECK(files > CHURNERS && files <= 2 * CHURNERS);
        for (int i = 0; i < CHURNERS; i++)
                CHECK_INT(make(&f, NULL, arena_printf(&f.a, "unimage i%d", i)), 0);
        CHECK_INT(collect(&f), 0);
        CHECK_STR(left(&f), "lease:l");
        files = 0;
        CHECK_INT(content_walk(f.store, count_file, &files, &f.err), 0);
        CHECK_INT(files, 0);
}
