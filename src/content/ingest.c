/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ingests on disk: a folder named by the hash of the ref, because a ref is free text. Its small
 * files are not synced: after a power cut an ingest may be unreadable, and then it starts over.
 * Whether somebody writes an ingest right now is known in memory only, and one that is young, a few
 * bytes that will most likely be committed at once, has no folder at all: it gets one when it grows
 * or is left.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "base/vec.h"
#include "content/store_priv.h"

/* How long a writer waits for another that is just closing. */
#define REF_WAIT_NS (50 * NS_PER_MS)

typedef struct RefLock {
        uint64_t since_mono;
        Time since;
        YoungIngest *young; /* NULL: it has a folder, or nothing yet */
} RefLock;

/* The text is containerd's, where the time is Go's, with its monotonic reading. */
static int ref_is_locked(const RefLock *l, const char *ref, Err *err)
{
        char age[TIME_TEXT_MAX], since[TIME_TEXT_MAX];
        uint64_t mono = l->since_mono;

        duration_format((int64_t)(time_mono_ns() - mono), age);
        time_format(l->since, since);
        since[strlen(since) - 1] = 0;
        since[strcspn(since, "T")] = ' ';
        return err_set(err, UNAVAILABLE,
                       "ref %s locked for %s (since %s +0000 UTC m=+%llu.%09llu): unavailable", ref,
                       age, since, (unsigned long long)(mono / NS_PER_SEC),
                       (unsigned long long)(mono % NS_PER_SEC));
}

static void claim_locked(ContentStore *s, const char *ref)
{
        RefLock *l = mem_new(RefLock);

        l->since_mono = time_mono_ns();
        l->since = time_now();
        map_put(&s->refs, ref, l);
}

int content_ref_lock(ContentStore *s, const char *ref, Err *err)
{
        uint64_t deadline = time_mono_ns() + REF_WAIT_NS;
        RefLock *l;
        LOCKED(&s->refs_lock);

        while ((l = map_find(&s->refs, ref)))
                if (lock_wait(&s->refs_lock, &s->refs_freed, deadline) == ETIMEDOUT &&
                    (l = map_find(&s->refs, ref)))
                        return ref_is_locked(l, ref, err);
        claim_locked(s, ref);
        return 0;
}

int content_ref_try(ContentStore *s, const char *ref)
{
        LOCKED(&s->refs_lock);

        if (map_find(&s->refs, ref))
                return 0;
        claim_locked(s, ref);
        return 1;
}

void content_ref_unlock(ContentStore *s, const char *ref)
{
        LOCKED(&s->refs_lock);

        free(map_remove(&s->refs, ref));
        pthread_cond_broadcast(&s->refs_freed);
}

int content_ref_set_young(ContentStore *s, const char *ref, YoungIngest *young)
{
        RefLock *l;
        int aborted;
        LOCKED(&s->refs_lock);

        l = map_find(&s->refs, ref);
        aborted = l->young && l->young->aborted;
        l->young = young;
        return aborted ? -1 : 0;
}

static ContentStatus young_status(const YoungIngest *y, Arena *a, const char *ref)
{
        return (ContentStatus){
                .ref = arena_strdup(a, ref),
                .offset = y->offset,
                .total = y->total,
                .started = y->started,
                .updated = y->updated,
        };
}

static int find_young(ContentStore *s, Arena *a, const char *ref, ContentStatus *ret)
{
        const RefLock *l;
        LOCKED(&s->refs_lock);

        l = map_find(&s->refs, ref);
        if (!l || !l->young || l->young->aborted)
                return 0;
        *ret = young_status(l->young, a, ref);
        return 1;
}

static int abort_young(ContentStore *s, const char *ref)
{
        const RefLock *l;
        LOCKED(&s->refs_lock);

        l = map_find(&s->refs, ref);
        if (!l || !l->young || l->young->aborted)
                return 0;
        l->young->aborted = 1;
        return 1;
}

void ingest_dir_name(const char *ref, char name[INGEST_NAME_MAX])
{
        Digest d;

        digest_of(ref, strlen(ref), &d);
        snprintf(name, INGEST_NAME_MAX, "%s", digest_hex(&d));
}

int ingest_parent(ContentStore *s, int make, int *ret_fd, Err *err)
{
        int fd;

        if (make && (fault_hit() || (mkdirat(s->root, "ingest", 0777) < 0 && errno != EEXIST)))
                return err_sys(err, errno, "mkdir ingest");
        fd = openat(s->root, "ingest", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return err_sys(err, errno, "open ingest");
        *ret_fd = fd;
        return 0;
}

static int read_time(Arena *a, int dir, const char *name, Time *ret, Err *err)
{
        char *text;
        int r;

        r = file_read(a, dir, name, TIME_TEXT_MAX, &text, NULL, err);
        if (r < 0)
                return r;
        if (time_parse(text, ret) < 0)
                return err_set(err, DATA_LOSS, "%s holds no time", name);
        return 0;
}

int ingest_read_status(Arena *a, int dir, ContentStatus *ret, Err *err)
{
        ContentStatus st = {};
        struct stat data;
        Err ignored;
        char *text;
        int r;

        r = file_read(a, dir, "ref", LIMIT_REF * 2, &text, NULL, err);
        if (r < 0)
                return r;
        st.ref = text;
        if (fstatat(dir, "data", &data, AT_SYMLINK_NOFOLLOW) < 0)
                return err_sys(err, errno, "stat data");
        st.offset = (uint64_t)data.st_size;
        r = read_time(a, dir, "startedat", &st.started, err);
        if (r < 0)
                return r;
        r = read_time(a, dir, "updatedat", &st.updated, err);
        if (r < 0)
                return r;
        if (file_read(a, dir, "total", 32, &text, NULL, &ignored) == 0 &&
            str_to_u64(text, &st.total) < 0)
                return err_set(err, DATA_LOSS, "total holds no number");
        if (file_read(a, dir, "expected", DIGEST_TEXT_MAX, &text, NULL, &ignored) == 0)
                st.expected = text;
        st.leased = faccessat(dir, "leased", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
        *ret = st;
        return 0;
}

int ingest_write_status(int dir, const ContentStatus *st, Err *err)
{
        char text[TIME_TEXT_MAX];
        int r;

        time_format(st->started, text);
        r = file_write(dir, "startedat", text, strlen(text), 0666, err);
        if (r < 0)
                return r;
        time_format(st->updated, text);
        r = file_write(dir, "updatedat", text, strlen(text), 0666, err);
        if (r < 0)
                return r;
        if (st->total > 0) {
                snprintf(text, sizeof(text), "%llu", (unsigned long long)st->total);
                r = file_write(dir, "total", text, strlen(text), 0666, err);
        } else if (unlinkat(dir, "total", 0) < 0 && errno != ENOENT) {
                r = err_sys(err, errno, "remove total");
        }
        if (r < 0)
                return r;
        return file_write(dir, "ref", st->ref, strlen(st->ref), 0666, err);
}

int ingest_write_updated(int dir, Time t, Err *err)
{
        char text[TIME_TEXT_MAX];
        int r;

        time_format(t, text);
        r = file_write(dir, ".updatedat.tmp", text, strlen(text), 0666, err);
        if (r == 0 && renameat(dir, ".updatedat.tmp", dir, "updatedat") < 0)
                r = err_sys(err, errno, "rename updatedat");
        return r;
}

static int not_found(const char *ref, Err *err)
{
        return err_set(err, NOT_FOUND, "reference %s: not found", ref);
}

/* The ingest's folder; NOT_FOUND with containerd's words. */
static int open_ingest(ContentStore *s, const char *ref, int *ret_fd, Err *err)
{
        int parent CLEANUP(cleanup_fd) = -1;
        char name[INGEST_NAME_MAX];
        int r;

        r = ingest_parent(s, 0, &parent, err);
        if (r == -NOT_FOUND)
                return not_found(ref, err);
        if (r < 0)
                return r;
        ingest_dir_name(ref, name);
        *ret_fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (*ret_fd < 0)
                return errno == ENOENT ? not_found(ref, err)
                                       : err_sys(err, errno, "open ingest of %s", ref);
        return 0;
}

int content_status(ContentStore *s, Arena *a, const char *ref, ContentStatus *ret, Err *err)
{
        int dir CLEANUP(cleanup_fd) = -1;
        int r;

        if (find_young(s, a, ref, ret))
                return 0;
        r = open_ingest(s, ref, &dir, err);
        if (r < 0)
                return r;
        r = ingest_read_status(a, dir, ret, err);
        return r == -NOT_FOUND ? not_found(ref, err) : r;
}

typedef VEC(ContentStatus) Statuses;

static void add_young(ContentStore *s, Arena *a, const char *prefix, Statuses *found)
{
        LOCKED(&s->refs_lock);

        MAP_FOREACH (slot, &s->refs) {
                const RefLock *l = slot->value;

                if (l->young && !l->young->aborted && str_starts(slot->key, prefix))
                        VEC_PUSH(found, young_status(l->young, a, slot->key));
        }
}

/* Of the young that has got a folder since. */
static int is_known(const Statuses *found, size_t n_young, const char *ref)
{
        for (size_t i = 0; i < n_young; i++)
                if (str_eq(found->v[i].ref, ref))
                        return 1;
        return 0;
}

int content_statuses(ContentStore *s, Arena *a, const char *prefix, ContentStatus **ret,
                     size_t *ret_n, Err *err)
{
        Statuses found = {};
        struct dirent *e;
        size_t n_young;
        int fd = -1, r;
        DIR *dir;

        *ret = NULL;
        *ret_n = 0;
        r = ingest_parent(s, 0, &fd, err);
        if (r < 0)
                return r == -NOT_FOUND ? 0 : r;
        dir = fdopendir(fd);
        if (!dir) {
                fd_close(fd);
                return err_sys(err, ENOMEM, "list ingests");
        }
        add_young(s, a, prefix, &found);
        n_young = found.n;
        while ((e = readdir(dir))) {
                int ingest CLEANUP(cleanup_fd) = -1;
                ContentStatus st;
                Err ignored;

                if (e->d_name[0] == '.')
                        continue;
                ingest = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                /* Gone meanwhile, or half made before a crash: it starts over when its ref is
                 * opened. */
                if (ingest < 0 || ingest_read_status(a, ingest, &st, &ignored) < 0)
                        continue;
                if (str_starts(st.ref, prefix) && !is_known(&found, n_young, st.ref))
                        VEC_PUSH(&found, st);
        }
        closedir(dir);
        *ret = arena_memdup(a, found.v, found.n * sizeof(ContentStatus));
        *ret_n = found.n;
        VEC_DONE(&found);
        return 0;
}

/* With the ref claimed. */
static int collect_claimed(ContentStore *s, const char *ref,
                           int (*stale)(void *ctx, const ContentStatus *st, Err *err), void *ctx,
                           int *ret_removed, Err *err)
{
        Arena a CLEANUP(arena_done) = {};
        ContentStatus st;
        int r;

        arena_init(&a, 0);
        r = content_status(s, &a, ref, &st, err);
        if (r == 0)
                r = stale(ctx, &st, err);
        if (r > 0) {
                r = content_abort(s, ref, err);
                *ret_removed = r == 0;
        }
        return r == -NOT_FOUND ? 0 : r;
}

int content_collect(ContentStore *s, const char *ref,
                    int (*stale)(void *ctx, const ContentStatus *st, Err *err), void *ctx,
                    int *ret_removed, Err *err)
{
        int r;

        *ret_removed = 0;
        if (!content_ref_try(s, ref))
                return 0;
        r = collect_claimed(s, ref, stale, ctx, ret_removed, err);
        content_ref_unlock(s, ref);
        return r;
}

static int is_broken(int parent, const char *name, Time before)
{
        int dir CLEANUP(cleanup_fd) = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        Arena a CLEANUP(arena_done) = {};
        ContentStatus st;
        struct stat info;
        Err ignored;

        arena_init(&a, 0);
        return dir >= 0 && fstat(dir, &info) == 0 && info.st_mtim.tv_sec < before.sec &&
               ingest_read_status(&a, dir, &st, &ignored) < 0;
}

size_t content_collect_broken(ContentStore *s, Time before)
{
        struct dirent *e;
        size_t n = 0;
        int fd = -1;
        Err ignored;
        DIR *dir;

        if (ingest_parent(s, 0, &fd, &ignored) < 0)
                return 0;
        dir = fdopendir(fd);
        if (!dir) {
                fd_close(fd);
                return 0;
        }
        while ((e = readdir(dir)))
                if (e->d_name[0] != '.' && is_broken(fd, e->d_name, before) &&
                    path_remove_tree(fd, e->d_name, &ignored) == 0)
                        n++;
        closedir(dir);
        return n;
}

int content_abort(ContentStore *s, const char *ref, Err *err)
{
        int parent CLEANUP(cleanup_fd) = -1;
        char name[INGEST_NAME_MAX];
        int r;

        if (abort_young(s, ref))
                return 0;
        r = ingest_parent(s, 0, &parent, err);
        if (r == -NOT_FOUND)
                return not_found(ref, err);
        if (r < 0)
                return r;
        ingest_dir_name(ref, name);
        if (faccessat(parent, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? not_found(ref, err)
                                       : err_sys(err, errno, "stat ingest of %s", ref);
        r = path_remove_tree(parent, name, err);
        return r < 0 ? err_wrap(err, "remove ingest of %s", ref) : 0;
}
