/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The default spec and the pieces that images and execs need. The document is a jansson tree from
 * beginning to end: it is built once per container, by a command line, and must be able to carry
 * what a spec written by hand holds and we know nothing of.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "spec/container_spec_priv.h"

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static const char *const default_capabilities[] = {
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FSETID",
        "CAP_FOWNER",
        "CAP_MKNOD",
        "CAP_NET_RAW",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETFCAP",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT",
        "CAP_KILL",
        "CAP_AUDIT_WRITE",
        NULL,
};

static const char *const masked_paths[] = {
        "/proc/acpi",          "/proc/asound",
        "/proc/kcore",         "/proc/keys",
        "/proc/latency_stats", "/proc/timer_list",
        "/proc/timer_stats",   "/proc/sched_debug",
        "/sys/firmware",       "/sys/devices/virtual/powercap",
        "/proc/scsi",          NULL,
};

static const char *const readonly_paths[] = {
        "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", NULL,
};

#define OPTIONS(...)              \
        (const char *const[])     \
        {                         \
                __VA_ARGS__, NULL \
        }

static const SpecMount default_mounts[] = {
        {"proc", "proc", "/proc", OPTIONS("nosuid", "noexec", "nodev")},
        {"tmpfs", "tmpfs", "/dev", OPTIONS("nosuid", "strictatime", "mode=755", "size=65536k")},
        {"devpts", "devpts", "/dev/pts",
         OPTIONS("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")},
        {"tmpfs", "shm", "/dev/shm",
         OPTIONS("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")},
        {"mqueue", "mqueue", "/dev/mqueue", OPTIONS("nosuid", "noexec", "nodev")},
        {"sysfs", "sysfs", "/sys", OPTIONS("nosuid", "noexec", "nodev", "ro")},
        {"tmpfs", "tmpfs", "/run", OPTIONS("nosuid", "strictatime", "mode=755", "size=65536k")},
};

/* null random full tty zero urandom console pts ptmx; -1: every minor */
static const int default_devices[][2] = {
        {1, 3}, {1, 8}, {1, 7}, {5, 0}, {1, 5}, {1, 9}, {5, 1}, {136, -1}, {5, 2},
};

json_t *spec_object(json_t *parent, const char *key)
{
        json_t *j = json_object_get(parent, key);

        if (!json_is_object(j)) {
                j = json_object();
                json_object_set_new(parent, key, j);
        }
        return j;
}

json_t *spec_array(json_t *parent, const char *key)
{
        json_t *j = json_object_get(parent, key);

        if (!json_is_array(j)) {
                j = json_array();
                json_object_set_new(parent, key, j);
        }
        return j;
}

json_t *spec_linux(json_t *spec)
{
        return spec_object(spec, "linux");
}

json_t *spec_process(json_t *spec)
{
        return spec_object(spec, "process");
}

json_t *spec_resources(json_t *spec)
{
        return spec_object(spec_linux(spec), "resources");
}

json_t *spec_strings(const char *const *list)
{
        json_t *j = json_array();

        for (; list && *list; list++)
                json_array_append_new(j, json_string(*list));
        return j;
}

static json_t *mount_to_json(const SpecMount *m)
{
        json_t *j = json_pack("{s:s, s:s, s:s}", "destination", m->target, "type", m->type,
                              "source", m->source);

        if (m->options)
                json_object_set_new(j, "options", spec_strings(m->options));
        return j;
}

static json_t *default_device_rules(void)
{
        json_t *rules = json_pack("[{s:b, s:s}]", "allow", 0, "access", "rwm");

        for (size_t i = 0; i < ARRAY_LEN(default_devices); i++) {
                json_t *rule = json_pack("{s:b, s:s, s:i, s:s}", "allow", 1, "type", "c", "major",
                                         default_devices[i][0], "access", "rwm");

                if (default_devices[i][1] >= 0)
                        json_object_set_new(rule, "minor", json_integer(default_devices[i][1]));
                json_array_append_new(rules, rule);
        }
        return rules;
}

static json_t *default_process(void)
{
        json_t *capabilities = json_object();

        json_object_set_new(capabilities, "bounding", spec_strings(default_capabilities));
        json_object_set_new(capabilities, "effective", spec_strings(default_capabilities));
        json_object_set_new(capabilities, "permitted", spec_strings(default_capabilities));
        return json_pack("{s:s, s:b, s:{s:i, s:i}, s:o, s:[{s:s, s:i, s:i}]}", "cwd", "/",
                         "noNewPrivileges", 1, "user", "uid", 0, "gid", 0, "capabilities",
                         capabilities, "rlimits", "type", "RLIMIT_NOFILE", "hard", 1024, "soft",
                         1024);
}

/* The lowest that has all we write: Debian's crun 1.8 knows no other, and to runc it is the same.
 */
#define OCI_VERSION "1.0.2"

json_t *container_spec_new(const char *ns, const char *id)
{
        static const char *const namespaces[] = {"pid", "ipc", "uts", "mount", "network"};
        char *cgroup CLEANUP(cleanup_free) = mem_printf("/%s/%s", ns, id);
        json_t *mounts = json_array(), *list = json_array();

        for (size_t i = 0; i < ARRAY_LEN(default_mounts); i++)
                json_array_append_new(mounts, mount_to_json(&default_mounts[i]));
        for (size_t i = 0; i < ARRAY_LEN(namespaces); i++)
                json_array_append_new(list, json_pack("{s:s}", "type", namespaces[i]));
        return json_pack("{s:s, s:o, s:{s:s}, s:o, s:{s:s, s:o, s:{s:o}, s:o, s:o}}", "ociVersion",
                         OCI_VERSION, "process", default_process(), "root", "path", "rootfs",
                         "mounts", mounts, "linux", "cgroupsPath", cgroup, "namespaces", list,
                         "resources", "devices", default_device_rules(), "maskedPaths",
                         spec_strings(masked_paths), "readonlyPaths", spec_strings(readonly_paths));
}

/* The index of a variable in an env array, or its size. */
static size_t env_find(const json_t *env, const char *name, size_t n)
{
        for (size_t i = 0; i < json_array_size(env); i++) {
                const char *s = json_string_value(json_array_get(env, i));

                if (s && strncmp(s, name, n) == 0 && s[n] == '=')
                        return i;
        }
        return json_array_size(env);
}

void container_spec_env(json_t *spec, const char *assignment)
{
        json_t *env = spec_array(spec_process(spec), "env");
        size_t n = strcspn(assignment, "="), at = env_find(env, assignment, n);

        if (!assignment[n])
                json_array_remove(env, at); /* an index beyond the end removes nothing */
        else if (at < json_array_size(env))
                json_array_set_new(env, at, json_string(assignment));
        else
                json_array_append_new(env, json_string(assignment));
}

void spec_default_path(json_t *spec)
{
        const json_t *env = spec_array(spec_process(spec), "env");

        if (env_find(env, "PATH", 4) == json_array_size(env))
                container_spec_env(spec, DEFAULT_PATH);
}

void container_spec_args(json_t *spec, const char *const *args)
{
        json_object_set_new(spec_process(spec), "args", spec_strings(args));
}

static void set_user(json_t *spec, const UserIds *ids)
{
        json_t *gids = json_array();

        for (size_t i = 0; i < ids->n_additional_gids; i++)
                json_array_append_new(gids, json_integer(ids->additional_gids[i]));
        json_object_set_new(spec_process(spec), "user",
                            json_pack("{s:i, s:i, s:o}", "uid", (int)ids->uid, "gid", (int)ids->gid,
                                      "additionalGids", gids));
}

/* The groups that list the user come along when the user alone was named, as containerd has it. */
static int resolve_user(json_t *spec, int root_fd, const char *user, int with_groups, Err *err)
{
        Arena a CLEANUP(arena_done);
        UserIds ids;
        int r;

        arena_init(&a, SIZE_MAX);
        r = user_resolve(&a, root_fd, user, with_groups, &ids, err);
        if (r < 0)
                return r;
        set_user(spec, &ids);
        return 0;
}

int container_spec_user(json_t *spec, int root_fd, const char *user, Err *err)
{
        return resolve_user(spec, root_fd, user, strchr(user, ':') == NULL, err);
}

/* The image's variables are the base; what the spec has overrides in place or is appended. */
static void apply_env(json_t *spec, const ImageConfig *image)
{
        json_t *own CLEANUP(json_decrefp) = json_incref(spec_array(spec_process(spec), "env"));
        json_t *env = json_array();
        size_t i;
        json_t *item;

        json_object_set_new(spec_process(spec), "env", env);
        for (i = 0; i < image->n_env; i++)
                json_array_append_new(env, json_string(image->env[i]));
        if (image->n_env == 0)
                json_array_append_new(env, json_string(DEFAULT_PATH));
        json_array_foreach(own, i, item)
        {
                container_spec_env(spec, json_string_value(item));
        }
}

int container_spec_apply_image(json_t *spec, const ImageConfig *image, int root_fd, Err *err)
{
        json_t *args = spec_strings(image->entrypoint),
               *cmd CLEANUP(json_decrefp) = spec_strings(image->cmd);

        apply_env(spec, image);
        json_array_extend(args, cmd);
        json_object_set_new(spec_process(spec), "args", args);
        json_object_set_new(spec_process(spec), "cwd", json_string(*image->cwd ? image->cwd : "/"));
        return resolve_user(spec, root_fd, image->user, 1, err);
}

void container_spec_tty(json_t *spec)
{
        json_object_set_new(spec_process(spec), "terminal", json_true());
        container_spec_env(spec, "TERM=xterm");
}

void container_spec_mount(json_t *spec, const SpecMount *m)
{
        json_t *mounts = spec_array(spec, "mounts");

        for (size_t i = json_array_size(mounts); i-- > 0;)
                if (str_eq(json_string_value(
                                   json_object_get(json_array_get(mounts, i), "destination")),
                           m->target))
                        json_array_remove(mounts, i);
        json_array_append_new(mounts, mount_to_json(m));
}

static const char **split_options(Arena *a, const char *text)
{
        size_t n = 0;
        const char **list;
        char *rest = arena_strdup(a, text);

        for (const char *s = text; *s; s++)
                n += *s == ':';
        list = arena_array(a, const char *, n + 2);
        n = 0;
        for (char *option; (option = strsep(&rest, ":"));)
                if (*option)
                        list[n++] = option;
        return list;
}

int spec_mount_parse(Arena *a, const char *s, SpecMount *ret, Err *err)
{
        SpecMount m = {.type = "", .source = "", .target = ""};

        for (char *rest = arena_strdup(a, s), *field; (field = strsep(&rest, ","));) {
                char *value = strchr(field, '=');

                if (!value)
                        return err_set(err, INVALID_ARGUMENT,
                                       "invalid mount specification: expected key=val, got \"%s\"",
                                       field);
                *value++ = '\0';
                if (str_eq(field, "type"))
                        m.type = value;
                else if (str_eq(field, "source") || str_eq(field, "src"))
                        m.source = value;
                else if (str_eq(field, "destination") || str_eq(field, "dst"))
                        m.target = value;
                else if (str_eq(field, "options"))
                        m.options = split_options(a, value);
                else
                        return err_set(err, INVALID_ARGUMENT, "mount option \"%s\" not supported",
                                       field);
        }
        if (*m.target != '/')
                return err_set(err, INVALID_ARGUMENT, "mount \"%s\": dst must be an absolute path",
                               s);
        *ret = m;
        return 0;
}
