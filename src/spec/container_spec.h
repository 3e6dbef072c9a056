/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing a container's runtime spec: the default one, what an image asks for, and what a command
 * line adds, in containerd's order (an option may undo what an earlier one did, so the order is
 * part of the contract).
 *
 * container_spec_build() does all of it. The pieces below it are for those who start elsewhere,
 * from a file or for an exec.
 */
#pragma once

#include "spec/image_config.h"
#include "spec/user.h"

typedef struct SpecMount {
        const char *type, *source, *target;
        const char *const *options; /* NULL-terminated, may be NULL */
} SpecMount;

/* Every pointer borrows; NULL and 0 mean "not asked for". Lists are NULL-terminated. */
typedef struct ContainerSpecOptions {
        const char *ns, *id;
        const ImageConfig *image; /* NULL for a container on a folder */
        const char *rootfs;       /* absolute folder, instead of the bundle's rootfs */
        int root_fd;              /* where users are looked up; -1: nowhere */
        const char *const *args;  /* replace entrypoint and cmd */
        const char *const *env_files,
                *const *env; /* "K=V" lines of files read by the caller; --env */
        const SpecMount *mounts;
        size_t n_mounts;
        const char *cwd, *user, *hostname;
        int tty, read_only, privileged, privileged_without_devices, net_host, allow_new_privs;
        const char *const *annotations; /* "K=V" */
        const char *const *labels;      /* "K[=V]", copied as annotations */
        const char *const *cap_add, *const *cap_drop;
        const char *seccomp_json; /* a profile to take over as it is */
        const char *apparmor;     /* name of a loaded profile */
        int seccomp_default;
        double cpus;
        const char *cpuset_cpus, *cpuset_mems;
        uint64_t cpu_shares; /* 0: 1024 */
        int64_t cpu_quota;   /* -1 or 0: none */
        uint64_t cpu_period;
        const char *const *namespaces; /* "type:path" */
        const char *cgroup;            /* NULL: /<ns>/<id>; "": none */
        uint64_t memory_limit;
        const char *const *devices; /* host paths */
        const char *rootfs_propagation;
        const char *rlimit_nofile; /* "soft[:hard]" */
} ContainerSpecOptions;

/* INVALID_ARGUMENT, NOT_FOUND (users, devices). */
int container_spec_build(const ContainerSpecOptions *o, json_t **ret, Err *err);

/* The default Linux spec with its device rules. */
json_t *container_spec_new(const char *ns, const char *id);
/* Env, args (entrypoint and cmd), cwd and user of an image; what the spec's env already has wins.
 */
int container_spec_apply_image(json_t *spec, const ImageConfig *image, int root_fd, Err *err);
/* "K=V" replaces or appends, "K" alone removes. */
void container_spec_env(json_t *spec, const char *assignment);
void container_spec_args(json_t *spec, const char *const *args);
int container_spec_user(json_t *spec, int root_fd, const char *user, Err *err);
void container_spec_tty(json_t *spec);
/* A mount at the same place is replaced. */
void container_spec_mount(json_t *spec, const SpecMount *m);
/* "type=bind,src=/a,dst=/b,options=rbind:ro" as the command line writes it; strings in the arena.
 */
int spec_mount_parse(Arena *a, const char *s, SpecMount *ret, Err *err);

/* The default seccomp profile for a bounding set of capabilities (NULL-terminated "CAP_X"). */
json_t *seccomp_default_profile(const char *const *bounding);
