/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes become a layer: files with the folders that lead to them, whiteouts for what is gone,
 * links for further names of a file. Runs in the worker. One thread.
 * https://github.com/opencontainers/image-spec/blob/main/layer.md
 */
#pragma once

#include "base/cleanup.h"
#include "diff/compare_walk.h"
#include "diff/tar_write.h"

typedef struct LayerOptions {
        int upper_fd; /* the caller's; -1: empty */
        int bounded;  /* no time later than bound is written */
        Time bound;
        TarSinkFn sink;
        void *sink_ctx;
} LayerOptions;

typedef struct Layer Layer;

Layer *layer_new(const LayerOptions *o);
Layer *layer_free(Layer *l); /* takes NULL, returns NULL */
DEFINE_CLEANUP(Layer *, layer_free)
/* CompareWalk's change, ctx is the Layer. UNKNOWN for a file that shrinks while it is read. */
int layer_change(void *layer, const Change *c, Err *err);
int layer_finish(Layer *l, Err *err);
