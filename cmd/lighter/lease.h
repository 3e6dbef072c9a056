/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lease around a command that makes several things: until it ends, what is not referenced yet is
 * not collected. `Lease l CLEANUP(lease_release) = {};`; lease_release() may be called early and
 * again.
 */
#pragma once

#include "cmd/lighter/cli.h"

typedef struct Lease {
        Cli *cli; /* NULL: not held */
        const char *id;
} Lease;

/* For 24 hours at most; calls carry it from now on. */
int lease_hold(Cli *cli, Lease *l, Err *err);
void lease_release(Lease *l);

/* expires_ns 0: never. id NULL or "": made up. */
int lease_create(Cli *cli, const char *id, int64_t expires_ns, char *const *labels, size_t n_labels,
                 const char **ret, Err *err);
