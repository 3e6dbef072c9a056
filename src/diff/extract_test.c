/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Archives that are good and archives that attack, unpacked in this process with nothing but the
 * tree's own confinement: what the sandbox adds is not counted on. Around the target lies a canary
 * folder that must stay as it was.
 */
#include "diff/extract.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/path.h"
#include "base/test.h"
#include "diff/grant.h"
#include "diff/tar_make.h"

typedef struct Fixture {
        char root[300], canary[300], lower[300];
        int root_fd;
        int overlay;
        Grant grant;
        Str tar;
        uint64_t max_bytes, max_entries;
} Fixture;

static int op_xattr(void *ctx, int fd, const char *name, const void *value, size_t n,
                    int *ret_errno, Err *err)
{
        *ret_errno = grant_xattr(&((Fixture *)ctx)->grant, fd, name, value, n);
        return 0;
}

static int op_mknod(void *ctx, int dir_fd, const char *name, const TarEntry *e, int *ret_errno,
                    Err *err)
{
        WorkerMknodMsg m = {name,
                            e->mode | (e->type == TAR_CHAR ? S_IFCHR : S_IFBLK),
                            e->major,
                            e->minor,
                            (uint32_t)e->uid,
                            (uint32_t)e->gid};

        *ret_errno = grant_mknod(&((Fixture *)ctx)->grant, dir_fd, &m);
        return 0;
}

static int op_implied(void *ctx, int dir_fd, const char *path, Err *err)
{
        int errnum = grant_implied(&((Fixture *)ctx)->grant, dir_fd, path);

        return errnum ? err_sys(err, errnum, "mkparent %s", path) : 0;
}

static void put(const char *dir, const char *name, const char *text)
{
        char path[512];
        Err err = {};

        snprintf(path, sizeof(path), "%s/%s", dir, name);
        if (file_write(AT_FDCWD, path, text, strlen(text), 0600, &err) < 0)
                test_fail(__FILE__, __LINE__, "%s", err.msg);
}

static void setup(Fixture *f, int overlay)
{
        Err err = {};

        *f = (Fixture){.overlay = overlay, .max_bytes = 1 << 30, .max_entries = 100000};
        umask(0);
        snprintf(f->root, sizeof(f->root), "%s/a/root", test_tmpdir());
        snprintf(f->canary, sizeof(f->canary), "%s/a/canary", test_tmpdir());
        snprintf(f->lower, sizeof(f->lower), "%s/a/lower", test_tmpdir());
        path_mkdirs(f->root, 0755, &err);
        path_mkdirs(f->canary, 0755, &err);
        path_mkdirs(f->lower, 0755, &err);
        put(f->canary, "secret", "secret");
        if (grant_open(f->root, f->lower, overlay, &f->grant, &err) < 0)
                test_fail(__FILE__, __LINE__, "%s", err.msg);
        f->root_fd = f->grant.fd;
}

static void fixture_done(Fixture *f)
{
        grant_done(&f->grant);
        str_done(&f->tar);
}

static int unpack(Fixture *f, Err *err)
{
        MakeSource src CLEANUP(make_source_done) = {.s = &f->tar, .step = 1000};
        TarReader t CLEANUP(tar_reader_done);
        ExtractOptions o = {
                .root_fd = f->root_fd,
                .label = "/r",
                .overlay = f->overlay,
                .max_bytes = f->max_bytes,
                .max_entries = f->max_entries,
                .ops = {f, op_xattr, op_mknod, op_implied},
        };
        uint64_t entries;

        err_clear(err);
        tar_reader_init(&t, make_next, &src);
        return extract_archive(&o, &t, &entries, err);
}

static int again(Fixture *f, Err *err)
{
        int r = unpack(f, err);

        str_truncate(&f->tar, 0);
        return r;
}

static int look(Fixture *f, const char *name, struct stat *st)
{
        return fstatat(f->root_fd, name, st, AT_SYMLINK_NOFOLLOW);
}

static int has(Fixture *f, const char *name)
{
        struct stat st;

        return look(f, name, &st) == 0;
}

static const char *text_of(Fixture *f, const char *name)
{
        static char buf[4096];
        int fd CLEANUP(cleanup_fd) = path_open_in_root(f->root_fd, name, O_RDONLY, 0);
        ssize_t n = fd < 0 ? -1 : fd_read_all(fd, buf, sizeof(buf) - 1);

        if (n < 0)
                return NULL;
        buf[n] = 0;
        return buf;
}

/* The canary: one file, its text, mode and links, and nothing else beside it. */
static int canary_ok(Fixture *f)
{
        char path[512], text[16] = {};
        struct stat st, dir;
        int fd CLEANUP(cleanup_fd) = -1;

        snprintf(path, sizeof(path), "%s/secret", f->canary);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0 || stat(f->canary, &dir) < 0 ||
            fd_read_all(fd, text, 15) != 6)
                return 0;
        return str_eq(text, "secret") && (st.st_mode & 07777) == 0600 && st.st_nlink == 1 &&
               st.st_uid == 0 && (dir.st_mode & 07777) == 0755 && dir.st_nlink == 2;
}

#define SETUP(f, overlay)                     \
        Fixture f CLEANUP(fixture_done) = {}; \
        Err err = {};                         \
        if (geteuid() != 0) {                 \
                test_skip("needs root");      \
                return;                       \
        }                                     \
        setup(&f, overlay)

TEST(extract_names_are_cleaned)
{
        static const char *const table[][2] = {
                {"a/b", "a/b"},
                {"./a//b/", "a/b"},
                {"/abs", "abs"},
                {"../../x", "x"},
                {"a/../b", "b"},
                {".", ""},
                {"", ""},
                {"/", ""},
                {"..", ""},
                {"a/..", ""},
                {"a/./b/../../../c", "c"},
                {"...", "..."},
                {"a/..b", "a/..b"},
        };
        char buf[LIMIT_TAR_NAME], deep[LIMIT_TAR_DEPTH * 2 + 10];
        Err err = {};

        for (size_t i = 0; i < ARRAY_LEN(table); i++) {
                CHECK(tree_clean(table[i][0], buf, &err) == 0);
                CHECK_STR(buf, table[i][1]);
        }
        for (int i = 0; i < LIMIT_TAR_DEPTH + 1; i++)
                memcpy(deep + i * 2, "a/", 3);
        CHECK(tree_clean(deep, buf, &err) == -RESOURCE_EXHAUSTED);
        deep[LIMIT_TAR_DEPTH * 2] = 0;
        CHECK(tree_clean(deep, buf, &err) == 0);
}

TEST(extract_every_kind_with_all_attributes)
{
        struct stat st;
        char value[100] = {};
        SETUP(f, 0);

        make_entry(&f.tar, (MakeEntry){.type = '5',
                                       .name = "d",
                                       .mode = 02750,
                                       .uid = 5,
                                       .gid = 6,
                                       .mtime = 1000});
        make_pax(&f.tar, "SCHILY.xattr.user.note", "hi");
        make_entry(&f.tar, (MakeEntry){.type = '0',
                                       .name = "d/f",
                                       .mode = 04755,
                                       .uid = 7,
                                       .gid = 8,
                                       .mtime = 2000,
                                       .data = "text"});
        make_entry(&f.tar, (MakeEntry){.type = '2',
                                       .name = "d/l",
                                       .link = "f",
                                       .mode = 0777,
                                       .uid = 9,
                                       .mtime = 3000});
        make_entry(&f.tar, (MakeEntry){.type = '1',
                                       .name = "h",
                                       .link = "./d/f",
                                       .mode = 04755,
                                       .uid = 7,
                                       .gid = 8,
                                       .mtime = 2000});
        make_entry(&f.tar, (MakeEntry){.type = '3',
                                       .name = "null",
                                       .major = 1,
                                       .minor = 3,
                                       .mode = 0666,
                                       .gid = 3,
                                       .mtime = 4000});
        make_entry(&f.tar, (MakeEntry){.type = '6', .name = "fifo", .mode = 0622, .mtime = 5000});
        make_file(&f.tar, "d/later", "touches the folder's time");
        CHECK_INT(unpack(&f, &err), 0);

        CHECK(look(&f, "d", &st) == 0 && st.st_mode == (S_IFDIR | 02750) && st.st_uid == 5 &&
              st.st_gid == 6);
        CHECK_INT(st.st_mtime, 1000);
        CHECK(look(&f, "d/f", &st) == 0 && st.st_mode == (S_IFREG | 04755) && st.st_uid == 7 &&
              st.st_gid == 8);
        CHECK(st.st_mtime == 2000 && st.st_atime == 2000 && st.st_nlink == 2);
        CHECK_STR(text_of(&f, "h"), "text");
        CHECK(look(&f, "d/l", &st) == 0 && S_ISLNK(st.st_mode) && st.st_uid == 9 &&
              st.st_mtime == 3000);
        CHECK(look(&f, "null", &st) == 0 && st.st_mode == (S_IFCHR | 0666) &&
              st.st_rdev == makedev(1, 3));
        CHECK(st.st_gid == 3 && st.st_mtime == 4000);
        CHECK(look(&f, "fifo", &st) == 0 && st.st_mode == (S_IFIFO | 0622) && st.st_mtime == 5000);
        /* Within a set-group-id folder, owner and mode are still the archive's. */
        CHECK(look(&f, "d/later", &st) == 0 && st.st_gid == 0 && st.st_mode == (S_IFREG | 0644));

        char path[512];

        snprintf(path, sizeof(path), "%s/d/f", f.root);
        if (getxattr(path, "user.note", value, sizeof(value)) < 0 && errno == EOPNOTSUPP)
                return;
        CHECK_STR(value, "hi");
}

TEST(extract_file_capabilities_survive_owner_and_data)
{
        const char cap[] = "\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        char rec[200], value[64];
        struct stat st;
        SETUP(f, 0);

        memcpy(rec, "52 SCHILY.xattr.security.capability=", 36);
        memcpy(rec + 36, cap, 20);
        rec[0] = '5';
        rec[1] = '7';
        rec[56] = '\n';
        make_entry(&f.tar, (MakeEntry){.type = 'x', .name = "p", .data = rec, .n_data = 57});
        make_entry(&f.tar, (MakeEntry){.type = '0',
                                       .name = "ping",
                                       .mode = 0755,
                                       .uid = 0,
                                       .gid = 40,
                                       .data = "elf"});
        CHECK_INT(unpack(&f, &err), 0);
        CHECK(look(&f, "ping", &st) == 0 && st.st_gid == 40);

        char path[512];

        snprintf(path, sizeof(path), "%s/ping", f.root);
        CHECK_INT(getxattr(path, "security.capability", value, sizeof(value)), 20);
        CHECK(memcmp(value, cap, 20) == 0);
}

TEST(extract_replaces_what_is_in_the_way_and_merges_folders)
{
        struct stat st;
        SETUP(f, 0);

        make_file(&f.tar, "was-file", "1");
        make_file(&f.tar, "was-dir/inside", "1");
        make_link(&f.tar, '2', "was-link", "was-dir");
        make_file(&f.tar, "kept/old", "1");
        CHECK_INT(again(&f, &err), 0);
        make_dir(&f.tar, "was-file");
        make_file(&f.tar, "was-dir", "2");
        make_dir(&f.tar, "was-link");
        make_file(&f.tar, "was-link/new", "2");
        make_entry(&f.tar, (MakeEntry){.type = '5', .name = "kept", .mode = 0700});
        make_file(&f.tar, "kept/new", "2");
        make_entry(&f.tar, (MakeEntry){.type = '6', .name = "kept/old"});
        CHECK_INT(again(&f, &err), 0);
        CHECK(look(&f, "was-file", &st) == 0 && S_ISDIR(st.st_mode));
        CHECK_STR(text_of(&f, "was-dir"), "2");
        CHECK(look(&f, "was-link", &st) == 0 && S_ISDIR(st.st_mode));
        CHECK(has(&f, "was-link/new") && has(&f, "kept/new"));
        CHECK(look(&f, "kept", &st) == 0 && (st.st_mode & 07777) == 0700);
        CHECK(look(&f, "kept/old", &st) == 0 && S_ISFIFO(st.st_mode));
}

TEST(extract_plain_whiteouts)
{
        SETUP(f, 0);

        make_file(&f.tar, "d/gone/deep", "1");
        make_file(&f.tar, "d/stays", "1");
        make_file(&f.tar, "o/old", "1");
        make_file(&f.tar, "o/sub/old", "1");
        CHECK_INT(again(&f, &err), 0);
        make_file(&f.tar, "d/.wh.gone", "");
        make_file(&f.tar, "d/.wh.never-was", "");
        make_file(&f.tar, "o/new", "2");
        make_file(&f.tar, "o/sub/new", "2");
        make_file(&f.tar, "o/.wh..wh..opq", "");
        make_file(&f.tar, "o/newer", "2");
        make_file(&f.tar, ".wh..wh.plnk/1.2", "3");
        CHECK_INT(again(&f, &err), 0);
        CHECK(!has(&f, "d/gone") && has(&f, "d/stays") && !has(&f, "d/.wh.gone"));
        CHECK(!has(&f, "o/old") && !has(&f, "o/sub/old"));
        CHECK(has(&f, "o/new") && has(&f, "o/sub/new") && has(&f, "o/newer") &&
              !has(&f, "o/.wh..wh..opq"));
        CHECK(has(&f, ".wh..wh.plnk/1.2"));
}

TEST(extract_overlay_whiteouts)
{
        char path[512], value[8] = {};
        struct stat st;
        SETUP(f, 1);

        make_entry(&f.tar, (MakeEntry){.type = '0', .name = "d/.wh.gone", .uid = 3, .gid = 4});
        make_file(&f.tar, "missing/o/.wh..wh..opq", "");
        CHECK_INT(again(&f, &err), 0);
        CHECK(look(&f, "d/gone", &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == 0 &&
              st.st_uid == 3);
        snprintf(path, sizeof(path), "%s/missing/o", f.root);
        CHECK(getxattr(path, "trusted.overlay.opaque", value, sizeof(value)) == 1 &&
              value[0] == 'y');
        make_dir(&f.tar, "d/gone");
        CHECK_INT(again(&f, &err), 0);
        CHECK(look(&f, "d/gone", &st) == 0 && S_ISDIR(st.st_mode));
}

TEST(extract_implied_folders_look_like_the_lower_ones)
{
        char path[512];
        struct stat st;
        SETUP(f, 1);

        snprintf(path, sizeof(path), "%s/usr", f.lower);
        CHECK(mkdir(path, 0700) == 0 && chown(path, 11, 12) == 0 && chmod(path, 02711) == 0);
        put(f.lower, "file", "in the way below");
        make_file(&f.tar, "usr/bin/x", "");
        make_file(&f.tar, "file/x", "");
        CHECK_INT(again(&f, &err), 0);
        CHECK(look(&f, "usr", &st) == 0 && st.st_uid == 11 && st.st_gid == 12 &&
              (st.st_mode & 07777) == 02711);
        CHECK(look(&f, "usr/bin", &st) == 0 && st.st_uid == 0 && (st.st_mode & 0777) == 0755);
        CHECK(look(&f, "file", &st) == 0 && S_ISDIR(st.st_mode) && (st.st_mode & 0777) == 0755);
}

TEST(extract_errors_say_what)
{
        SETUP(f, 0);

        make_file(&f.tar, "f", "");
        make_file(&f.tar, "f/sub/x", "");
        CHECK(again(&f, &err) == -UNKNOWN);
        CHECK_STR(err.msg, "mkparent /r/f: not a directory");
        make_entry(&f.tar, (MakeEntry){.type = 'S', .name = "sparse"});
        CHECK(again(&f, &err) == -UNKNOWN);
        CHECK_STR(err.msg, "unhandled tar header type 83");
        make_link(&f.tar, '1', "h", "absent");
        CHECK(again(&f, &err) == -UNKNOWN);
        CHECK(str_starts(err.msg, "link /r/absent /r/h: "));
        make_file(&f.tar, "d/.wh...", "");
        CHECK(again(&f, &err) == -UNKNOWN);
        CHECK_STR(err.msg, "invalid whiteout name: .wh...: invalid archive");
        make_file(&f.tar, ".wh.", "");
        CHECK(again(&f, &err) == -UNKNOWN);
        CHECK_STR(err.msg, "invalid whiteout name: .wh.: invalid archive");
}

TEST(extract_limits)
{
        SETUP(f, 0);

        f.max_bytes = 1000;
        make_entry(&f.tar, (MakeEntry){.type = '0', .name = "zeros", .claim = "77777777777"});
        CHECK(again(&f, &err) == -RESOURCE_EXHAUSTED);
        CHECK_STR(err.msg, "layer needs more than the 1000 bytes there are");
        CHECK(!has(&f, "zeros"));
        f.max_entries = 2;
        for (int i = 0; i < 3; i++)
                make_file(&f.tar, i == 0 ? "1" : i == 1 ? "2" : "3", "");
        CHECK(again(&f, &err) == -RESOURCE_EXHAUSTED);
        CHECK(has(&f, "2") && !has(&f, "3"));
}

/* Names that climb stay inside, wherever a name can stand. */
TEST(extract_climbing_cve_2014_6407)
{
        SETUP(f, 0);

        make_file(&f.tar, "../canary/secret", "stolen");
        make_file(&f.tar, "/../canary/secret2", "stolen");
        make_file(&f.tar, "x/../../canary/secret3", "stolen");
        make_dir(&f.tar, "../canary");
        make_entry(&f.tar, (MakeEntry){.type = '5', .name = "..", .mode = 0777});
        make_entry(&f.tar, (MakeEntry){.type = '2', .name = ".", .link = "/etc"});
        make_file(&f.tar, "../.wh.canary", "");
        make_file(&f.tar, "../../canary/.wh.secret", "");
        CHECK_INT(again(&f, &err), 0);
        CHECK(canary_ok(&f));
        CHECK(has(&f, "canary") && !has(&f, "canary/secret") && !has(&f, "canary/secret2"));
        make_link(&f.tar, '1', "h", "../canary/secret");
        CHECK(again(&f, &err) < 0);
        make_link(&f.tar, '1', "h", "/../../canary/secret");
        CHECK(again(&f, &err) < 0);
        CHECK(canary_ok(&f));
}

/* Links first, then names through them: absolute, relative, chained, to folders and to files. */
TEST(extract_through_links_cve_2014_9356_cve_2026_17106)
{
        char abs_dir[400], abs_file[400];
        SETUP(f, 0);

        snprintf(abs_dir, sizeof(abs_dir), "%.90s", f.canary);
        snprintf(abs_file, sizeof(abs_file), "%.80s/secret", f.canary);
        const char *targets[] = {abs_dir, "../canary", "../../a/canary", "./../canary",
                                 "up/canary"};

        for (int overlay = 0; overlay < 2; overlay++)
                for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
                        const char *attacks[] = {"l/secret", "l/new", "l/.wh.secret",
                                                 "l/.wh..wh..opq", "l/sub/deep"};

                        for (size_t k = 0; k < ARRAY_LEN(attacks); k++) {
                                f.overlay = overlay;
                                make_link(&f.tar, '2', "up", "..");
                                make_link(&f.tar, '2', "l", targets[i]);
                                make_file(&f.tar, attacks[k], "stolen");
                                (void)again(&f, &err);
                                CHECK(canary_ok(&f));
                                make_link(&f.tar, '2', "l", targets[i]);
                                make_entry(&f.tar, (MakeEntry){.type = '3',
                                                               .name = "l/dev",
                                                               .major = 1,
                                                               .minor = 3});
                                (void)again(&f, &err);
                                make_link(&f.tar, '2', "l", targets[i]);
                                make_link(&f.tar, '1', "h", "l/secret");
                                (void)again(&f, &err);
                                make_entry(&f.tar,
                                           (MakeEntry){.type = '5', .name = "l", .mode = 0777});
                                make_file(&f.tar, "l/secret", "stolen");
                                (void)again(&f, &err);
                                CHECK(canary_ok(&f));
                        }
                }
        make_link(&f.tar, '2', "file", abs_file);
        make_file(&f.tar, "file", "replaces the link");
        CHECK_INT(again(&f, &err), 0);
        CHECK(canary_ok(&f));
        CHECK_STR(text_of(&f, "file"), "replaces the link");
}

/* A symlink, a hard link to it, then attributes for the hard link. */
TEST(extract_chmod_through_link_cve_2021_32760)
{
        char abs_file[400];
        SETUP(f, 0);

        snprintf(abs_file, sizeof(abs_file), "%.80s/secret", f.canary);
        make_link(&f.tar, '2', "a", abs_file);
        make_entry(&f.tar,
                   (MakeEntry){.type = '1', .name = "b", .link = "a", .mode = 0777, .uid = 1000});
        CHECK_INT(again(&f, &err), 0);
        CHECK(canary_ok(&f));
        make_entry(&f.tar, (MakeEntry){.type = '0', .name = "b", .mode = 0777, .data = "mine"});
        CHECK_INT(again(&f, &err), 0);
        CHECK(canary_ok(&f));
}

TEST(extract_dangling_and_looping_links)
{
        struct stat st;
        SETUP(f, 0);

        make_link(&f.tar, '2', "l", "/made/by/need");
        make_file(&f.tar, "l/f", "x");
        make_link(&f.tar, '2', "r", "../../../rel");
        make_file(&f.tar, "r/f", "y");
        CHECK_INT(again(&f, &err), 0);
        CHECK_STR(text_of(&f, "made/by/need/f"), "x");
        CHECK_STR(text_of(&f, "rel/f"), "y");
        make_link(&f.tar, '2', "p", "q");
        make_link(&f.tar, '2', "q", "p");
        make_file(&f.tar, "p/f", "x");
        CHECK(again(&f, &err) < 0);
        /* Each of the chain is tried, and none leads out. */
        make_link(&f.tar, '2', "1", "2/x");
        make_link(&f.tar, '2', "2", "3/x");
        make_link(&f.tar, '2', "3", "1/x");
        make_file(&f.tar, "1/f", "x");
        CHECK(again(&f, &err) < 0);
        CHECK(look(&f, "l", &st) == 0 && S_ISLNK(st.st_mode) && canary_ok(&f));
}

TEST(extract_trusted_attributes_are_not_the_archives_to_set)
{
        char path[512], value[8];
        SETUP(f, 1);

        make_pax(&f.tar, "SCHILY.xattr.trusted.overlay.redirect", "/etc");
        make_dir(&f.tar, "d");
        CHECK_INT(again(&f, &err), 0);
        snprintf(path, sizeof(path), "%s/d", f.root);
        CHECK(getxattr(path, "trusted.overlay.redirect", value, sizeof(value)) < 0);
}

TEST(grant_refuses_what_is_not_its_business)
{
        int out CLEANUP(cleanup_fd) = -1, in CLEANUP(cleanup_fd) = -1,
                file CLEANUP(cleanup_fd) = -1;
        WorkerMknodMsg m = {.name = "n", .mode = S_IFCHR | 0600, .major = 1, .minor = 3};
        struct stat st;
        SETUP(f, 1);

        (void)err;
        out = open(f.canary, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        in = openat(f.root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        file = openat(f.root_fd, "f", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        CHECK_INT(grant_xattr(&f.grant, out, "trusted.overlay.opaque", "y", 1), EPERM);
        CHECK_INT(grant_xattr(&f.grant, -1, "trusted.overlay.opaque", "y", 1), EPERM);
        CHECK_INT(grant_xattr(&f.grant, file, "trusted.overlay.opaque", "y", 1), EPERM);
        CHECK_INT(grant_xattr(&f.grant, in, "trusted.overlay.opaque", "x", 1), EPERM);
        CHECK_INT(grant_xattr(&f.grant, in, "trusted.overlay.redirect", "/", 1), EPERM);
        CHECK_INT(grant_xattr(&f.grant, in, "user.x", "y", 1), EPERM);
        CHECK_INT(grant_xattr(&f.grant, in, "security.capability", "y", 1), EPERM);
        CHECK_INT(grant_xattr(&f.grant, in, "trusted.overlay.opaque", "y", 1), 0);
        CHECK_INT(grant_mknod(&f.grant, out, &m), EPERM);
        CHECK_INT(grant_mknod(&f.grant, file, &m), EPERM);
        m.name = "../n";
        CHECK_INT(grant_mknod(&f.grant, in, &m), EPERM);
        m.name = "..";
        CHECK_INT(grant_mknod(&f.grant, in, &m), EPERM);
        m = (WorkerMknodMsg){.name = "n", .mode = S_IFREG | 0600};
        CHECK_INT(grant_mknod(&f.grant, in, &m), EPERM);
        m = (WorkerMknodMsg){
                .name = "n", .mode = S_IFBLK | 06640, .major = 7, .minor = 1, .uid = 4, .gid = 5};
        CHECK_INT(grant_mknod(&f.grant, in, &m), 0);
        CHECK(look(&f, "n", &st) == 0 && st.st_mode == (S_IFBLK | 06640) && st.st_uid == 4 &&
              st.st_gid == 5);
        CHECK_INT(grant_implied(&f.grant, out, "x"), EPERM);
        CHECK_INT(grant_implied(&f.grant, in, "../canary"),
                  0); /* not there below: the walk ends at the lower folder */
        CHECK(fstat(in, &st) == 0 && (st.st_mode & 0777) == 0755);
        f.grant.overlay = 0;
        CHECK_INT(grant_xattr(&f.grant, in, "trusted.overlay.opaque", "y", 1), EPERM);
        CHECK(canary_ok(&f));
}
