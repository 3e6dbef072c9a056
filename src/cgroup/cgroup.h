/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading control groups, v1, v2 and the mixture of both. A container's groups are named by the
 * text of its /proc/PID/cgroup, kept from when it ran; everything here finds the folders again from
 * that. All block.
 */
#pragma once

#include <sys/types.h>
#include "api/google/protobuf/any.pb-c.h"
#include "base/arena.h"
#include "base/err.h"

enum { CGROUP_TEXT_MAX = 16 * 1024 };

/* One line of /proc/PID/cgroup, and where it is mounted. */
typedef struct CgroupDir {
        const char *controllers; /* "cpu,cpuacct"; "" for v2 */
        const char *path;        /* as the kernel names it */
        const char *dir;         /* in the file system; NULL when not mounted here */
} CgroupDir;

typedef struct CgroupSet {
        CgroupDir *v;
        size_t n;
} CgroupSet;

/* The text of /proc/PID/cgroup. */
int cgroup_of_pid(Arena *a, pid_t pid, char **ret, Err *err);

/* Where the hierarchies are mounted. */
typedef struct CgroupMount {
        const char *root, *point, *type, *options;
} CgroupMount;

typedef struct CgroupMounts {
        CgroupMount *v;
        size_t n;
} CgroupMounts;

void cgroup_mounts_parse(Arena *a, const char *mountinfo, CgroupMounts *ret);
int cgroup_mounts(Arena *a, CgroupMounts *ret, Err *err); /* of this process */
/* INVALID_ARGUMENT names the line. */
int cgroup_parse(Arena *a, const char *text, const CgroupMounts *mounts, CgroupSet *ret, Err *err);
/* The same for this process' mounts. */
int cgroup_find(Arena *a, const char *text, CgroupSet *ret, Err *err);
/* The folder of a v1 controller; NULL: none. "" asks for v2. */
const char *cgroup_dir(const CgroupSet *set, const char *controller);
/* Whether memory is accounted by v2. */
int cgroup_is_v2(const CgroupSet *set);

/* io.containerd.cgroups.v1.Metrics or v2.Metrics, encoded into the arena. NOT_FOUND "cgroup does
 * not exist". */
int cgroup_stats(Arena *a, const CgroupSet *set, Google__Protobuf__Any *ret, Err *err);

typedef struct CgroupOom {
        int v2, event_fd, state_fd; /* -1 when there is nothing to watch */
} CgroupOom;

/* v1: an eventfd registered with memory.oom_control; v2: an inotify on memory.events; and that file
 * itself. */
int cgroup_oom_open(Arena *a, const CgroupSet *set, CgroupOom *ret, Err *err);
/* oom_kill in the text of memory.events; 0 if absent. */
uint64_t cgroup_oom_kills(const char *memory_events);
/* v2: lets the group's ancestors and itself hand on all controllers; what cannot be is left. */
void cgroup_enable_controllers(Arena *a, const CgroupSet *set);
/* Moves a process into the group of this path, in every hierarchy, making it when absent. */
int cgroup_join(Arena *a, const char *path, pid_t pid, Err *err);
