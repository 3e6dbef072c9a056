/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A writer: one ingest from open to commit. Bytes are hashed as they come and written once. The
 * order at commit is what makes a blob durable before anybody can see it:
 *
 *         check size and digest; mode, times; fsync of the file; rename without replacing; fsync of
 * the blobs' folder
 *
 * The folder is synced for all who have renamed something when the sync begins.
 *
 * A small ingest begins young: its data is a file without a name and nothing else is on disk, since
 * five more files that live for a millisecond cost more than the blob. Commit gives the file its
 * name among the blobs. It settles, gets the folder that an ingest has, when it is left uncommitted
 * or a write does not complete it: then somebody may want to go on after a crash. What a crash can
 * lose is a megabyte that was not committed.
 *
 * Writeback is started every few megabytes, so that the fsync at the end has little left to wait
 * for.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/path.h"
#include "content/store_priv.h"

enum { YOUNG_MAX = 1024 * 1024, WRITEBACK_STEP = 8 * 1024 * 1024, REHASH_BUF = 1024 * 1024 };

struct ContentWriter {
        ContentStore *store;
        char *ref;
        char name[INGEST_NAME_MAX];
        int dir; /* -1 while it is young */
        int data;
        int locked;
        YoungIngest young;
        uint64_t offset, total, flushed;
        Time started, updated;
        Hasher hasher;
};

static void let_go(ContentWriter *w)
{
        if (w->locked)
                content_ref_unlock(w->store, w->ref);
        w->locked = 0;
}

static int link_fd(int fd, int dir, const char *name)
{
        char path[32];

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return linkat(AT_FDCWD, path, dir, name, AT_SYMLINK_FOLLOW);
}

static int make_folder(ContentWriter *w, int parent, int from, const char *name, Err *err)
{
        ContentStatus st;
        int r;

        w->dir = openat(parent, w->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (w->dir < 0)
                return err_sys(err, errno, "open ingest of %s", w->ref);
        r = fault_hit() ? -1
            : name      ? renameat2(from, name, w->dir, "data", RENAME_NOREPLACE)
                        : link_fd(w->data, w->dir, "data");
        if (r < 0)
                return err_sys(err, errno, "link data of ingest %s", w->ref);
        content_writer_status(w, &st);
        return ingest_write_status(w->dir, &st, err);
}

/* From now on it has a folder, with the data that lies at a name, or has none yet (NULL). */
static int settle(ContentWriter *w, int from, const char *name, Err *err)
{
        int parent CLEANUP(cleanup_fd) = -1;
        Err ignored;
        int r;

        r = ingest_parent(w->store, 1, &parent, err);
        if (r < 0)
                return r;
        if (fault_hit() || mkdirat(parent, w->name, 0755) < 0)
                return err_sys(err, errno, "mkdir ingest of %s", w->ref);
        r = make_folder(w, parent, from, name, err);
        if (r == 0 && content_ref_set_young(w->store, w->ref, NULL) < 0)
                r = err_set(err, NOT_FOUND, "ingest %s has been aborted: not found", w->ref);
        if (r < 0) {
                fd_close(TAKE_FD(w->dir));
                path_remove_tree(parent, w->name, &ignored);
        }
        return r;
}

/* Not synced: after a power cut it is merely kept shorter or longer. */
int content_writer_leave(ContentWriter *w, const char *expected, int leased)
{
        Err ignored;

        if (!w->locked || (w->dir < 0 && settle(w, -1, NULL, &ignored) < 0))
                return 0;
        if (expected)
                file_write(w->dir, "expected", expected, strlen(expected), 0666, &ignored);
        if (leased)
                file_write(w->dir, "leased", "", 0, 0666, &ignored);
        return 1;
}

ContentWriter *content_writer_close(ContentWriter *w)
{
        Err ignored;

        if (!w)
                return NULL;
        /* An ingest whose time of update is old is merely listed so. */
        if (w->locked && w->data >= 0 && w->dir >= 0)
                ingest_write_updated(w->dir, w->updated, &ignored);
        else if (w->locked && w->data >= 0)
                settle(w, -1, NULL, &ignored);
        let_go(w);
        fd_close(w->data);
        fd_close(w->dir);
        free(w->ref);
        free(w);
        return NULL;
}

static int hash_file(int fd, Hasher *h, uint64_t *ret_size, Err *err)
{
        char *buf CLEANUP(cleanup_free) = mem_alloc(REHASH_BUF);
        uint64_t size = 0;

        for (;;) {
                ssize_t n = fault_hit() ? -1 : pread(fd, buf, REHASH_BUF, (off_t)size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return err_sys(err, errno, "read ingest");
                if (n == 0)
                        break;
                hasher_update(h, buf, (size_t)n);
                size += (uint64_t)n;
        }
        *ret_size = size;
        return 0;
}

static int open_data(ContentWriter *w, int flags, Err *err)
{
        fd_close(w->data);
        w->data = fault_hit()
                          ? -1
                          : openat(w->dir, "data", O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0666);
        return w->data < 0 ? err_sys(err, errno, "open data of ingest %s", w->ref) : 0;
}

/* Goes on where an earlier writer stopped; fails if what it left cannot be used. */
static int resume(ContentWriter *w, uint64_t total, Err *err)
{
        Arena a CLEANUP(arena_done);
        ContentStatus st;
        int r;

        arena_init(&a, SIZE_MAX);
        r = ingest_read_status(&a, w->dir, &st, err);
        if (r < 0)
                return r;
        if (!str_eq(st.ref, w->ref) || (total > 0 && st.total > 0 && st.total != total))
                return err_set(err, FAILED_PRECONDITION, "ingest %s is another one", w->ref);
        r = open_data(w, 0, err);
        if (r < 0)
                return r;
        r = hash_file(w->data, &w->hasher, &w->offset, err);
        if (r < 0)
                return r;
        w->total = st.total ? st.total : total;
        w->started = st.started;
        w->updated = st.updated;
        return 0;
}

static int start_over(ContentWriter *w, uint64_t total, Err *err)
{
        ContentStatus st = {.ref = w->ref, .total = total};
        int r;

        st.started = st.updated = time_now();
        hasher_init(&w->hasher, DIGEST_SHA256);
        w->offset = 0;
        w->total = total;
        w->started = w->updated = st.started;
        r = open_data(w, O_CREAT | O_TRUNC, err);
        if (r < 0)
                return r;
        return ingest_write_status(w->dir, &st, err);
}

/* 1, or 0: it is none, or the filesystem knows no files without a name. */
static int begin_young(ContentWriter *w, int parent, uint64_t total)
{
        if (total > YOUNG_MAX || faccessat(parent, w->name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                return 0;
        w->data = fault_hit() ? -1 : openat(parent, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
        if (w->data < 0)
                return 0;
        hasher_init(&w->hasher, DIGEST_SHA256);
        w->total = total;
        w->started = w->updated = time_now();
        w->young = (YoungIngest){.total = total, .started = w->started, .updated = w->updated};
        content_ref_set_young(w->store, w->ref, &w->young);
        return 1;
}

static int open_or_resume(ContentWriter *w, uint64_t total, Err *err)
{
        int parent CLEANUP(cleanup_fd) = -1;
        int fresh, r;
        Err why;

        r = ingest_parent(w->store, 1, &parent, err);
        if (r < 0)
                return r;
        if (begin_young(w, parent, total))
                return 0;
        fresh = !fault_hit() && mkdirat(parent, w->name, 0755) == 0;
        if (!fresh && errno != EEXIST)
                return err_sys(err, errno, "mkdir ingest of %s", w->ref);
        w->dir = openat(parent, w->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (w->dir < 0)
                return err_sys(err, errno, "open ingest of %s", w->ref);
        hasher_init(&w->hasher, DIGEST_SHA256);
        if (!fresh && resume(w, total, &why) == 0)
                return 0;
        r = start_over(w, total, err);
        if (r < 0 && fresh)
                path_remove_tree(parent, w->name, &why);
        return r;
}

int content_writer_open(ContentStore *s, const char *ref, uint64_t total, ContentWriter **ret,
                        Err *err)
{
        ContentWriter *w CLEANUP(content_writer_closep) = NULL;
        int r;

        r = content_ref_lock(s, ref, err);
        if (r < 0)
                return r;
        w = mem_new(ContentWriter);
        w->store = s;
        w->ref = mem_strdup(ref);
        w->dir = w->data = -1;
        w->locked = 1;
        ingest_dir_name(ref, w->name);
        r = open_or_resume(w, total, err);
        if (r < 0) {
                fd_close(TAKE_FD(w->data));
                return r;
        }
        *ret = TAKE(w);
        return 0;
}

static void moved(ContentWriter *w, uint64_t offset)
{
        w->offset = offset;
        w->updated = time_now();
        if (w->dir >= 0)
                return;
        LOCKED(&w->store->refs_lock);
        w->young.offset = offset;
        w->young.updated = w->updated;
}

int content_writer_write(ContentWriter *w, const void *data, size_t n, Err *err)
{
        size_t done = 0;
        int r;

        assert(w->locked);
        if (w->dir < 0 && w->offset + n != w->total) {
                r = settle(w, -1, NULL, err);
                if (r < 0)
                        return r;
        }
        while (done < n) {
                ssize_t k = fault_hit() ? -1
                                        : pwrite(w->data, (const char *)data + done, n - done,
                                                 (off_t)(w->offset + done));

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return err_sys(err, errno, "write to ingest %s", w->ref);
                if (k == 0)
                        return err_set(err, DATA_LOSS, "write to ingest %s: short write", w->ref);
                done += (size_t)k;
        }
        hasher_update(&w->hasher, data, n);
        moved(w, w->offset + n);
        if (w->offset - w->flushed >= WRITEBACK_STEP) {
                sync_file_range(w->data, (off_t)w->flushed, (off_t)(w->offset - w->flushed),
                                SYNC_FILE_RANGE_WRITE);
                w->flushed = w->offset;
        }
        return 0;
}

int content_writer_truncate(ContentWriter *w, uint64_t size, Err *err)
{
        if (size != 0)
                return err_set(err, UNIMPLEMENTED,
                               "truncation to %llu of ingest %s: only to 0: not implemented",
                               (unsigned long long)size, w->ref);
        if (fault_hit() || ftruncate(w->data, 0) < 0)
                return err_sys(err, errno, "truncate ingest %s", w->ref);
        hasher_init(&w->hasher, DIGEST_SHA256);
        w->flushed = 0;
        moved(w, 0);
        return 0;
}

void content_writer_status(const ContentWriter *w, ContentStatus *ret)
{
        *ret = (ContentStatus){
                .ref = w->ref,
                .offset = w->offset,
                .total = w->total,
                .started = w->started,
                .updated = w->updated,
        };
}

uint64_t content_writer_offset(const ContentWriter *w)
{
        return w->offset;
}

void content_writer_digest(const ContentWriter *w, Digest *ret)
{
        hasher_digest(&w->hasher, ret);
}

static int check(ContentWriter *w, uint64_t size, const Digest *expected, Digest *ret, Err *err)
{
        uint64_t bytes = w->offset;
        struct stat st;

        if (size != 0 && size != w->offset)
                return err_set(err, FAILED_PRECONDITION,
                               "unexpected commit size %llu, expected %llu: failed precondition",
                               (unsigned long long)w->offset, (unsigned long long)size);
        if (fault_hit() || fstat(w->data, &st) < 0)
                return err_sys(err, errno, "stat ingest %s", w->ref);
        /* What a failed write left behind the offset. */
        if ((uint64_t)st.st_size != w->offset && ftruncate(w->data, (off_t)w->offset) < 0)
                return err_sys(err, errno, "truncate ingest %s", w->ref);
        hasher_digest(&w->hasher, ret);
        if (!expected)
                return 0;
        if (digest_alg(expected) != DIGEST_SHA256) {
                Hasher h;
                int r;

                hasher_init(&h, digest_alg(expected));
                r = hash_file(w->data, &h, &bytes, err);
                if (r < 0)
                        return r;
                hasher_digest(&h, ret);
        }
        if (bytes != w->offset)
                return err_set(err, DATA_LOSS, "ingest %s has lost bytes", w->ref);
        if (!digest_eq(ret, expected))
                return err_set(err, FAILED_PRECONDITION,
                               "unexpected commit digest %s, expected %s: failed precondition",
                               ret->text, expected->text);
        return 0;
}

static int open_blobs(ContentStore *s, const Digest *d, int *ret_fd, Err *err)
{
        const char *alg = digest_alg_name(digest_alg(d));
        int blobs CLEANUP(cleanup_fd) = -1;
        char path[32];
        int made = 0;

        snprintf(path, sizeof(path), "blobs/%s", alg);
        *ret_fd = openat(s->root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (*ret_fd >= 0)
                return 0;
        if (mkdirat(s->root, "blobs", 0755) == 0)
                made = 1;
        else if (errno != EEXIST)
                return err_sys(err, errno, "mkdir blobs");
        blobs = openat(s->root, "blobs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (blobs < 0)
                return err_sys(err, errno, "open blobs");
        if (mkdirat(blobs, alg, 0755) == 0)
                made = 1;
        else if (errno != EEXIST)
                return err_sys(err, errno, "mkdir blobs/%s", alg);
        if (made && (fault_hit() || fsync(blobs) < 0 || fsync(s->root) < 0))
                return err_sys(err, errno, "fsync blobs");
        *ret_fd = openat(blobs, alg, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return *ret_fd < 0 ? err_sys(err, errno, "open blobs/%s", alg) : 0;
}

/*
 * fsync of the blobs' folder, one for all who come while another is under way: each needs one that
 * begins after its rename. 0 or an errno. (A folder of another algorithm has its own.)
 */
static int sync_blobs(ContentStore *s, int blobs, const Digest *d)
{
        uint64_t mine, number;
        int failed;

        if (digest_alg(d) != DIGEST_SHA256)
                return fsync(blobs) < 0 ? errno : 0;
        lock_take(&s->sync_lock);
        mine = s->syncs_begun + 1;
        while (s->syncs_done < mine) {
                if (s->syncs_begun > s->syncs_done) {
                        lock_wait(&s->sync_lock, &s->synced, 0);
                        continue;
                }
                number = ++s->syncs_begun;
                lock_drop(&s->sync_lock);
                failed = fsync(blobs) < 0 ? errno : 0;
                lock_take(&s->sync_lock);
                s->syncs_done = number;
                if (failed) {
                        s->sync_failed = number;
                        s->sync_errno = failed;
                }
                pthread_cond_broadcast(&s->synced);
        }
        failed = s->sync_failed >= mine ? s->sync_errno : 0;
        lock_drop(&s->sync_lock);
        return failed;
}

static int is_aborted(ContentWriter *w)
{
        LOCKED(&w->store->refs_lock);

        return w->young.aborted;
}

static int give_name(ContentWriter *w, int blobs, const char *hex, Err *err)
{
        struct stat st;
        int r;

        if (fault_hit())
                return -1;
        r = w->dir < 0 ? link_fd(w->data, blobs, hex)
                       : renameat2(w->dir, "data", blobs, hex, RENAME_NOREPLACE);
        if (r == 0 || errno != EEXIST)
                return r;
        /* One of another size is damaged; this heals it. */
        if (fstatat(blobs, hex, &st, AT_SYMLINK_NOFOLLOW) < 0 || (uint64_t)st.st_size == w->offset)
                return errno = EEXIST, -1;
        if (w->dir < 0 && settle(w, -1, NULL, err) < 0)
                return errno = EIO, -1;
        return renameat(w->dir, "data", blobs, hex);
}

static int publish(ContentWriter *w, const Digest *d, Err *err)
{
        int blobs CLEANUP(cleanup_fd) = -1;
        const char *hex = digest_hex(d);
        struct stat st;
        int r, renamed, failed;

        if (w->dir < 0 && is_aborted(w))
                return err_sys(err, ENOENT, "ingest %s", w->ref);
        r = open_blobs(w->store, d, &blobs, err);
        if (r < 0)
                return r;
        if (fstat(w->data, &st) < 0 || fchmod(w->data, st.st_mode & 0444) < 0 ||
            futimens(w->data, NULL) < 0 || fault_hit() || fsync(w->data) < 0)
                return err_sys(err, errno, "fsync ingest %s", w->ref);
        renamed = give_name(w, blobs, hex, err) == 0;
        if (!renamed && errno != EEXIST)
                return err_sys(err, errno, "rename ingest %s to blob %s", w->ref, d->text);
        /* Also for a blob that was there: the one who renamed it may not have come to this line
         * yet. */
        failed = fault_hit() ? errno : sync_blobs(w->store, blobs, d);
        if (!failed)
                return 0;
        if (renamed && w->dir >= 0)
                renameat2(blobs, hex, w->dir, "data", RENAME_NOREPLACE);
        else if (renamed && settle(w, blobs, hex, err) < 0)
                unlinkat(blobs, hex, 0);
        return err_sys(err, failed, "fsync the folder of blob %s", d->text);
}

int content_writer_commit(ContentWriter *w, uint64_t size, const Digest *expected, Digest *ret,
                          Err *err)
{
        int parent CLEANUP(cleanup_fd) = -1;
        Digest d;
        Err ignored;
        int r;

        assert(w->locked);
        r = check(w, size, expected, &d, err);
        if (r == 0) {
                content_pin(w->store, &d);
                r = publish(w, &d, err);
                if (r < 0)
                        content_unpin(w->store, &d);
        }
        /* The blob stands: a folder that stays behind starts over when its ref is opened again. */
        if (r == 0 && w->dir >= 0 && ingest_parent(w->store, 0, &parent, &ignored) == 0)
                path_remove_tree(parent, w->name, &ignored);
        if (r < 0 && w->dir >= 0)
                ingest_write_updated(w->dir, w->updated, &ignored);
        else if (r < 0)
                settle(w, -1, NULL, &ignored);
        let_go(w);
        if (r < 0)
                return r;
        *ret = d;
        return 0;
}
