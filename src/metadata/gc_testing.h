/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Collection over real stores. What a test makes is written as a script:
 *
 *         blob a gc.ref.content.0=$b; image i $a; layer base -; snap top base; lease l
 *
 * "$a" is the digest of blob a, "@-1h" a time, "gc." stands for "containerd.io/gc.". What is left
 * is told as "blob:a image:i ..." in order of kinds and names.
 */
#pragma once

#include "base/arena.h"
#include "metadata/gc.h"

typedef struct GcFixture {
        Arena a;
        Err err;
        char *dir;
        const char *ns;
        DbEnv *env;
        Exchange *ex;
        Metadata *m;
        ContentStore *store;
        Blobs *b;
        Snapshotter *sn;
        Snapshots *s;
        Subscription *events;
        Gc *gc;
        GcStats stats;
} GcFixture;

enum { GC_WORDS = 8 };

typedef struct GcLine {
        char *w[GC_WORDS];
        int n;
} GcLine;

void gc_fixture_open(GcFixture *f);
void gc_fixture_done(GcFixture *f);
int gc_fixture_collect(GcFixture *f);
/* One line of a script; content and snapshots are made under the lease, which may be NULL. */
int gc_make(GcFixture *f, const char *lease, const char *line);
int gc_script(GcFixture *f, const char *script);
const char *gc_left(GcFixture *f); /* of f->ns */
int gc_file_there(GcFixture *f, const char *name);
const char *gc_digest(Arena *a, const char *name);
/* KEY=VALUE from the words at `from` on; entries of every kind have one shape. */
void *gc_labels(Arena *a, const GcLine *l, int from, const ProtobufCMessageDescriptor *desc,
                size_t *ret_n);
