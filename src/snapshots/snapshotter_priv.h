/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "api/lighter/store/v1/snapshots.pb-c.h"
#include "base/pool.h"
#include "snapshots/snapshotter.h"

/* What a snapshotter implements; the functions of snapshotter.h, one to one. */
struct SnapshotterOps {
        int (*prepare)(Snapshotter *sn, const SnapshotSpec *spec, SnapshotChange **ret, Err *err);
        int (*commit)(Snapshotter *sn, const SnapshotSpec *spec, SnapshotChange **ret, Err *err);
        int (*remove)(Snapshotter *sn, const char *key, SnapshotChange **ret, Err *err);
        int (*change_record)(SnapshotChange *ch, DbTxn *txn, Err *err);
        void (*change_done)(SnapshotChange *ch);
        void (*change_end)(SnapshotChange *ch);
        int (*change_mounts)(const SnapshotChange *ch, Arena *a, MountList *ret, Err *err);
        int (*stat)(Snapshotter *sn, DbTxn *txn, Arena *a, const char *key, SnapshotInfo *ret,
                    Err *err);
        int (*mounts)(Snapshotter *sn, DbTxn *txn, Arena *a, const char *key, MountList *ret,
                      Err *err);
        int (*update)(Snapshotter *sn, DbTxn *txn, const char *key, const SnapshotLabel *labels,
                      size_t n, Err *err);
        int (*usage)(Snapshotter *sn, const char *key, SnapshotUsage *ret, Err *err);
        void (*sync)(Snapshotter *sn, void (*done)(void *arg), void *arg);
        void (*free)(Snapshotter *sn);
};

struct Snapshotter {
        const SnapshotterOps *ops;
        const char *name;
        char *root;
        const char *capabilities[4];
};

/* A change begins with this. */
struct SnapshotChange {
        Snapshotter *sn;
};

/*
 * Records (records.c). The messages live in the arena they were read into. Errors stick in the
 * transaction; what is said of an absent record is the caller's.
 */
typedef Store__BackendSnapshot Record;

/* NULL when there is none. */
Record *record_get(DbTxn *txn, Arena *a, const char *name, const char *key, Err *err);
void record_put(DbTxn *txn, Arena *a, const char *name, const Record *rec);
void record_del(DbTxn *txn, const char *name, const Record *rec);
int record_has_children(DbTxn *txn, const char *name, const char *key);
int record_walk(DbTxn *txn, Arena *a, const char *name, int (*fn)(void *ctx, const Record *rec),
                void *ctx, Err *err);
/* The ids of the parents of a snapshot whose parent is `parent`, nearest first. */
int record_chain(DbTxn *txn, Arena *a, const char *name, const char *parent, uint64_t **ret,
                 size_t *ret_n, Err *err);
void record_to_info(Arena *a, const Record *rec, SnapshotInfo *ret);
void record_set_labels(Arena *a, Record *rec, const SnapshotLabel *labels, size_t n);
void record_touch(Arena *a, Record *rec); /* updated now, and created unless it was */

/*
 * Snapshotters that keep each snapshot in a folder, snapshots/<id> below their root (folders.c).
 * What differs between them is what lies in the folder and how it is mounted.
 */
typedef struct Folder {
        uint64_t id;
        SnapshotKind kind;
        const uint64_t *chain; /* parents, nearest first */
        size_t n_chain;
        const SnapshotLabel *labels;
        size_t n_labels;
} Folder;

typedef struct FolderSnapshotter FolderSnapshotter;

typedef struct FolderOps {
        /* Whether this kind of snapshot has a folder at all. */
        int (*has_folder)(const Folder *f);
        /* Fills the new folder, which is open at dir. */
        int (*fill)(FolderSnapshotter *fs, const Folder *f, int dir, Err *err);
        void (*mounts)(FolderSnapshotter *fs, const Folder *f, Arena *a, MountList *ret);
        const char *data;         /* where the data lies in the folder: "fs", or "." */
        const char *mounts_error; /* what stands before the error of mounts */
        mode_t mode;              /* of the folder */
        void (*free)(FolderSnapshotter *fs);
} FolderOps;

struct FolderSnapshotter {
        Snapshotter base;
        const FolderOps *fops;
        DbEnv *env;
        int dir; /* snapshots/ */
        uint64_t last_id;
        Pool *reaper; /* one thread, so that what is queued later runs later */
        int sync_remove;
        int upperdir_label;
        void *data; /* the implementation's */
};

/* Makes root and root/snapshots, counts ids up from what is there, deletes folders that no record
 * names. fs is heap memory with fops and options filled in; on success it is the caller's
 * snapshotter, on failure it is freed. */
int folders_open(FolderSnapshotter *fs, const char *name, DbEnv *env, const char *root,
                 Snapshotter **ret, Err *err);
