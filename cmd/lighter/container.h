/* SPDX-License-Identifier: Apache-2.0 */
/* Containers: from flags to record, and back. */
#pragma once

#include "api/containerd/services/containers/v1/containers.pb-c.h"
#include "api/containerd/types/types.pb-c.h"
#include "cmd/lighter/cli.h"

typedef struct NewContainer {
        Containers__Container *record; /* as the daemon stored it */
        Types__Mount **mounts;         /* of its snapshot; none for a container on a folder */
        size_t n_mounts;
        int terminal;
} NewContainer;

/* What run and containers create have in common: image or folder, snapshot, spec, record. The
 * caller is connected. What was made is taken back when a later step fails. */
int container_create(Cli *cli, const Args *args, NewContainer *ret, Err *err);

/* NOT_FOUND */
int container_get(Cli *cli, const char *id, Containers__Container **ret, Err *err);
/* Record and snapshot. */
int container_delete(Cli *cli, const Containers__Container *c, int keep_snapshot, Err *err);
/* The mounts of a container's snapshot. */
int container_mounts(Cli *cli, const Containers__Container *c, Types__Mount ***ret, size_t *ret_n,
                     Err *err);
/* The runtime spec, decoded; the caller drops the reference. */
int container_spec(const Containers__Container *c, json_t **ret, Err *err);
