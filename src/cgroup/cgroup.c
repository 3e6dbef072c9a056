/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process' groups are lines "id:controllers:path" in /proc/PID/cgroup; where a hierarchy lies is
 * in mountinfo. A mount may show only a part of its hierarchy (its root is not "/"), as in a
 * container; then that part is taken off the path. See cgroups(7), proc_pid_mountinfo(5).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "cgroup/cgroup.h"
#include "cgroup/cgroup_priv.h"

enum { MOUNTINFO_MAX = 16 * 1024 * 1024, MAX_LINES = 64 };

/* ---- finding ---- */

int cgroup_of_pid(Arena *a, pid_t pid, char **ret, Err *err)
{
        return file_read(a, AT_FDCWD, arena_printf(a, "/proc/%d/cgroup", pid), CGROUP_TEXT_MAX, ret,
                         NULL, err);
}

/* Whether word is one of a comma-separated list. */
static int list_has(const char *list, const char *word, size_t n)
{
        for (const char *p = list; *p;) {
                size_t len = strcspn(p, ",");

                if (len == n && memcmp(p, word, n) == 0)
                        return 1;
                p += len + (p[len] == ',');
        }
        return 0;
}

/* "36 35 98:0 /root /point rw,noatime shared:1 - type source options" */
static int parse_mount(Arena *a, const char *line, CgroupMount *ret)
{
        const char *p = line;
        char *word;

        for (int i = 0; i < 3; i++)
                take_word(a, &p);
        ret->root = take_word(a, &p);
        ret->point = take_word(a, &p);
        do
                word = take_word(a, &p);
        while (*word && !str_eq(word, "-"));
        ret->type = take_word(a, &p);
        take_word(a, &p);
        ret->options = take_word(a, &p);
        return *ret->options ? 0 : -1;
}

static int mount_serves(const CgroupMount *m, const char *controllers)
{
        size_t n = strcspn(controllers, ",");

        if (!*controllers)
                return str_eq(m->type, "cgroup2");
        return str_eq(m->type, "cgroup") && list_has(m->options, controllers, n);
}

static char *dir_below(Arena *a, const CgroupMount *m, const char *path)
{
        size_t n = strlen(m->root);

        if (str_eq(m->root, "/"))
                n = 0;
        else if (strncmp(path, m->root, n) != 0 || (path[n] && path[n] != '/'))
                return NULL;
        return str_eq(path + n, "/") ? arena_strdup(a, m->point)
                                     : arena_printf(a, "%s%s", m->point, path + n);
}

void cgroup_mounts_parse(Arena *a, const char *mountinfo, CgroupMounts *ret)
{
        *ret = (CgroupMounts){.v = arena_array(a, CgroupMount, MAX_LINES)};
        for (const char *line = mountinfo; *line && ret->n < MAX_LINES; next_line(&line)) {
                const char *end = strchrnul(line, '\n');

                /* Most lines are of no interest; look before taking them apart. */
                if (memmem(line, (size_t)(end - line), " - cgroup", 9) &&
                    parse_mount(a, line, &ret->v[ret->n]) == 0)
                        ret->n++;
        }
}

int cgroup_mounts(Arena *a, CgroupMounts *ret, Err *err)
{
        char *mountinfo;
        int r = file_read(a, AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &mountinfo, NULL,
                          err);

        if (r == 0)
                cgroup_mounts_parse(a, mountinfo, ret);
        return r;
}

static const char *find_dir(Arena *a, const CgroupMounts *mounts, const char *controllers,
                            const char *path)
{
        for (size_t i = 0; i < mounts->n; i++) {
                const char *dir = mount_serves(&mounts->v[i], controllers)
                                          ? dir_below(a, &mounts->v[i], path)
                                          : NULL;

                if (dir)
                        return dir;
        }
        return NULL;
}

int cgroup_parse(Arena *a, const char *text, const CgroupMounts *mounts, CgroupSet *ret, Err *err)
{
        CgroupSet set = {.v = arena_array(a, CgroupDir, MAX_LINES)};

        for (const char *line = text; *line; next_line(&line)) {
                size_t n = (size_t)(strchrnul(line, '\n') - line);
                const char *controllers = memchr(line, ':', n);
                const char *path = controllers ? memchr(controllers + 1, ':',
                                                        n - (size_t)(controllers + 1 - line))
                                               : NULL;
                CgroupDir *d = &set.v[set.n];

                if (!path || path[1] != '/')
                        return err_set(err, INVALID_ARGUMENT,
                                       "not a line of /proc/PID/cgroup: \"%.*s\"",
                                       (int)MIN(n, 200u), line);
                if (set.n == MAX_LINES)
                        return err_set(err, INVALID_ARGUMENT, "more than %d control groups",
                                       MAX_LINES);
                d->controllers =
                        arena_strndup(a, controllers + 1, (size_t)(path - controllers - 1));
                d->path = arena_strndup(a, path + 1, n - (size_t)(path + 1 - line));
                d->dir = find_dir(a, mounts, d->controllers, d->path);
                set.n++;
        }
        *ret = set;
        return 0;
}

int cgroup_find(Arena *a, const char *text, CgroupSet *ret, Err *err)
{
        CgroupMounts mounts;
        int r = cgroup_mounts(a, &mounts, err);

        return r < 0 ? r : cgroup_parse(a, text, &mounts, ret, err);
}

const char *cgroup_dir(const CgroupSet *set, const char *controller)
{
        size_t n = strlen(controller);

        for (size_t i = 0; i < set->n; i++)
                if (n == 0 ? !*set->v[i].controllers
                           : list_has(set->v[i].controllers, controller, n))
                        return set->v[i].dir;
        return NULL;
}

int cgroup_is_v2(const CgroupSet *set)
{
        return !cgroup_dir(set, "memory") && !cgroup_dir(set, "cpu") && cgroup_dir(set, "");
}

int cgroup_stats(Arena *a, const CgroupSet *set, Google__Protobuf__Any *ret, Err *err)
{
        return cgroup_is_v2(set) ? stats_v2(a, set, ret, err) : stats_v1(a, set, ret, err);
}

/* ---- out of memory ---- */

static int oom_open_v1(Arena *a, const char *dir, CgroupOom *ret, Err *err)
{
        int control CLEANUP(cleanup_fd) =
                open(arena_printf(a, "%s/cgroup.event_control", dir), O_WRONLY | O_CLOEXEC);
        int state CLEANUP(cleanup_fd) =
                open(arena_printf(a, "%s/memory.oom_control", dir), O_RDONLY | O_CLOEXEC);
        int event CLEANUP(cleanup_fd) = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        char text[64];

        if (control < 0 || state < 0 || event < 0)
                return err_sys(err, errno, "watching %s", dir);
        snprintf(text, sizeof(text), "%d %d", event, state);
        if (write(control, text, strlen(text)) < 0)
                return err_sys(err, errno, "%s/cgroup.event_control", dir);
        ret->event_fd = TAKE_FD(event);
        ret->state_fd = TAKE_FD(state);
        return 0;
}

static int oom_open_v2(Arena *a, const char *dir, CgroupOom *ret, Err *err)
{
        const char *file = arena_printf(a, "%s/memory.events", dir);
        int state CLEANUP(cleanup_fd) = open(file, O_RDONLY | O_CLOEXEC);
        int event CLEANUP(cleanup_fd) = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

        if (state < 0 || event < 0 || inotify_add_watch(event, file, IN_MODIFY) < 0)
                return err_sys(err, errno, "watching %s", file);
        ret->v2 = 1;
        ret->event_fd = TAKE_FD(event);
        ret->state_fd = TAKE_FD(state);
        return 0;
}

int cgroup_oom_open(Arena *a, const CgroupSet *set, CgroupOom *ret, Err *err)
{
        const char *v1 = cgroup_dir(set, "memory"), *v2 = cgroup_dir(set, "");

        *ret = (CgroupOom){.event_fd = -1, .state_fd = -1};
        if (v1)
                return oom_open_v1(a, v1, ret, err);
        return v2 && cgroup_is_v2(set) ? oom_open_v2(a, v2, ret, err) : 0;
}

uint64_t cgroup_oom_kills(const char *memory_events)
{
        static const KeyField field[] = {{"oom_kill", 0}};
        uint64_t kills = 0;

        parse_keyed(memory_events, field, 1, &kills);
        return kills;
}

/* ---- changing ---- */

static void enable_in(Arena *a, const char *dir)
{
        int at CLEANUP(cleanup_fd) = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        char *list = read_text(a, at, "cgroup.controllers");
        int fd CLEANUP(cleanup_fd) =
                list ? openat(at, "cgroup.subtree_control", O_WRONLY | O_CLOEXEC) : -1;

        /* One by one: a single one that cannot be would take the others with it. */
        for (const char *p = list; fd >= 0 && *p && *p != '\n';) {
                const char *text = arena_printf(a, "+%s", take_word(a, &p));

                (void)!write(fd, text, strlen(text));
        }
}

void cgroup_enable_controllers(Arena *a, const CgroupSet *set)
{
        const char *dir = cgroup_dir(set, "");
        char *path;
        size_t top;

        if (!dir || !cgroup_is_v2(set))
                return;
        for (size_t i = 0; i < set->n; i++) {
                if (*set->v[i].controllers || !set->v[i].dir)
                        continue;
                /* From the hierarchy's mount point down to the group's parent; the group itself
                 * holds processes. */
                path = arena_strdup(a, dir);
                top = strlen(dir) >= strlen(set->v[i].path) ? strlen(dir) - strlen(set->v[i].path)
                                                            : 0;
                for (size_t at = top; path[at]; at++) {
                        if (path[at] != '/' || at == 0)
                                continue;
                        path[at] = 0;
                        enable_in(a, path);
                        path[at] = '/';
                }
        }
}

/* A new group of v1's cpuset has neither CPUs nor memory, and takes no process, until it is told:
 * every level below base gets what its parent has. */
static int cpuset_inherit(Arena *a, const char *base, const char *path, Err *err)
{
        static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
        const char *parent = base;
        int r = 0;

        for (const char *end = path; r == 0 && *end;) {
                const char *dir;

                end = strchrnul(end + 1, '/');
                dir = arena_printf(a, "%s%.*s", base, (int)(end - path), path);
                for (size_t i = 0; r == 0 && i < ARRAY_LEN(files); i++) {
                        const char *file = arena_printf(a, "%s/%s", dir, files[i]);
                        char *has, *from;
                        size_t n;

                        r = file_read(a, AT_FDCWD, file, CGROUP_TEXT_MAX, &has, &n, err);
                        if (r < 0 || strspn(has, " \n") < n)
                                continue;
                        r = file_read(a, AT_FDCWD, arena_printf(a, "%s/%s", parent, files[i]),
                                      CGROUP_TEXT_MAX, &from, &n, err);
                        if (r == 0)
                                r = file_write(AT_FDCWD, file, from, n, 0644, err);
                }
                parent = dir;
        }
        return r;
}

int cgroup_join(Arena *a, const char *path, pid_t pid, Err *err)
{
        char *mine, text[32];
        CgroupSet set;
        int r = cgroup_of_pid(a, getpid(), &mine, err);

        if (r == 0)
                r = cgroup_find(a, mine, &set, err);
        if (r < 0)
                return r;
        if (path[0] != '/' || strstr(path, "/../") || str_ends(path, "/.."))
                return err_set(err, INVALID_ARGUMENT,
                               "cgroup path \"%s\" is not absolute: invalid argument", path);
        snprintf(text, sizeof(text), "%d", pid);
        for (size_t i = 0; i < set.n; i++) {
                const char *own = set.v[i].dir, *dir;
                size_t base;

                if (!own)
                        continue;
                base = strlen(own) -
                       (str_eq(set.v[i].path, "/") ? 0 : MIN(strlen(own), strlen(set.v[i].path)));
                dir = arena_printf(a, "%.*s%s", (int)base, own, path);
                r = path_mkdirs(dir, 0755, err);
                if (r == 0 && strstr(set.v[i].controllers, "cpuset"))
                        r = cpuset_inherit(a, arena_strndup(a, own, base), path, err);
                if (r == 0)
                        r = file_write(AT_FDCWD, arena_printf(a, "%s/cgroup.procs", dir), text,
                                       strlen(text), 0644, err);
                if (r < 0)
                        return r;
        }
        return 0;
}
