/* SPDX-License-Identifier: Apache-2.0 */
/* What a collection keeps and what goes. */
#include "metadata/gc.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/test.h"
#include "metadata/content_priv.h"
#include "metadata/gc_priv.h"
#include "metadata/gc_testing.h"
#include "metadata/images.h"
#include "metadata/leases.h"
#include "rpc/message.h"

/* ---- marking ---- */

#define NAME_25   "abcdefghijklmnopqrstuvwxy"
#define LONG_NAME NAME_25 NAME_25 NAME_25 NAME_25 NAME_25 NAME_25 NAME_25 NAME_25

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
        {"a condition on what no snapshotter is called",
         "blob a; image i $a gc.cond.snapshot." LONG_NAME "=usedat<2h|s; blob b", "blob:a image:i"},
        {"only in its own namespace", "ns x; blob a; ns n; blob a; ns x; image i $a; ns n", ""},
};

TEST(mark_table)
{
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                GcFixture f CLEANUP(gc_fixture_done) = {};
                const char *got;

                gc_fixture_open(&f);
                if (gc_script(&f, cases[i].script) < 0)
                        test_fail(__FILE__, __LINE__, "%s: script", cases[i].what);
                CHECK_INT(gc_fixture_collect(&f), 0);
                got = gc_left(&f);
                if (!str_eq(got, cases[i].left))
                        test_fail(__FILE__, __LINE__, "%s\n     got: %s\n    want: %s",
                                  cases[i].what, got, cases[i].left);
                for (const char *n = "abcde"; *n; n++) {
                        char blob[] = {*n, 0}, text[] = {'b', 'l', 'o', 'b', ':', *n, 0};

                        if (gc_file_there(&f, blob) && !strstr(got, text) &&
                            i + 1 < ARRAY_LEN(cases))
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
                GcFixture f CLEANUP(gc_fixture_done) = {};
                const char *got;
                GcRound round;
                Err err = {};

                gc_fixture_open(&f);
                CHECK(*changes[i].before == 0 || gc_script(&f, changes[i].before) == 0);
                round_init(&round, f.gc);
                CHECK_INT(gc_mark(&round, &err), 0);
                if (gc_script(&f, changes[i].during) == -ALREADY_EXISTS)
                        gc_script(&f, strchr(changes[i].during, ';') + 1);
                CHECK_INT(gc_sweep(&round, &err), 0);
                round_done(&round);
                got = gc_left(&f);
                if (!str_eq(got, changes[i].left))
                        test_fail(__FILE__, __LINE__, "%s\n     got: %s\n    want: %s",
                                  changes[i].what, got, changes[i].left);
        }
}

TEST(a_batch_sees_what_was_written_since_the_one_before)
{
        GcFixture f CLEANUP(gc_fixture_done) = {};
        enum { MANY = 300 }; /* more than a batch */
        GcRound round;
        MetaTxn txn = {};
        DbKey k;

        gc_fixture_open(&f);
        for (int i = 0; i < MANY; i++)
                CHECK_INT(gc_make(&f, NULL, arena_printf(&f.a, "blob x%d", i)), 0);
        CHECK_INT(gc_script(&f, "blob a; blob b gc.ref.content=$a; lease l"), 0);
        round_init(&round, f.gc);
        CHECK_INT(gc_mark(&round, &f.err), 0);
        /* Everything is logged that is written until the last batch is over. */
        CHECK_INT(gc_make(&f, NULL, "hold l content $b"), 0);
        CHECK_INT(meta_begin_rw(f.m, &txn, &f.a, &f.err), 0);
        gc_mark_touched(&round, &txn);
        meta_txn_end(&txn);
        CHECK_INT(gc_make(&f, NULL, "hold l content $x7"), 0);
        CHECK_INT(gc_sweep(&round, &f.err), 0);
        CHECK_INT(round.stats.forgotten, MANY - 1);
        round_done(&round);
        CHECK(gc_file_there(&f, "a") && gc_file_there(&f, "b") && gc_file_there(&f, "x7"));
        CHECK(!gc_file_there(&f, "x8"));
        CHECK_INT(meta_begin_ro(f.m, &txn, &f.a, &f.err), 0);
        CHECK(!db_any(&txn.db, db_key_group(db_key(&k, DB_BLOB_OWNERS, 0), gc_digest(&f.a, "x8"))));
        meta_txn_end(&txn);
}

/* ---- events ---- */

TEST(what_goes_is_told)
{
        GcFixture f CLEANUP(gc_fixture_done) = {};
        char *text;
        EventBytes *e;

        gc_fixture_open(&f);
        CHECK_INT(gc_script(&f, "blob a; image old $a gc.expire=@-1h; layer s -; layer t s; "
                                "lease l gc.expire=@-1h"),
                  0);
        while (subscription_next(f.events, &e, &f.err) == 1)
                event_bytes_unref(e);
        CHECK_INT(gc_fixture_collect(&f), 0);
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

static int ingest(GcFixture *f, const char *lease, const char *ref, const char *expected,
                  Ingest **ret)
{
        IngestSpec spec = {.who = {.ns = f->ns, .lease = lease}, .ref = ref, .expected = expected};
        int r = ingest_open(f->b, &spec, &f->a, ret, &f->err);

        return r < 0 ? r : ingest_write(*ret, "part", 4, &f->err);
}

static int ingest_there(GcFixture *f, const char *ref)
{
        Content__Status *st;

        return ingests_status(f->b, f->ns, &f->a, ref, &st, &f->err) == 0;
}

/* As if it had been written so many seconds ago. */
static void age(GcFixture *f, const char *ref, int seconds)
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
        GcFixture f CLEANUP(gc_fixture_done) = {};
        Ingest *in, *open;

        gc_fixture_open(&f);
        CHECK_INT(gc_script(&f, "lease l; lease m"), 0);
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
        CHECK_INT(gc_make(&f, NULL, "unlease m"), 0);
        CHECK_INT(gc_fixture_collect(&f), 0);
        CHECK(ingest_there(&f, "fresh") && !ingest_there(&f, "old") && ingest_there(&f, "held"));
        CHECK(!ingest_there(&f, "lost") && ingest_there(&f, "open"));
        ingest_close(open);
        CHECK_INT(gc_make(&f, NULL, "unlease l"), 0);
        CHECK_INT(gc_fixture_collect(&f), 0);
        CHECK(!ingest_there(&f, "held") && !ingest_there(&f, "open"));
        CHECK(ingest_there(&f, "fresh"));
}

TEST(a_committed_ingest_is_held_no_more)
{
        GcFixture f CLEANUP(gc_fixture_done) = {};
        MetaTxn txn = {};
        Leases__Resource **res;
        Ingest *in;
        size_t n;

        gc_fixture_open(&f);
        CHECK_INT(gc_make(&f, NULL, "lease l"), 0);
        CHECK_INT(ingest(&f, "l", "r", NULL, &in), 0);
        ingest_close(in);
        CHECK_INT(meta_begin_ro(f.m, &txn, &f.a, &f.err), 0);
        CHECK_INT(leases_list_resources(&txn, "n", "l", &res, &n), 0);
        meta_txn_end(&txn);
        CHECK_INT(n, 1);
        CHECK_STR(res[0]->type, "ingests");
        CHECK_STR(res[0]->id, "r");
        CHECK_INT(ingests_abort(f.b, &(MetaCaller){"n", "l"}, &f.a, "r", &f.err), 0);
        CHECK_INT(gc_make(&f, "l", "blob a"), 0);
        CHECK_INT(meta_begin_ro(f.m, &txn, &f.a, &f.err), 0);
        CHECK_INT(leases_list_resources(&txn, "n", "l", &res, &n), 0);
        meta_txn_end(&txn);
        CHECK_INT(n, 1);
        CHECK_STR(res[0]->type, "content");
}

TEST(what_an_ingest_expects_stays)
{
        GcFixture f CLEANUP(gc_fixture_done) = {};
        Ingest *open, *in;

        gc_fixture_open(&f);
        CHECK_INT(ingest(&f, NULL, "open", gc_digest(&f.a, "a"), &open), 0);
        CHECK_INT(ingest(&f, NULL, "left", gc_digest(&f.a, "b"), &in), 0);
        ingest_close(in);
        CHECK_INT(gc_script(&f, "blob a; blob b; blob c"), 0);
        CHECK_INT(gc_fixture_collect(&f), 0);
        CHECK_STR(gc_left(&f), "blob:a blob:b");
        ingest_close(open);
        CHECK_INT(ingests_abort(f.b, &(MetaCaller){.ns = "n"}, &f.a, "left", &f.err), 0);
        CHECK_INT(gc_fixture_collect(&f), 0);
        CHECK_STR(gc_left(&f), "blob:a");
}

/* ---- files without records ---- */

TEST(orphans_go_at_the_first_collection)
{
        GcFixture f CLEANUP(gc_fixture_done) = {};
        GcOptions o;
        Digest d;

        gc_fixture_open(&f);
        CHECK_INT(gc_script(&f, "blob a; image i $a; blob b"), 0);
        CHECK_INT(gc_fixture_collect(&f), 0);
        CHECK(!gc_file_there(&f, "b"));
        digest_of("c", 1, &d);
        CHECK_INT(
                file_write(AT_FDCWD,
                           arena_printf(&f.a, "%s/content/blobs/sha256/%s", f.dir, digest_hex(&d)),
                           "c", 1, 0444, &f.err),
                0);
        CHECK_INT(gc_fixture_collect(&f), 0); /* nothing says that there may be any */
        CHECK(gc_file_there(&f, "c"));
        gc_free(f.gc);
        o = (GcOptions){.meta = f.m, .blobs = f.b, .snapshots = f.s};
        f.gc = gc_new(&o);
        content_pin(f.store, &d);
        CHECK_INT(gc_fixture_collect(&f), 0);
        CHECK(gc_file_there(&f, "c"));
        content_unpin(f.store, &d);
        gc_free(f.gc);
        f.gc = gc_new(&o);
        CHECK_INT(gc_fixture_collect(&f), 0);
        CHECK(!gc_file_there(&f, "c") && gc_file_there(&f, "a"));
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

static const char *fake_left(GcFixture *f, const Fake *fake)
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
        GcFixture f CLEANUP(gc_fixture_done) = {};
        char by_container[] = "x y gc.bref.container=c", keeps[] = "x y gc.ref.content.0=$a";
        char *words[2][3] = {{by_container, by_container + 2, by_container + 4},
                             {keeps, keeps + 2, keeps + 4}};
        GcLine line = {.n = 3};
        Fake fake = {};
        size_t n;
        void *v;

        gc_fixture_open(&f);
        gc_add_collector(f.gc, &collector, &fake);
        CHECK_INT(gc_script(&f, "blob a; blob b; lease l; container c - gc.ref.mount.x=named; "
                                "container d - gc.ref.mounts=other"),
                  0);
        by_container[1] = by_container[3] = keeps[1] = keeps[3] = 0;
        fake_add(&fake, "active", NULL, 1, NULL, 0);
        fake_add(&fake, "named", NULL, 0, NULL, 0);
        fake_add(&fake, "other", NULL, 0, NULL, 0);
        fake_add(&fake, "leased", "l", 0, NULL, 0);
        fake_add(&fake, "lost", "gone", 1, NULL, 0);
        memcpy(line.w, words[0], sizeof(words[0]));
        v = gc_labels(&f.a, &line, 2, &images__image__labels_entry__descriptor, &n);
        fake_add(&fake, "kept", NULL, 0, v, n);
        memcpy(line.w, words[1], sizeof(words[1]));
        v = gc_labels(&f.a, &line, 2, &images__image__labels_entry__descriptor, &n);
        fake_add(&fake, "keeps", "l", 0, v, n);
        fake_add(&fake, "busy", NULL, 0, NULL, 0);
        fake.list[7].busy = 1;
        CHECK_INT(gc_fixture_collect(&f), 0);
        CHECK_STR(fake_left(&f, &fake), "active named leased kept keeps busy ");
        CHECK_INT(fake.cleaned, 1);
        CHECK_STR(gc_left(&f), "blob:a lease:l");
        CHECK_INT(gc_script(&f, "unlease l; uncontainer c"), 0);
        CHECK_INT(gc_fixture_collect(&f), 0);
        CHECK_STR(fake_left(&f, &fake), "active busy ");
        CHECK_STR(gc_left(&f), "");
}
