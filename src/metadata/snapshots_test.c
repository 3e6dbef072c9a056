/* SPDX-License-Identifier: Apache-2.0 */
#include "metadata/snapshots.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/path.h"
#include "base/test.h"
#include "metadata/leases.h"
#include "metadata/namespaces.h"
#include "rpc/message.h"

typedef struct Fixture {
        Arena a;
        Err err;
        char *dir;
        DbEnv *env;
        Exchange *ex;
        Metadata *m;
        Snapshotter *sn;
        Snapshots *s;
        Subscription *events;
} Fixture;

static void no_wake(void *ctx)
{
}

static void fixture_open(Fixture *f)
{
        arena_init(&f->a, SIZE_MAX);
        f->dir = arena_strdup(&f->a, test_tmpdir());
        f->ex = exchange_new();
        if (db_env_open(path_join(&f->a, f->dir, "db"), NULL, &f->env, &f->err) < 0 ||
            native_open(f->env, path_join(&f->a, f->dir, "native"), &f->sn, &f->err) < 0 ||
            exchange_subscribe(f->ex, NULL, 0, no_wake, NULL, &f->events, &f->err) < 0)
                abort();
        f->m = metadata_new(f->env, f->ex);
        f->s = snapshots_new(f->m);
        snapshots_add(f->s, f->sn);
}

static void fixture_done(Fixture *f)
{
        fault_arm(0);
        snapshots_free(f->s);
        snapshotter_free(f->sn);
        metadata_free(f->m);
        db_env_close(f->env);
        subscription_close(f->events);
        exchange_free(f->ex);
        path_remove_tree(AT_FDCWD, path_join(&f->a, f->dir, "db"), &f->err);
        path_remove_tree(AT_FDCWD, path_join(&f->a, f->dir, "native"), &f->err);
        arena_done(&f->a);
}

static const char *published(Fixture *f)
{
        char *text = arena_strdup(&f->a, "");
        EventBytes *e;

        while (subscription_next(f->events, &e, &f->err) == 1) {
                ProtobufCMessage *m;

                if (message_unpack(&f->a, &types__envelope__descriptor, e->data, e->n, &m,
                                   &f->err) < 0)
                        abort();
                text = arena_printf(&f->a, "%s%s%s", text, *text ? " " : "",
                                    ((Types__Envelope *)(void *)m)->topic);
                event_bytes_unref(e);
        }
        return text;
}

static Snapshots__Info__LabelsEntry **label(Fixture *f, const char *key, const char *value)
{
        Snapshots__Info__LabelsEntry **v = arena_array(&f->a, Snapshots__Info__LabelsEntry *, 1);

        v[0] = message_make(&f->a, snapshots__info__labels_entry);
        v[0]->key = key;
        v[0]->value = value;
        return v;
}

static int make_labelled(Fixture *f, const char *lease, SnapshotKind kind, const char *key,
                         const char *parent, const char *label_key, const char *label_value)
{
        MetaCaller who = {.ns = "n", .lease = lease};
        SnapshotsPrepare what = {
                .snapshotter = "native", .kind = kind, .key = key, .parent = parent};
        MountList l;

        if (label_key) {
                what.labels = label(f, label_key, label_value);
                what.n_labels = 1;
        }
        return snapshots_prepare(f->s, &who, &f->a, &what, &l, &f->err);
}

static int make(Fixture *f, SnapshotKind kind, const char *key, const char *parent)
{
        return make_labelled(f, NULL, kind, key, parent, NULL, NULL);
}

static int commit_as(Fixture *f, const char *lease, const char *name, const char *key,
                     const char *parent)
{
        MetaCaller who = {.ns = "n", .lease = lease};
        SnapshotsCommit what = {
                .snapshotter = "native", .name = name, .key = key, .parent = parent};

        return snapshots_commit(f->s, &who, &f->a, &what, &f->err);
}

static int drop(Fixture *f, const char *key)
{
        MetaCaller who = {.ns = "n"};

        return snapshots_remove(f->s, &who, &f->a, "native", key, &f->err);
}

static Snapshots__Info *stat_of(Fixture *f, const char *key)
{
        Snapshots__Info *info;

        return snapshots_stat(f->s, "n", &f->a, "native", key, &info, &f->err) < 0 ? NULL : info;
}

static int add_name(void *ctx, const Snapshots__Info *info, Err *err)
{
        Fixture *f = ((void **)ctx)[0];
        char **text = &((char **)ctx)[1];

        *text = arena_printf(&f->a, "%s%s%s", *text, **text ? " " : "", info->name);
        return 0;
}

static const char *names(Fixture *f, const char *ns, const char *filter)
{
        void *ctx[2] = {f, arena_strdup(&f->a, "")};

        if (snapshots_list(f->s, ns, "native", &filter, filter ? 1 : 0, add_name, ctx, &f->err) < 0)
                return f->err.msg;
        return ctx[1];
}

static int make_lease(Fixture *f, const char *id)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        Leases__CreateRequest req = LEASES__CREATE_REQUEST__INIT;

        req.id = id;
        if (meta_begin_rw(f->m, &txn, &f->a, &f->err) < 0)
                return -1;
        leases_create(&txn, "n", &req);
        return meta_commit(&txn);
}

static const char *leased(Fixture *f, const char *id)
{
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        char *text = arena_strdup(&f->a, "");
        Leases__Resource **v;
        size_t n = 0;

        if (meta_begin_ro(f->m, &txn, &f->a, &f->err) < 0 ||
            leases_list_resources(&txn, "n", id, &v, &n) < 0)
                abort();
        for (size_t i = 0; i < n; i++)
                text = arena_printf(&f->a, "%s%s%s:%s", text, i ? " " : "", v[i]->type, v[i]->id);
        return text;
}

TEST(snapshot_from_prepare_to_remove)
{
        Fixture f CLEANUP(fixture_done) = {};
        Snapshots__Info *info;
        SnapshotUsage u;
        MountList l;

        fixture_open(&f);
        CHECK(make(&f, SNAPSHOT_ACTIVE, "a", "") == 0);
        CHECK(snapshots_mounts(f.s, "n", &f.a, "native", "a", &l, &f.err) == 0 && l.n == 1);
        CHECK(commit_as(&f, NULL, "c", "a", "") == 0);
        CHECK(!stat_of(&f, "a"));
        CHECK_STR(f.err.msg, "snapshot a does not exist: not found");
        CHECK(make(&f, SNAPSHOT_VIEW, "v", "c") == 0);
        info = stat_of(&f, "v");
        CHECK(info && info->kind == SNAPSHOTS__KIND__VIEW);
        CHECK_STR(info->parent, "c");
        CHECK(snapshots_usage(f.s, "n", &f.a, "native", "c", &u, &f.err) == 0 && u.inodes == 1);
        CHECK(drop(&f, "c") == -FAILED_PRECONDITION);
        CHECK_STR(f.err.msg, "cannot remove snapshot with child: failed precondition");
        CHECK(drop(&f, "v") == 0 && drop(&f, "c") == 0);
        CHECK_STR(names(&f, "n", NULL), "");
        CHECK_STR(published(&f),
                  "/snapshot/prepare /snapshot/commit /snapshot/remove /snapshot/remove");
}

TEST(errors_name_the_clients_key_or_the_backends)
{
        Fixture f CLEANUP(fixture_done) = {};
        MetaCaller who = {.ns = "n"};
        SnapshotsPrepare other = {.snapshotter = "zfs", .kind = SNAPSHOT_ACTIVE, .key = "a"};
        MountList l;

        fixture_open(&f);
        CHECK(snapshots_prepare(f.s, &who, &f.a, &other, &l, &f.err) == -INVALID_ARGUMENT);
        CHECK_STR(f.err.msg, "snapshotter not loaded: zfs: invalid argument");
        CHECK(make(&f, SNAPSHOT_ACTIVE, "", "") == -UNKNOWN);
        CHECK_STR(f.err.msg, "bucket name required");
        CHECK(make_labelled(&f, "l", SNAPSHOT_ACTIVE, "", "", NULL, NULL) == -UNKNOWN);
        CHECK_STR(f.err.msg, "key required");
        CHECK(make_labelled(&f, "l", SNAPSHOT_ACTIVE, "a", "", NULL, NULL) == -NOT_FOUND);
        CHECK_STR(f.err.msg, "lease does not exist: not found");
        CHECK_STR(names(&f, "n", NULL), "");
        CHECK(make(&f, SNAPSHOT_ACTIVE, "a", "nope") == -NOT_FOUND);
        CHECK_STR(f.err.msg, "parent snapshot nope does not exist: not found");
        CHECK(make(&f, SNAPSHOT_ACTIVE, "a", "") == 0);
        CHECK(make(&f, SNAPSHOT_ACTIVE, "a", "") == -ALREADY_EXISTS);
        CHECK_STR(f.err.msg, "snapshot \"a\": already exists");
        CHECK(make(&f, SNAPSHOT_ACTIVE, "b", "a") == -INVALID_ARGUMENT);
        CHECK(str_starts(f.err.msg, "failed to create snapshot: parent \"n/"));
        CHECK(str_ends(f.err.msg, "/a\" is not committed snapshot: invalid argument"));
        CHECK(commit_as(&f, NULL, "c", "nope", "") == -NOT_FOUND);
        CHECK_STR(f.err.msg, "snapshot nope does not exist: not found");
        CHECK(commit_as(&f, NULL, "", "a", "") == -UNKNOWN);
        CHECK(commit_as(&f, NULL, "c", "a", "") == 0);
        CHECK(make(&f, SNAPSHOT_ACTIVE, "d", "c") == 0);
        CHECK(commit_as(&f, NULL, "c", "d", "") == -ALREADY_EXISTS);
        CHECK_STR(f.err.msg, "snapshot \"c\": already exists");
        CHECK(commit_as(&f, NULL, "e", "c", "") == -FAILED_PRECONDITION);
        CHECK(snapshots_mounts(f.s, "n", &f.a, "native", "c", &l, &f.err) == -FAILED_PRECONDITION);
        CHECK(str_starts(f.err.msg, "failed to get snapshot mount: requested snapshot n/"));
        CHECK(drop(&f, "nope") == -NOT_FOUND);
}

TEST(target_label_finds_what_was_unpacked_already)
{
        Fixture f CLEANUP(fixture_done) = {};

        fixture_open(&f);
        CHECK(make_lease(&f, "l") == 0);
        CHECK(make(&f, SNAPSHOT_ACTIVE, "a", "") == 0);
        CHECK(commit_as(&f, NULL, "chain", "a", "") == 0);
        CHECK(make_labelled(&f, "l", SNAPSHOT_ACTIVE, "extract", "", "containerd.io/snapshot.ref",
                            "chain") == -ALREADY_EXISTS);
        CHECK_STR(f.err.msg, "target snapshot \"chain\": already exists");
        CHECK_STR(leased(&f, "l"), "snapshots/native:chain");
        CHECK(make_labelled(&f, NULL, SNAPSHOT_ACTIVE, "extract", "", "containerd.io/snapshot.ref",
                            "other") == 0);
}

TEST(lease_follows_from_key_to_name)
{
        Fixture f CLEANUP(fixture_done) = {};

        fixture_open(&f);
        CHECK(make_lease(&f, "l") == 0);
        CHECK(make_labelled(&f, "l", SNAPSHOT_ACTIVE, "a", "", NULL, NULL) == 0);
        CHECK_STR(leased(&f, "l"), "snapshots/native:a");
        CHECK(commit_as(&f, "l", "c", "a", "") == 0);
        CHECK_STR(leased(&f, "l"), "snapshots/native:c");
}

TEST(rebase_keeps_a_parent_and_sets_a_missing_one)
{
        Fixture f CLEANUP(fixture_done) = {};

        fixture_open(&f);
        CHECK(make(&f, SNAPSHOT_ACTIVE, "a", "") == 0 && commit_as(&f, NULL, "ca", "a", "") == 0);
        CHECK(make(&f, SNAPSHOT_ACTIVE, "b", "") == 0);
        CHECK(commit_as(&f, NULL, "cb", "b", "nope") == -NOT_FOUND);
        CHECK_STR(f.err.msg, "parent snapshot nope does not exist: not found");
        CHECK(commit_as(&f, NULL, "cb", "b", "ca") == 0);
        CHECK_STR(stat_of(&f, "cb")->parent, "ca");
        CHECK(drop(&f, "ca") == -FAILED_PRECONDITION);
        CHECK(make(&f, SNAPSHOT_ACTIVE, "d", "cb") == 0);
        CHECK(commit_as(&f, NULL, "cd", "d", "ca") == 0);
        CHECK_STR(stat_of(&f, "cd")->parent, "cb");
}

TEST(labels_and_filters)
{
        Fixture f CLEANUP(fixture_done) = {};
        Snapshots__Info given = SNAPSHOTS__INFO__INIT, *got;
        static const char *const kind[] = {"kind"}, *const just_x[] = {"labels.x"};

        fixture_open(&f);
        CHECK(make_labelled(&f, NULL, SNAPSHOT_ACTIVE, "a", "", "containerd.io/snapshot/x", "1") ==
              0);
        CHECK(commit_as(&f, NULL, "c", "a", "") == 0);
        CHECK_INT(stat_of(&f, "c")->n_labels, 0);
        CHECK(make_labelled(&f, NULL, SNAPSHOT_ACTIVE, "b", "c", "x", "1") == 0);
        CHECK(make(&f, SNAPSHOT_VIEW, "v", "c") == 0);
        CHECK_STR(names(&f, "n", NULL), "b c v");
        CHECK_STR(names(&f, "n", "kind==committed"), "c");
        CHECK_STR(names(&f, "n", "parent==c"), "b v");
        CHECK_STR(names(&f, "n", "labels.x==1,name==b"), "b");
        CHECK_STR(names(&f, "m", NULL), "");
        given.name = "b";
        given.labels = label(&f, "containerd.io/snapshot/y", "2");
        given.n_labels = 1;
        CHECK(snapshots_update(f.s, "n", &f.a, "native", &given, kind, 1, &got, &f.err) ==
              -INVALID_ARGUMENT);
        CHECK_STR(f.err.msg, "cannot update \"kind\" field on snapshot \"b\": invalid argument");
        CHECK(snapshots_update(f.s, "n", &f.a, "native", &given, just_x, 1, &got, &f.err) == 0);
        CHECK_INT(got->n_labels, 0);
        CHECK(snapshots_update(f.s, "n", &f.a, "native", &given, NULL, 0, &got, &f.err) == 0);
        CHECK_INT(got->n_labels, 1);
        CHECK(stat_of(&f, "b")->kind == SNAPSHOTS__KIND__ACTIVE);
        given.n_labels = 0;
        CHECK(snapshots_update(f.s, "n", &f.a, "native", &given, NULL, 0, &got, &f.err) == 0);
        CHECK_INT(got->n_labels, 0);
        given.name = "";
        CHECK(snapshots_update(f.s, "n", &f.a, "native", &given, NULL, 0, &got, &f.err) ==
              -INVALID_ARGUMENT);
}

static int life(Fixture *f)
{
        int r;

        if ((r = make(f, SNAPSHOT_ACTIVE, "a", "")) < 0 ||
            (r = commit_as(f, NULL, "c", "a", "")) < 0 ||
            (r = make(f, SNAPSHOT_ACTIVE, "b", "c")) < 0 || (r = drop(f, "b")) < 0)
                return r;
        return drop(f, "c");
}

TEST(snapshot_changes_are_all_or_nothing)
{
        for (int nth = 1; nth < 1000; nth++) {
                static const char *const steps[] = {
                        "", "/snapshot/prepare", "/snapshot/prepare /snapshot/commit",
                        "/snapshot/prepare /snapshot/commit /snapshot/prepare",
                        "/snapshot/prepare /snapshot/commit /snapshot/prepare /snapshot/remove"};
                static const char *const left[] = {"", "a", "c", "b c", "c"};
                Fixture f CLEANUP(fixture_done) = {};
                const char *events, *is;
                int r, fired, ok = 0;

                fixture_open(&f);
                fault_arm(nth);
                r = life(&f);
                fired = fault_fired;
                fault_arm(0);
                if (r == 0) {
                        CHECK_STR(names(&f, "n", NULL), "");
                        if (!fired) {
                                CHECK(nth > 10);
                                break;
                        }
                        continue;
                }
                CHECK(f.err.msg[0] && f.err.code == -r);
                events = published(&f);
                is = names(&f, "n", NULL);
                for (size_t i = 0; i < ARRAY_LEN(steps); i++)
                        ok |= str_eq(events, steps[i]) && str_eq(is, left[i]);
                if (!ok)
                        test_fail(__FILE__, __LINE__, "step %d: events \"%s\", left \"%s\"", nth,
                                  events, is);
        }
}
