/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blobs: finished files by digest. Their folder tells everything (size, time), so there is no index
 * to go wrong.
 *
 * A blob and its record above appear in two steps and vanish in two steps, and another namespace
 * may be in between: one has just written the bytes and not yet its record while another deletes
 * its own. Pins close that gap: a table of digests somebody relies on. Removal marks the digest
 * first, then looks for records afresh, then unlinks; whoever wants to pin waits for that. No lock
 * is held meanwhile.
 */
#include "content/store.h"

#include <dirent.h>
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

typedef struct Pin {
        unsigned count;
        int removing;
} Pin;

int content_store_open(const char *root, ContentStore **ret, Err *err)
{
        ContentStore *s CLEANUP(content_store_freep) = mem_new(ContentStore);
        int r;

        s->root = -1;
        lock_init(&s->refs_lock, LOCK_INGEST);
        lock_init(&s->pins_lock, LOCK_BLOB);
        cond_init(&s->refs_freed);
        cond_init(&s->pins_changed);
        lock_init(&s->sync_lock, LOCK_LEAF);
        cond_init(&s->synced);
        r = path_mkdirs(root, 0755, err);
        if (r < 0)
                return r;
        s->root = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (s->root < 0)
                return err_sys(err, errno, "open %s", root);
        *ret = TAKE(s);
        return 0;
}

ContentStore *content_store_free(ContentStore *s)
{
        if (!s)
                return NULL;
        assert(s->refs.n == 0);
        map_done(&s->refs);
        MAP_FOREACH (slot, &s->pins)
                free(slot->value);
        map_done(&s->pins);
        lock_done(&s->refs_lock);
        lock_done(&s->pins_lock);
        pthread_cond_destroy(&s->refs_freed);
        pthread_cond_destroy(&s->pins_changed);
        lock_done(&s->sync_lock);
        pthread_cond_destroy(&s->synced);
        fd_close(s->root);
        free(s);
        return NULL;
}

void content_blob_path(const Digest *d, char path[CONTENT_PATH_MAX])
{
        snprintf(path, CONTENT_PATH_MAX, "blobs/%s/%s", digest_alg_name(digest_alg(d)),
                 digest_hex(d));
}

static int blob_error(int errnum, const Digest *d, const char *doing, Err *err)
{
        if (errnum == ENOENT)
                return err_set(err, NOT_FOUND, "content %s: not found", d->text);
        return err_sys(err, errnum, "%s blob %s", doing, d->text);
}

static Time time_of(struct timespec ts)
{
        return (Time){.sec = ts.tv_sec, .nsec = (int32_t)ts.tv_nsec};
}

int content_info(ContentStore *s, const Digest *d, ContentInfo *ret, Err *err)
{
        char path[CONTENT_PATH_MAX];
        struct stat st;

        content_blob_path(d, path);
        if (fault_hit() || fstatat(s->root, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return blob_error(errno, d, "stat", err);
        *ret = (ContentInfo){
                .digest = *d,
                .size = (uint64_t)st.st_size,
                .created = time_of(st.st_mtim),
                .updated = time_of(st.st_atim),
        };
        return 0;
}

int content_open(ContentStore *s, const Digest *d, int *ret_fd, uint64_t *ret_size, Err *err)
{
        int fd CLEANUP(cleanup_fd) = -1;
        char path[CONTENT_PATH_MAX];
        struct stat st;

        content_blob_path(d, path);
        fd = openat(s->root, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOATIME);
        if (fd < 0 && errno == EPERM)
                fd = openat(s->root, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0 || fstat(fd, &st) < 0)
                return blob_error(errno, d, "open", err);
        if (!S_ISREG(st.st_mode))
                return err_set(err, DATA_LOSS, "blob %s is not a file", d->text);
        *ret_size = (uint64_t)st.st_size;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* Waits for a removal of the digest to end; gives the pin, made if absent. */
static Pin *settled_pin_locked(ContentStore *s, const Digest *d)
{
        Pin *p;

        lock_assert_held(&s->pins_lock);
        while ((p = map_find(&s->pins, d->text)) && p->removing)
                lock_wait(&s->pins_lock, &s->pins_changed, 0);
        if (!p) {
                p = mem_new(Pin);
                map_put(&s->pins, d->text, p);
        }
        return p;
}

static void drop_pin_locked(ContentStore *s, const Digest *d)
{
        free(map_remove(&s->pins, d->text));
        pthread_cond_broadcast(&s->pins_changed);
}

void content_pin(ContentStore *s, const Digest *d)
{
        LOCKED(&s->pins_lock);

        settled_pin_locked(s, d)->count++;
}

void content_unpin(ContentStore *s, const Digest *d)
{
        LOCKED(&s->pins_lock);
        Pin *p = map_find(&s->pins, d->text);

        assert(p && p->count > 0);
        if (--p->count == 0)
                drop_pin_locked(s, d);
}

static int begin_removal(ContentStore *s, const Digest *d)
{
        LOCKED(&s->pins_lock);
        Pin *p = settled_pin_locked(s, d);

        if (p->count > 0)
                return 0;
        p->removing = 1;
        return 1;
}

static void end_removal(ContentStore *s, const Digest *d)
{
        LOCKED(&s->pins_lock);

        drop_pin_locked(s, d);
}

int content_remove(ContentStore *s, const Digest *d,
                   int (*unused)(void *ctx, const Digest *d, Err *err), void *ctx, int *ret_removed,
                   Err *err)
{
        char path[CONTENT_PATH_MAX];
        int r;

        *ret_removed = 0;
        if (!begin_removal(s, d))
                return 0;
        r = unused(ctx, d, err);
        if (r == 1) {
                content_blob_path(d, path);
                if ((fault_hit() || unlinkat(s->root, path, 0) < 0) && errno != ENOENT)
                        r = err_sys(err, errno, "remove blob %s", d->text);
                else
                        *ret_removed = 1;
        }
        end_removal(s, d);
        return r < 0 ? r : 0;
}

/* The blobs of one algorithm. */
static int walk_folder(ContentStore *s, const char *alg,
                       int (*fn)(void *ctx, const Digest *d, Err *err), void *ctx, Err *err)
{
        char path[CONTENT_PATH_MAX], text[DIGEST_TEXT_MAX + 256];
        struct dirent *e;
        int fd, r = 0;
        Err ignored;
        Digest d;
        DIR *dir;

        snprintf(path, sizeof(path), "blobs/%s", alg);
        fd = openat(s->root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir) {
                int saved = errno;

                fd_close(fd);
                return saved == ENOENT ? 0 : err_sys(err, saved, "list %s", path);
        }
        while (r == 0 && (e = readdir(dir))) {
                snprintf(text, sizeof(text), "%s:%s", alg, e->d_name);
                if (digest_parse(text, &d, &ignored) == 0)
                        r = fn(ctx, &d, err);
        }
        closedir(dir);
        return r;
}

int content_walk(ContentStore *s, int (*fn)(void *ctx, const Digest *d, Err *err), void *ctx,
                 Err *err)
{
        static const char *const algs[] = {"sha256", "sha384", "sha512"};
        int r = 0;

        for (size_t i = 0; r == 0 && i < ARRAY_LEN(algs); i++)
                r = walk_folder(s, algs[i], fn, ctx, err);
        return r < 0 ? r : 0;
}
