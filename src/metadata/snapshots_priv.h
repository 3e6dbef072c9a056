/* SPDX-License-Identifier: Apache-2.0 */
/* Between snapshots.c (records and reading them) and snapshot_changes.c (prepare, commit, remove).
 */
#pragma once

#include "api/lighter/store/v1/snapshots.pb-c.h"
#include "metadata/snapshots.h"

/* Names what the snapshot is to become: a chain id. */
#define LABEL_REF "containerd.io/snapshot.ref"

typedef Store__Snapshot SnapshotName;

/* What one call is about. */
typedef struct Where {
        Snapshots *s;
        Metadata *meta;
        Snapshotter *sn;
        const char *ns;
} Where;

int snapshot_where(Snapshots *s, const char *ns, const char *snapshotter, Where *ret, Err *err);

/* NULL when there is none (or the transaction failed). */
SnapshotName *snapshot_find(MetaTxn *txn, const Where *w, const char *key);
/* The same for what must exist. */
int snapshot_get(MetaTxn *txn, const Where *w, const char *key, SnapshotName **ret, Err *err);
void snapshot_put(MetaTxn *txn, const Where *w, const SnapshotName *rec);
void snapshot_del(MetaTxn *txn, const Where *w, const SnapshotName *rec);
int snapshot_has_children(MetaTxn *txn, const Where *w, const char *key);

/* The next number of a backend key, at least one above what the transaction shows; keep writes it.
 */
uint64_t snapshot_next_number(MetaTxn *txn, const Where *w);
void snapshot_keep_number(MetaTxn *txn, const Where *w, uint64_t number);
/* Labels that are for the snapshotter too. */
SnapshotLabel *snapshot_backend_labels(Arena *a, Snapshots__Info__LabelsEntry *const *labels,
                                       size_t n, size_t *ret_n);
/* For collection: name and the snapshotter's record, with the event. 1, 0 when it has to stay; *ret
 * is to be done after the commit, and NULL when the snapshotter does not know it. */
int snapshot_forget(Snapshots *s, MetaTxn *txn, const char *ns, const char *snapshotter,
                    const SnapshotName *rec, SnapshotChange **ret, Err *err);
