/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the blobs themselves say. Each file is read and its digest compared with its name; one that
 * begins like a JSON object and is no larger than documents may be is tried as an index, a
 * manifest, an image's configuration. They come from registries and may say anything: they are read
 * under the same limits as when they came.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"
#include "metadata/rebuild_priv.h"
#include "spec/image_config.h"
#include "spec/manifest.h"

/* The arena of the whole keeps what it needs: the document itself goes. */
static void keep(Rebuild *rb, Doc *d, DocKind kind, const char *type, const Descriptor *children,
                 size_t n)
{
        d->kind = kind;
        d->type = arena_strdup(rb->arena, type);
        d->children = arena_memdup(rb->arena, children, n * sizeof(*children));
        d->n_children = n;
        for (size_t i = 0; i < n; i++) {
                Descriptor *c = &d->children[i];
                Annotation *an = arena_array(rb->arena, Annotation, c->n_annotations);

                c->media_type = arena_strdup(rb->arena, c->media_type);
                c->has_platform = 0;
                for (size_t j = 0; j < c->n_annotations; j++)
                        an[j] = (Annotation){arena_strdup(rb->arena, c->annotations[j].key),
                                             arena_strdup(rb->arena, c->annotations[j].value)};
                c->annotations = an;
        }
}

static int try_index(Rebuild *rb, Arena *a, Doc *d, const char *text, size_t n)
{
        Index index;
        Err ignored;

        if (index_parse(a, text, n, &index, &ignored) < 0 ||
            (!media_is_index(index.media_type) && index.n_manifests == 0))
                return 0;
        keep(rb, d, DOC_INDEX, *index.media_type ? index.media_type : MEDIA_OCI_INDEX,
             index.manifests, index.n_manifests);
        return 1;
}

static int try_manifest(Rebuild *rb, Arena *a, Doc *d, const char *text, size_t n)
{
        Descriptor *all;
        Manifest m;
        Err ignored;

        if (manifest_parse(a, text, n, &m, &ignored) < 0)
                return 0;
        all = arena_array(a, Descriptor, m.n_layers + 1);
        all[0] = m.config;
        for (size_t i = 0; i < m.n_layers; i++)
                all[i + 1] = m.layers[i];
        keep(rb, d, DOC_MANIFEST, *m.media_type ? m.media_type : MEDIA_OCI_MANIFEST, all,
             m.n_layers + 1);
        return 1;
}

static int try_config(Arena *a, Doc *d, const char *text, size_t n)
{
        ImageConfig config;
        Err ignored;

        if (image_config_parse(a, text, n, &config, &ignored) == 0 && config.n_diff_ids > 0)
                d->kind = DOC_CONFIG;
        return d->kind == DOC_CONFIG;
}

static void recognise(Rebuild *rb, int fd, Doc *d)
{
        char *text CLEANUP(cleanup_free) = NULL;
        Arena a CLEANUP(arena_done) = {};
        size_t n = (size_t)d->size, at = 0;

        d->type = "";
        if (d->size < 2 || d->size > LIMIT_DOCUMENT)
                return;
        text = mem_alloc(n + 1);
        if (fd_pread_all(fd, text, n, 0) != (ssize_t)n)
                return;
        while (at < n && strchr(" \t\r\n", text[at]) && text[at])
                at++;
        if (at == n || text[at] != '{')
                return;
        if (!try_index(rb, &a, d, text, n) && !try_manifest(rb, &a, d, text, n))
                try_config(&a, d, text, n);
}

static int read_blob(Rebuild *rb, int dir, const char *alg, const char *name, Err *err)
{
        const char *text = arena_printf(rb->arena, "%s:%s", alg, name);
        int fd CLEANUP(cleanup_fd) = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        Doc d = {.digest = text};
        Digest want, got;
        struct stat st;
        Err ignored;
        int r;

        if (fd < 0 || fstat(fd, &st) < 0)
                return err_sys(err, errno, "open blob %s", text);
        if (digest_parse(text, &want, &ignored) < 0 || !S_ISREG(st.st_mode))
                return 0; /* none of ours */
        r = blob_hash(fd, digest_alg(&want), &got, err);
        if (r < 0) /* what the disk does not give back is not whole either */
                rebuild_say(rb, "blob %s: %s", text, err->msg);
        if (r < 0 || !digest_eq(&want, &got)) {
                VEC_PUSH(&rb->bad, arena_printf(rb->arena, "%s/%s", alg, name));
                return 0;
        }
        d.size = st.st_size;
        d.time = (Time){.sec = st.st_mtim.tv_sec, .nsec = (int32_t)st.st_mtim.tv_nsec};
        recognise(rb, fd, &d);
        VEC_PUSH(&rb->docs, d);
        if (rb->docs.n % 100 == 0)
                rebuild_say(rb, "%zu blobs", rb->docs.n);
        return 0;
}

static void close_dir(DIR **dir)
{
        if (*dir)
                closedir(*dir);
}

static int read_blobs_of(Rebuild *rb, const char *path, const char *alg, Err *err)
{
        char *sub CLEANUP(cleanup_free) = mem_printf("%s/%s", path, alg);
        DIR *dir CLEANUP(close_dir) = opendir(sub);
        struct dirent *e;
        int r = 0;

        if (!dir)
                return errno == ENOTDIR ? 0 : err_sys(err, errno, "open %s", sub);
        while (r == 0 && (e = readdir(dir)))
                if (e->d_name[0] != '.')
                        r = read_blob(rb, dirfd(dir), alg, e->d_name, err);
        return r;
}

static int compare_docs(const void *a, const void *b)
{
        return strcmp(((const Doc *)a)->digest, ((const Doc *)b)->digest);
}

int rebuild_read_blobs(Rebuild *rb, Err *err)
{
        char *path CLEANUP(cleanup_free) = mem_printf("%s/blobs", rb->o->content_root);
        DIR *dir CLEANUP(close_dir) = opendir(path);
        struct dirent *e;
        int r = 0;

        if (!dir)
                return errno == ENOENT ? 0 : err_sys(err, errno, "open %s", path);
        while (r == 0 && (e = readdir(dir)))
                if (e->d_name[0] != '.')
                        r = read_blobs_of(rb, path, e->d_name, err);
        if (r == 0 && rb->docs.n)
                qsort(rb->docs.v, rb->docs.n, sizeof(Doc), compare_docs);
        return r;
}

Doc *rebuild_find_doc(Rebuild *rb, const char *digest)
{
        Doc want = {.digest = digest};

        return rb->docs.n ? bsearch(&want, rb->docs.v, rb->docs.n, sizeof(Doc), compare_docs)
                          : NULL;
}
