/* SPDX-License-Identifier: Apache-2.0 */
#include "base/test.h"
#include "spec/image_config.h"
#include "spec/manifest.h"
#include "spec/runtime_spec.h"

#define D "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static const char manifest[] =
        "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_MANIFEST "\","
        "\"config\":{\"mediaType\":\"" MEDIA_OCI_CONFIG "\",\"digest\":\"" D "\",\"size\":7},"
        "\"layers\":[{\"mediaType\":\"" MEDIA_OCI_LAYER "+gzip\",\"digest\":\"" D "\",\"size\":9,"
        "\"annotations\":{\"a\":\"b\"}}],\"annotations\":{\"k\":\"v\"}}";

TEST(a_manifest)
{
        Arena a CLEANUP(arena_done);
        Manifest m;
        Err err = {};

        arena_init(&a, SIZE_MAX);
        CHECK(manifest_parse(&a, manifest, strlen(manifest), &m, &err) == 0);
        CHECK_STR(m.config.digest.text, D);
        CHECK_INT(m.config.size, 7);
        CHECK_INT(m.n_layers, 1);
        CHECK_STR(media_layer_compression(m.layers[0].media_type), "gzip");
        CHECK_STR(descriptor_annotation(&m.layers[0], "a"), "b");
        CHECK_STR(m.annotations[0].value, "v");
}

static int index_error(const char *text, char *msg)
{
        Arena a CLEANUP(arena_done);
        Index x;
        Err err = {};
        int r;

        arena_init(&a, SIZE_MAX);
        r = index_parse(&a, text, strlen(text), &x, &err);
        strcpy(msg, err.msg);
        return r;
}

TEST(hostile_documents)
{
        static const char *const bad[] = {
                "",
                "[]",
                "1",
                "{",
                "{\"manifests\":{}}",
                "{\"manifests\":[1]}",
                "{\"manifests\":[{\"digest\":\"" D "\"}]}",
                "{\"manifests\":[{\"digest\":\"" D "\",\"size\":-1}]}",
                "{\"manifests\":[{\"digest\":\"sha256:../..\",\"size\":1}]}",
                "{\"manifests\":[{\"digest\":5,\"size\":1}]}",
                "{\"manifests\":[],\"manifests\":[]}",
                "{\"manifests\":[],\"layers\":[]}",
                "{\"manifests\":[],\"config\":{}}",
                "{\"mediaType\":\"" MEDIA_OCI_MANIFEST "\",\"manifests\":[]}",
                "{\"manifests\":[{\"digest\":\"" D "\",\"size\":1e3}]}",
                "{\"manifests\":[{\"digest\":\"" D "\",\"size\":1,\"annotations\":{\"a\":1}}]}",
        };
        char deep[400], msg[ERR_MSG_MAX];

        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                if (index_error(bad[i], msg) != -INVALID_ARGUMENT)
                        test_fail(__FILE__, __LINE__, "accepted: %s", bad[i]);
                CHECK(msg[0]);
        }
        memset(deep, '[', sizeof(deep));
        deep[sizeof(deep) - 1] = '\0';
        CHECK_INT(index_error(deep, msg), -INVALID_ARGUMENT);
        CHECK_INT(index_error("{\"manifests\":null}", msg), 0);
}

TEST(the_best_entry_of_an_index)
{
#define ENTRY(arch, size)                       \
        "{\"digest\":\"" D "\",\"size\":" #size \
        ",\"platform\":{\"os\":\"linux\",\"architecture\":\"" arch "\"}}"
        static const char text[] =
                "{\"manifests\":[{\"digest\":\"" D
                "\",\"size\":1}," ENTRY("386", 2) "," ENTRY("x86_64", 3) "," ENTRY(
                        "arm64",
                        4) ",{\"digest\":\"" D "\",\"size\":5,"
                           "\"platform\":{\"os\":\"unknown\",\"architecture\":\"unknown\"}}]}";
        Arena a CLEANUP(arena_done);
        Index x;
        Err err = {};

        arena_init(&a, SIZE_MAX);
        CHECK(index_parse(&a, text, strlen(text), &x, &err) == 0);
        CHECK_INT(index_choose(&x, &(Platform){"linux", "amd64", "", ""})->size, 3);
        CHECK_INT(index_choose(&x, &(Platform){"linux", "386", "", ""})->size, 2);
        CHECK_INT(index_choose(&x, &(Platform){"linux", "riscv64", "", ""})->size, 1);
}

TEST(an_image_config)
{
        static const char text[] =
                "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Env\":[\"A=1\"],\"Entrypoint\":null,"
                "\"Cmd\":[\"sh\"],\"WorkingDir\":\"/w\",\"User\":\"u\",\"Labels\":{\"l\":\"m\"}},"
                "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" D "\"]}}";
        static const char *const bad[] = {
                "{\"rootfs\":{\"diff_ids\":[\"x\"]}}",
                "{\"rootfs\":{\"type\":\"other\",\"diff_ids\":[]}}",
                "{\"config\":{\"Env\":[1]}}",
                "{\"config\":{\"Cmd\":\"sh\"}}",
                "{\"config\":[]}",
                "[]",
        };
        Arena a CLEANUP(arena_done);
        ImageConfig c;
        Err err = {};

        arena_init(&a, SIZE_MAX);
        CHECK(image_config_parse(&a, text, strlen(text), &c, &err) == 0);
        CHECK_INT(c.n_diff_ids, 1);
        CHECK_STR(c.env[0], "A=1");
        CHECK(!c.env[1]);
        CHECK_INT(c.n_entrypoint, 0);
        CHECK_STR(c.cmd[0], "sh");
        CHECK_STR(c.user, "u");
        CHECK_STR(c.labels[0].value, "m");
        for (size_t i = 0; i < ARRAY_LEN(bad); i++)
                CHECK_INT(image_config_parse(&a, bad[i], strlen(bad[i]), &c, &err),
                          -INVALID_ARGUMENT);
        CHECK(image_config_parse(&a, "{}", 2, &c, &err) == 0);
        CHECK(c.env && !c.env[0]);
}

TEST(reading_a_runtime_spec)
{
        static const char text[] =
                "{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"rootfs\",\"readonly\":true},"
                "\"process\":{\"terminal\":true,\"cwd\":\"/\",\"args\":[\"sh\",\"-c\"],"
                "\"rlimits\":[{\"type\":\"RLIMIT_CORE\",\"hard\":18446744073709551615,\"soft\":0}]},"
                "\"linux\":{\"cgroupsPath\":\"/a/b\",\"namespaces\":[{\"type\":\"pid\"}]},"
                "\"annotations\":{\"io.x\":\"y\"}}";
        Arena a CLEANUP(arena_done);
        RuntimeSpec s;
        Err err = {};

        arena_init(&a, SIZE_MAX);
        CHECK(runtime_spec_parse(&a, text, strlen(text), &s, &err) == 0);
        CHECK(s.root_readonly && s.terminal && s.pid_namespace && s.has_linux);
        CHECK_STR(s.cgroups_path, "/a/b");
        CHECK_STR(s.args[1], "-c");
        CHECK_INT(runtime_spec_parse(&a, "{\"process\":{\"terminal\":1}}", 26, &s, &err),
                  -INVALID_ARGUMENT);
        CHECK_STR(err.msg, "runtime spec: process: member \"terminal\" must be a boolean");
}
