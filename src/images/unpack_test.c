/* SPDX-License-Identifier: Apache-2.0 */
#include "images/unpack.h"

#include <stdio.h>
#include "base/map.h"
#include "base/str.h"
#include "base/test.h"

/* A daemon in a few lines: snapshots by name, and everything that was asked for as text. */
typedef struct Fake {
        Str log;
        Map snapshots;
        const char *wrong; /* diff id to lie about */
        const char *fail;  /* operation that fails ... */
        int fail_code;
        int collisions;  /* ... and how often Prepare says the key is taken */
        int commit_lost; /* somebody else commits first */
        size_t at;
} Fake;

static int step(Fake *f, const char *op, Err *err)
{
        return str_eq(f->fail, op) ? err_set(err, f->fail_code, "%s failed", op) : 0;
}

static int fake_stat(void *ctx, const char *key, Err *err)
{
        Fake *f = ctx;

        if (!map_find(&f->snapshots, key))
                return err_set(err, NOT_FOUND, "snapshot %s: not found", key);
        return step(f, "stat", err);
}

static int fake_prepare(void *ctx, const char *key, const char *parent, const UnpackLabel *labels,
                        size_t n, Err *err)
{
        Fake *f = ctx;

        if (f->collisions-- > 0)
                return err_set(err, ALREADY_EXISTS, "taken");
        str_addf(&f->log, "prepare on %.9s;", *parent ? parent + 7 : "nothing");
        return step(f, "prepare", err);
}

static int fake_apply(void *ctx, const char *key, const Descriptor *layer, Digest *ret, Err *err)
{
        Fake *f = ctx;
        char text[10];

        str_addf(&f->log, "apply %s;", layer->media_type);
        snprintf(text, sizeof(text), "diff%c", layer->media_type[5]);
        digest_of(f->wrong ? f->wrong : text, 5, ret);
        return step(f, "apply", err);
}

static int fake_commit(void *ctx, const char *name, const char *key, const UnpackLabel *labels,
                       size_t n, Err *err)
{
        Fake *f = ctx;

        str_addf(&f->log, "commit %.9s;", name + 7);
        if (f->commit_lost)
                return err_set(err, ALREADY_EXISTS, "snapshot %s: already exists", name);
        map_put(&f->snapshots, name, f);
        return step(f, "commit", err);
}

static int fake_remove(void *ctx, const char *key, Err *err)
{
        str_addf(&((Fake *)ctx)->log, "remove;");
        return err_set(err, INTERNAL, "a failure of the removal that nobody must see");
}

static int fake_label(void *ctx, const Digest *blob, const char *key, const char *value, Err *err)
{
        str_addf(&((Fake *)ctx)->log, "label %s;", key);
        return step(ctx, "label", err);
}

static void fake_done(Fake *f)
{
        str_done(&f->log);
        map_done(&f->snapshots);
}

static int run(Fake *f, size_t n_layers, size_t n_diffs, Digest *chain, Err *err)
{
        UnpackOps ops = {f,           fake_stat,   fake_prepare, fake_apply,
                         fake_commit, fake_remove, fake_label,   NULL};
        Descriptor layers[3] = {
                {.media_type = "layer0"}, {.media_type = "layer1"}, {.media_type = "layer2"}};
        Digest diffs[3];
        Manifest m = {.layers = layers, .n_layers = n_layers};
        ImageConfig c = {.diff_ids = diffs, .n_diff_ids = n_diffs};

        for (int i = 0; i < 3; i++) {
                char text[10];

                snprintf(text, sizeof(text), "diff%d", i);
                digest_of(text, 5, &diffs[i]);
        }
        return image_unpack(&ops, "overlayfs", &m, &c, chain, err);
}

TEST(unpack_all_layers_in_order_and_again)
{
        Fake f CLEANUP(fake_done) = {};
        Digest chain, chain2;
        Err err = {};
        Str want CLEANUP(str_done) = {};

        CHECK_INT(run(&f, 2, 2, &chain, &err), 0);
        CHECK(str_starts(str_get(&f.log), "prepare on nothing;apply layer0;commit "));
        CHECK(strstr(str_get(&f.log), "label containerd.io/uncompressed;prepare on "));
        str_addf(&want,
                 "commit %.9s;label containerd.io/uncompressed;"
                 "label containerd.io/gc.ref.snapshot.overlayfs;",
                 chain.text + 7);
        CHECK(str_ends(str_get(&f.log), str_get(&want)));

        str_truncate(&f.log, 0);
        CHECK_INT(run(&f, 2, 2, &chain2, &err), 0);
        CHECK(digest_eq(&chain, &chain2));
        CHECK_STR(str_get(&f.log), "label containerd.io/gc.ref.snapshot.overlayfs;");

        str_truncate(&f.log, 0);
        CHECK_INT(run(&f, 3, 3, &chain2, &err), 0);
        CHECK(strstr(str_get(&f.log), "apply layer2") && !strstr(str_get(&f.log), "apply layer1"));
}

TEST(unpack_of_no_layers)
{
        Fake f CLEANUP(fake_done) = {};
        Digest chain = {.text = "x"};
        Err err = {};

        CHECK_INT(run(&f, 0, 0, &chain, &err), 0);
        CHECK_STR(chain.text, "");
        CHECK_STR(str_get(&f.log), "");
}

TEST(unpack_refuses_what_does_not_fit)
{
        Fake f CLEANUP(fake_done) = {};
        Digest chain;
        Err err = {};

        CHECK(run(&f, 2, 3, &chain, &err) == -INVALID_ARGUMENT);
        CHECK_STR(err.msg, "number of layers and diffIDs don't match: 2 != 3");
        f.wrong = "wrong";
        CHECK(run(&f, 1, 1, &chain, &err) == -FAILED_PRECONDITION);
        CHECK(strstr(err.msg, "wrong diff id \"sha256:") &&
              strstr(err.msg, "calculated on extraction \"sha256:"));
        CHECK(str_ends(str_get(&f.log), "remove;") && f.snapshots.n == 0);
}

TEST(unpack_failures_take_the_snapshot_away)
{
        static const char *const ops[] = {"prepare", "apply", "commit"};

        for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
                Fake f CLEANUP(fake_done) = {.fail = ops[i], .fail_code = UNAVAILABLE};
                Digest chain;
                Err err = {};

                CHECK(run(&f, 1, 1, &chain, &err) == -UNAVAILABLE);
                CHECK(strstr(err.msg, " failed") && !strstr(err.msg, "removal"));
                CHECK(str_ends(str_get(&f.log), "remove;") == (i > 0));
        }
}

TEST(unpack_beside_somebody_else)
{
        Fake lost CLEANUP(fake_done) = {.commit_lost = 1},
                  taken CLEANUP(fake_done) = {.collisions = 3};
        Fake always CLEANUP(fake_done) = {.collisions = 100};
        Digest chain;
        Err err = {};

        CHECK_INT(run(&lost, 1, 1, &chain, &err), 0);
        CHECK(strstr(str_get(&lost.log), ";remove;"));
        CHECK_INT(run(&taken, 1, 1, &chain, &err), 0);
        CHECK(run(&always, 1, 1, &chain, &err) == -ALREADY_EXISTS);
}

TEST(unpack_key_has_ctrs_form)
{
        Arena a CLEANUP(arena_done);
        Digest chain;
        char rest[100];
        int nsec;

        arena_init(&a, SIZE_MAX);
        digest_of("x", 1, &chain);
        CHECK_INT(sscanf(unpack_key(&a, &chain), "extract-%d-%99[^\n]", &nsec, rest), 2);
        CHECK(rest[4] == ' ' && str_eq(rest + 5, chain.text));
}
