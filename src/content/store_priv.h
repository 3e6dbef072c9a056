/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/lock.h"
#include "base/map.h"
#include "content/store.h"

/* An open ingest that has no folder yet: what is to be told of it. */
typedef struct YoungIngest {
        uint64_t offset, total;
        Time started, updated;
        int aborted;
} YoungIngest;

enum { INGEST_NAME_MAX = 65, CONTENT_PATH_MAX = 160 };

struct ContentStore {
        int root; /* folder */

        Lock refs_lock; /* LOCK_INGEST */
        pthread_cond_t refs_freed;
        Map refs; /* of RefLock: refs that a writer has open */

        Lock pins_lock; /* LOCK_BLOB */
        pthread_cond_t pins_changed;
        Map pins; /* of Pin, by digest */

        Lock sync_lock; /* LOCK_LEAF: below */
        pthread_cond_t synced;
        uint64_t syncs_begun, syncs_done, sync_failed; /* numbers of syncs of the blobs' folder */
        int sync_errno;
};

/* Claims a ref for one writer; waits a moment for one that is just closing. UNAVAILABLE. */
int content_ref_lock(ContentStore *s, const char *ref, Err *err);
/* The same without waiting: 1, or 0 when somebody has it. */
int content_ref_try(ContentStore *s, const char *ref);
void content_ref_unlock(ContentStore *s, const char *ref);
/* The ingest of a claimed ref lies in memory: the writer's, which changes it with refs_lock held.
 * Until NULL; then 0, or -1 when it has been aborted meanwhile. */
int content_ref_set_young(ContentStore *s, const char *ref, YoungIngest *young);

/* "blobs/sha256/<hex>". */
void content_blob_path(const Digest *d, char path[CONTENT_PATH_MAX]);

/* The files of an ingest, in its folder. */
void ingest_dir_name(const char *ref, char name[INGEST_NAME_MAX]);
/* The ingest folder itself, made if make is set. NOT_FOUND. */
int ingest_parent(ContentStore *s, int make, int *ret_fd, Err *err);
int ingest_read_status(Arena *a, int dir, ContentStatus *ret, Err *err);
int ingest_write_status(int dir, const ContentStatus *st, Err *err);
int ingest_write_updated(int dir, Time t, Err *err);
