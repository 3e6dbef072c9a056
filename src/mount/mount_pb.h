/* SPDX-License-Identifier: Apache-2.0 */
/* Between Mount and the wire's containerd.types.Mount; header-only, so that src/mount itself needs
 * no protobuf. */
#pragma once

#include "api/containerd/types/types.pb-c.h"
#include "mount/mount.h"

/* Borrows the message's strings. */
static inline MountList mounts_from_pb(Arena *a, Types__Mount *const *pb, size_t n)
{
        MountList l = {.v = arena_array(a, Mount, n), .n = n};

        for (size_t i = 0; i < n; i++)
                l.v[i] = (Mount){
                        .type = pb[i]->type,
                        .source = pb[i]->source,
                        .target = pb[i]->target,
                        .options = (const char *const *)pb[i]->options,
                        .n_options = pb[i]->n_options,
                };
        return l;
}

/* Borrows the mounts' strings; for the repeated field of an answer. */
static inline Types__Mount **mounts_to_pb(Arena *a, const MountList *l)
{
        Types__Mount **pb = arena_array(a, Types__Mount *, l->n);

        for (size_t i = 0; i < l->n; i++) {
                pb[i] = arena_new(a, Types__Mount);
                types__mount__init(pb[i]);
                pb[i]->type = l->v[i].type ? l->v[i].type : "";
                pb[i]->source = l->v[i].source ? l->v[i].source : "";
                pb[i]->target = l->v[i].target ? l->v[i].target : "";
                pb[i]->options = (const char **)l->v[i].options;
                pb[i]->n_options = l->v[i].n_options;
        }
        return pb;
}
