/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What records say is on disk, and what is there. The other way round nothing is wrong: a blob
 * without a record waits for collection, a folder without one for the next start; they are told as
 * harmless.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "metadata/check_priv.h"

static DIR *open_dir(const char *path)
{
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);

        if (!dir)
                fd_close(fd);
        return dir;
}

static void close_dir(DIR **dir)
{
        if (*dir)
                closedir(*dir);
}

/* ---- blobs ---- */

static int compare_blobs(const void *a, const void *b)
{
        return strcmp(((const Blob *)a)->digest, ((const Blob *)b)->digest);
}

static void look_blob(Check *c, const Blob *b)
{
        const char *hex = strchr(b->digest, ':');
        char *path CLEANUP(cleanup_free) = NULL;
        int fd CLEANUP(cleanup_fd) = -1;
        Digest want, got;
        struct stat st;
        Err err;

        c->n_blobs++;
        if (digest_parse(b->digest, &want, &err) < 0) {
                check_found(c, "blob", 0, "blob \"%s\": that is no digest", b->digest);
                return;
        }
        path = mem_printf("%s/blobs/%.*s/%s", c->o->content_root, (int)(hex - b->digest), b->digest,
                          hex + 1);
        fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0) {
                check_found(c, "blob", 0, "blob %s has a record and no file: %s", b->digest,
                            strerror(errno));
                return;
        }
        if (st.st_size != b->size)
                check_found(c, "blob", 0,
                            "blob %s: its record says %" PRId64 " bytes, its file has %" PRId64,
                            b->digest, b->size, (int64_t)st.st_size);
        else if (c->o->digests && blob_hash(fd, digest_alg(&want), &got, &err) < 0)
                check_found(c, "blob", 0, "blob %s cannot be read: %s", b->digest, err.msg);
        else if (c->o->digests && !digest_eq(&want, &got))
                check_found(c, "blob", 0, "blob %s: its file's digest is %s", b->digest, got.text);
}

static void look_for_more_blobs(Check *c, const char *alg)
{
        char *path CLEANUP(cleanup_free) = mem_printf("%s/blobs/%s", c->o->content_root, alg);
        DIR *dir CLEANUP(close_dir) = open_dir(path);
        struct dirent *e;

        while (dir && (e = readdir(dir))) {
                Blob b = {.digest = arena_printf(c->arena, "%s:%s", alg, e->d_name)};

                if (e->d_name[0] == '.')
                        continue;
                if (c->blobs.n == 0 ||
                    !bsearch(&b, c->blobs.v, c->blobs.n, sizeof(Blob), compare_blobs))
                        check_found(c, "blob", 1, "blob %s has a file and no record", b.digest);
        }
}

static void check_blobs(Check *c)
{
        char *path CLEANUP(cleanup_free) = mem_printf("%s/blobs", c->o->content_root);
        DIR *dir CLEANUP(close_dir) = open_dir(path);
        struct dirent *e;

        if (c->blobs.n)
                qsort(c->blobs.v, c->blobs.n, sizeof(Blob), compare_blobs);
        for (size_t i = 0; i < c->blobs.n; i++)
                if (i == 0 || compare_blobs(&c->blobs.v[i - 1], &c->blobs.v[i]) != 0 ||
                    c->blobs.v[i - 1].size != c->blobs.v[i].size)
                        look_blob(c, &c->blobs.v[i]);
        while (dir && (e = readdir(dir)))
                if (e->d_name[0] != '.')
                        look_for_more_blobs(c, e->d_name);
}

/* ---- snapshots ---- */

static int compare_folders(const void *a, const void *b)
{
        const Folder *x = a, *y = b;
        int r = strcmp(x->snapshotter, y->snapshotter);

        return r ? r : (x->id > y->id) - (x->id < y->id);
}

static const char *root_of(const Check *c, const char *snapshotter)
{
        for (size_t i = 0; i < c->o->n_snapshotters; i++)
                if (str_eq(c->o->snapshotters[i].name, snapshotter))
                        return c->o->snapshotters[i].root;
        return NULL;
}

static void look_folder(Check *c, const Folder *f)
{
        const char *root = root_of(c, f->snapshotter);
        char *path CLEANUP(cleanup_free) = NULL;
        struct stat st;

        if (!root)
                return; /* a snapshotter that this configuration does not have */
        path = mem_printf("%s/snapshots/%" PRIu64, root, f->id);
        if (stat(path, &st) < 0 && !f->optional)
                check_found(c, "snapshot", 0, "snapshot \"%s\" of %s has a record and no folder %s",
                            f->key, f->snapshotter, path);
}

static void look_for_more_folders(Check *c, const CheckSnapshotter *sn)
{
        char *path CLEANUP(cleanup_free) = mem_printf("%s/snapshots", sn->root);
        DIR *dir CLEANUP(close_dir) = open_dir(path);
        struct dirent *e;

        while (dir && (e = readdir(dir))) {
                Folder f = {.snapshotter = sn->name};

                if (e->d_name[0] == '.')
                        continue;
                if (str_to_u64(e->d_name, &f.id) < 0 || c->folders.n == 0 ||
                    !bsearch(&f, c->folders.v, c->folders.n, sizeof(Folder), compare_folders))
                        check_found(c, "snapshot", 1, "folder %s/%s has no record", path,
                                    e->d_name);
        }
}

static void check_folders(Check *c)
{
        const Folder *f = c->folders.v;

        if (c->folders.n)
                qsort(c->folders.v, c->folders.n, sizeof(Folder), compare_folders);
        for (size_t i = 0; i < c->folders.n; i++) {
                if (i > 0 && compare_folders(&f[i - 1], &f[i]) == 0)
                        check_found(c, "snapshot", 0,
                                    "snapshots \"%s\" and \"%s\" of %s have one folder, %" PRIu64,
                                    f[i - 1].key, f[i].key, f[i].snapshotter, f[i].id);
                look_folder(c, &f[i]);
        }
        for (size_t i = 0; i < c->o->n_snapshotters; i++)
                look_for_more_folders(c, &c->o->snapshotters[i]);
}

int check_disk(Check *c, Err *err)
{
        check_blobs(c);
        check_folders(c);
        return 0;
}
