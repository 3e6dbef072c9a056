/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "api/containerd/runtime/bootstrap/v1/bootstrap.pb-c.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/test.h"
#include "rpc/message.h"
#include "runtime/bootstrap.h"
#include "runtime/shim.h"
#include "spec/bundle.h"

static int parse(const char *text, size_t n, Bootstrap *ret, Err *err)
{
        static Arena a;

        arena_done(&a);
        arena_init(&a, SIZE_MAX);
        *ret = (Bootstrap){};
        err_clear(err);
        return bootstrap_parse(&a, text, n, ret, err);
}

TEST(three_generations_of_answers_are_understood)
{
        Bootstrap__BootstrapResult result = BOOTSTRAP__BOOTSTRAP_RESULT__INIT;
        Arena a CLEANUP(arena_done);
        const char *json = "{\"version\":3,\"address\":\"unix:///run/s/a\",\"protocol\":\"ttrpc\"}";
        void *bytes;
        Bootstrap b;
        size_t n;
        Err err = {};

        arena_init(&a, SIZE_MAX);
        result.version = 3;
        result.address = "unix:///run/s/a";
        result.protocol = "ttrpc";
        bytes = message_pack(&a, &result, &n);
        CHECK(parse(bytes, n, &b, &err) == 0);
        CHECK(b.version == 3);
        CHECK_STR(b.address, "unix:///run/s/a");

        CHECK(parse(json, strlen(json), &b, &err) == 0);
        CHECK(b.version == 3);
        CHECK_STR(b.address, "unix:///run/s/a");

        CHECK(parse(" unix:///run/s/a\n", 17, &b, &err) == 0);
        CHECK(b.version == 2);
        CHECK_STR(b.address, "unix:///run/s/a");
        CHECK(parse("/run/s/a", 8, &b, &err) == 0);
        CHECK_STR(b.address, "/run/s/a");
}

TEST(answers_that_are_none_are_refused)
{
        static const struct {
                const char *text;
                size_t n;
                int code;
                const char *error;
        } cases[] = {
#define C(text, ...) {text, sizeof(text) - 1, __VA_ARGS__}
                C("", UNKNOWN, "unexpected protocol: \"\""),
                C("hello", UNKNOWN, "no address of a unix socket: \"hello\""),
                C("unix://relative", UNKNOWN, NULL),
                C("tcp://1.2.3.4:5", UNKNOWN, NULL),
                C("vsock://3:4", UNKNOWN, NULL),
                C("a\0b", UNKNOWN, NULL),
                C("\0\0\0\0", UNKNOWN, NULL),
                C("\xff\xfe\xfd", UNKNOWN, NULL),
                C("{}", UNKNOWN, NULL),
                C("{\"version\":1,\"address\":\"unix:///a\",\"protocol\":\"ttrpc\"}", UNKNOWN,
                  NULL),
                C("{\"version\":4,\"address\":\"unix:///a\",\"protocol\":\"ttrpc\"}", UNIMPLEMENTED,
                  "unsupported shim version (4): not implemented"),
                C("{\"version\":3,\"address\":\"unix:///a\",\"protocol\":\"grpc\"}", UNIMPLEMENTED,
                  "unexpected protocol: \"grpc\""),
                C("{\"version\":3,\"address\":\"\",\"protocol\":\"ttrpc\"}", UNKNOWN, NULL),
                C("{\"version\":3,\"address\":7,\"protocol\":\"ttrpc\"}", UNKNOWN, NULL),
                C("{\"version\":99999999999999999999}", UNKNOWN, NULL),
                /* a bootstrap result that stops in the middle, and one with a protocol of another
                   length */
                C("\x08\x03\x12\x20unix", UNKNOWN, NULL),
                C("\x08\x03\x12\x09unix:///a\x1a\x04grpc", UNIMPLEMENTED, NULL),
                C("\x08\x09\x12\x09unix:///a\x1a\x05ttrpc", UNIMPLEMENTED, NULL),
#undef C
        };
        char *longest CLEANUP(cleanup_free) = malloc(5000);
        Bootstrap b;
        Err err = {};

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                if (parse(cases[i].text, cases[i].n, &b, &err) != -cases[i].code || !err.msg[0])
                        test_fail(__FILE__, __LINE__, "case %zu: code %d, \"%s\"", i, err.code,
                                  err.msg);
                if (cases[i].error)
                        CHECK_STR(err.msg, cases[i].error);
        }
        memset(longest, 'x', 4999);
        longest[0] = '/';
        longest[4999] = '\0';
        CHECK(parse(longest, 4999, &b, &err) == -UNKNOWN);
}

TEST(a_shim_says_that_it_can_be_read)
{
        Bootstrap__BootstrapResult result = BOOTSTRAP__BOOTSTRAP_RESULT__INIT;
        Bootstrap__BootstrapResult__MetadataEntry entry =
                BOOTSTRAP__BOOTSTRAP_RESULT__METADATA_ENTRY__INIT;
        Bootstrap__BootstrapResult__MetadataEntry *metadata[] = {&entry};
        Arena a CLEANUP(arena_done);
        Bootstrap got = {};
        Err err = {};
        size_t n;
        void *bytes;

        arena_init(&a, SIZE_MAX);
        result.version = 3;
        result.address = "unix:///s";
        result.protocol = "ttrpc";
        result.metadata = metadata;
        result.n_metadata = 1;
        entry.key = BOOTSTRAP_LOOK;
        entry.value = BOOTSTRAP_LOOK_V1;
        bytes = message_pack(&a, &result, &n);
        CHECK(bootstrap_parse(&a, bytes, n, &got, &err) == 0 && got.looks);
        entry.value = "2"; /* of the future: something else lies there */
        bytes = message_pack(&a, &result, &n);
        CHECK(bootstrap_parse(&a, bytes, n, &got, &err) == 0 && !got.looks);
}

TEST(bootstrap_is_kept_in_the_bundle)
{
        Bootstrap b = {3, "unix:///run/s/a"}, got = {};
        Arena a CLEANUP(arena_done);
        const char *dir = test_tmpdir(), *path;
        char *text;
        Err err = {};

        arena_init(&a, SIZE_MAX);
        CHECK(bootstrap_load(&a, dir, &got, &err) == -NOT_FOUND);
        path = arena_printf(&a, "%s/address", dir);
        CHECK(file_write(AT_FDCWD, path, "unix:///old", 11, 0644, &err) == 0);
        CHECK(bootstrap_load(&a, dir, &got, &err) == 0 && got.version == 2);
        CHECK_STR(got.address, "unix:///old");
        CHECK(bootstrap_save(dir, &b, &err) == 0);
        path = arena_printf(&a, "%s/bootstrap.json", dir);
        CHECK(file_read(&a, AT_FDCWD, path, 1000, &text, NULL, &err) == 0);
        CHECK_STR(text, "{\"version\":3,\"address\":\"unix:///run/s/a\",\"protocol\":\"ttrpc\"}");
        CHECK(bootstrap_load(&a, dir, &got, &err) == 0 && got.version == 3);
        CHECK_STR(got.address, "unix:///run/s/a");
        CHECK(!got.looks);
        b.looks = 1;
        CHECK(bootstrap_save(dir, &b, &err) == 0);
        CHECK(bootstrap_load(&a, dir, &got, &err) == 0 && got.looks);
        CHECK(file_write(AT_FDCWD, path, "garbage", 7, 0644, &err) == 0);
        CHECK(bootstrap_load(&a, dir, &got, &err) == -UNKNOWN);
        CHECK(strstr(err.msg, "bootstrap.json"));
}

TEST(stdin_of_a_shim_carries_everything)
{
        Google__Protobuf__Any options = GOOGLE__PROTOBUF__ANY__INIT;
        BootstrapInput in = {"c1", "ns", "2.3.4", "/t", "/g", "/d", "/s", &options};
        Arena a CLEANUP(arena_done);
        char type_url[] = "containerd.runc.v1.Options";
        Bootstrap__BootstrapParams *p;
        ProtobufCMessage *m;
        void *bytes;
        size_t n;
        Err err = {};

        arena_init(&a, SIZE_MAX);
        options.type_url = type_url;
        bytes = bootstrap_input_pack(&a, &in, &n);
        CHECK(message_unpack(&a, &bootstrap__bootstrap_params__descriptor, bytes, n, &m, &err) ==
              0);
        p = (Bootstrap__BootstrapParams *)m;
        CHECK_STR(p->instance_id, "c1");
        CHECK_STR(p->namespace_, "ns");
        CHECK_STR(p->containerd_version, "2.3.4");
        CHECK_STR(p->containerd_ttrpc_address, "/t");
        CHECK_STR(p->containerd_grpc_address, "/g");
        CHECK_STR(p->containerd_binary, "/d");
        CHECK_STR(p->socket_dir, "/s");
        CHECK(p->n_extensions == 1 && p->extensions[0]->value);
        CHECK_STR(p->extensions[0]->value->type_url, "containerd.runc.v1.Options");

        bootstrap_input_pack_legacy(&a, &in, &n);
        CHECK_INT(n, 0); /* options that are all default are none */
        options.value.data = (uint8_t *)"x";
        options.value.len = 1;
        bytes = bootstrap_input_pack_legacy(&a, &in, &n);
        CHECK(message_unpack(&a, &google__protobuf__any__descriptor, bytes, n, &m, &err) == 0);
        CHECK_STR(((Google__Protobuf__Any *)m)->type_url, "containerd.runc.v1.Options");
}

static void program(const char *dir, const char *name)
{
        char path[400];
        Err err = {};

        snprintf(path, sizeof(path), "%s/%s", dir, name);
        file_write(AT_FDCWD, path, "#!/bin/sh\n", 10, 0755, &err);
        chmod(path, 0755);
}

TEST(runtime_names_become_binaries)
{
        const char *dir = test_tmpdir();
        const char *const folders[] = {dir, NULL};
        char want[400], path[PATH_MAX];
        char *got = NULL;
        Err err = {};

        program(dir, "containerd-shim-lighter-v2");
        program(dir, "containerd-shim-some-v1");
        CHECK(shim_resolve_in(folders, "io.containerd.lighter.v2", &got, &err) == 0);
        snprintf(want, sizeof(want), "%s/containerd-shim-lighter-v2", dir);
        CHECK_STR(got, want);
        free(got);
        CHECK(shim_resolve_in(folders, "io.containerd.runc.v2", &got, &err) == 0);
        CHECK_STR(got, want);
        free(got);
        CHECK(shim_resolve_in(folders, "some.v1", &got, &err) == 0);
        snprintf(want, sizeof(want), "%s/containerd-shim-some-v1", dir);
        CHECK_STR(got, want);
        free(got);
        CHECK(shim_resolve_in(folders, want, &got, &err) == 0);
        CHECK_STR(got, want);
        free(got);

        /* on PATH, and nowhere */
        snprintf(path, sizeof(path), "%s", getenv("PATH") ? getenv("PATH") : "");
        program(dir, "containerd-shim-only-path");
        setenv("PATH", dir, 1);
        CHECK(shim_resolve_in((const char *[]){NULL}, "x.only.path", &got, &err) == 0);
        free(got);
        CHECK(shim_resolve_in(folders, "io.containerd.missing.v9", &got, &err) == -UNKNOWN);
        CHECK_STR(err.msg, "runtime \"io.containerd.missing.v9\" binary not installed "
                           "\"containerd-shim-missing-v9\": file does not exist");
        setenv("PATH", path, 1);
}

TEST(runtime_names_that_are_none_are_refused)
{
        static const char *const bad[] = {"",      "runc",   ".runc.v2x/", "bin/x.y",
                                          "./x.y", "../a.b", ".v2"};
        char *got = NULL;
        Err err = {};

        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                CHECK(shim_resolve_in((const char *[]){NULL}, bad[i], &got, &err) == -UNKNOWN);
                CHECK(str_starts(err.msg, "invalid runtime name "));
        }
        CHECK(shim_resolve_in((const char *[]){NULL}, "/no/such/file", &got, &err) == -UNKNOWN);
        CHECK_STR(err.msg,
                  "invalid custom binary path: stat /no/such/file: no such file or directory");
}

TEST(versions_tell_what_stdin_a_shim_expects)
{
        CHECK(shim_is_legacy_version(
                "containerd-shim-runc-v2:\n  Version:  1.6.20~ds1\n  Revision: \n"));
        CHECK(shim_is_legacy_version("x:\n  Version: v2.2.0\n"));
        CHECK(!shim_is_legacy_version("x:\n  Version: 2.3.0-beta.1\n"));
        CHECK(!shim_is_legacy_version("x:\n  Version: 10.0\n"));
        CHECK(!shim_is_legacy_version("something else"));
        CHECK(!shim_is_legacy_version(""));
        CHECK(!shim_is_legacy_version("Version: x.y"));
        CHECK(!shim_is_legacy_version("Version:"));
}
