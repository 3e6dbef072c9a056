/* SPDX-License-Identifier: Apache-2.0 */
/* A new database from blobs alone, step by step failing; what blobs of any content do to it. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/test.h"
#include "metadata/content.h"
#include "metadata/images.h"
#include "metadata/rebuild.h"
#include "spec/descriptor.h"

DEFINE_CLEANUP(DbEnv *, db_env_close)
DEFINE_CLEANUP(Metadata *, metadata_free)

typedef struct Fixture {
        Arena arena;
        const char *content;
        Err err;
} Fixture;

static void fixture_init(Fixture *f)
{
        arena_init(&f->arena, SIZE_MAX);
        f->content = arena_printf(&f->arena, "%s/content", test_tmpdir());
        path_mkdirs(arena_printf(&f->arena, "%s/blobs/sha256", f->content), 0700, &f->err);
}

static void fixture_done(Fixture *f)
{
        arena_done(&f->arena);
}

static const char *put_bytes(Fixture *f, const void *bytes, size_t n)
{
        Digest d;

        digest_of(bytes, n, &d);
        if (file_write(AT_FDCWD,
                       arena_printf(&f->arena, "%s/blobs/sha256/%s", f->content, digest_hex(&d)),
                       bytes, n, 0444, &f->err) < 0)
                abort();
        return arena_strdup(&f->arena, d.text);
}

static const char *put(Fixture *f, const char *text)
{
        return put_bytes(f, text, strlen(text));
}

static char *ref(Fixture *f, const char *type, const char *digest, const char *more)
{
        return arena_printf(&f->arena, "{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":9%s}",
                            type, digest, more);
}

/* A manifest with its config and layer; its digest. */
static const char *put_image(Fixture *f, const char *seed)
{
        const char *layer = put(f, seed);
        const char *config =
                put(f, arena_printf(&f->arena,
                                    "{\"architecture\":\"amd64\",\"os\":\"linux\",\"x\":\"%s\","
                                    "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"%s\"]}}",
                                    seed, layer));

        return put(f, arena_printf(&f->arena,
                                   "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_MANIFEST
                                   "\",\"config\":%s,\"layers\":[%s]}",
                                   ref(f, MEDIA_OCI_CONFIG, config, ""),
                                   ref(f, MEDIA_OCI_LAYER, layer, "")));
}

static RebuildOptions options(Fixture *f, const char *db)
{
        return (RebuildOptions){
                .new_db = db, .content_root = f->content, .ns = "default", .lease = "repair"};
}

/* The digest that an image of the new database has, "" for none. */
static const char *image_of(Fixture *f, const char *db, const char *name)
{
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        Metadata *m CLEANUP(metadata_freep) = NULL;
        MetaTxn txn CLEANUP(meta_txn_end) = {};
        const Images__Image *image;

        if (db_env_open(db, NULL, &env, &f->err) < 0)
                return f->err.msg;
        m = metadata_new(env, NULL);
        if (meta_begin_ro(m, &txn, &f->arena, &f->err) < 0)
                return f->err.msg;
        image = images_get(&txn, "default", name);
        return image ? image->target->digest : "";
}

static int is_clean(Fixture *f, const char *db, size_t blobs)
{
        const CheckOptions o = {.db_dir = db, .content_root = f->content, .digests = 1};
        CheckResult res;

        if (check_run(&o, &f->arena, &res, &f->err) < 0)
                return 0;
        for (size_t i = 0; i < res.n_findings; i++)
                printf("    found: %s\n", res.findings[i].text);
        return res.n_findings == 0 && res.blobs == blobs;
}

TEST(rebuild_names_what_it_can)
{
        Fixture f CLEANUP(fixture_done) = {};
        const char *one, *two, *three, *multi, *db,
                *absent = "sha256:"
                          "0000000000000000000000000000000000000000000000000000000000000000";
        RebuildOptions o;
        RebuildResult res;

        fixture_init(&f);
        one = put_image(&f, "one");
        two = put_image(&f, "two");
        three = put_image(&f, "three");
        multi = put(&f, arena_printf(&f.arena, "{\"schemaVersion\":2,\"manifests\":[%s,%s]}",
                                     ref(&f, MEDIA_OCI_MANIFEST, two, ""),
                                     ref(&f, MEDIA_OCI_MANIFEST, absent, "")));
        put(&f,
            arena_printf(
                    &f.arena, "{\"schemaVersion\":2,\"manifests\":[%s,%s]}",
                    ref(&f, MEDIA_OCI_MANIFEST, one,
                        ",\"annotations\":{\"io.containerd.image.name\":\"example.com/one:1\"}"),
                    ref(&f, MEDIA_OCI_INDEX, multi,
                        ",\"annotations\":{\"org.opencontainers.image.ref.name\":"
                        "\"example.com/multi:1\"}")));
        db = arena_printf(&f.arena, "%s/db", test_tmpdir());
        o = options(&f, db);
        CHECK_INT(rebuild_run(&o, &f.arena, &res, &f.err), 0);
        CHECK_INT(res.adopted, 11);
        CHECK_INT(res.indexes, 2);
        CHECK_INT(res.manifests, 3);
        CHECK_INT(res.configs, 3);
        CHECK_INT(res.images, 3);
        CHECK_INT(res.unnamed, 1);
        CHECK(is_clean(&f, db, 11));
        CHECK_STR(image_of(&f, db, "example.com/one:1"), one);
        CHECK_STR(image_of(&f, db, "example.com/multi:1"), multi);
        CHECK_STR(image_of(&f, db, arena_printf(&f.arena, "recovered@%s", three)), three);
        CHECK_STR(image_of(&f, db, arena_printf(&f.arena, "recovered@%s", two)), "");
}

/* Each step fails once: that is told, and the same again in another folder is whole. */
TEST(rebuild_is_all_or_nothing)
{
        Fixture f CLEANUP(fixture_done) = {};
        const char *one;

        fixture_init(&f);
        one = put_image(&f, "one");
        for (int nth = 1;; nth++) {
                const char *db = arena_printf(&f.arena, "%s/db%d", test_tmpdir(), nth);
                RebuildOptions o = options(&f, db);
                RebuildResult res;
                int fired, r;

                fault_arm(nth);
                r = rebuild_run(&o, &f.arena, &res, &f.err);
                fired = fault_fired;
                fault_arm(0);
                if (fired)
                        CHECK(r < 0 && f.err.msg[0]);
                db = arena_printf(&f.arena, "%s/again%d", test_tmpdir(), nth);
                o.new_db = db;
                CHECK_INT(rebuild_run(&o, &f.arena, &res, &f.err), 0);
                CHECK(is_clean(&f, db, 3));
                CHECK_STR(image_of(&f, db, arena_printf(&f.arena, "recovered@%s", one)), one);
                if (!fired) {
                        CHECK(r == 0 && nth > 10);
                        break;
                }
        }
}

/* Blobs come from registries: pieces of documents, cut, doubled and mixed with noise. */
TEST(rebuild_of_any_blobs)
{
        static const char *const parts[] = {
                "{",
                "}",
                "\"manifests\":[",
                "]",
                "{\"mediaType\":\"" MEDIA_OCI_MANIFEST "\",\"digest\":\"sha256:"
                "0000000000000000000000000000000000000000000000000000000000000000\",\"size\":-1}",
                "\"config\":",
                "\"layers\":[",
                ",",
                "\"annotations\":{\"io.containerd.image.name\":\"\\u0001\"}",
                "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"x\"]}",
                "\xff\xfe",
                "{\"manifests\":[]}",
        };
        Fixture f CLEANUP(fixture_done) = {};
        unsigned seed = 3;
        RebuildOptions o;
        RebuildResult res;

        fixture_init(&f);
        put(&f, "");
        put_bytes(&f, "{\0}", 3);
        for (int i = 0; i < 800; i++) {
                Str s CLEANUP(str_done) = {};

                str_addf(&s, "{%s", i % 2 ? "" : "\"schemaVersion\":2,");
                for (int n = rand_r(&seed) % 8; n > 0; n--)
                        str_add(&s, parts[(size_t)rand_r(&seed) % ARRAY_LEN(parts)]);
                str_add(&s, i % 3 ? "}" : "");
                put(&f, str_get(&s));
        }
        o = options(&f, arena_printf(&f.arena, "%s/db", test_tmpdir()));
        CHECK_INT(rebuild_run(&o, &f.arena, &res, &f.err), 0);
        CHECK(res.blobs > 100 && res.n_bad == 0 && res.adopted == res.blobs);
        CHECK(is_clean(&f, o.new_db, res.blobs));
}

TEST(rebuild_without_anything)
{
        Fixture f CLEANUP(fixture_done) = {};
        RebuildOptions o;
        RebuildResult res;

        arena_init(&f.arena, SIZE_MAX);
        f.content = arena_printf(&f.arena, "%s/none", test_tmpdir());
        o = options(&f, arena_printf(&f.arena, "%s/db", test_tmpdir()));
        CHECK_INT(rebuild_run(&o, &f.arena, &res, &f.err), 0);
        CHECK_INT(res.adopted + res.images + res.ingests, 0);
        CHECK(is_clean(&f, o.new_db, 0));
}
