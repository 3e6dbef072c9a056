/* SPDX-License-Identifier: Apache-2.0 */
#include "metadata/metadata.h"

#include "api/containerd/events/events.pb-c.h"
#include "api/containerd/services/containers/v1/containers.pb-c.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/test.h"
#include "metadata/containers.h"
#include "metadata/namespaces.h"
#include "rpc/message.h"

typedef struct Fixture {
        DbEnv *db;
        Exchange *ex;
        Metadata *meta;
        Subscription *sub;
        Arena arena;
        Err err;
} Fixture;

static void wake_nobody(void *ctx)
{
}

static int fixture_open(Fixture *f)
{
        arena_init(&f->arena, 0);
        f->ex = exchange_new();
        if (exchange_subscribe(f->ex, NULL, 0, wake_nobody, f, &f->sub, &f->err) < 0 ||
            db_env_open(test_tmpdir(), NULL, &f->db, &f->err) < 0)
                return -1;
        f->meta = metadata_new(f->db, f->ex);
        return 0;
}

static void fixture_done(Fixture *f)
{
        metadata_free(f->meta);
        subscription_close(f->sub);
        exchange_free(f->ex);
        db_env_close(f->db);
        arena_done(&f->arena);
}

static const char *next_topic(Fixture *f)
{
        ProtobufCMessage *msg = NULL;
        EventBytes *e = NULL;

        if (subscription_next(f->sub, &e, &f->err) != 1)
                return "";
        message_unpack(&f->arena, &types__envelope__descriptor, e->data, e->n, &msg, &f->err);
        event_bytes_unref(e);
        return msg ? ((Types__Envelope *)msg)->topic : "?";
}

TEST(labels_in_order_and_once)
{
        static const char *const in[][2] = {{"b", "1"}, {"a", "2"}, {"b", "3"},
                                            {"c", ""},  {"d", "4"}, {"d", ""}};
        LabelEntry e[ARRAY_LEN(in)] = {}, *v[ARRAY_LEN(in)];
        size_t n = ARRAY_LEN(in);

        for (size_t i = 0; i < n; i++) {
                e[i].key = in[i][0];
                e[i].value = in[i][1];
                v[i] = &e[i];
        }
        CHECK_STR(labels_find(v, n, "b"), "3");
        labels_normalise(v, &n);
        CHECK_INT(n, 2);
        CHECK_STR(v[0]->key, "a");
        CHECK_STR(v[1]->key, "b");
        CHECK_STR(v[1]->value, "3");
        CHECK(!labels_find(v, n, "d"));
        n = 0;
        labels_normalise(NULL, &n);
        CHECK_INT(n, 0);
}

TEST(numbers_of_namespaces_are_never_used_again)
{
        Fixture f CLEANUP(fixture_done) = {};
        uint32_t first = 0, second = 0;

        CHECK_INT(fixture_open(&f), 0);
        for (int round = 0; round < 2; round++) {
                MetaTxn txn CLEANUP(meta_txn_end) = {};

                CHECK_INT(meta_begin_rw(f.meta, &txn, &f.arena, &f.err), 0);
                CHECK_INT(meta_ns_find(&txn, "one"), 0);
                *(round ? &second : &first) = meta_ns_ensure(&txn, "one");
                CHECK(meta_ns_ensure(&txn, "two") != meta_ns_ensure(&txn, "one"));
                CHECK_INT(namespaces_delete(&txn, "one"), 0);
                CHECK_INT(namespaces_delete(&txn, "two"), 0);
                CHECK_INT(meta_ns_find(&txn, "one"), 0);
                CHECK_INT(meta_commit(&txn), 0);
        }
        CHECK(first != 0 && second > first);
        {
                MetaTxn txn CLEANUP(meta_txn_end) = {};

                CHECK_INT(meta_begin_rw(f.meta, &txn, &f.arena, &f.err), 0);
                CHECK(meta_ns_ensure(&txn, "three") != 0);
        }
        {
                MetaTxn txn CLEANUP(meta_txn_end) = {};

                CHECK_INT(meta_begin_ro(f.meta, &txn, &f.arena, &f.err), 0);
                CHECK_INT(meta_ns_find(&txn, "three"), 0); /* that was not committed */
        }
}

TEST(events_go_out_with_the_commit_in_order)
{
        Fixture f CLEANUP(fixture_done) = {};
        Events__ContainerDelete event = EVENTS__CONTAINER_DELETE__INIT;

        CHECK_INT(fixture_open(&f), 0);
        event.id = "x";
        for (int fail = 0; fail < 2; fail++) {
                MetaTxn txn CLEANUP(meta_txn_end) = {};

                CHECK_INT(meta_begin_rw(f.meta, &txn, &f.arena, &f.err), 0);
                meta_event(&txn, "ns", "/one", &event);
                meta_event(&txn, "ns", "/two", &event);
                if (fail)
                        meta_fail(&txn, ABORTED, "no");
                CHECK_STR(next_topic(&f), "");
                CHECK_INT(meta_commit(&txn), fail ? -ABORTED : 0);
                CHECK_STR(next_topic(&f), fail ? "" : "/one");
                CHECK_STR(next_topic(&f), fail ? "" : "/two");
        }
        {
                MetaTxn txn CLEANUP(meta_txn_end) = {};

                CHECK_INT(meta_begin_rw(f.meta, &txn, &f.arena, &f.err), 0);
                meta_event(&txn, "ns", "/one", &event);
        }
        CHECK_STR(next_topic(&f), "");
}

static int count(void *ctx, DbVal stored)
{
        ++*(int *)ctx;
        return 0;
}

static int list(Fixture *f, const char *text)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        Filter *filter CLEANUP(filter_freep) = NULL;
        int n = 0, r;

        r = filter_parse(&text, text ? 1 : 0, &filter, &f->err);
        if (r == 0)
                r = meta_begin_ro(f->meta, &txn, &f->arena, &f->err);
        if (r == 0)
                r = containers_list(&txn, "ns", filter, count, &n);
        return r < 0 ? r : n;
}

static int put_raw(Fixture *f, const char *id, const void *bytes, size_t n)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        DbKey k;

        if (meta_begin_rw(f->meta, &txn, &f->arena, &f->err) < 0)
                return -1;
        db_put(&txn.db, db_key_name(db_key(&k, DB_CONTAINERS, meta_ns_ensure(&txn, "ns")), id),
               bytes, n);
        return meta_commit(&txn);
}

/* Every cut of a record: what does not decode says so, and lists that need not decode it go on. */
TEST(broken_records_are_named)
{
        Fixture f CLEANUP(fixture_done) = {};
        Containers__Container ct = CONTAINERS__CONTAINER__INIT;
        Containers__Container__Runtime rt = CONTAINERS__CONTAINER__RUNTIME__INIT;
        Google__Protobuf__Any spec = GOOGLE__PROTOBUF__ANY__INIT;
        uint8_t *bytes,
                junk[] = {0x9a, 0x06, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01};
        char url[] = "type";
        int broken = 0, r;
        size_t n;

        CHECK_INT(fixture_open(&f), 0);
        ct.id = "c";
        ct.runtime = &rt;
        rt.name = "r";
        ct.spec = &spec;
        spec.type_url = url;
        bytes = message_pack(&f.arena, &ct, &n);
        for (size_t cut = 0; cut <= n; cut++) {
                CHECK_INT(put_raw(&f, "c", bytes, cut), 0);
                CHECK_INT(list(&f, NULL), 1);
                r = list(&f, "id==c");
                broken += r == -DATA_LOSS;
                CHECK(r == -DATA_LOSS || r == 0 || r == 1);
        }
        CHECK(broken > 5);
        CHECK_INT(list(&f, "runtime.name==r"), 1);
        CHECK_INT(put_raw(&f, "c", junk, sizeof(junk)), 0);
        CHECK_INT(list(&f, "id==c"), -DATA_LOSS);
        CHECK(strstr(f.err.msg, "containerd.services.containers.v1.Container does not decode"));
}

/* Many small labels decode to much more than they weigh; a record of ours must still be read. */
TEST(large_records)
{
        Fixture f CLEANUP(fixture_done) = {};
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        Containers__Container *ct;
        Containers__Container__LabelsEntry **v;
        size_t n = 100000;

        CHECK_INT(fixture_open(&f), 0);
        ct = message_make(&f.arena, containers__container);
        ct->id = "big";
        ct->runtime = message_make(&f.arena, containers__container__runtime);
        ct->runtime->name = "r";
        v = arena_array(&f.arena, Containers__Container__LabelsEntry *, n);
        for (size_t i = 0; i < n; i++) {
                v[i] = message_make(&f.arena, containers__container__labels_entry);
                v[i]->key = arena_printf(&f.arena, "%zu", i);
                v[i]->value = "x";
        }
        ct->labels = v;
        ct->n_labels = n;
        CHECK_INT(meta_begin_rw(f.meta, &txn, &f.arena, &f.err), 0);
        CHECK(containers_create(&txn, "ns", ct) != NULL);
        CHECK_INT(meta_commit(&txn), 0);
        CHECK_INT(list(&f, "labels.4711==x"), 1);

        ct->id = "bigger";
        ct->image = memset(arena_alloc(&f.arena, LIMIT_GRPC_MESSAGE + 1), 'i', LIMIT_GRPC_MESSAGE);
        CHECK_INT(meta_begin_rw(f.meta, &txn, &f.arena, &f.err), 0);
        CHECK(!containers_create(&txn, "ns", ct));
        CHECK_INT(meta_commit(&txn), -RESOURCE_EXHAUSTED);
        CHECK_INT(list(&f, NULL), 1);
}

static int finished;

static void done(void *arg)
{
        finished++;
}

TEST(sync_with_nothing_to_wait_for)
{
        Fixture f CLEANUP(fixture_done) = {};

        CHECK_INT(fixture_open(&f), 0);
        finished = 0;
        metadata_sync(f.meta, done, NULL);
        CHECK_INT(finished, 1);
}
