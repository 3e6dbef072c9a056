/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The blob store on disk, without namespaces; its layout is containerd's:
 *
 *         blobs/<alg>/<hex>                 complete and durable, mode 0444
 *         ingest/<sha256 of the ref>/       being written: ref, data, startedat, updatedat, total
 *
 * A blob is visible when it is complete, verified and durable, never before. An ingest belongs to
 * one writer at a time; its folder stays when the writer is closed without commit, and the next
 * writer of that ref goes on from there.
 *
 * Any thread; a ContentWriter is used by one thread at a time. All functions block on disk.
 */
#pragma once

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "spec/digest.h"

typedef struct ContentStore ContentStore;
typedef struct ContentWriter ContentWriter;

typedef struct ContentInfo {
        Digest digest;
        uint64_t size;
        Time created, updated;
} ContentInfo;

typedef struct ContentStatus {
        const char *ref; /* in the arena */
        uint64_t offset, total;
        Time started, updated;
        const char *expected; /* as the one who left it has noted; in the arena, or NULL */
        int leased;           /* likewise */
} ContentStatus;

int content_store_open(const char *root, ContentStore **ret, Err *err);
ContentStore *content_store_free(ContentStore *s); /* takes NULL; no writer may be open */

/* Blobs. NOT_FOUND "content D: not found". */
int content_info(ContentStore *s, const Digest *d, ContentInfo *ret, Err *err);
int content_open(ContentStore *s, const Digest *d, int *ret_fd, uint64_t *ret_size, Err *err);

/*
 * Pins: whoever relies on a blob that has no record yet pins it, from before the look until after
 * the record is durable; while it is pinned nobody removes it. Waits for a removal under way.
 */
void content_pin(ContentStore *s, const Digest *d);
void content_unpin(ContentStore *s, const Digest *d);
/* Removes the blob if it is not pinned and unused() then still says 1 (0: in use; -code: error).
 * *ret_removed says whether it is gone; an absent blob counts as gone. unused() runs without locks
 * held, but with nobody able to pin. */
int content_remove(ContentStore *s, const Digest *d,
                   int (*unused)(void *ctx, const Digest *d, Err *err), void *ctx, int *ret_removed,
                   Err *err);
/* Each blob there is, in no order; what comes or goes meanwhile may be missed. fn returns 0 to go
 * on, 1 to stop, -code. */
int content_walk(ContentStore *s, int (*fn)(void *ctx, const Digest *d, Err *err), void *ctx,
                 Err *err);

/* Ingests, by ref. NOT_FOUND "reference R: not found", where R is the ref as given. */
int content_status(ContentStore *s, Arena *a, const char *ref, ContentStatus *ret, Err *err);
/* Those whose ref begins with prefix. */
int content_statuses(ContentStore *s, Arena *a, const char *prefix, ContentStatus **ret,
                     size_t *ret_n, Err *err);
/* Removes the ingest. An open writer of it keeps its lock and fails at commit. */
int content_abort(ContentStore *s, const char *ref, Err *err);

/* Removes the ingest if nobody has it open and stale() then says 1 (0: keep; -code: error); who
 * wants to open it waits meanwhile. *ret_removed: 1 or 0. */
int content_collect(ContentStore *s, const char *ref,
                    int (*stale)(void *ctx, const ContentStatus *st, Err *err), void *ctx,
                    int *ret_removed, Err *err);
/* Removes folders that nobody can resume, half made before a crash, when they are older than
 * before. How many. */
size_t content_collect_broken(ContentStore *s, Time before);

/* Opens or resumes: what is there is hashed again. total: 0 for unknown; another one than before
 * starts over. UNAVAILABLE "ref R locked for ...: unavailable" while another writer has it. */
int content_writer_open(ContentStore *s, const char *ref, uint64_t total, ContentWriter **ret,
                        Err *err);
/* Before close: what will be told of the ingest if it stays; expected may be NULL. Whether it
 * stays: 0 after a commit. */
int content_writer_leave(ContentWriter *w, const char *expected, int leased);
/* Lets go of the ref and keeps the ingest. Takes NULL, returns NULL. */
ContentWriter *content_writer_close(ContentWriter *w);
int content_writer_write(ContentWriter *w, const void *data, size_t n, Err *err);
/* Only to 0. */
int content_writer_truncate(ContentWriter *w, uint64_t size, Err *err);
void content_writer_status(const ContentWriter *w,
                           ContentStatus *ret); /* ref borrowed from the writer */
uint64_t content_writer_offset(const ContentWriter *w);
void content_writer_digest(const ContentWriter *w, Digest *ret); /* sha256 so far */
/* Checks size (0: any) and digest (NULL: any), makes the blob durable, removes the ingest and lets
 * go of the ref, also on failure; the writer is then only good for close. The blob is pinned on
 * success: content_unpin(ret) when its record is durable. FAILED_PRECONDITION as containerd words
 * it; an existing blob is success (it is the same bytes). */
int content_writer_commit(ContentWriter *w, uint64_t size, const Digest *expected, Digest *ret,
                          Err *err);

DEFINE_CLEANUP(ContentStore *, content_store_free)
DEFINE_CLEANUP(ContentWriter *, content_writer_close)
