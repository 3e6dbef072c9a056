/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a snapshotter is: layered folders (or volumes) by key, each a View, an Active or a Committed
 * one. Keys here are the backend's, "<namespace>/<seq>/<key>"; namespaces and client keys are
 * metadata/snapshots.h's affair, and that is whom all others talk to.
 *
 * A change has three steps, because its disk work must not happen inside a database transaction and
 * its record must be durable together with the one above it:
 *
 *         SnapshotChange *ch CLEANUP(snapshot_change_endp) = NULL;
 *         r = snapshotter_prepare(sn, &spec, &ch, err);          1. disk: makes the folder, blocks
 *         r = snapshot_change_record(ch, txn, err);              2. in the caller's write
 * transaction, checks again r = meta_commit(...); snapshot_change_done(ch); 3. committed; without
 * it, end takes step 1 back
 *
 * Readers take the caller's transaction, so that they see the records it sees.
 *
 * Any thread. Folders of removed snapshots are deleted by a background thread; see
 * snapshotter_sync().
 */
#pragma once

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "db/db.h"
#include "mount/mount.h"

typedef struct Snapshotter Snapshotter;
typedef struct SnapshotChange SnapshotChange;

/* The values go over the wire. */
typedef enum SnapshotKind {
        SNAPSHOT_UNKNOWN,
        SNAPSHOT_VIEW,
        SNAPSHOT_ACTIVE,
        SNAPSHOT_COMMITTED,
} SnapshotKind;

const char *snapshot_kind_name(SnapshotKind kind); /* "view", "active", "committed", "unknown" */

typedef struct SnapshotLabel {
        const char *key, *value;
} SnapshotLabel;

typedef struct SnapshotInfo {
        SnapshotKind kind;
        const char *key;
        const char *parent; /* "" for none */
        Time created, updated;
        const SnapshotLabel *labels;
        size_t n_labels;
} SnapshotInfo;

typedef struct SnapshotUsage {
        int64_t size, inodes;
} SnapshotUsage;

typedef struct SnapshotSpec {
        SnapshotKind kind;  /* VIEW or ACTIVE; ignored by commit */
        const char *key;    /* commit: the active's */
        const char *name;   /* commit: the new key */
        const char *parent; /* "" for none; commit: a new parent for an active that has none, see
                               rebase */
        const SnapshotLabel *labels;
        size_t n_labels;
} SnapshotSpec;

/* Implementations: one const table each. */
typedef struct SnapshotterOps SnapshotterOps;

const char *snapshotter_name(const Snapshotter *sn); /* "overlayfs" */
const char *snapshotter_root(const Snapshotter *sn); /* its folder, exported by introspection */
const char *const *snapshotter_capabilities(const Snapshotter *sn); /* NULL-terminated */
Snapshotter *snapshotter_free(Snapshotter *sn); /* waits for removals under way; takes NULL */

/* ALREADY_EXISTS, NOT_FOUND for a missing parent, INVALID_ARGUMENT for one that is not committed.
 */
int snapshotter_prepare(Snapshotter *sn, const SnapshotSpec *spec, SnapshotChange **ret, Err *err);
/* NOT_FOUND, FAILED_PRECONDITION if not active, ALREADY_EXISTS for the name. Makes the data
 * durable. */
int snapshotter_commit(Snapshotter *sn, const SnapshotSpec *spec, SnapshotChange **ret, Err *err);
/* NOT_FOUND, FAILED_PRECONDITION with children (from record). */
int snapshotter_remove(Snapshotter *sn, const char *key, SnapshotChange **ret, Err *err);
int snapshot_change_record(SnapshotChange *ch, DbTxn *txn, Err *err);
void snapshot_change_done(SnapshotChange *ch);
SnapshotChange *snapshot_change_end(SnapshotChange *ch); /* takes NULL, returns NULL */
DEFINE_CLEANUP(SnapshotChange *, snapshot_change_end)
/* What to mount for the snapshot that prepare has made. */
int snapshot_change_mounts(const SnapshotChange *ch, Arena *a, MountList *ret, Err *err);

/* NOT_FOUND. */
int snapshotter_stat(Snapshotter *sn, DbTxn *txn, Arena *a, const char *key, SnapshotInfo *ret,
                     Err *err);
/* FAILED_PRECONDITION for a committed one. */
int snapshotter_mounts(Snapshotter *sn, DbTxn *txn, Arena *a, const char *key, MountList *ret,
                       Err *err);
/* Replaces the labels. */
int snapshotter_update(Snapshotter *sn, DbTxn *txn, const char *key, const SnapshotLabel *labels,
                       size_t n, Err *err);
/* Of an active one counted now, outside any transaction (blocks on disk); NOT_FOUND. */
int snapshotter_usage(Snapshotter *sn, const char *key, SnapshotUsage *ret, Err *err);

/* done(arg) once, on the background thread, when every removal before this call is off the disk.
 * Does not block. */
void snapshotter_sync(Snapshotter *sn, void (*done)(void *arg), void *arg);

typedef struct OverlayfsOptions {
        const char *const
                *mount_options; /* NULL-terminated, appended to overlay mounts; NULL for none */
        int upperdir_label;     /* stat tells containerd.io/snapshot/overlay.upperdir */
        int sync_remove;        /* removal deletes before it answers */
} OverlayfsOptions;

/* Both make root, and delete what earlier runs have left there without a record. root is absolute;
 * env outlives them. overlayfs: UNIMPLEMENTED when root's file system cannot carry it, the plugin
 * is skipped then. */
int overlayfs_open(DbEnv *env, const char *root, const OverlayfsOptions *options, Snapshotter **ret,
                   Err *err);
int native_open(DbEnv *env, const char *root, Snapshotter **ret, Err *err);

DEFINE_CLEANUP(Snapshotter *, snapshotter_free)
