/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker names a member and pours its bytes into a pipe; here they are hashed on their way into
 * the sink. Nothing of an archive is believed but that: names are keys of a table, never paths.
 */
#include "images/import.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/limits.h"
#include "diff/tree.h"
#include "images/import_priv.h"
#include "worker/worker.h"

#define IMPORT_BYTES_MAX (UINT64_C(1) << 42)

enum { PIECE = 256 * 1024, PIPE_BYTES = 1024 * 1024 };

typedef struct Reader {
        Worker *worker;
        int data_fd;
        char *piece;
} Reader;

/* Some of the `left` bytes that the worker owes us. */
static int next_piece(Reader *rd, uint64_t left, size_t *ret_n, Err *err)
{
        int fds[WORKER_FDS_MAX], r = worker_wait(rd->worker, rd->data_fd, err);
        WorkerMsg m;
        ssize_t n;

        if (r < 0)
                return r;
        n = r == 1 ? read(rd->data_fd, rd->piece, (size_t)MIN(left, (uint64_t)PIECE)) : 0;
        if (n < 0)
                return err_sys(err, errno, "read from worker");
        if (n > 0) {
                *ret_n = (size_t)n;
                return 0;
        }
        /* It stopped in the middle; its last message, or its death, says why. */
        r = worker_recv(rd->worker, &m, fds, err);
        for (int i = 0; r == 0 && i < WORKER_FDS_MAX; i++)
                fd_close(fds[i]);
        return r < 0 ? r : err_set(err, INTERNAL, "malformed message from worker");
}

static int take_text(Reader *rd, ImportArchive *ar, const char *name, uint64_t size,
                     const char **ret, size_t *ret_n, Err *err)
{
        char *text;
        size_t n = 0;

        if (size > IMPORT_JSON_MAX)
                return err_set(err, RESOURCE_EXHAUSTED, "%s has %llu bytes: limit is %d", name,
                               (unsigned long long)size, IMPORT_JSON_MAX);
        text = arena_alloc(ar->a, size + 1);
        for (uint64_t at = 0; at < size; at += n) {
                int r = next_piece(rd, size - at, &n, err);

                if (r < 0)
                        return r;
                memcpy(text + at, rd->piece, n);
        }
        *ret = text;
        *ret_n = size;
        return 0;
}

static int looks_compressed(const unsigned char *p, size_t n)
{
        return (n >= 3 && p[0] == 0x1f && p[1] == 0x8b && p[2] == 8) ||
               (n >= 4 && p[0] == 0x28 && p[1] == 0xb5 && p[2] == 0x2f && p[3] == 0xfd);
}

/* index.json whatever it costs, and other JSON while there is room. */
static int keep(const ImportArchive *ar, const ImportBlob *b, const char *piece)
{
        if (str_eq(b->name, "index.json"))
                return b->size <= IMPORT_JSON_MAX;
        return *piece == '{' && b->size <= LIMIT_DOCUMENT && ar->kept + b->size <= IMPORT_KEPT_MAX;
}

static int take_blob(Reader *rd, ImportArchive *ar, const char *name, uint64_t size, Err *err)
{
        const ImportSink *sink = ar->sink;
        ImportBlob *b = arena_new(ar->a, ImportBlob);
        char *text = NULL;
        Hasher h;
        size_t n = 0;
        int r;

        *b = (ImportBlob){.name = arena_strdup(ar->a, name), .size = size};
        if (str_eq(name, "index.json") && size > IMPORT_JSON_MAX)
                return err_set(err, RESOURCE_EXHAUSTED, "index.json has %llu bytes: limit is %d",
                               (unsigned long long)size, IMPORT_JSON_MAX);
        hasher_init(&h, DIGEST_SHA256);
        r = sink->begin(sink->ctx, arena_printf(ar->a, "tar-%s", name), size, err);
        for (uint64_t at = 0; r == 0 && at < size; at += n) {
                r = next_piece(rd, size - at, &n, err);
                if (r < 0)
                        return r;
                if (at == 0) {
                        b->compressed = looks_compressed((unsigned char *)rd->piece, n);
                        if (keep(ar, b, rd->piece)) {
                                text = arena_alloc(ar->a, size + 1);
                                ar->kept += size;
                        }
                }
                if (text)
                        memcpy(text + at, rd->piece, n);
                hasher_update(&h, rd->piece, n);
                r = sink->write(sink->ctx, rd->piece, n, err);
        }
        if (r == 0) {
                hasher_digest(&h, &b->digest);
                r = sink->commit(sink->ctx, &b->digest, size, err);
        }
        if (r < 0)
                return err_wrap(err, "failed to ingest \"%s\"", name);
        b->text = text;
        map_put(&ar->blobs, name, b);
        return 0;
}

static int take_entry(Reader *rd, ImportArchive *ar, const WorkerEntryMsg *e, Err *err)
{
        char name[LIMIT_TAR_NAME], to[LIMIT_TAR_NAME];
        uint64_t size = e->size;
        const char *dir;
        int r = tree_clean(e->name, name, err);

        if (r < 0)
                return r;
        if (e->type == WORKER_ENTRY_SYMLINK) {
                dir = strrchr(name, '/');
                r = tree_clean(
                        arena_printf(ar->a, "%.*s/%s", dir ? (int)(dir - name) : 0, name, e->link),
                        to, err);
                if (r == 0)
                        VEC_PUSH(&ar->links,
                                 (ImportLink){arena_strdup(ar->a, name), arena_strdup(ar->a, to)});
                return r;
        }
        if (str_eq(name, "oci-layout"))
                return take_text(rd, ar, name, size, &ar->layout, &ar->n_layout, err);
        if (str_eq(name, "manifest.json"))
                return take_text(rd, ar, name, size, &ar->docker, &ar->n_docker, err);
        return take_blob(rd, ar, name, size, err);
}

static int take_all(Reader *rd, ImportArchive *ar, Err *err)
{
        for (size_t entries = 0;; entries++) {
                int fds[WORKER_FDS_MAX], r;
                WorkerMsg m;

                r = worker_recv(rd->worker, &m, fds, err);
                if (r < 0)
                        return r;
                for (int i = 0; i < WORKER_FDS_MAX; i++)
                        fd_close(fds[i]); /* it has none to give */
                if (m.type == WORKER_MSG_DONE)
                        return 0;
                if (m.type != WORKER_MSG_ENTRY || entries >= IMPORT_ENTRIES)
                        return err_set(err, INTERNAL, "malformed message from worker");
                r = take_entry(rd, ar, &m.entry, err);
                if (r < 0)
                        return r;
        }
}

static void archive_done(ImportArchive *ar)
{
        map_done(&ar->blobs);
        VEC_DONE(&ar->links);
}

int image_import(const ImportOptions *o, const ImportSink *sink, Arena *a, ImportResult *ret,
                 Err *err)
{
        ImportArchive ar CLEANUP(archive_done) = {.a = a, .sink = sink};
        WorkerOptions wo = {
                .name = "lighter-unpack",
                .path = o->worker_path,
                .ids = WORKER_IDS_SELF,
                .deadline_ns = o->deadline_ns,
                .cancelled = o->cancelled,
                .ctx = o->cancel_ctx,
        };
        WorkerMsg job = {.type = WORKER_MSG_IMPORT, .import = {IMPORT_BYTES_MAX, IMPORT_ENTRIES}};
        Worker *w CLEANUP(worker_endp) = NULL;
        int data CLEANUP(cleanup_fd) = -1, give CLEANUP(cleanup_fd) = -1;
        int pipes[2], r;

        if (pipe2(pipes, O_CLOEXEC) < 0)
                return err_sys(err, errno, "pipe");
        data = pipes[0];
        give = pipes[1];
        fcntl(data, F_SETPIPE_SZ, PIPE_BYTES); /* fewer turns; the default does too */
        r = worker_start(&wo, &w, err);
        if (r == 0)
                r = worker_send(w, &job, (int[]){o->archive_fd, give}, 2, err);
        if (r < 0)
                return r;
        fd_close(TAKE_FD(give));

        Reader rd = {.worker = w, .data_fd = data, .piece = arena_alloc(a, PIECE)};

        r = take_all(&rd, &ar, err);
        return r < 0 ? r : import_resolve(&ar, ret, err);
}
