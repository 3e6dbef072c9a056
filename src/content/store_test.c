/* SPDX-License-Identifier: Apache-2.0 */
#include "content/store.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/test.h"

#define HELLO_SHA256 "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
#define OTHER_SHA256 "sha256:04a6f55face2f46be8c23f627d539827615851e10751b63ec59db6d2c706b770"
#define HELLO_SHA512                                                                                                \
        "sha512:9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca72323c3d99ba5c11d7c7acc6e14b8c5da0c" \
        "4663475c2e5c3adef46f73bcdec043"

typedef struct Fixture {
        Arena a;
        Err err;
        char *root;
        ContentStore *s;
} Fixture;

static void fixture_open(Fixture *f)
{
        arena_init(&f->a, SIZE_MAX);
        f->root = path_join(&f->a, test_tmpdir(), "content");
        if (content_store_open(f->root, &f->s, &f->err) < 0)
                abort();
}

static void fixture_done(Fixture *f)
{
        fault_arm(0);
        content_store_free(f->s);
        path_remove_tree(AT_FDCWD, f->root, &f->err);
        arena_done(&f->a);
}

static Digest digest(const char *text)
{
        Digest d;
        Err err;

        if (digest_parse(text, &d, &err) < 0)
                abort();
        return d;
}

static int exists(Fixture *f, const char *path)
{
        return access(path_join(&f->a, f->root, path), F_OK) == 0;
}

static size_t n_ingests(Fixture *f, const char *prefix)
{
        ContentStatus *st;
        size_t n;

        if (content_statuses(f->s, &f->a, prefix, &st, &n, &f->err) < 0)
                abort();
        return n;
}

enum { LARGE = 2 * 1024 * 1024 }; /* an ingest of so much has a folder from the start */

/* Writes text under ref and commits; the blob stays pinned on success. */
static int put_as(Fixture *f, uint64_t total, const char *ref, const char *text,
                  const char *expected, Digest *ret)
{
        ContentWriter *w CLEANUP(content_writer_closep) = NULL;
        Digest want;
        int r;

        if (expected)
                want = digest(expected);
        r = content_writer_open(f->s, ref, total, &w, &f->err);
        if (r == 0 && content_writer_offset(w) > 0)
                r = content_writer_truncate(w, 0, &f->err);
        if (r == 0)
                r = content_writer_write(w, text, strlen(text), &f->err);
        if (r == 0)
                r = content_writer_commit(w, strlen(text), expected ? &want : NULL, ret, &f->err);
        return r;
}

static int put(Fixture *f, const char *ref, const char *text, const char *expected, Digest *ret)
{
        return put_as(f, 0, ref, text, expected, ret);
}

TEST(blob_is_written_and_read)
{
        Fixture f CLEANUP(fixture_done) = {};
        ContentInfo info;
        struct stat st;
        Digest d;
        int fd CLEANUP(cleanup_fd) = -1;
        char text[8] = "";
        uint64_t n;

        fixture_open(&f);
        CHECK(put(&f, "n/1/r", "hello", HELLO_SHA256, &d) == 0);
        content_unpin(f.s, &d);
        CHECK_STR(d.text, HELLO_SHA256);
        CHECK(content_info(f.s, &d, &info, &f.err) == 0);
        CHECK_INT(info.size, 5);
        CHECK(content_open(f.s, &d, &fd, &n, &f.err) == 0 && n == 5);
        CHECK_INT(fd_read_all(fd, text, sizeof(text)), 5);
        CHECK_STR(text, "hello");
        CHECK(stat(path_join(
                           &f.a, f.root,
                           "blobs/sha256/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"),
                   &st) == 0);
        CHECK((st.st_mode & 07333) == 0);
        CHECK_INT(n_ingests(&f, ""), 0);
}

TEST(blob_missing_is_not_found)
{
        Fixture f CLEANUP(fixture_done) = {};
        Digest d = digest(HELLO_SHA256);
        ContentInfo info;
        uint64_t size;
        int fd;

        fixture_open(&f);
        CHECK(content_info(f.s, &d, &info, &f.err) == -NOT_FOUND);
        CHECK_STR(f.err.msg, "content " HELLO_SHA256 ": not found");
        CHECK(content_open(f.s, &d, &fd, &size, &f.err) == -NOT_FOUND);
}

TEST(sha512_is_checked_and_names_the_blob)
{
        Fixture f CLEANUP(fixture_done) = {};
        Digest d;

        fixture_open(&f);
        CHECK(put(&f, "n/1/r", "hello", HELLO_SHA512, &d) == 0);
        CHECK_STR(d.text, HELLO_SHA512);
        content_unpin(f.s, &d);
        CHECK(exists(&f, "blobs/sha512"));
        CHECK(put(&f, "n/1/r", "hellO", HELLO_SHA512, &d) == -FAILED_PRECONDITION);
}

TEST(wrong_digest_is_refused)
{
        Fixture f CLEANUP(fixture_done) = {};
        Digest d;

        fixture_open(&f);
        CHECK(put(&f, "n/1/r", "hellO", HELLO_SHA256, &d) == -FAILED_PRECONDITION);
        CHECK_STR(f.err.msg, "unexpected commit digest " OTHER_SHA256 ", expected " HELLO_SHA256
                             ": failed precondition");
        CHECK_INT(n_ingests(&f, ""), 1);
        CHECK(!exists(&f, "blobs"));
}

TEST(size_is_checked)
{
        Fixture f CLEANUP(fixture_done) = {};
        ContentWriter *w CLEANUP(content_writer_closep) = NULL;
        Digest d;

        fixture_open(&f);
        CHECK(content_writer_open(f.s, "n/1/r", 0, &w, &f.err) == 0);
        CHECK(content_writer_write(w, "hello", 5, &f.err) == 0);
        CHECK(content_writer_commit(w, 6, NULL, &d, &f.err) == -FAILED_PRECONDITION);
        CHECK_STR(f.err.msg, "unexpected commit size 5, expected 6: failed precondition");
        CHECK_INT(n_ingests(&f, "n/1/"), 1);
        CHECK_INT(n_ingests(&f, "m/"), 0);
        w = content_writer_close(w);
        /* The lock went with the failed commit, the bytes stayed. */
        CHECK(content_writer_open(f.s, "n/1/r", 0, &w, &f.err) == 0);
        CHECK_INT(content_writer_offset(w), 5);
}

TEST(ingest_resumes_where_it_stopped)
{
        Fixture f CLEANUP(fixture_done) = {};
        ContentWriter *w CLEANUP(content_writer_closep) = NULL;
        ContentStatus st, st2;
        Digest d;

        fixture_open(&f);
        CHECK(content_writer_open(f.s, "n/1/r", 5, &w, &f.err) == 0);
        CHECK(content_writer_write(w, "hel", 3, &f.err) == 0);
        content_writer_status(w, &st);
        w = content_writer_close(w);
        CHECK(content_status(f.s, &f.a, "n/1/r", &st2, &f.err) == 0);
        CHECK_STR(st2.ref, "n/1/r");
        CHECK_INT(st2.offset, 3);
        CHECK_INT(st2.total, 5);
        CHECK(st2.started.sec == st.started.sec && st2.started.nsec == st.started.nsec);
        CHECK(content_writer_open(f.s, "n/1/r", 0, &w, &f.err) == 0);
        CHECK_INT(content_writer_offset(w), 3);
        CHECK(content_writer_write(w, "lo", 2, &f.err) == 0);
        CHECK(content_writer_commit(w, 5, NULL, &d, &f.err) == 0);
        CHECK_STR(d.text, HELLO_SHA256);
        content_unpin(f.s, &d);
        CHECK(content_status(f.s, &f.a, "n/1/r", &st2, &f.err) == -NOT_FOUND);
        CHECK_STR(f.err.msg, "reference n/1/r: not found");
}

TEST(ingest_of_another_total_or_unreadable_starts_over)
{
        Fixture f CLEANUP(fixture_done) = {};
        ContentWriter *w CLEANUP(content_writer_closep) = NULL;
        int dir CLEANUP(cleanup_fd) = -1;
        Digest d;
        char name[200];

        fixture_open(&f);
        CHECK(content_writer_open(f.s, "n/1/r", 5, &w, &f.err) == 0);
        CHECK(content_writer_write(w, "hel", 3, &f.err) == 0);
        w = content_writer_close(w);
        CHECK(content_writer_open(f.s, "n/1/r", 6, &w, &f.err) == 0);
        CHECK_INT(content_writer_offset(w), 0);
        CHECK(content_writer_write(w, "hel", 3, &f.err) == 0);
        w = content_writer_close(w);
        digest_of("n/1/r", 5, &d);
        snprintf(name, sizeof(name), "%s/ingest/%s", f.root, digest_hex(&d));
        dir = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CHECK(dir >= 0);
        CHECK(file_write(dir, "startedat", "yesterday", 9, 0644, &f.err) == 0);
        CHECK_INT(n_ingests(&f, ""), 0);
        CHECK(content_writer_open(f.s, "n/1/r", 6, &w, &f.err) == 0);
        CHECK_INT(content_writer_offset(w), 0);
}

TEST(truncate_starts_over)
{
        Fixture f CLEANUP(fixture_done) = {};
        ContentWriter *w CLEANUP(content_writer_closep) = NULL;
        Digest d;

        fixture_open(&f);
        CHECK(content_writer_open(f.s, "n/1/r", 0, &w, &f.err) == 0);
        CHECK(content_writer_write(w, "something longer", 16, &f.err) == 0);
        CHECK(content_writer_truncate(w, 3, &f.err) == -UNIMPLEMENTED);
        CHECK(content_writer_truncate(w, 0, &f.err) == 0);
        CHECK(content_writer_write(w, "hello", 5, &f.err) == 0);
        content_writer_digest(w, &d);
        CHECK_STR(d.text, HELLO_SHA256);
        CHECK(content_writer_commit(w, 5, NULL, &d, &f.err) == 0);
        content_unpin(f.s, &d);
}

TEST(ref_is_one_writers)
{
        Fixture f CLEANUP(fixture_done) = {};
        ContentWriter *w CLEANUP(content_writer_closep) = NULL;
        ContentWriter *other CLEANUP(content_writer_closep) = NULL;
        Digest d;

        fixture_open(&f);
        CHECK(content_writer_open(f.s, "n/1/r", 0, &w, &f.err) == 0);
        CHECK(content_writer_open(f.s, "n/1/r", 0, &other, &f.err) == -UNAVAILABLE);
        CHECK(str_starts(f.err.msg, "ref n/1/r locked for ") && strstr(f.err.msg, "ms (since 20"));
        CHECK(strstr(f.err.msg, " +0000 UTC m=+") && str_ends(f.err.msg, "): unavailable"));
        CHECK(content_writer_open(f.s, "n/1/r2", 0, &other, &f.err) == 0);
        other = content_writer_close(other);
        /* An aborted ingest cannot be committed. */
        CHECK(content_abort(f.s, "n/1/r", &f.err) == 0);
        CHECK(content_abort(f.s, "n/1/r", &f.err) == -NOT_FOUND);
        CHECK_STR(f.err.msg, "reference n/1/r: not found");
        CHECK(content_writer_commit(w, 0, NULL, &d, &f.err) < 0);
        CHECK(content_writer_open(f.s, "n/1/r", 0, &other, &f.err) == 0);
}

TEST(blob_of_zero_bytes)
{
        Fixture f CLEANUP(fixture_done) = {};
        Digest d;

        fixture_open(&f);
        CHECK(put(&f, "n/1/r", "", NULL, &d) == 0);
        CHECK_STR(d.text,
                  "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        content_unpin(f.s, &d);
}

TEST(blob_damaged_is_healed_by_the_next_commit)
{
        Fixture f CLEANUP(fixture_done) = {};
        ContentInfo info;
        char *path;
        Digest d;

        fixture_open(&f);
        CHECK(put(&f, "n/1/r", "hello", NULL, &d) == 0);
        content_unpin(f.s, &d);
        path = path_join(&f.a, f.root, arena_printf(&f.a, "blobs/sha256/%s", digest_hex(&d)));
        CHECK(truncate(path, 2) == 0);
        CHECK(put(&f, "n/1/r", "hello", NULL, &d) == 0);
        content_unpin(f.s, &d);
        CHECK(content_info(f.s, &d, &info, &f.err) == 0);
        CHECK_INT(info.size, 5);
}

static int says(void *ctx, const Digest *d, Err *err)
{
        return *(int *)ctx;
}

TEST(blob_is_removed_only_unpinned_and_unused)
{
        Fixture f CLEANUP(fixture_done) = {};
        int unused = 1, used = 0, removed;
        Digest d;

        fixture_open(&f);
        CHECK(put(&f, "n/1/r", "hello", NULL, &d) == 0);
        CHECK(content_remove(f.s, &d, says, &unused, &removed, &f.err) == 0);
        CHECK(!removed &&
              exists(&f,
                     "blobs/sha256/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"));
        content_unpin(f.s, &d);
        CHECK(content_remove(f.s, &d, says, &used, &removed, &f.err) == 0);
        CHECK(!removed);
        CHECK(content_remove(f.s, &d, says, &unused, &removed, &f.err) == 0);
        CHECK(removed);
        CHECK(!exists(
                &f,
                "blobs/sha256/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"));
}

static void commit_with_faults(uint64_t total, int at_least)
{
        for (int nth = 1;; nth++) {
                Fixture f CLEANUP(fixture_done) = {};
                Digest d, want = digest(HELLO_SHA256);
                ContentInfo info;
                int r, fired;

                fixture_open(&f);
                fault_arm(nth);
                r = put_as(&f, total, "n/1/r", "hello", HELLO_SHA256, &d);
                fired = fault_fired;
                fault_arm(0);
                if (r == 0) {
                        content_unpin(f.s, &d);
                        CHECK(content_info(f.s, &d, &info, &f.err) == 0);
                        if (!fired) {
                                CHECK(nth > at_least);
                                break;
                        }
                        continue;
                }
                CHECK(f.err.msg[0] && f.err.code == -r);
                CHECK(content_info(f.s, &want, &info, &f.err) == -NOT_FOUND);
                CHECK(put(&f, "n/1/r", "hello", HELLO_SHA256, &d) == 0);
                content_unpin(f.s, &d);
                CHECK_INT(n_ingests(&f, ""), 0);
        }
}

TEST(commit_is_all_or_nothing)
{
        commit_with_faults(LARGE, 10);
}

TEST(commit_of_the_young_is_all_or_nothing)
{
        commit_with_faults(5, 6);
}

static char *folder_of(Fixture *f, const char *ref)
{
        Digest d;

        digest_of(ref, strlen(ref), &d);
        return arena_printf(&f->a, "ingest/%s", digest_hex(&d));
}

TEST(young_ingest_is_known_and_has_no_folder)
{
        Fixture f CLEANUP(fixture_done) = {};
        ContentWriter *w CLEANUP(content_writer_closep) = NULL;
        ContentStatus st;

        fixture_open(&f);
        CHECK(content_writer_open(f.s, "n/1/r", 5, &w, &f.err) == 0);
        CHECK(content_writer_write(w, "hello", 5, &f.err) == 0);
        CHECK(!exists(&f, folder_of(&f, "n/1/r")));
        CHECK_INT(n_ingests(&f, ""), 1);
        CHECK_INT(n_ingests(&f, "m/"), 0);
        CHECK(content_status(f.s, &f.a, "n/1/r", &st, &f.err) == 0);
        CHECK_STR(st.ref, "n/1/r");
        CHECK(st.offset == 5 && st.total == 5 && st.started.sec > 0 && st.updated.sec > 0);
        w = content_writer_close(w);
        CHECK(exists(&f, folder_of(&f, "n/1/r")));
        CHECK(content_status(f.s, &f.a, "n/1/r", &st, &f.err) == 0);
        CHECK(st.offset == 5 && st.total == 5);
        CHECK_INT(n_ingests(&f, ""), 1);
}

TEST(young_ingest_settles_when_a_write_leaves_something_to_come)
{
        Fixture f CLEANUP(fixture_done) = {};
        ContentWriter *w CLEANUP(content_writer_closep) = NULL;
        ContentInfo info;
        ContentStatus st;
        char *text;
        Digest d, want;

        fixture_open(&f);
        text = arena_alloc(&f.a, LARGE);
        digest_of(text, LARGE, &want);
        CHECK(content_writer_open(f.s, "n/1/r", 1000, &w, &f.err) == 0);
        CHECK(content_writer_write(w, text, 1000, &f.err) == 0);
        CHECK(!exists(&f, folder_of(&f, "n/1/r")));
        CHECK(content_writer_write(w, text + 1000, LARGE - 1000, &f.err) == 0);
        CHECK(exists(&f, folder_of(&f, "n/1/r")));
        CHECK_INT(n_ingests(&f, ""), 1);
        CHECK(content_status(f.s, &f.a, "n/1/r", &st, &f.err) == 0);
        CHECK_INT(st.offset, LARGE);
        CHECK(content_writer_commit(w, LARGE, &want, &d, &f.err) == 0);
        content_unpin(f.s, &d);
        CHECK(content_info(f.s, &want, &info, &f.err) == 0);
        CHECK_INT(info.size, LARGE);
        CHECK(!exists(&f, folder_of(&f, "n/1/r")));
}

TEST(young_ingest_that_is_aborted_leaves_nothing)
{
        Fixture f CLEANUP(fixture_done) = {};
        ContentWriter *w CLEANUP(content_writer_closep) = NULL;

        fixture_open(&f);
        CHECK(content_writer_open(f.s, "n/1/r", 5, &w, &f.err) == 0);
        CHECK(content_abort(f.s, "n/1/r", &f.err) == 0);
        CHECK_INT(n_ingests(&f, ""), 0);
        CHECK(content_writer_write(w, "hello", 5, &f.err) == 0);
        w = content_writer_close(w);
        CHECK(!exists(&f, folder_of(&f, "n/1/r")));
        CHECK_INT(n_ingests(&f, ""), 0);
}

typedef struct Racer {
        ContentStore *s;
        int *records; /* what a database would know */
        pthread_t thread;
        char ref[16];
        int bad;
} Racer;

static int no_record(void *ctx, const Digest *d, Err *err)
{
        return __atomic_load_n((int *)ctx, __ATOMIC_SEQ_CST) == 0;
}

/* Writes the blob, makes a record, drops the record, removes: as two namespaces do it side by side.
 */
static void *race(void *arg)
{
        Racer *me = arg;
        Err err;

        for (int i = 0; i < 40; i++) {
                ContentWriter *w CLEANUP(content_writer_closep) = NULL;
                ContentInfo info;
                Digest d;
                int removed;

                if (content_writer_open(me->s, me->ref, 0, &w, &err) < 0 ||
                    content_writer_write(w, "hello", 5, &err) < 0 ||
                    content_writer_commit(w, 5, NULL, &d, &err) < 0) {
                        me->bad = 1;
                        return NULL;
                }
                __atomic_add_fetch(me->records, 1, __ATOMIC_SEQ_CST);
                content_unpin(me->s, &d);
                if (content_info(me->s, &d, &info, &err) < 0 || info.size != 5)
                        me->bad = 1;
                __atomic_sub_fetch(me->records, 1, __ATOMIC_SEQ_CST);
                if (content_remove(me->s, &d, no_record, me->records, &removed, &err) < 0)
                        me->bad = 1;
        }
        return NULL;
}

TEST(blob_with_a_record_is_never_removed_by_another)
{
        Fixture f CLEANUP(fixture_done) = {};
        Racer r[3] = {};
        int records = 0;

        fixture_open(&f);
        for (size_t i = 0; i < ARRAY_LEN(r); i++) {
                r[i].s = f.s;
                r[i].records = &records;
                snprintf(r[i].ref, sizeof(r[i].ref), "n%zu/1/r", i);
                CHECK(pthread_create(&r[i].thread, NULL, race, &r[i]) == 0);
        }
        for (size_t i = 0; i < ARRAY_LEN(r); i++)
                pthread_join(r[i].thread, NULL);
        for (size_t i = 0; i < ARRAY_LEN(r); i++)
                CHECK(!r[i].bad);
        CHECK(!exists(
                &f,
                "blobs/sha256/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"));
}
