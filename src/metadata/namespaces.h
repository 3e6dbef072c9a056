/* SPDX-License-Identifier: Apache-2.0 */
/* Namespaces by name: their labels, and that they are deleted only when empty. Everything sticks in
 * the transaction. */
#pragma once

#include "api/containerd/services/namespaces/v1/namespaces.pb-c.h"
#include "metadata/metadata.h"

/* ALREADY_EXISTS; INVALID_ARGUMENT for the name or a label. The record in the arena, NULL when
 * failed. */
Namespaces__Namespace *namespaces_create(MetaTxn *txn, const Namespaces__Namespace *ns);
/* One that does not exist is just its name. NULL when failed. */
Namespaces__Namespace *namespaces_get(MetaTxn *txn, const char *name);
/* Replaces all labels, or with paths ("labels", "labels.KEY") those. Makes a namespace that does
 * not exist. */
Namespaces__Namespace *namespaces_update(MetaTxn *txn, const Namespaces__Namespace *ns,
                                         const char *const *paths, size_t n_paths);
/* NOT_FOUND; FAILED_PRECONDITION naming what is still there: images, blobs, containers, snapshots.
 * Leases go with it. */
int namespaces_delete(MetaTxn *txn, const char *name);
/* In order of names, as encoded Namespace messages. */
int namespaces_list(MetaTxn *txn, MetaListFn fn, void *ctx);
