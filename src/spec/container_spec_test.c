/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/test.h"
#include "spec/container_spec.h"

static const char *str_at(const json_t *j, const char *a, const char *b)
{
        return json_string_value(json_object_get(json_object_get(j, a), b));
}

static json_t *process(json_t *spec, const char *key)
{
        return json_object_get(json_object_get(spec, "process"), key);
}

static const char *item(const json_t *list, size_t i)
{
        return json_string_value(json_array_get(list, i));
}

#define LIST(...)                 \
        (const char *const[])     \
        {                         \
                __VA_ARGS__, NULL \
        }

static json_t *build(const ContainerSpecOptions *o)
{
        json_t *spec = NULL;
        Err err = {};

        if (container_spec_build(o, &spec, &err) < 0)
                test_fail(__FILE__, __LINE__, "%s", err.msg);
        return spec;
}

TEST(the_default_spec)
{
        json_t *spec CLEANUP(json_decrefp) = container_spec_new("default", "c1");
        const json_t *lx = json_object_get(spec, "linux");

        CHECK_STR(json_string_value(json_object_get(spec, "ociVersion")), "1.0.2");
        CHECK_STR(str_at(spec, "root", "path"), "rootfs");
        CHECK_STR(json_string_value(json_object_get(lx, "cgroupsPath")), "/default/c1");
        CHECK_INT(json_array_size(json_object_get(spec, "mounts")), 7);
        CHECK_INT(json_array_size(json_object_get(lx, "namespaces")), 5);
        CHECK_INT(json_array_size(json_object_get(lx, "maskedPaths")), 11);
        CHECK_INT(json_array_size(json_object_get(lx, "readonlyPaths")), 5);
        CHECK_INT(json_array_size(json_object_get(json_object_get(lx, "resources"), "devices")),
                  10);
        CHECK_INT(json_array_size(json_object_get(process(spec, "capabilities"), "bounding")), 14);
        CHECK(json_is_true(process(spec, "noNewPrivileges")));
        CHECK(!process(spec, "env") && !process(spec, "args"));
}

static ImageConfig image = {
        .user = "",
        .cwd = "/data",
        .stop_signal = "",
        .env = (const char *[]){"PATH=/bin", "FOO=image", NULL},
        .n_env = 2,
        .entrypoint = (const char *[]){"/entry", NULL},
        .n_entrypoint = 1,
        .cmd = (const char *[]){"arg", NULL},
        .n_cmd = 1,
};

TEST(what_the_image_says_and_what_overrides_it)
{
        ContainerSpecOptions o = {.ns = "n",
                                  .id = "i",
                                  .image = &image,
                                  .root_fd = -1,
                                  .env_files = LIST("GONE=1"),
                                  .env = LIST("FOO=mine", "GONE", "NEW=1")};
        json_t *spec CLEANUP(json_decrefp) = build(&o), *other CLEANUP(json_decrefp) = NULL;

        CHECK_INT(json_array_size(process(spec, "env")), 3);
        CHECK_STR(item(process(spec, "env"), 0), "PATH=/bin");
        CHECK_STR(item(process(spec, "env"), 1), "FOO=mine");
        CHECK_STR(item(process(spec, "env"), 2), "NEW=1");
        CHECK_STR(item(process(spec, "args"), 0), "/entry");
        CHECK_STR(item(process(spec, "args"), 1), "arg");
        CHECK_STR(json_string_value(process(spec, "cwd")), "/data");
        o.args = LIST("sh", "-c");
        o.cwd = "/x";
        o.user = "5:6";
        o.tty = 1;
        other = build(&o);
        CHECK_STR(item(process(other, "args"), 0), "sh");
        CHECK_INT(json_array_size(process(other, "args")), 2);
        CHECK_STR(json_string_value(process(other, "cwd")), "/x");
        CHECK_INT(json_integer_value(json_object_get(process(other, "user"), "uid")), 5);
        CHECK_INT(json_integer_value(json_object_get(process(other, "user"), "gid")), 6);
        CHECK(json_is_true(process(other, "terminal")));
        CHECK_STR(item(process(other, "env"), 3), "TERM=xterm");
}

TEST(resources_and_namespaces)
{
        ContainerSpecOptions o = {.ns = "n",
                                  .id = "i",
                                  .root_fd = -1,
                                  .args = LIST("sh"),
                                  .cpus = 1.5,
                                  .memory_limit = UINT64_MAX,
                                  .net_host = 1,
                                  .cgroup = "",
                                  .namespaces = LIST("pid:/proc/1/ns/pid"),
                                  .rlimit_nofile = "10:20",
                                  .hostname = "h",
                                  .cap_add = LIST("CAP_SYS_ADMIN", "CAP_CHOWN"),
                                  .cap_drop = LIST("CAP_KILL"),
                                  .seccomp_default = 1,
                                  .labels = LIST("l=1")};
        json_t *spec CLEANUP(json_decrefp) = build(&o);
        json_t *lx = json_object_get(spec, "linux"), *res = json_object_get(lx, "resources");
        json_t *ns = json_object_get(lx, "namespaces");
        char *text CLEANUP(cleanup_free) = json_text(spec);

        CHECK_INT(json_integer_value(json_object_get(json_object_get(res, "cpu"), "quota")),
                  150000);
        CHECK_INT(json_integer_value(json_object_get(json_object_get(res, "cpu"), "shares")), 1024);
        CHECK(strstr(text, "\"limit\":18446744073709551615"));
        CHECK(strstr(item(process(spec, "env"), 0), "PATH=/usr/local/sbin:"));
        CHECK_INT(json_array_size(ns), 4);
        CHECK_STR(json_string_value(json_object_get(lx, "cgroupsPath")), "");
        CHECK_STR(json_string_value(json_object_get(json_array_get(ns, 3), "path")),
                  "/proc/1/ns/pid");
        CHECK_INT(json_array_size(json_object_get(spec, "mounts")), 9);
        CHECK_INT(json_array_size(json_object_get(process(spec, "capabilities"), "effective")), 14);
        CHECK_INT(json_integer_value(
                          json_object_get(json_array_get(process(spec, "rlimits"), 0), "hard")),
                  20);
        CHECK(strstr(text, "\"umount2\"") && !strstr(text, "\"clone3\",\"errnoRet\""));
        CHECK_STR(str_at(spec, "annotations", "l"), "1");
}

TEST(without_sys_admin_clone3_is_absent)
{
        json_t *p CLEANUP(json_decrefp) = seccomp_default_profile(LIST("CAP_CHOWN"));
        char *text CLEANUP(cleanup_free) = json_text(p);

        CHECK(strstr(text, "\"names\":[\"clone3\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":38"));
        CHECK(strstr(text, "SCMP_CMP_MASKED_EQ"));
        CHECK(!strstr(text, "\"umount2\""));
}

TEST(privileged)
{
        ContainerSpecOptions o = {
                .ns = "n", .id = "i", .root_fd = -1, .args = LIST("sh"), .privileged = 1};
        json_t *spec CLEANUP(json_decrefp) = build(&o);
        json_t *lx = json_object_get(spec, "linux");
        char *text CLEANUP(cleanup_free) = json_text(spec);

        CHECK_INT(json_array_size(json_object_get(lx, "maskedPaths")), 0);
        CHECK(json_array_size(json_object_get(lx, "devices")) > 3);
        CHECK(strstr(text, "/dev/null") && !strstr(text, "\"/dev/console\""));
        CHECK(strstr(text, "[\"nosuid\",\"noexec\",\"nodev\",\"rw\"]"));
}

TEST(bad_options)
{
        const ContainerSpecOptions bad[] = {
                {.args = LIST("x"), .cap_add = LIST("SYS_ADMIN")},
                {.args = LIST("x"), .cap_drop = LIST("CAP_NONSENSE")},
                {.args = LIST("x"), .cpus = 1, .cpu_quota = 5},
                {.args = LIST("x"), .cpus = -1},
                {.args = LIST("x"), .namespaces = LIST("pid")},
                {.args = LIST("x"), .namespaces = LIST("paid:/x")},
                {.args = LIST("x"), .rlimit_nofile = "20:10"},
                {.args = LIST("x"), .rlimit_nofile = "x"},
                {.args = LIST("x"), .devices = LIST("/etc/passwd")},
                {.args = LIST("x"), .devices = LIST("dev/null")},
                {.args = LIST("x"), .seccomp_json = "{"},
                {.args = NULL},
        };

        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                ContainerSpecOptions o = bad[i];
                json_t *spec = NULL;
                Err err = {};

                o.ns = o.id = "a";
                o.root_fd = -1;
                CHECK_INT(container_spec_build(&o, &spec, &err), -INVALID_ARGUMENT);
                CHECK(!spec && err.msg[0]);
        }
}

TEST(mounts)
{
        json_t *spec CLEANUP(json_decrefp) = container_spec_new("n", "i");
        Arena a CLEANUP(arena_done);
        SpecMount m;
        Err err = {};

        arena_init(&a, SIZE_MAX);
        CHECK(spec_mount_parse(&a, "type=bind,src=/a,dst=/run,options=rbind:ro", &m, &err) == 0);
        CHECK_STR(m.options[1], "ro");
        container_spec_mount(spec, &m);
        CHECK_INT(json_array_size(json_object_get(spec, "mounts")), 7);
        CHECK(spec_mount_parse(&a, "type=bind,src=/a", &m, &err) < 0);
        CHECK(spec_mount_parse(&a, "nonsense", &m, &err) < 0);
        CHECK(spec_mount_parse(&a, "bogus=1,dst=/a", &m, &err) < 0);
        CHECK_STR(err.msg, "mount option \"bogus\" not supported");
}
