/* SPDX-License-Identifier: Apache-2.0 */
/* Capabilities in a spec: lists of names under process.capabilities. */
#include <stdlib.h>

#include "base/fd.h"
#include "spec/container_spec_priv.h"

#include <fcntl.h>

/* In the order of their numbers, linux/capability.h. */
static const char *const names[] = {
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETPCAP",
        "CAP_LINUX_IMMUTABLE",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_BROADCAST",
        "CAP_NET_ADMIN",
        "CAP_NET_RAW",
        "CAP_IPC_LOCK",
        "CAP_IPC_OWNER",
        "CAP_SYS_MODULE",
        "CAP_SYS_RAWIO",
        "CAP_SYS_CHROOT",
        "CAP_SYS_PTRACE",
        "CAP_SYS_PACCT",
        "CAP_SYS_ADMIN",
        "CAP_SYS_BOOT",
        "CAP_SYS_NICE",
        "CAP_SYS_RESOURCE",
        "CAP_SYS_TIME",
        "CAP_SYS_TTY_CONFIG",
        "CAP_MKNOD",
        "CAP_LEASE",
        "CAP_AUDIT_WRITE",
        "CAP_AUDIT_CONTROL",
        "CAP_SETFCAP",
        "CAP_MAC_OVERRIDE",
        "CAP_MAC_ADMIN",
        "CAP_SYSLOG",
        "CAP_WAKE_ALARM",
        "CAP_BLOCK_SUSPEND",
        "CAP_AUDIT_READ",
        "CAP_PERFMON",
        "CAP_BPF",
        "CAP_CHECKPOINT_RESTORE",
};

static const char *const granted[] = {"bounding", "effective", "permitted"};
static const char *const all_sets[] = {"bounding", "effective", "permitted", "inheritable",
                                       "ambient"};

int capability_known(const char *name)
{
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
                if (str_eq(name, names[i]))
                        return 1;
        return 0;
}

static json_t *set_of(json_t *spec, const char *which)
{
        return spec_array(spec_object(spec_process(spec), "capabilities"), which);
}

int spec_own_capabilities(json_t *spec, Err *err)
{
        Arena a CLEANUP(arena_done);
        char *status;
        const char *line;
        uint64_t mask;
        size_t n;
        int r;

        arena_init(&a, SIZE_MAX);
        r = file_read(&a, AT_FDCWD, "/proc/self/status", 65536, &status, &n, err);
        if (r < 0)
                return r;
        line = strstr(status, "\nCapEff:");
        if (!line)
                return err_set(err, INTERNAL, "/proc/self/status has no CapEff");
        mask = strtoull(line + strlen("\nCapEff:"), NULL, 16);
        for (size_t s = 0; s < ARRAY_LEN(granted); s++) {
                json_t *list = set_of(spec, granted[s]);

                json_array_clear(list);
                for (size_t i = 0; i < ARRAY_LEN(names); i++)
                        if (mask & (UINT64_C(1) << i))
                                json_array_append_new(list, json_string(names[i]));
        }
        return 0;
}

static int check_name(const char *name, Err *err)
{
        if (!str_starts(name, "CAP_"))
                return err_set(err, INVALID_ARGUMENT,
                               "capabilities must be specified with 'CAP_' prefix: \"%s\"", name);
        if (!capability_known(name))
                return err_set(err, INVALID_ARGUMENT, "unknown capability \"%s\"", name);
        return 0;
}

static size_t find(const json_t *list, const char *name)
{
        size_t i;
        json_t *item;

        json_array_foreach(list, i, item)
        {
                if (str_eq(json_string_value(item), name))
                        return i;
        }
        return json_array_size(list);
}

int spec_capability_add(json_t *spec, const char *name, Err *err)
{
        int r = check_name(name, err);

        if (r < 0)
                return r;
        for (size_t s = 0; s < ARRAY_LEN(granted); s++) {
                json_t *list = set_of(spec, granted[s]);

                if (find(list, name) == json_array_size(list))
                        json_array_append_new(list, json_string(name));
        }
        return 0;
}

int spec_capability_drop(json_t *spec, const char *name, Err *err)
{
        json_t *sets = spec_object(spec_process(spec), "capabilities");
        int r = check_name(name, err);

        if (r < 0)
                return r;
        for (size_t s = 0; s < ARRAY_LEN(all_sets); s++) {
                json_t *list = json_object_get(sets, all_sets[s]);

                json_array_remove(list, find(list, name));
        }
        return 0;
}
