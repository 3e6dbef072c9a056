/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a namespace calls its snapshots, over snapshotters that know no namespaces. The backend's
 * key of one is
 * "<namespace>/<seq>/<key>". Its record and the snapshotter's become durable in one commit.
 *
 * Functions open their own transactions: the caller must hold none. All block on disk. Any thread.
 * What they give back lives in the arena. Every function answers INVALID_ARGUMENT "snapshotter not
 * loaded: X" and, for a missing snapshot, NOT_FOUND "snapshot K does not exist: not found".
 */
#pragma once

#include "api/containerd/services/snapshots/v1/snapshots.pb-c.h"
#include "metadata/content.h"
#include "metadata/metadata.h"
#include "snapshots/snapshotter.h"

typedef struct Snapshots Snapshots;

Snapshots *snapshots_new(Metadata *m);   /* m is borrowed and outlives it */
Snapshots *snapshots_free(Snapshots *s); /* takes NULL, returns NULL */
/* While plugins start. The snapshotter is borrowed and outlives s. */
void snapshots_add(Snapshots *s, Snapshotter *sn);
Snapshotter *snapshots_find(Snapshots *s, const char *snapshotter); /* NULL if not loaded */

typedef struct SnapshotsPrepare {
        const char *snapshotter, *key, *parent;
        SnapshotKind kind; /* ACTIVE, or VIEW */
        Snapshots__Info__LabelsEntry **labels;
        size_t n_labels;
} SnapshotsPrepare;

/* ALREADY_EXISTS for key, or for the label containerd.io/snapshot.ref; NOT_FOUND for the parent,
 * INVALID_ARGUMENT for one that is not committed. *ret may be NULL. */
int snapshots_prepare(Snapshots *s, const MetaCaller *who, Arena *a, const SnapshotsPrepare *what,
                      MountList *ret, Err *err);

typedef struct SnapshotsCommit {
        const char *snapshotter, *name, *key;
        const char *parent; /* for an active without one, see "rebase" */
        Snapshots__Info__LabelsEntry **labels;
        size_t n_labels;
} SnapshotsCommit;

/* ALREADY_EXISTS for name, FAILED_PRECONDITION if key is not active. Durable. */
int snapshots_commit(Snapshots *s, const MetaCaller *who, Arena *a, const SnapshotsCommit *what,
                     Err *err);
/* FAILED_PRECONDITION with children. The folder goes in the background. */
int snapshots_remove(Snapshots *s, const MetaCaller *who, Arena *a, const char *snapshotter,
                     const char *key, Err *err);
/* FAILED_PRECONDITION for a committed one. */
int snapshots_mounts(Snapshots *s, const char *ns, Arena *a, const char *snapshotter,
                     const char *key, MountList *ret, Err *err);
int snapshots_stat(Snapshots *s, const char *ns, Arena *a, const char *snapshotter, const char *key,
                   Snapshots__Info **ret, Err *err);
int snapshots_update(Snapshots *s, const char *ns, Arena *a, const char *snapshotter,
                     const Snapshots__Info *info, const char *const *paths, size_t n_paths,
                     Snapshots__Info **ret, Err *err);
int snapshots_usage(Snapshots *s, const char *ns, Arena *a, const char *snapshotter,
                    const char *key, SnapshotUsage *ret, Err *err);
/* Those that match, in order of key; fn returns 0 to go on, or -code. info lives until fn returns.
 */
int snapshots_list(Snapshots *s, const char *ns, const char *snapshotter,
                   const char *const *filters, size_t n_filters,
                   int (*fn)(void *ctx, const Snapshots__Info *info, Err *err), void *ctx,
                   Err *err);

DEFINE_CLEANUP(Snapshots *, snapshots_free)
