/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Collection: what nothing refers to goes. gc_mark.c says what refers to what, gc_sweep.c why what
 * is still wanted cannot go, gc.c when all this happens.
 *
 * One collection runs at a time, on a thread of the pool. It marks on a read snapshot, which nobody
 * waits for, and forgets in small write transactions; files go after the commit that forgot them.
 */
#pragma once

#include "base/loop.h"
#include "base/pool.h"
#include "metadata/content.h"
#include "metadata/metadata.h"
#include "metadata/snapshots.h"

typedef struct Gc Gc;

/* The scheduler's keys, as containerd has them. */
typedef struct GcSchedule {
        double pause_threshold;     /* share of time that collections may take, 0 to 0.5 */
        int64_t deletion_threshold; /* so many deletions start one at once; 0: at the next turn */
        int64_t mutation_threshold; /* so many changes start one at the next turn; 0: none do */
        int64_t schedule_delay;     /* ns, before one that somebody has asked for */
        int64_t startup_delay;      /* ns, before the first */
} GcSchedule;

typedef struct GcOptions {
        Metadata *meta;       /* all of these are borrowed and outlive it */
        Blobs *blobs;         /* may be NULL: */
        Snapshots *snapshots; /* the database alone, for tests */
        Loop *loop;           /* NULL: only gc_collect(); */
        Pool *pool;           /* set together */
        GcSchedule schedule;
} GcOptions;

/* Becomes the metadata's collection: changes are noted and metadata_collect() goes through it. On
 * the loop's thread, before calls are served; nothing runs before the loop does. */
Gc *gc_new(const GcOptions *o);
/* Starts nothing more, ends what runs at its next step and tells whoever waits that it failed. On
 * the loop's thread. */
void gc_stop(Gc *gc);
/* After gc_stop(), when the pool is through. Takes NULL, returns NULL. */
Gc *gc_free(Gc *gc);

/* done(arg, r) once, on any thread, when a collection that began after this call is over and files
 * are gone as well. r: 0, or -code if it failed. Does not block. */
typedef void (*GcDoneFn)(void *arg, int r);
void gc_schedule_and_wait(Gc *gc, GcDoneFn done, void *arg);

typedef struct GcStats {
        size_t nodes, forgotten, files;
        uint64_t mark_ns, sweep_ns; /* of it, the time in write transactions */
} GcStats;

/* One collection, now and on this thread, which holds no transaction. Blocks; any thread, one at a
 * time. What could be forgotten is, also when it fails. */
int gc_collect(Gc *gc, GcStats *ret, Err *err);

/* ---- resources that are no records here: mounts, streams ---- */

typedef struct GcResource {
        const char *ns, *name;
        const char *lease;  /* goes with it; NULL or "" for none */
        int active;         /* stays though nothing refers to it (no lease decides then) */
        const void *labels; /* entries as messages have them (LabelEntry): gc.ref.*, gc.bref.* */
        size_t n_labels;
        uint64_t id; /* tells it from a later one of that name */
} GcResource;

typedef struct GcCollector {
        const char *label; /* "mount": the label containerd.io/gc.ref.mount[./X] = name keeps it */
        /* Calls fn for each resource there is, with whatever lives until fn returns. May block;
         * takes no transaction. 0, or -code. */
        int (*list)(void *ctx, void (*fn)(void *arg, const GcResource *r), void *arg, Err *err);
        /* Nothing refers to it: from now on nobody finds it under its name. 1, or 0 when it is
         * another one by now, or in use. Called inside a write transaction: must not block, nor
         * touch the database, and takes no lock but LOCK_LEAF. */
        int (*forget)(void *ctx, const char *ns, const char *name, uint64_t id);
        /* After the commit: frees what was forgotten. May block. NULL: nothing to do. */
        void (*clean)(void *ctx);
} GcCollector;

/* While plugins start. Both outlive gc. */
void gc_add_collector(Gc *gc, const GcCollector *c, void *ctx);

DEFINE_CLEANUP(Gc *, gc_free)
