/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of a command line laid over the default spec. containerd applies them in a fixed
 * order and later ones win, so the order below is the interface: env files, env, mounts, image,
 * then everything else.
 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/str.h"
#include "spec/container_spec_priv.h"

enum { CPU_PERIOD_US = 100000, CPU_SHARES_DEFAULT = 1024 };

/* 18446744073709551615 does not fit jansson's integers; json_u64() knows how to carry it. */
static void set_u64(json_t *obj, const char *key, uint64_t n)
{
        json_object_set_new(obj, key, n <= INT64_MAX ? json_integer((json_int_t)n) : json_u64(n));
}

static int apply_mounts_and_image(json_t *spec, const ContainerSpecOptions *o, Err *err)
{
        for (const char *const *e = o->env_files; e && *e; e++)
                container_spec_env(spec, *e);
        for (const char *const *e = o->env; e && *e; e++)
                container_spec_env(spec, *e);
        for (size_t i = 0; i < o->n_mounts; i++)
                container_spec_mount(spec, &o->mounts[i]);
        if (o->rootfs)
                json_object_set_new(spec_object(spec, "root"), "path", json_string(o->rootfs));
        if (!o->image) {
                spec_default_path(spec);
                return 0;
        }
        return container_spec_apply_image(spec, o->image, o->root_fd, err);
}

static void privileged_mounts(json_t *spec)
{
        size_t i;
        json_t *m;

        json_array_foreach(spec_array(spec, "mounts"), i, m)
        {
                const char *type = json_string_value(json_object_get(m, "type"));
                json_t *options = json_object_get(m, "options");

                if (!str_eq(type, "sysfs") && !str_eq(type, "cgroup"))
                        continue;
                for (size_t k = 0; k < json_array_size(options); k++)
                        if (str_eq(json_string_value(json_array_get(options, k)), "ro"))
                                json_array_set_new(options, k, json_string("rw"));
        }
}

static int apply_privileged(json_t *spec, const ContainerSpecOptions *o, Err *err)
{
        json_t *lx = spec_linux(spec);
        int r;

        r = spec_own_capabilities(spec, err);
        if (r < 0)
                return r;
        json_object_set_new(lx, "maskedPaths", json_array());
        json_object_set_new(lx, "readonlyPaths", json_array());
        privileged_mounts(spec);
        json_object_del(spec_process(spec), "apparmorProfile");
        json_object_del(spec_process(spec), "selinuxLabel");
        json_object_del(lx, "seccomp");
        if (o->privileged_without_devices)
                return 0;
        json_array_append_new(spec_array(spec_resources(spec), "devices"),
                              json_pack("{s:b, s:s}", "allow", 1, "access", "rwm"));
        return spec_host_devices(spec, err);
}

/* path NULL drops the namespace, "" makes a new one. */
static void set_namespace(json_t *spec, const char *type, const char *path)
{
        json_t *list = spec_array(spec_linux(spec), "namespaces"), *entry;

        for (size_t i = json_array_size(list); i-- > 0;)
                if (str_eq(json_string_value(json_object_get(json_array_get(list, i), "type")),
                           type))
                        json_array_remove(list, i);
        if (!path)
                return;
        entry = json_pack("{s:s}", "type", type);
        if (*path)
                json_object_set_new(entry, "path", json_string(path));
        json_array_append_new(list, entry);
}

static int apply_net_host(json_t *spec, Err *err)
{
        static const char *const files[] = {"/etc/hosts", "/etc/resolv.conf"};
        char name[HOST_NAME_MAX + 1 + sizeof("HOSTNAME=")] = "HOSTNAME=";

        set_namespace(spec, "network", NULL);
        for (size_t i = 0; i < ARRAY_LEN(files); i++)
                json_array_append_new(spec_array(spec, "mounts"),
                                      json_pack("{s:s, s:s, s:s, s:[s, s]}", "destination",
                                                files[i], "type", "bind", "source", files[i],
                                                "options", "rbind", "ro"));
        if (gethostname(name + strlen(name), HOST_NAME_MAX + 1) < 0)
                return err_sys(err, errno, "gethostname");
        container_spec_env(spec, name);
        return 0;
}

static void apply_pairs(json_t *spec, const char *const *pairs)
{
        for (; pairs && *pairs; pairs++) {
                size_t n = strcspn(*pairs, "=");
                char *key CLEANUP(cleanup_free) = strndup(*pairs, n);

                json_object_set_new(spec_object(spec, "annotations"), key,
                                    json_string((*pairs)[n] ? *pairs + n + 1 : ""));
        }
}

static int apply_security(json_t *spec, const ContainerSpecOptions *o, Err *err)
{
        json_t *seccomp = NULL;
        int r = 0;

        for (const char *const *c = o->cap_add; c && *c && r == 0; c++)
                r = spec_capability_add(spec, *c, err);
        for (const char *const *c = o->cap_drop; c && *c && r == 0; c++)
                r = spec_capability_drop(spec, *c, err);
        if (r < 0)
                return r;
        if (o->seccomp_json) {
                r = json_read(o->seccomp_json, strlen(o->seccomp_json), LIMIT_DOCUMENT,
                              "seccomp profile", &seccomp, err);
                if (r < 0)
                        return r;
        } else if (o->seccomp_default) {
                json_t *bounding =
                        spec_array(spec_object(spec_process(spec), "capabilities"), "bounding");
                size_t n = json_array_size(bounding);
                const char **names CLEANUP(cleanup_free) = calloc(n + 1, sizeof(*names));

                for (size_t i = 0; names && i < n; i++)
                        names[i] = json_string_value(json_array_get(bounding, i));
                seccomp = seccomp_default_profile(names);
        }
        if (seccomp)
                json_object_set_new(spec_linux(spec), "seccomp", seccomp);
        if (!str_empty(o->apparmor))
                json_object_set_new(spec_process(spec), "apparmorProfile",
                                    json_string(o->apparmor));
        return 0;
}

static int apply_cpu(json_t *spec, const ContainerSpecOptions *o, Err *err)
{
        json_t *cpu = spec_object(spec_resources(spec), "cpu");
        int64_t quota = o->cpu_quota > 0 ? o->cpu_quota : 0;
        uint64_t period = o->cpu_period;

        if (o->cpus < 0 || !isfinite(o->cpus) || o->cpus > 1e6)
                return err_set(err, INVALID_ARGUMENT, "cpus %g: not a number of processors",
                               o->cpus);
        if (o->cpus > 0) {
                if (quota || period)
                        return err_set(err, INVALID_ARGUMENT,
                                       "cpus and quota/period should be used separately");
                period = CPU_PERIOD_US;
                quota = (int64_t)(o->cpus * CPU_PERIOD_US);
        }
        if (!str_empty(o->cpuset_cpus))
                json_object_set_new(cpu, "cpus", json_string(o->cpuset_cpus));
        if (!str_empty(o->cpuset_mems))
                json_object_set_new(cpu, "mems", json_string(o->cpuset_mems));
        set_u64(cpu, "shares", o->cpu_shares ? o->cpu_shares : CPU_SHARES_DEFAULT);
        if (quota)
                json_object_set_new(cpu, "quota", json_integer(quota));
        if (period)
                set_u64(cpu, "period", period);
        return 0;
}

static int apply_namespaces(json_t *spec, const char *const *list, Err *err)
{
        static const char *const types[] = {"pid", "network", "mount",  "ipc",
                                            "uts", "user",    "cgroup", "time"};

        for (; list && *list; list++) {
                const char *colon = strchr(*list, ':');
                const char *type = NULL;

                if (!colon)
                        return err_set(
                                err, INVALID_ARGUMENT,
                                "joining a Linux namespace using --with-ns requires the format "
                                "'nstype:path', got \"%s\"",
                                *list);
                for (size_t i = 0; i < ARRAY_LEN(types); i++)
                        if (strlen(types[i]) == (size_t)(colon - *list) &&
                            strncmp(*list, types[i], strlen(types[i])) == 0)
                                type = types[i];
                if (!type)
                        return err_set(
                                err, INVALID_ARGUMENT,
                                "the Linux namespace type specified in --with-ns is not valid: \"%.*s\"",
                                (int)(colon - *list), *list);
                set_namespace(spec, type, colon + 1);
        }
        return 0;
}

/* "soft[:hard]" replaces the default limit of open files. */
static int apply_rlimit(json_t *spec, const char *text, Err *err)
{
        char soft_text[32] = "";
        size_t n = strcspn(text, ":");
        uint64_t soft, hard;
        json_t *limits, *limit;

        if (n < sizeof(soft_text))
                memcpy(soft_text, text, n);
        if (str_to_u64(soft_text, &soft) < 0 || (text[n] && str_to_u64(text + n + 1, &hard) < 0))
                return err_set(err, INVALID_ARGUMENT, "rlimit-nofile \"%s\" must be soft[:hard]",
                               text);
        if (!text[n])
                hard = soft;
        if (soft > hard)
                return err_set(err, INVALID_ARGUMENT, "rlimit-nofile \"%s\": soft is above hard",
                               text);
        limits = spec_array(spec_process(spec), "rlimits");
        for (size_t i = json_array_size(limits); i-- > 0;)
                if (str_eq(json_string_value(json_object_get(json_array_get(limits, i), "type")),
                           "RLIMIT_NOFILE"))
                        json_array_remove(limits, i);
        limit = json_pack("{s:s}", "type", "RLIMIT_NOFILE");
        set_u64(limit, "soft", soft);
        set_u64(limit, "hard", hard);
        json_array_append_new(limits, limit);
        return 0;
}

static int apply_rest(json_t *spec, const ContainerSpecOptions *o, Err *err)
{
        int r = 0;

        if (o->allow_new_privs)
                json_object_set_new(spec_process(spec), "noNewPrivileges", json_false());
        if (o->cgroup)
                json_object_set_new(spec_linux(spec), "cgroupsPath", json_string(o->cgroup));
        if (o->memory_limit)
                set_u64(spec_object(spec_resources(spec), "memory"), "limit", o->memory_limit);
        for (const char *const *d = o->devices; d && *d && r == 0; d++)
                r = spec_device_add(spec, *d, err);
        if (r < 0)
                return r;
        if (!str_empty(o->rootfs_propagation))
                json_object_set_new(spec_linux(spec), "rootfsPropagation",
                                    json_string(o->rootfs_propagation));
        if (!str_empty(o->hostname))
                json_object_set_new(spec, "hostname", json_string(o->hostname));
        if (!str_empty(o->rlimit_nofile) && (r = apply_rlimit(spec, o->rlimit_nofile, err)) < 0)
                return r;
        apply_pairs(spec, o->labels);
        return 0;
}

int container_spec_build(const ContainerSpecOptions *o, json_t **ret, Err *err)
{
        json_t *spec CLEANUP(json_decrefp) = container_spec_new(o->ns, o->id);
        int r;

        r = apply_mounts_and_image(spec, o, err);
        if (r < 0)
                return r;
        if (o->read_only)
                json_object_set_new(spec_object(spec, "root"), "readonly", json_true());
        if (o->args && *o->args)
                container_spec_args(spec, o->args);
        if (!str_empty(o->cwd))
                json_object_set_new(spec_process(spec), "cwd", json_string(o->cwd));
        if (!str_empty(o->user) && (r = container_spec_user(spec, o->root_fd, o->user, err)) < 0)
                return r;
        if (o->tty)
                container_spec_tty(spec);
        if (o->privileged && (r = apply_privileged(spec, o, err)) < 0)
                return r;
        if (o->net_host && (r = apply_net_host(spec, err)) < 0)
                return r;
        apply_pairs(spec, o->annotations);
        if ((r = apply_security(spec, o, err)) < 0 || (r = apply_cpu(spec, o, err)) < 0 ||
            (r = apply_namespaces(spec, o->namespaces, err)) < 0 ||
            (r = apply_rest(spec, o, err)) < 0)
                return r;
        if (json_array_size(json_object_get(spec_process(spec), "args")) == 0)
                return err_set(err, INVALID_ARGUMENT,
                               "no command specified: the image has none, give one");
        *ret = TAKE(spec);
        return 0;
}
