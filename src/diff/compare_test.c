/* SPDX-License-Identifier: Apache-2.0 */
/* Trees compared in this process, without a worker; and a worker that is not ours, which lies. */
#include "diff/compare.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/limits.h"
#include "base/path.h"
#include "base/str.h"
#include "base/test.h"
#include "diff/compare_tar.h"
#include "worker/sandbox.h"

enum { SEC = 1000000 };

typedef struct Trees {
        int a, b, h; /* folders: lower, upper, hint */
        int bounded;
        Time bound;
        int hinted; /* walk with the hint */
        int opaque; /* what the hint's folders say */
        int asked;
        Str layer, text;
} Trees;

static int open_tree_dir(const char *name)
{
        char path[600];

        snprintf(path, sizeof(path), "%s/%s", test_tmpdir(), name);
        mkdir(path, 0755);
        return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void trees_begin(Trees *t)
{
        umask(022);
        t->a = open_tree_dir("a");
        t->b = open_tree_dir("b");
        t->h = open_tree_dir("h");
}

static void trees_end(Trees *t)
{
        fd_close(t->a);
        fd_close(t->b);
        fd_close(t->h);
        str_done(&t->layer);
        str_done(&t->text);
}

#define TREES(t)                         \
        Trees t CLEANUP(trees_end) = {}; \
        trees_begin(&t)

static void set_time(int tree, const char *name, int64_t sec, long nsec)
{
        struct timespec ts[2] = {{.tv_sec = sec, .tv_nsec = nsec},
                                 {.tv_sec = sec, .tv_nsec = nsec}};

        if (utimensat(tree, name, ts, AT_SYMLINK_NOFOLLOW) < 0)
                test_fail(__FILE__, __LINE__, "utimensat %s: %m", name);
}

static void put_at(int tree, const char *name, const char *data, int64_t sec, long nsec)
{
        Err err = {};

        if (file_write(tree, name, data, strlen(data), 0644, &err) < 0)
                test_fail(__FILE__, __LINE__, "%s", err.msg);
        set_time(tree, name, sec, nsec);
}

static void put(int tree, const char *name, const char *data)
{
        put_at(tree, name, data, SEC, 5);
}

static void folder(int tree, const char *name)
{
        if (mkdirat(tree, name, 0755) < 0)
                test_fail(__FILE__, __LINE__, "mkdir %s: %m", name);
}

static int collect(void *ctx, const void *p, size_t n, Err *err)
{
        str_add_n(ctx, p, n);
        return 0;
}

static int is_opaque(void *ctx, int fd, int *ret, Err *err)
{
        Trees *t = ctx;

        t->asked++;
        *ret = t->opaque;
        return 0;
}

static int compare(Trees *t, Err *err)
{
        LayerOptions o = {
                .upper_fd = t->b,
                .bounded = t->bounded,
                .bound = t->bound,
                .sink = collect,
                .sink_ctx = &t->layer,
        };
        Layer *l CLEANUP(layer_freep) = layer_new(&o);
        CompareWalk w = {
                .lower_fd = t->a,
                .upper_fd = t->b,
                .hint_fd = t->hinted ? t->h : -1,
                .opaque = is_opaque,
                .opaque_ctx = t,
                .change = layer_change,
                .change_ctx = l,
        };
        int r;

        str_truncate(&t->layer, 0);
        r = compare_walk(&w, err);
        return r < 0 ? r : layer_finish(l, err);
}

typedef struct Source {
        const Str *s;
        int given;
} Source;

static int all_at_once(void *ctx, const uint8_t **ret, size_t *ret_n, Err *err)
{
        Source *s = ctx;

        *ret = (const uint8_t *)s->s->data;
        *ret_n = s->given++ ? 0 : s->s->len;
        return 0;
}

/* One line for each entry: "TYPE NAME [> LINK] [= DATA]", times of files and folders left out. */
static const char *text_of(const Str *layer, Str *text)
{
        Source src = {.s = layer};
        TarReader t;
        TarEntry e;
        Err err = {};
        int r;

        str_truncate(text, 0);
        tar_reader_init(&t, all_at_once, &src);
        while ((r = tar_next(&t, &e, &err)) == 1) {
                const uint8_t *p;
                uint64_t offset;
                size_t n;

                str_addf(text, "%c %s", e.type, e.name);
                if (e.link && *e.link)
                        str_addf(text, " > %s", e.link);
                if (e.n_xattrs)
                        str_addf(text, " +%s", e.xattrs[0].name);
                if (e.size) {
                        str_add(text, " = ");
                        while (tar_data(&t, &p, &n, &offset, &err) == 0 && n > 0)
                                str_add_n(text, p, n);
                }
                str_add_char(text, '\n');
        }
        if (r < 0)
                str_addf(text, "%s\n", err.msg);
        tar_reader_done(&t);
        return str_get(text);
}

static const char *layer(Trees *t)
{
        Err err = {};

        if (compare(t, &err) < 0) {
                test_fail(__FILE__, __LINE__, "%s", err.msg);
                return "";
        }
        return text_of(&t->layer, &t->text);
}

TEST(compare_finds_nothing_in_equal_trees)
{
        TREES(t);

        for (int i = 0; i < 2; i++) {
                int tree = i ? t.b : t.a;

                folder(tree, "d");
                put(tree, "d/f", "same");
                put_at(tree, "whole-second", "same", SEC, 0);
                CHECK(symlinkat("to", tree, "l") == 0);
                set_time(tree, "l", SEC, 7);
        }
        CHECK_STR(layer(&t), "");
        CHECK_INT(t.layer.len, 1024);
}

TEST(compare_added_modified_deleted)
{
        TREES(t);

        folder(t.a, "d");
        put(t.a, "d/changed", "old");
        put(t.a, "d/gone", "old");
        folder(t.a, "tree");
        put(t.a, "tree/x", "x");
        folder(t.b, "d");
        put(t.b, "d/changed", "new data");
        put(t.b, "d/added", "1");
        folder(t.b, "new");
        folder(t.b, "new/er");
        put(t.b, "new/er/f", "2");
        CHECK_STR(layer(&t), "5 d/\n"
                             "0 d/added = 1\n"
                             "0 d/changed = new data\n"
                             "0 d/.wh.gone\n"
                             "5 new/\n"
                             "5 new/er/\n"
                             "0 new/er/f = 2\n"
                             "0 .wh.tree\n");
}

/* Names are sorted within their folder, whatever the whole paths' order is. */
TEST(compare_order_is_by_folder)
{
        TREES(t);

        folder(t.b, "a");
        put(t.b, "a/x", "1");
        put(t.b, "a.b", "2");
        put(t.b, "a-", "3");
        CHECK_STR(layer(&t), "5 a/\n0 a/x = 1\n0 a- = 3\n0 a.b = 2\n");
}

TEST(compare_bytes_when_both_times_are_whole)
{
        TREES(t);

        put_at(t.a, "both", "aaa", SEC, 0);
        put_at(t.b, "both", "bbb", SEC, 0);
        put_at(t.a, "fraction", "aaa", SEC, 5);
        put_at(t.b, "fraction", "bbb", SEC, 5); /* trusted: nobody writes without a new time */
        put_at(t.a, "one", "aaa", SEC, 0);
        put_at(t.b, "one", "aaa", SEC, 5);
        put_at(t.a, "second", "aaa", SEC, 5);
        put_at(t.b, "second", "aaa", SEC + 1, 5);
        put_at(t.a, "size", "aaa", SEC, 5);
        put_at(t.b, "size", "aaaa", SEC, 5);
        CHECK_STR(layer(&t), "0 both = bbb\n0 one = aaa\n0 second = aaa\n0 size = aaaa\n");
}

TEST(compare_metadata)
{
        TREES(t);

        for (int i = 0; i < 2; i++) {
                int tree = i ? t.b : t.a;

                put(tree, "mode", "x");
                put(tree, "owner", "x");
                put(tree, "caps", "x");
                folder(tree, "dir-mode");
                folder(tree, "dir-time");
        }
        if (geteuid() != 0) {
                test_skip("needs root");
                return;
        }
        CHECK(fchmodat(t.b, "mode", 04755, 0) == 0);
        CHECK(fchownat(t.b, "owner", 7, 8, 0) == 0);
        set_time(t.b, "owner", SEC, 5);
        CHECK(fchmodat(t.b, "dir-mode", 01777, 0) == 0);
        set_time(t.b, "dir-time", SEC, 0);
        {
                char path[600];
                const uint8_t caps[20] = {1, 0, 0, 2, 0, 0x20};

                snprintf(path, sizeof(path), "%s/b/caps", test_tmpdir());
                CHECK(setxattr(path, "security.capability", caps, sizeof(caps), 0) == 0);
                CHECK(setxattr(path, "user.other", "x", 1, 0) == 0);
        }
        CHECK_STR(layer(&t), "0 caps +security.capability = x\n"
                             "5 dir-mode/\n"
                             "0 mode = x\n"
                             "0 owner = x\n");
}

TEST(compare_kinds)
{
        TREES(t);
        struct sockaddr_un sa = {.sun_family = AF_UNIX};
        int sock CLEANUP(cleanup_fd) = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        folder(t.a, "dir-to-file");
        put(t.a, "dir-to-file/x", "x");
        put(t.b, "dir-to-file", "f");
        put(t.a, "file-to-dir", "f");
        folder(t.b, "file-to-dir");
        put(t.b, "file-to-dir/x", "x");
        CHECK(symlinkat("aaa", t.a, "link") == 0 && symlinkat("bbb", t.b, "link") == 0);
        set_time(t.a, "link", SEC, 5);
        set_time(t.b, "link", SEC, 5);
        CHECK(mkfifoat(t.b, "pipe", 0600) == 0);
        snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/b/sock", test_tmpdir());
        CHECK(bind(sock, (const struct sockaddr *)&sa, sizeof(sa)) == 0);
        CHECK_STR(layer(&t), "0 dir-to-file = f\n"
                             "5 file-to-dir/\n"
                             "0 file-to-dir/x = x\n"
                             "2 link > bbb\n"
                             "6 pipe\n");
}

TEST(compare_device_nodes)
{
        TREES(t);
        Source src = {.s = &t.layer};
        TarReader r;
        TarEntry e;
        Err err = {};

        if (mknodat(t.b, "dev", S_IFBLK | 0640, makedev(300, 70000)) < 0) {
                test_skip("needs root");
                return;
        }
        CHECK(mknodat(t.a, "other", S_IFCHR | 0600, makedev(1, 3)) == 0);
        CHECK(mknodat(t.b, "other", S_IFCHR | 0600, makedev(1, 5)) == 0);
        set_time(t.a, "other", SEC, 1);
        set_time(t.b, "other", SEC, 1);
        CHECK_STR(layer(&t), "4 dev\n3 other\n");
        tar_reader_init(&r, all_at_once, &src);
        CHECK(tar_next(&r, &e, &err) == 1 && e.major == 300 && e.minor == 70000 && e.mode == 0640);
        CHECK(tar_next(&r, &e, &err) == 1 && e.major == 1 && e.minor == 5);
        tar_reader_done(&r);
}

TEST(compare_names_of_one_file)
{
        TREES(t);

        for (int i = 0; i < 2; i++) {
                int tree = i ? t.b : t.a;

                folder(tree, "a");
                put(tree, "a/1", "same");
                CHECK(linkat(tree, "a/1", tree, "2", 0) == 0);
                put(tree, "untouched", "same");
                CHECK(linkat(tree, "untouched", tree, "untouched2", 0) == 0);
        }
        CHECK_STR(layer(&t), "");
        /* A third name: the first two have not changed and are links to it nevertheless. */
        CHECK(linkat(t.b, "a/1", t.b, "b", 0) == 0);
        CHECK(linkat(t.b, "a/1", t.b, "c", 0) == 0);
        CHECK_STR(layer(&t), "0 b = same\n"
                             "1 2 > b\n"
                             "5 a/\n"
                             "1 a/1 > b\n"
                             "1 c > b\n");
        /* The bytes of all of them. */
        put(t.b, "2", "other");
        CHECK_STR(layer(&t), "0 2 = other\n5 a/\n1 a/1 > 2\n1 b > 2\n1 c > 2\n");
}

TEST(compare_with_nothing)
{
        TREES(t);
        int b = t.b;

        put(t.b, "f", "1");
        fd_close(t.a);
        t.a = -1;
        CHECK_STR(layer(&t), "0 f = 1\n");
        t.a = b;
        t.b = -1;
        CHECK_STR(layer(&t), "0 .wh.f\n");
        t.a = -1;
        CHECK_STR(layer(&t), "");
        t.b = b;
}

TEST(compare_bounds_times)
{
        TREES(t);
        Source src = {.s = &t.layer};
        TarReader r;
        TarEntry e;
        Err err = {};

        put_at(t.b, "a-old", "", 100, 900);
        put_at(t.b, "b-new", "", 201, 0);
        put_at(t.b, "c-before", "", -100, 5);
        put(t.a, "d-gone", "");
        t.bounded = 1;
        t.bound = (Time){.sec = 200, .nsec = 7};
        layer(&t);
        tar_reader_init(&r, all_at_once, &src);
        CHECK(tar_next(&r, &e, &err) == 1 && e.mtime.sec == 100 && e.mtime.nsec == 0);
        CHECK(tar_next(&r, &e, &err) == 1 && e.mtime.sec == 200 && e.mtime.nsec == 0);
        CHECK(tar_next(&r, &e, &err) == 1 && e.mtime.sec == -100 && e.mtime.nsec == 0);
        CHECK(tar_next(&r, &e, &err) == 1 && e.mtime.sec == 0 && e.mode == 0);
        tar_reader_done(&r);
}

/* Deeper than there are descriptors, and up again. */
TEST(compare_deep_trees)
{
        TREES(t);
        int fd = dup(t.b), depth = 1500;
        const char *text;

        for (int i = 0; i < depth; i++) {
                int next;

                CHECK(mkdirat(fd, "d", 0755) == 0);
                next = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                put(next, "z", "");
                fd_close(fd);
                fd = next;
        }
        fd_close(fd);
        text = layer(&t);
        int lines = 0;

        for (; *text; text++)
                lines += *text == '\n';
        CHECK_INT(lines, 2 * depth);
        fd = dup(t.b);
        CHECK(fchdir(t.b) == 0);
        for (int i = 0; i < 700; i++)
                CHECK(mkdir("eeee", 0755) == 0 && chdir("eeee") == 0);
        for (int i = 0; i < 700; i++)
                CHECK(mkdir("eeee", 0755) == 0 && chdir("eeee") == 0);
        CHECK(chdir("/") == 0);
        fd_close(fd);

        Err err = {};

        CHECK(compare(&t, &err) == -RESOURCE_EXHAUSTED);
        CHECK(strstr(err.msg, "path is longer than 4094 bytes: eeee/eeee/") != NULL);
}

/* Only what the hint names is looked at; a folder that hides what is below is read whole. */
TEST(compare_with_a_hint)
{
        TREES(t);

        folder(t.a, "d");
        put(t.a, "d/named", "old");
        put(t.a, "d/other", "old");
        folder(t.b, "d");
        put(t.b, "d/named", "new!");
        put(t.b, "d/other", "new!");
        put(t.b, "top", "1");
        folder(t.h, "d");
        put(t.h, "d/named", "");
        put(t.h, "d/neither", "");
        t.hinted = 1;
        CHECK_STR(layer(&t), "5 d/\n0 d/named = new!\n");
        CHECK_INT(t.asked, 2);
        t.opaque = 1;
        CHECK_STR(layer(&t), "5 d/\n0 d/named = new!\n0 d/other = new!\n0 top = 1\n");
        t.hinted = 0;
        CHECK_STR(layer(&t), "5 d/\n0 d/named = new!\n0 d/other = new!\n0 top = 1\n");
}

/* Every number of names around the powers of two, in an order that the folder chooses. */
TEST(compare_sorts_large_folders)
{
        TREES(t);

        for (int n = 1; n <= 260; n++) {
                const char *line;
                char name[20], last[20] = "";
                int lines = 0;

                snprintf(name, sizeof(name), "%d", n * 7919 % 100003);
                put(t.b, name, "");
                if (n > 9 && n % 64 > 1 && n % 64 < 63)
                        continue;
                for (line = layer(&t); *line; line = strchr(line, '\n') + 1) {
                        CHECK(sscanf(line, "0 %19s", name) == 1);
                        CHECK(strcmp(last, name) < 0);
                        strcpy(last, name);
                        lines++;
                }
                CHECK_INT(lines, n);
        }
}

static int stop(void *ctx, const Change *c, Err *err)
{
        return err_set(err, ABORTED, "enough");
}

TEST(compare_passes_failures_on)
{
        TREES(t);
        CompareWalk w = {.lower_fd = -1, .upper_fd = t.b, .hint_fd = -1, .change = stop};
        Err err = {};

        put(t.b, "f", "");
        CHECK(compare_walk(&w, &err) == -ABORTED);
        CHECK_STR(err.msg, "enough");
}

/* A file that is replaced between the walk and the copy. */
TEST(compare_looks_again)
{
        TREES(t);
        LayerOptions o = {.upper_fd = t.b, .sink = collect, .sink_ctx = &t.layer};
        Layer *l CLEANUP(layer_freep) = layer_new(&o);
        struct stat st;
        Err err = {};

        put(t.b, "f", "data");
        CHECK(fstatat(t.b, "f", &st, 0) == 0);

        Change c = {.kind = CHANGE_ADD, .path = "f", .dir_fd = t.b, .name = "f", .st = &st};

        CHECK(unlinkat(t.b, "f", 0) == 0);
        CHECK_INT(layer_change(l, &c, &err), 0);
        CHECK_INT(t.layer.len, 0);
        CHECK(symlinkat("/etc/passwd", t.b, "f") == 0);
        CHECK_INT(layer_change(l, &c, &err), 0);
        CHECK_INT(t.layer.len, 0);
        c.kind = CHANGE_MODIFY;
        CHECK_INT(layer_change(l, &c, &err), 0);
        CHECK(unlinkat(t.b, "f", 0) == 0);
        CHECK(mkfifoat(t.b, "f", 0600) == 0); /* must not be waited for */
        CHECK_INT(layer_change(l, &c, &err), 0);
        CHECK_STR(text_of(&t.layer, &t.text), "0 .wh.f\n0 .wh.f\n");
}

TEST(compare_formats)
{
        WorkerFormat f;
        const char *type;
        Err err = {};

        CHECK(diff_format("", &f, &type, &err) == 0 && f == WORKER_FORMAT_GZIP);
        CHECK_STR(type, "application/vnd.oci.image.layer.v1.tar+gzip");
        CHECK(diff_format("application/vnd.oci.image.layer.v1.tar+zstd", &f, &type, &err) == 0);
        CHECK(f == WORKER_FORMAT_ZSTD);
        CHECK(diff_format("application/vnd.oci.image.layer.v1.tar", &f, &type, &err) == 0);
        CHECK(f == WORKER_FORMAT_RAW);
        CHECK(diff_format("text/plain", &f, &type, &err) == -UNIMPLEMENTED);
        CHECK_STR(err.msg, "unsupported diff media type: text/plain: not implemented");
}

/* ---- a worker that has been taken over ---- */

enum { PARENT = 3 };

/* What it says instead of the truth. "1234" is four bytes of layer. */
static const struct {
        const char *what;
        int close_pipe, say;
        WorkerMsg m;
        const char *error; /* the end of it */
} lies[] = {
        {"more bytes than came",
         1,
         1,
         {.type = WORKER_MSG_DONE, .done = {9, 0, "", 5}},
         "malformed message from worker"},
        {"a digest that nobody asked for",
         1,
         1,
         {.type = WORKER_MSG_DONE,
          .done = {4, 0, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                   4}},
         "malformed message from worker"},
        {"another job's message",
         1,
         1,
         {.type = WORKER_MSG_ENTRY, .entry = {0, 1, "a", "b"}},
         "malformed message from worker"},
        {"a question about a hint that there is not",
         0,
         1,
         {.type = WORKER_MSG_OPAQUE},
         "malformed message from worker"},
        {"done, and goes on writing", 0, 1, {.type = WORKER_MSG_DONE, .done = {4, 0, "", 4}}, ""},
        {"nothing", 1, 0, {}, "ended with status 0 before its job was done"},
        {"its own failure",
         1,
         1,
         {.type = WORKER_MSG_FAILED, .failed = {ABORTED, "enough"}},
         "enough"},
};

static void play_worker(int lie)
{
        static uint8_t packet[WORKER_MSG_MAX];
        WorkerMsg hello = {.type = WORKER_MSG_HELLO}, job;
        int fds[WORKER_FDS_MAX];
        Err err = {};

        if (sandbox_unshare(&err) < 0 || worker_msg_send(PARENT, &hello, NULL, 0, &err) < 0 ||
            worker_msg_recv(PARENT, -1, packet, &job, fds, &err) < 0 ||
            fd_write_all(fds[0], "1234", 4) < 0)
                _exit(9);
        if (lies[lie].close_pipe)
                fd_close(fds[0]);
        if (lies[lie].say)
                worker_msg_send(PARENT, &lies[lie].m, NULL, 0, &err);
        _exit(0);
}

/* This program is the worker when a script names it as its interpreter: see compare_with(). */
__attribute__((constructor)) static void maybe_worker(int argc, char **argv)
{
        if (argc > 1 && str_starts(argv[1], "lie="))
                play_worker(atoi(argv[1] + 4));
}

static int begin(void *ctx, Err *err)
{
        return 0;
}

static int finish(void *ctx, const DiffCompared *what, Err *err)
{
        return 0;
}

static int compare_with(int lie, Str *got, Err *err)
{
        char self[512] = {}, text[600], script[600], tmp[600];
        DiffCompare c = {
                .format = WORKER_FORMAT_RAW,
                .sink = {begin, collect, finish, got},
                .tmp_root = tmp,
                .worker_path = script,
        };

        if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
                return err_sys(err, errno, "readlink");
        snprintf(tmp, sizeof(tmp), "%s/tmpmounts", test_tmpdir());
        snprintf(script, sizeof(script), "%s/worker", test_tmpdir());
        snprintf(text, sizeof(text), "#!%s lie=%d\n", self, lie);
        if (file_write(AT_FDCWD, script, text, strlen(text), 0755, err) < 0)
                return -err->code;
        err_clear(err);
        return diff_compare(&c, err);
}

TEST(compare_believes_no_worker)
{
        if (geteuid() != 0) {
                test_skip("needs root");
                return;
        }
        for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
                Str got CLEANUP(str_done) = {};
                Err err = {};
                int r = compare_with((int)i, &got, &err);
                size_t n = strlen(lies[i].error), len = strlen(err.msg);

                CHECK(r < 0 || !*lies[i].error);
                if (r < 0 && (len < n || strcmp(err.msg + len - n, lies[i].error) != 0))
                        test_fail(__FILE__, __LINE__, "%s: %s", lies[i].what, err.msg);
                CHECK(got.len <= 4);
        }
}
