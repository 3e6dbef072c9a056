/* SPDX-License-Identifier: Apache-2.0 */
/* The interface: every call goes to the snapshotter's table. What folders have in common is in
 * folders.c. */
#include "snapshots/snapshotter.h"

#include "base/mem.h"
#include "snapshots/snapshotter_priv.h"

const char *snapshot_kind_name(SnapshotKind kind)
{
        static const char *const names[] = {"unknown", "view", "active", "committed"};

        return (unsigned)kind < ARRAY_LEN(names) ? names[kind] : "unknown";
}

const char *snapshotter_name(const Snapshotter *sn)
{
        return sn->name;
}

const char *snapshotter_root(const Snapshotter *sn)
{
        return sn->root;
}

const char *const *snapshotter_capabilities(const Snapshotter *sn)
{
        return sn->capabilities;
}

Snapshotter *snapshotter_free(Snapshotter *sn)
{
        if (sn)
                sn->ops->free(sn);
        return NULL;
}

int snapshotter_prepare(Snapshotter *sn, const SnapshotSpec *spec, SnapshotChange **ret, Err *err)
{
        return sn->ops->prepare(sn, spec, ret, err);
}

int snapshotter_commit(Snapshotter *sn, const SnapshotSpec *spec, SnapshotChange **ret, Err *err)
{
        return sn->ops->commit(sn, spec, ret, err);
}

int snapshotter_remove(Snapshotter *sn, const char *key, SnapshotChange **ret, Err *err)
{
        return sn->ops->remove(sn, key, ret, err);
}

int snapshot_change_record(SnapshotChange *ch, DbTxn *txn, Err *err)
{
        return ch->sn->ops->change_record(ch, txn, err);
}

void snapshot_change_done(SnapshotChange *ch)
{
        ch->sn->ops->change_done(ch);
}

SnapshotChange *snapshot_change_end(SnapshotChange *ch)
{
        if (ch)
                ch->sn->ops->change_end(ch);
        return NULL;
}

int snapshot_change_mounts(const SnapshotChange *ch, Arena *a, MountList *ret, Err *err)
{
        return ch->sn->ops->change_mounts(ch, a, ret, err);
}

int snapshotter_stat(Snapshotter *sn, DbTxn *txn, Arena *a, const char *key, SnapshotInfo *ret,
                     Err *err)
{
        return sn->ops->stat(sn, txn, a, key, ret, err);
}

int snapshotter_mounts(Snapshotter *sn, DbTxn *txn, Arena *a, const char *key, MountList *ret,
                       Err *err)
{
        return sn->ops->mounts(sn, txn, a, key, ret, err);
}

int snapshotter_update(Snapshotter *sn, DbTxn *txn, const char *key, const SnapshotLabel *labels,
                       size_t n, Err *err)
{
        return sn->ops->update(sn, txn, key, labels, n, err);
}

int snapshotter_usage(Snapshotter *sn, const char *key, SnapshotUsage *ret, Err *err)
{
        return sn->ops->usage(sn, key, ret, err);
}

void snapshotter_sync(Snapshotter *sn, void (*done)(void *arg), void *arg)
{
        sn->ops->sync(sn, done, arg);
}
