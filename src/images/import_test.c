/* SPDX-License-Identifier: Apache-2.0 */
#include "images/import.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "base/test.h"
#include "diff/tar_make.h"
#include "images/import_priv.h"

/* A sink that remembers what came. */
typedef struct Store {
        Str log, blob;
        uint64_t size;
        const char *fail;
} Store;

static int store_begin(void *ctx, const char *ref, uint64_t size, Err *err)
{
        Store *s = ctx;

        if (str_eq(s->fail, ref))
                return err_set(err, UNAVAILABLE, "ref is locked");
        str_addf(&s->log, "%s ", ref);
        str_truncate(&s->blob, 0);
        s->size = size;
        return 0;
}

static int store_write(void *ctx, const void *p, size_t n, Err *err)
{
        str_add_n(&((Store *)ctx)->blob, p, n);
        return 0;
}

static int store_commit(void *ctx, const Digest *digest, uint64_t size, Err *err)
{
        Store *s = ctx;
        Digest d;

        digest_of(str_get(&s->blob), s->blob.len, &d);
        if (s->blob.len != size || s->size != size || !digest_eq(&d, digest))
                return err_set(err, FAILED_PRECONDITION, "what came is not what was said");
        return 0;
}

static void store_done(Store *s)
{
        str_done(&s->log);
        str_done(&s->blob);
}

static const char *worker_path(void)
{
        static char path[4096];

        snprintf(path, sizeof(path), "%s/../lighter-unpack", path_self_dir());
        return access(path, X_OK) == 0 ? path : NULL;
}

static int import(const Str *tar, Store *s, Arena *a, ImportResult *ret, Err *err)
{
        int fd CLEANUP(cleanup_fd) = memfd_create("archive", MFD_CLOEXEC);
        ImportSink sink = {s, store_begin, store_write, store_commit};
        ImportOptions o = {.archive_fd = fd, .worker_path = worker_path()};

        err_clear(err);
        if (fd_write_all(fd, str_get(tar), tar->len) < 0 || lseek(fd, 0, SEEK_SET) < 0)
                test_fail(__FILE__, __LINE__, "memfd");
        return image_import(&o, &sink, a, ret, err);
}

#define SETUP()                                                            \
        Arena a CLEANUP(arena_done);                                       \
        Store s CLEANUP(store_done) = {};                                  \
        Str tar CLEANUP(str_done) = {};                                    \
        ImportResult res;                                                  \
        Err err = {};                                                      \
        if (!worker_path()) {                                              \
                test_skip("needs lighter-unpack beside the build folder"); \
                return;                                                    \
        }                                                                  \
        arena_init(&a, SIZE_MAX)

#define DIGEST_A "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static const char layout_index[] =
        "{\"schemaVersion\":2,\"manifests\":["
        "{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
        "\"digest\":\"" DIGEST_A
        "\",\"size\":0,\"annotations\":{\"org.opencontainers.image.ref.name\":\"v1\"}},"
        "{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"" DIGEST_A
        "\",\"size\":0}]}";

TEST(import_an_oci_layout)
{
        ImportImage *images;
        size_t n;
        SETUP();

        make_dir(&tar, "blobs/");
        make_file(&tar, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
        make_file(&tar, "./blobs/sha256/abc", "");
        make_file(&tar, "index.json", layout_index);
        make_end(&tar);
        CHECK_INT(import(&tar, &s, &a, &res, &err), 0);
        CHECK_STR(str_get(&s.log), "tar-blobs/sha256/abc tar-index.json ");
        CHECK_INT(res.index.n_manifests, 2);
        CHECK_INT(res.root.size, (long long)strlen(layout_index));

        ImportNames names = {.base_name = "import-2026-01-31",
                             .digests = 1,
                             .skip_digest_for_named = 1,
                             .index_name = "all"};

        CHECK_INT(import_images(&a, &res, &names, &images, &n, &err), 0);
        CHECK_INT(n, 3);
        CHECK_STR(images[0].name, "all");
        CHECK_STR(images[1].name, "import-2026-01-31:v1");
        CHECK_STR(images[2].name, "import-2026-01-31@" DIGEST_A);
}

TEST(import_what_docker_saved)
{
        static const char config[] =
                "{\"os\":\"linux\",\"architecture\":\"arm64\",\"rootfs\":{\"type\":\"layers\","
                "\"diff_ids\":[]}}";
        ImportImage *images;
        size_t n;
        SETUP();

        make_file(&tar, "l1/layer.tar", "raw layer");
        make_entry(&tar, (MakeEntry){.type = '0',
                                     .name = "l2/layer.tar",
                                     .data = "\x1f\x8b\x08\0zip",
                                     .n_data = 7});
        make_link(&tar, '2', "l3/layer.tar", "../l1/layer.tar");
        make_file(&tar, "c.json", config);
        make_file(&tar, "manifest.json",
                  "[{\"Config\":\"c.json\",\"RepoTags\":[\"busybox:1\",\"r.io/a/b:2\"],"
                  "\"Layers\":[\"l1/layer.tar\",\"l2/layer.tar\",\"l3/layer.tar\"]}]");
        make_end(&tar);
        CHECK_INT(import(&tar, &s, &a, &res, &err), 0);
        CHECK_INT(res.index.n_manifests, 2);
        CHECK_STR(res.index.manifests[0].media_type, MEDIA_DOCKER_MANIFEST);
        CHECK(res.index.manifests[0].has_platform);
        CHECK_STR(res.index.manifests[0].platform.arch, "arm64");

        ImportNames names = {.base_name = "x"};

        CHECK_INT(import_images(&a, &res, &names, &images, &n, &err), 0);
        CHECK_INT(n, 2);
        CHECK_STR(images[0].name, "docker.io/library/busybox:1");
        CHECK_STR(images[1].name, "r.io/a/b:2");
        CHECK_STR(descriptor_annotation(&images[1].target, "org.opencontainers.image.ref.name"),
                  "2");

        /* The last two documents that the sink got are the manifest and the index. */
        Str want CLEANUP(str_done) = {};

        str_addf(&want, "manifest-%s index-%s ", res.index.manifests[0].digest.text,
                 res.root.digest.text);
        CHECK(str_ends(str_get(&s.log), str_get(&want)));
}

TEST(import_prefixes_filter)
{
        Descriptor d = {.annotations = (Annotation[]){{"org.opencontainers.image.ref.name",
                                                       "r.io/app/x:1"}},
                        .n_annotations = 1};
        ImportResult res = {.index = {.manifests = &d, .n_manifests = 1}};
        ImportNames names = {.base_name = "r.io/app"};
        Arena a CLEANUP(arena_done);
        ImportImage *images;
        Err err = {};
        size_t n;

        arena_init(&a, SIZE_MAX);
        names.only_base_name = 1;
        CHECK(import_images(&a, &res, &names, &images, &n, &err) == 0 && n == 1);
        names.base_name = "r.io/ap";
        CHECK(import_images(&a, &res, &names, &images, &n, &err) == 0 && n == 0);
        names.only_base_name = 0;
        CHECK(import_images(&a, &res, &names, &images, &n, &err) == 0 && n == 1);
}

static int import_one(const char *name, const char *text, const char *name2, const char *text2,
                      char *msg)
{
        Arena a CLEANUP(arena_done);
        Store s CLEANUP(store_done) = {};
        Str tar CLEANUP(str_done) = {};
        ImportResult res;
        Err err = {};
        int r;

        arena_init(&a, SIZE_MAX);
        make_file(&tar, name, text);
        if (name2)
                make_file(&tar, name2, text2);
        make_end(&tar);
        r = import(&tar, &s, &a, &res, &err);
        snprintf(msg, ERR_MSG_MAX, "%s", err.msg);
        return r;
}

TEST(import_refuses)
{
        char msg[ERR_MSG_MAX];

        if (!worker_path()) {
                test_skip("needs lighter-unpack beside the build folder");
                return;
        }
        CHECK(import_one("hello", "x", NULL, NULL, msg) == -INVALID_ARGUMENT);
        CHECK_STR(msg, "unrecognized image format");
        CHECK(import_one("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}", NULL, NULL, msg) ==
              -INVALID_ARGUMENT);
        CHECK_STR(msg, "missing index.json in OCI layout 1.0.0");
        CHECK(import_one("oci-layout", "{\"imageLayoutVersion\":\"2\"}", NULL, NULL, msg) ==
              -INVALID_ARGUMENT);
        CHECK_STR(msg, "unsupported OCI version 2");
        CHECK(import_one("oci-layout", "{", NULL, NULL, msg) == -INVALID_ARGUMENT);
        CHECK(import_one("manifest.json", "{}", NULL, NULL, msg) == -INVALID_ARGUMENT);
        CHECK(import_one("manifest.json", "[{\"Config\":\"nope\"}]", NULL, NULL, msg) ==
              -INVALID_ARGUMENT);
        CHECK_STR(msg, "image config \"nope\" not found");
        CHECK(import_one("c", "{}", "manifest.json",
                         "[{\"Config\":\"c\",\"Layers\":[\"../../x\"]}]", msg) < 0);
        CHECK_STR(msg, "layer \"../../x\" not found");
        CHECK(import_one("c", "{}", "manifest.json", "[{\"Config\":\"c\",\"RepoTags\":[\"A B\"]}]",
                         msg) < 0);
        CHECK(import_one("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}", "index.json",
                         "{\"manifests\":7}", msg) < 0);
}

TEST(import_of_giant_documents_cve_2023_25153)
{
        SETUP();
        make_entry(&tar, (MakeEntry){.type = '0', .name = "manifest.json", .claim = "20000000000"});
        CHECK(import(&tar, &s, &a, &res, &err) == -RESOURCE_EXHAUSTED);
        CHECK_STR(err.msg, "manifest.json has 2147483648 bytes: limit is 20971520");
        str_truncate(&tar, 0);
        make_entry(&tar, (MakeEntry){.type = '0', .name = "index.json", .claim = "20000000000"});
        CHECK(import(&tar, &s, &a, &res, &err) == -RESOURCE_EXHAUSTED);
}

TEST(import_of_broken_archives)
{
        SETUP();
        make_file(&tar, "a/blob", "this is cut off somewhere");
        for (size_t n = 100; n < 537; n += 109) {
                Str cut CLEANUP(str_done) = {};

                str_add_n(&cut, tar.data, n);
                CHECK(import(&cut, &s, &a, &res, &err) == -UNKNOWN);
                CHECK(str_ends(err.msg, "unexpected EOF"));
        }
        make_end(&tar);
        s.fail = "tar-a/blob";
        CHECK(import(&tar, &s, &a, &res, &err) == -UNAVAILABLE);
        CHECK_STR(err.msg, "failed to ingest \"a/blob\": ref is locked");
}
