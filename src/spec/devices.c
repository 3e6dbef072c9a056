/* SPDX-License-Identifier: Apache-2.0 */
/* Devices of the host in a spec: nodes by path, and the whole of /dev for privileged containers. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/fd.h"
#include "spec/container_spec_priv.h"

enum { DEV_DEPTH_MAX = 16 };

static void closedirp(DIR **d)
{
        if (*d)
                closedir(*d);
}

/* "b", "c", "p", or NULL for what is no device. */
static const char *type_of(mode_t mode)
{
        return S_ISBLK(mode) ? "b" : S_ISCHR(mode) ? "c" : S_ISFIFO(mode) ? "p" : NULL;
}

static void append_device(json_t *spec, const char *path, const struct stat *st)
{
        json_t *d = json_pack("{s:s, s:s, s:i, s:I, s:I}", "path", path, "type",
                              type_of(st->st_mode), "fileMode", (int)(st->st_mode & 07777), "uid",
                              (json_int_t)st->st_uid, "gid", (json_int_t)st->st_gid);

        if (!S_ISFIFO(st->st_mode)) {
                json_object_set_new(d, "major", json_integer(major(st->st_rdev)));
                json_object_set_new(d, "minor", json_integer(minor(st->st_rdev)));
        }
        json_array_append_new(spec_array(spec_linux(spec), "devices"), d);
}

static void allow_device(json_t *spec, const struct stat *st)
{
        json_array_append_new(spec_array(spec_resources(spec), "devices"),
                              json_pack("{s:b, s:s, s:i, s:i, s:s}", "allow", 1, "type",
                                        type_of(st->st_mode), "major", (int)major(st->st_rdev),
                                        "minor", (int)minor(st->st_rdev), "access", "rwm"));
}

/* What is not the host's to share: terminals, shared memory and the leavings of other managers. */
static int is_excluded(const char *name)
{
        static const char *const excluded[] = {".",      "..",      "pts",  "shm",         "fd",
                                               "mqueue", "console", ".lxc", ".lxd-mounts", ".udev"};

        for (size_t i = 0; i < ARRAY_LEN(excluded); i++)
                if (str_eq(name, excluded[i]))
                        return 1;
        return 0;
}

/* Takes dirfd over. */
static int add_folder(json_t *spec, Arena *a, int dirfd, const char *path, int allow, int depth,
                      Err *err)
{
        DIR *d CLEANUP(closedirp) = fdopendir(dirfd);

        if (!d) {
                int errnum = errno;

                fd_close(dirfd);
                return err_sys(err, errnum, "read %s", path);
        }
        for (struct dirent *e; (e = readdir(d));) {
                char *child = arena_printf(a, "%s/%s", path, e->d_name);
                struct stat st;
                int fd, r;

                if (is_excluded(e->d_name) ||
                    fstatat(dirfd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        continue; /* devices come and go */
                if (type_of(st.st_mode)) {
                        append_device(spec, child, &st);
                        if (allow)
                                allow_device(spec, &st);
                        continue;
                }
                if (!S_ISDIR(st.st_mode) || depth == DEV_DEPTH_MAX)
                        continue;
                fd = openat(dirfd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (fd < 0)
                        continue;
                r = add_folder(spec, a, fd, child, allow, depth + 1, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int open_folder(json_t *spec, const char *path, int allow, Err *err)
{
        Arena a CLEANUP(arena_done);
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        arena_init(&a, SIZE_MAX);
        if (fd < 0)
                return err_sys(err, errno, "open %s", path);
        return add_folder(spec, &a, fd, path, allow, 0, err);
}

int spec_device_add(json_t *spec, const char *host_path, Err *err)
{
        struct stat st;

        if (*host_path != '/')
                return err_set(err, INVALID_ARGUMENT, "device \"%s\" must be an absolute path",
                               host_path);
        if (stat(host_path, &st) < 0)
                return err_sys(err, errno, "device %s", host_path);
        if (S_ISDIR(st.st_mode))
                return open_folder(spec, host_path, 1, err);
        if (!type_of(st.st_mode))
                return err_set(err, INVALID_ARGUMENT, "%s is not a device", host_path);
        append_device(spec, host_path, &st);
        allow_device(spec, &st);
        return 0;
}

int spec_host_devices(json_t *spec, Err *err)
{
        return open_folder(spec, "/dev", 0, err);
}
