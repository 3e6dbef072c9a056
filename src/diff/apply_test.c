/* SPDX-License-Identifier: Apache-2.0 */
/* The real worker in its real sandbox, where it has been built. */
#include "diff/apply.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/test.h"
#include "diff/tar_make.h"
#include "worker/worker.h"

static const char *worker_path(void)
{
        static char path[4096];

        snprintf(path, sizeof(path), "%s/../lighter-unpack", path_self_dir());
        return geteuid() == 0 && access(path, X_OK) == 0 ? path : NULL;
}

#define NEED_WORKER()                                                               \
        if (!worker_path()) {                                                       \
                test_skip("needs root and lighter-unpack beside the build folder"); \
                return;                                                             \
        }

static int blob_of(const Str *s)
{
        int fd = memfd_create("blob", MFD_CLOEXEC);

        if (fd_write_all(fd, str_get(s), s->len) < 0 || lseek(fd, 0, SEEK_SET) < 0)
                test_fail(__FILE__, __LINE__, "memfd");
        return fd;
}

static const char *dir_of(const char *name)
{
        static char path[16][512];
        static int next;
        char *p = path[next++ % 16];
        Err err = {};

        snprintf(p, 512, "%s/%s", test_tmpdir(), name);
        path_mkdirs(p, 0755, &err);
        return p;
}

static int apply(const Str *tar, const char *media_type, const Mount *m, size_t n, DiffApplied *ret,
                 Err *err)
{
        int fd CLEANUP(cleanup_fd) = blob_of(tar);
        DiffApply a = {.media_type = media_type,
                       .blob_fd = fd,
                       .mounts = m,
                       .n_mounts = n,
                       .tmp_root = dir_of("tmpmounts"),
                       .worker_path = worker_path()};

        err_clear(err);
        return diff_apply(&a, ret, err);
}

static void sample(Str *s)
{
        make_dir(s, "d");
        make_entry(s, (MakeEntry){.type = '0',
                                  .name = "d/f",
                                  .mode = 04750,
                                  .uid = 1000,
                                  .gid = 50,
                                  .mtime = 77,
                                  .data = "hello"});
        make_link(s, '2', "l", "/etc/passwd");
        make_entry(s, (MakeEntry){.type = '1',
                                  .name = "h",
                                  .link = "d/f",
                                  .mode = 04750,
                                  .uid = 1000,
                                  .gid = 50,
                                  .mtime = 77});
        make_entry(s, (MakeEntry){.type = '4',
                                  .name = "disk",
                                  .major = 7,
                                  .minor = 9,
                                  .mode = 0640,
                                  .gid = 6});
        make_file(s, "d/.wh.gone", "");
        make_file(s, "o/.wh..wh..opq", "");
        make_end(s);
}

TEST(apply_onto_a_bind_mount)
{
        Str tar CLEANUP(str_done) = {};
        const char *opts[] = {"rbind", "rw"}, *dir = dir_of("fs");
        Mount m = {.type = "bind", .source = dir, .options = opts, .n_options = 2};
        DiffApplied got;
        Digest want;
        struct stat st;
        Err err = {};
        int fd CLEANUP(cleanup_fd) = -1;

        NEED_WORKER();
        sample(&tar);
        digest_of(tar.data, tar.len, &want);
        if (apply(&tar, MEDIA_OCI_LAYER, &m, 1, &got, &err) < 0)
                test_fail(__FILE__, __LINE__, "%s", err.msg);
        CHECK(digest_eq(&got.digest, &want) && got.size == tar.len);
        CHECK_STR(got.media_type, MEDIA_OCI_LAYER);
        fd = open(dir, O_PATH | O_CLOEXEC);
        CHECK(fstatat(fd, "h", &st, 0) == 0 && st.st_mode == (S_IFREG | 04750) &&
              st.st_uid == 1000);
        CHECK(st.st_mtime == 77 && st.st_nlink == 2);
        CHECK(fstatat(fd, "disk", &st, 0) == 0 && st.st_mode == (S_IFBLK | 0640) &&
              st.st_rdev == makedev(7, 9));
        CHECK(fstatat(fd, "d/gone", &st, AT_SYMLINK_NOFOLLOW) < 0);
}

TEST(apply_into_an_upperdir)
{
        Str tar CLEANUP(str_done) = {};
        char upper_opt[600], lower_opt[600], path[600], value[4];
        const char *opts[] = {"workdir=/nowhere", upper_opt, lower_opt}, *upper = dir_of("upper");
        Mount m = {.type = "overlay", .source = "overlay", .options = opts, .n_options = 3};
        DiffApplied got;
        struct stat st;
        Err err = {};

        NEED_WORKER();
        snprintf(upper_opt, sizeof(upper_opt), "upperdir=%s", upper);
        snprintf(lower_opt, sizeof(lower_opt), "lowerdir=%s", dir_of("lower"));
        snprintf(path, sizeof(path), "%s/o", dir_of("lower"));
        CHECK(mkdir(path, 0711) == 0);
        sample(&tar);
        if (apply(&tar, MEDIA_OCI_LAYER, &m, 1, &got, &err) < 0)
                test_fail(__FILE__, __LINE__, "%s", err.msg);
        snprintf(path, sizeof(path), "%s/d/gone", upper);
        CHECK(lstat(path, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == 0);
        snprintf(path, sizeof(path), "%s/o", upper);
        CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0711);
        CHECK(getxattr(path, "trusted.overlay.opaque", value, 4) == 1 && value[0] == 'y');
}

TEST(apply_without_mounts_leaves_nothing)
{
        Str tar CLEANUP(str_done) = {};
        DiffApplied got;
        Err err = {};

        NEED_WORKER();
        sample(&tar);
        CHECK_INT(apply(&tar, MEDIA_OCI_LAYER, NULL, 0, &got, &err), 0);
        CHECK(rmdir(dir_of("tmpmounts")) == 0);
        str_truncate(&tar, 0);
        CHECK_INT(apply(&tar, MEDIA_OCI_LAYER, NULL, 0, &got, &err), 0);
        CHECK_STR(got.digest.text,
                  "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(apply_onto_a_mounted_file_system)
{
        Str tar CLEANUP(str_done) = {};
        Mount m = {.type = "tmpfs", .source = "tmpfs"};
        DiffApplied got;
        Err err = {};

        NEED_WORKER();
        sample(&tar);
        CHECK_INT(apply(&tar, MEDIA_OCI_LAYER, &m, 1, &got, &err), 0);
        CHECK(rmdir(dir_of("tmpmounts")) == 0);
}

TEST(apply_errors_are_containerds)
{
        Str tar CLEANUP(str_done) = {}, junk CLEANUP(str_done) = {};
        const char *opts[] = {"rbind"}, *dir = dir_of("fs");
        Mount m = {.type = "bind", .source = dir, .options = opts, .n_options = 1};
        char want[700];
        DiffApplied got;
        Err err = {};

        NEED_WORKER();
        CHECK(apply(&tar, "text/plain", &m, 1, &got, &err) == -UNKNOWN);
        CHECK_STR(err.msg,
                  "failed to get stream processor for text/plain: no processor for media-type");
        str_add_n(&junk, "\x1f\x8b\x08\0\0\0\0\0\0\3 broken", 17);
        snprintf(want, sizeof(want), "mount callback failed on %s: unexpected EOF", dir);
        CHECK(apply(&junk, MEDIA_OCI_LAYER, &m, 1, &got, &err) == -UNKNOWN);
        CHECK_STR(err.msg, want);
        snprintf(want, sizeof(want), "mount callback failed on %s: flate: corrupt input", dir);
        CHECK(apply(&junk, MEDIA_DOCKER_LAYER, &m, 1, &got, &err) == -UNKNOWN);
        CHECK_STR(err.msg, want);
        make_file(&tar, "f", "x");
        make_file(&tar, "f/g", "x");
        snprintf(want, sizeof(want), "mount callback failed on %s: mkparent %s/f: not a directory",
                 dir, dir);
        CHECK(apply(&tar, MEDIA_DOCKER_LAYER, &m, 1, &got, &err) == -UNKNOWN);
        CHECK_STR(err.msg, want);
}

static int after_a_while(void *ctx)
{
        return ++*(int *)ctx > 3;
}

/* A blob that never ends, as a pipe that nobody writes to. */
TEST(apply_is_cancelled)
{
        const char *opts[] = {"rbind"};
        Mount m = {.type = "bind", .source = dir_of("fs"), .options = opts, .n_options = 1};
        int pipes[2], asked = 0;
        DiffApplied got;
        Err err = {};

        NEED_WORKER();
        CHECK(pipe2(pipes, O_CLOEXEC) == 0);
        DiffApply a = {.media_type = MEDIA_OCI_LAYER,
                       .blob_fd = pipes[0],
                       .mounts = &m,
                       .n_mounts = 1,
                       .tmp_root = dir_of("tmpmounts"),
                       .worker_path = worker_path(),
                       .cancelled = after_a_while,
                       .ctx = &asked};

        CHECK(diff_apply(&a, &got, &err) == -CANCELLED);
        a.cancelled = NULL;
        a.deadline_ns = time_mono_ns() + 300 * NS_PER_MS;
        err_clear(&err);
        CHECK(diff_apply(&a, &got, &err) == -DEADLINE_EXCEEDED);
        close(pipes[0]);
        close(pipes[1]);
}
