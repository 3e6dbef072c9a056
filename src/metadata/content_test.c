/* SPDX-License-Identifier: Apache-2.0 */
#include "metadata/content.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/test.h"
#include "metadata/content_priv.h"
#include "metadata/leases.h"
#include "metadata/namespaces.h"
#include "rpc/message.h"

#define HELLO "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

typedef struct Fixture {
        Arena a;
        Err err;
        char *dir;
        DbEnv *env;
        Exchange *ex;
        Metadata *m;
        ContentStore *store;
        Blobs *b;
        Subscription *events;
} Fixture;

static void no_wake(void *ctx)
{
}

static void fixture_open(Fixture *f, int isolated)
{
        arena_init(&f->a, SIZE_MAX);
        f->dir = arena_strdup(&f->a, test_tmpdir());
        f->ex = exchange_new();
        if (db_env_open(path_join(&f->a, f->dir, "db"), NULL, &f->env, &f->err) < 0 ||
            content_store_open(path_join(&f->a, f->dir, "content"), &f->store, &f->err) < 0 ||
            exchange_subscribe(f->ex, NULL, 0, no_wake, NULL, &f->events, &f->err) < 0)
                abort();
        f->m = metadata_new(f->env, f->ex);
        f->b = blobs_new(f->m, f->store, isolated);
}

static void fixture_done(Fixture *f)
{
        fault_arm(0);
        blobs_free(f->b);
        content_store_free(f->store);
        metadata_free(f->m);
        db_env_close(f->env);
        subscription_close(f->events);
        exchange_free(f->ex);
        path_remove_tree(AT_FDCWD, path_join(&f->a, f->dir, "db"), &f->err);
        path_remove_tree(AT_FDCWD, path_join(&f->a, f->dir, "content"), &f->err);
        arena_done(&f->a);
}

/* Topics of what was published since the last call, joined by blanks. */
static const char *published(Fixture *f)
{
        char *text = arena_strdup(&f->a, "");
        EventBytes *e;

        while (subscription_next(f->events, &e, &f->err) == 1) {
                ProtobufCMessage *m;

                if (message_unpack(&f->a, &types__envelope__descriptor, e->data, e->n, &m,
                                   &f->err) < 0)
                        abort();
                text = arena_printf(&f->a, "%s%s%s:%s", text, *text ? " " : "",
                                    ((Types__Envelope *)(void *)m)->namespace_,
                                    ((Types__Envelope *)(void *)m)->topic);
                event_bytes_unref(e);
        }
        return text;
}

static MetaCaller caller(const char *ns, const char *lease)
{
        return (MetaCaller){.ns = ns, .lease = lease};
}

static int put(Fixture *f, const char *ns, const char *lease, const char *text)
{
        MetaCaller who = caller(ns, lease);
        Ingest *in CLEANUP(ingest_closep) = NULL;
        IngestSpec spec = {.who = who, .ref = "ref"};
        IngestCommit commit = {};
        Digest d;
        int r;

        r = ingest_open(f->b, &spec, &f->a, &in, &f->err);
        if (r == 0 && ingest_offset(in) > 0)
                r = ingest_truncate(in, &f->err);
        if (r == 0)
                r = ingest_write(in, text, strlen(text), &f->err);
        return r < 0 ? r : ingest_commit(in, &f->a, &commit, &d, &f->err);
}

static int open_expecting(Fixture *f, const char *ns, const char *ref, const char *expected,
                          int64_t total, Ingest **ret)
{
        IngestSpec spec = {
                .who = caller(ns, NULL), .ref = ref, .expected = expected, .total = total};

        return ingest_open(f->b, &spec, &f->a, ret, &f->err);
}

static int info(Fixture *f, const char *ns, const char *digest)
{
        Content__Info *i;

        return blobs_info(f->b, ns, &f->a, digest, &i, &f->err);
}

static int on_disk(Fixture *f)
{
        ContentInfo i;
        Digest d;

        return digest_parse(HELLO, &d, &f->err) == 0 &&
               content_info(f->store, &d, &i, &f->err) == 0;
}

static int drop(Fixture *f, const char *ns, const char *digest)
{
        MetaCaller who = caller(ns, NULL);

        return blobs_delete(f->b, &who, &f->a, digest, &f->err);
}

static size_t n_statuses(Fixture *f, const char *ns, const char *filter)
{
        Content__Status **st;
        size_t n;

        if (ingests_list(f->b, ns, &f->a, &filter, filter ? 1 : 0, &st, &n, &f->err) < 0)
                abort();
        return n;
}

static int make_lease(Fixture *f, const char *ns, const char *id)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        Leases__CreateRequest req = LEASES__CREATE_REQUEST__INIT;

        req.id = id;
        if (meta_begin_rw(f->m, &txn, &f->a, &f->err) < 0)
                return -1;
        leases_create(&txn, ns, &req);
        return meta_commit(&txn);
}

static size_t n_leased(Fixture *f, const char *ns, const char *id)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        Leases__Resource **v;
        size_t n = 0;

        if (meta_begin_ro(f->m, &txn, &f->a, &f->err) < 0 ||
            leases_list_resources(&txn, ns, id, &v, &n) < 0)
                abort();
        return n;
}

/* One document at once: open, write, commit. An existing one is success. */
static int put_whole(Blobs *b, const MetaCaller *who, Arena *a, const char *ref, const void *data,
                     size_t n, Content__Info__LabelsEntry **labels, size_t n_labels, Digest *ret,
                     Err *err)
{
        Ingest *in CLEANUP(ingest_closep) = NULL;
        IngestSpec spec = {.who = *who, .ref = ref, .total = (int64_t)n};
        IngestCommit commit = {.size = (int64_t)n, .labels = labels, .n_labels = n_labels};
        Digest d;
        int r;

        digest_of(data, n, &d);
        *ret = d;
        spec.expected = commit.expected = d.text;
        r = ingest_open(b, &spec, a, &in, err);
        if (r == 0 && ingest_offset(in) > 0 && !ingest_is_virtual(in))
                r = ingest_truncate(in, err);
        if (r == 0 && !ingest_is_virtual(in))
                r = ingest_write(in, data, n, err);
        if (r == 0)
                r = ingest_commit(in, a, &commit, ret, err);
        return r == -ALREADY_EXISTS ? 0 : r;
}

TEST(blob_lives_until_its_last_name_goes)
{
        Fixture f CLEANUP(fixture_done) = {};

        fixture_open(&f, 0);
        CHECK(put(&f, "a", NULL, "hello") == 0);
        CHECK(put(&f, "b", NULL, "hello") == 0);
        CHECK_STR(published(&f), "a:/content/create b:/content/create");
        CHECK(info(&f, "a", HELLO) == 0 && info(&f, "b", HELLO) == 0);
        CHECK(info(&f, "c", HELLO) == -NOT_FOUND);
        CHECK_STR(f.err.msg, "content digest " HELLO ": not found");
        CHECK(drop(&f, "a", HELLO) == 0);
        CHECK(info(&f, "a", HELLO) == -NOT_FOUND);
        CHECK(on_disk(&f) && info(&f, "b", HELLO) == 0);
        CHECK(drop(&f, "a", HELLO) == -NOT_FOUND);
        CHECK(drop(&f, "b", HELLO) == 0);
        CHECK(!on_disk(&f));
        CHECK_STR(published(&f), "a:/content/delete b:/content/delete");
}

TEST(blob_that_exists_is_told_and_leased)
{
        Fixture f CLEANUP(fixture_done) = {};
        Ingest *in CLEANUP(ingest_closep) = NULL;
        IngestSpec spec = {.who = caller("a", "l"), .ref = "r", .expected = HELLO};

        fixture_open(&f, 0);
        CHECK(put(&f, "a", "l", "hello") == -NOT_FOUND);
        CHECK_STR(f.err.msg, "lease does not exist: not found");
        CHECK(put(&f, "a", NULL, "hello") == 0);
        CHECK(make_lease(&f, "a", "l") == 0);
        CHECK(ingest_open(f.b, &spec, &f.a, &in, &f.err) == -ALREADY_EXISTS);
        CHECK_STR(f.err.msg, "content " HELLO ": already exists");
        CHECK_INT(n_leased(&f, "a", "l"), 1);
        CHECK(make_lease(&f, "a", "l2") == 0);
        published(&f);
        CHECK(put(&f, "a", "l2", "hello") == -ALREADY_EXISTS);
        CHECK_STR(f.err.msg, "content " HELLO ": already exists");
        CHECK_INT(n_leased(&f, "a", "l2"), 1);
        CHECK_STR(published(&f), "");
        CHECK_INT(n_statuses(&f, "a", NULL), 0);
}

TEST(shared_policy_needs_no_bytes)
{
        Fixture f CLEANUP(fixture_done) = {};
        Ingest *in CLEANUP(ingest_closep) = NULL;
        IngestCommit commit = {.size = 5, .expected = HELLO};
        Digest d;

        fixture_open(&f, 0);
        CHECK(put(&f, "a", NULL, "hello") == 0);
        CHECK(open_expecting(&f, "b", "r", HELLO, 6, &in) == 0);
        CHECK_INT(ingest_offset(in), 0);
        in = ingest_close(in);
        CHECK(open_expecting(&f, "b", "r2", HELLO, 0, &in) == 0);
        CHECK_INT(ingest_offset(in), 5);
        CHECK_INT(n_statuses(&f, "b", "ref==r2"), 0);
        /* Pinned: the last name may go, the bytes stay for us. */
        CHECK(drop(&f, "a", HELLO) == 0);
        CHECK(on_disk(&f));
        CHECK(ingest_commit(in, &f.a, &commit, &d, &f.err) == 0);
        CHECK_STR(d.text, HELLO);
        in = ingest_close(in);
        CHECK(info(&f, "b", HELLO) == 0);
        CHECK(drop(&f, "b", HELLO) == 0);
        CHECK(!on_disk(&f));
}

TEST(shared_ingest_written_to_becomes_a_real_one)
{
        Fixture f CLEANUP(fixture_done) = {};
        Ingest *in CLEANUP(ingest_closep) = NULL;
        IngestCommit commit = {};
        Digest d;

        fixture_open(&f, 0);
        CHECK(put(&f, "a", NULL, "hello") == 0);
        CHECK(open_expecting(&f, "b", "r", HELLO, 0, &in) == 0);
        CHECK(ingest_truncate(in, &f.err) == 0);
        CHECK_INT(ingest_offset(in), 0);
        CHECK(ingest_write(in, "other", 5, &f.err) == 0);
        CHECK_INT(n_statuses(&f, "b", NULL), 1);
        in = ingest_close(in);
        CHECK(open_expecting(&f, "b", "r2", HELLO, 0, &in) == 0);
        CHECK(ingest_write(in, "!", 1, &f.err) == 0);
        CHECK_INT(ingest_offset(in), 6);
        CHECK(ingest_commit(in, &f.a, &commit, &d, &f.err) == 0);
        CHECK_STR(d.text,
                  "sha256:ce06092fb948d9ffac7d1a376e404b26b7575bcc11ee05a4615fef4fec3a308b");
}

TEST(isolated_policy_wants_the_bytes)
{
        Fixture f CLEANUP(fixture_done) = {};
        Ingest *in CLEANUP(ingest_closep) = NULL;
        Namespaces__Namespace ns = NAMESPACES__NAMESPACE__INIT;
        Namespaces__Namespace__LabelsEntry entry = NAMESPACES__NAMESPACE__LABELS_ENTRY__INIT,
                                           *entries = &entry;
        MetaTxn txn CLEANUP(meta_txn_end) = {};

        fixture_open(&f, 1);
        CHECK(put(&f, "a", NULL, "hello") == 0);
        CHECK(open_expecting(&f, "b", "r", HELLO, 0, &in) == 0);
        CHECK_INT(ingest_offset(in), 0);
        in = ingest_close(in);
        /* Unless the owner shares. */
        CHECK(meta_begin_rw(f.m, &txn, &f.a, &f.err) == 0);
        ns.name = "a";
        entry.key = "containerd.io/namespace.shareable";
        entry.value = "true";
        ns.labels = &entries;
        ns.n_labels = 1;
        CHECK(namespaces_update(&txn, &ns, NULL, 0) != NULL);
        CHECK(meta_commit(&txn) == 0);
        CHECK(open_expecting(&f, "b", "r2", HELLO, 0, &in) == 0);
        CHECK_INT(ingest_offset(in), 5);
}

TEST(commit_checks_size_digest_and_labels)
{
        Fixture f CLEANUP(fixture_done) = {};
        Ingest *in CLEANUP(ingest_closep) = NULL;
        Content__Info__LabelsEntry label = CONTENT__INFO__LABELS_ENTRY__INIT, *labels = &label;
        IngestCommit size = {.size = 6}, digest = {.expected = "nonsense"},
                     labelled = {.labels = &labels, .n_labels = 1};
        Content__Status *st;
        Digest d;

        fixture_open(&f, 0);
        CHECK(open_expecting(&f, "a", "r", "nonsense", 5, &in) == 0);
        CHECK(ingest_write(in, "hello", 5, &f.err) == 0);
        CHECK(ingest_commit(in, &f.a, &size, &d, &f.err) == -FAILED_PRECONDITION);
        CHECK_STR(f.err.msg, "\"r\" failed size validation: 5 != 6: failed precondition");
        CHECK(ingest_commit(in, &f.a, &digest, &d, &f.err) == -FAILED_PRECONDITION);
        CHECK_STR(f.err.msg,
                  "unexpected commit digest " HELLO ", expected nonsense: failed precondition");
        label.key = "k";
        label.value = arena_alloc(&f.a, 5000);
        memset((char *)label.value, 'x', 4999);
        CHECK(ingest_commit(in, &f.a, &labelled, &d, &f.err) == -INVALID_ARGUMENT);
        CHECK(str_starts(f.err.msg, "info.Labels: label key and value length (5000 bytes)"));
        CHECK(ingests_status(f.b, "a", &f.a, "r", &st, &f.err) == 0);
        CHECK_INT(st->offset, 5);
        CHECK_INT(st->total, 5);
        CHECK(!on_disk(&f));
        CHECK_STR(published(&f), "");
}

TEST(ingests_are_a_namespaces_own)
{
        Fixture f CLEANUP(fixture_done) = {};
        Ingest *in CLEANUP(ingest_closep) = NULL;
        MetaCaller a = caller("a", NULL), b = caller("b", NULL);
        Content__Status *st;

        fixture_open(&f, 0);
        CHECK(open_expecting(&f, "a", "x/y", NULL, 0, &in) == 0);
        in = ingest_close(in);
        CHECK(open_expecting(&f, "a", "z", NULL, 0, &in) == 0);
        CHECK_INT(n_statuses(&f, "a", NULL), 2);
        CHECK_INT(n_statuses(&f, "a", "ref==x/y"), 1);
        CHECK_INT(n_statuses(&f, "b", NULL), 0);
        CHECK(ingests_status(f.b, "b", &f.a, "z", &st, &f.err) == -NOT_FOUND);
        CHECK_STR(f.err.msg, "reference z: not found");
        CHECK(ingests_abort(f.b, &b, &f.a, "z", &f.err) == -NOT_FOUND);
        CHECK(ingests_abort(f.b, &a, &f.a, "x/y", &f.err) == 0);
        CHECK_INT(n_statuses(&f, "a", NULL), 1);
        CHECK(open_expecting(&f, "a", "z", NULL, 0, &in) == -UNAVAILABLE);
        CHECK(str_starts(f.err.msg, "ref a/1/z locked for "));
}

TEST(update_changes_labels_only)
{
        Fixture f CLEANUP(fixture_done) = {};
        Content__Info given = CONTENT__INFO__INIT, *got;
        Content__Info__LabelsEntry one = CONTENT__INFO__LABELS_ENTRY__INIT, two = one,
                                   *labels[] = {&one, &two};
        static const char *const size[] = {"size"}, *const just_k[] = {"labels.k"};

        fixture_open(&f, 0);
        CHECK(put(&f, "a", NULL, "hello") == 0);
        given.digest = HELLO;
        given.labels = labels;
        given.n_labels = 2;
        one.key = "k";
        one.value = "v";
        two.key = "l";
        two.value = "w";
        CHECK(blobs_update(f.b, "a", &f.a, &given, size, 1, &got, &f.err) == -INVALID_ARGUMENT);
        CHECK_STR(f.err.msg,
                  "cannot update \"size\" field on content info \"" HELLO "\": invalid argument");
        CHECK(blobs_update(f.b, "a", &f.a, &given, just_k, 1, &got, &f.err) == 0);
        CHECK_INT(got->n_labels, 1);
        CHECK(blobs_update(f.b, "a", &f.a, &given, NULL, 0, &got, &f.err) == 0);
        CHECK_INT(got->n_labels, 2);
        one.value = "";
        CHECK(blobs_update(f.b, "a", &f.a, &given, just_k, 1, &got, &f.err) == 0);
        CHECK(blobs_info(f.b, "a", &f.a, HELLO, &got, &f.err) == 0);
        CHECK_INT(got->n_labels, 1);
        CHECK_STR(got->labels[0]->key, "l");
        CHECK_INT(got->size, 5);
        CHECK(blobs_update(f.b, "b", &f.a, &given, NULL, 0, &got, &f.err) == -NOT_FOUND);
}

static int count(void *ctx, DbVal stored)
{
        (*(int *)ctx)++;
        return 0;
}

TEST(list_filters_by_digest_and_label)
{
        Fixture f CLEANUP(fixture_done) = {};
        static const char *const by_digest[] = {"digest==" HELLO},
                                 *const by_label[] = {"labels.k==v"}, *const bad[] = {"digest="};
        MetaCaller who = caller("a", NULL);
        Content__Info__LabelsEntry label = CONTENT__INFO__LABELS_ENTRY__INIT, *labels = &label;
        Digest d;
        int n = 0;

        fixture_open(&f, 0);
        label.key = "k";
        label.value = "v";
        CHECK(put(&f, "a", NULL, "hello") == 0);
        CHECK(put_whole(f.b, &who, &f.a, "doc", "{}", 2, &labels, 1, &d, &f.err) == 0);
        CHECK(put_whole(f.b, &who, &f.a, "doc", "{}", 2, &labels, 1, &d, &f.err) == 0);
        CHECK(blobs_list(f.b, "a", &f.a, NULL, 0, count, &n, &f.err) == 0 && n == 2);
        n = 0;
        CHECK(blobs_list(f.b, "a", &f.a, by_digest, 1, count, &n, &f.err) == 0 && n == 1);
        n = 0;
        CHECK(blobs_list(f.b, "a", &f.a, by_label, 1, count, &n, &f.err) == 0 && n == 1);
        n = 0;
        CHECK(blobs_list(f.b, "zzz", &f.a, NULL, 0, count, &n, &f.err) == 0 && n == 0);
        CHECK(blobs_list(f.b, "a", &f.a, bad, 1, count, &n, &f.err) == -INVALID_ARGUMENT);
}

TEST(commit_of_a_name_is_all_or_nothing)
{
        for (int nth = 1;; nth++) {
                Fixture f CLEANUP(fixture_done) = {};
                int r, fired;

                fixture_open(&f, 0);
                fault_arm(nth);
                r = put(&f, "a", NULL, "hello");
                fired = fault_fired;
                fault_arm(0);
                if (!fired) {
                        CHECK(r == 0 && nth > 10);
                        break;
                }
                if (r == 0) {
                        CHECK(info(&f, "a", HELLO) == 0);
                        continue;
                }
                CHECK(f.err.msg[0] && f.err.code == -r);
                CHECK_STR(published(&f), "");
                CHECK(!on_disk(&f) && info(&f, "a", HELLO) == -NOT_FOUND);
                CHECK(put(&f, "a", NULL, "hello") == 0);
                CHECK_STR(published(&f), "a:/content/create");
        }
}

typedef struct Racer {
        Fixture *f;
        char ns[8];
        int bad;
        pthread_t thread;
} Racer;

static void *race(void *arg)
{
        Racer *me = arg;

        for (int i = 0; i < 25; i++) {
                Arena a CLEANUP(arena_done);
                MetaCaller who = caller(me->ns, NULL);
                Digest d;
                int fd CLEANUP(cleanup_fd) = -1;
                uint64_t n;
                Err err;

                arena_init(&a, SIZE_MAX);
                if (put_whole(me->f->b, &who, &a, "r", "hello", 5, NULL, 0, &d, &err) < 0 ||
                    blobs_open(me->f->b, me->ns, &a, HELLO, &fd, &n, &err) < 0 || n != 5 ||
                    blobs_delete(me->f->b, &who, &a, HELLO, &err) < 0) {
                        test_fail(__FILE__, __LINE__, "%s", err.msg);
                        me->bad = 1;
                }
        }
        return NULL;
}

TEST(namespaces_put_and_delete_the_same_blob_side_by_side)
{
        Fixture f CLEANUP(fixture_done) = {};
        Racer r[3] = {};

        fixture_open(&f, 0);
        for (size_t i = 0; i < ARRAY_LEN(r); i++) {
                r[i].f = &f;
                snprintf(r[i].ns, sizeof(r[i].ns), "n%zu", i);
                CHECK(pthread_create(&r[i].thread, NULL, race, &r[i]) == 0);
        }
        for (size_t i = 0; i < ARRAY_LEN(r); i++)
                pthread_join(r[i].thread, NULL);
        for (size_t i = 0; i < ARRAY_LEN(r); i++)
                CHECK(!r[i].bad);
        CHECK(!on_disk(&f));
}
