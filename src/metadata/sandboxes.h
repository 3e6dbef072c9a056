/* SPDX-License-Identifier: Apache-2.0 */
/* Sandbox records. Everything sticks in the transaction; results lie in its arena, NULL when
 * failed. */
#pragma once

#include "api/containerd/types/types.pb-c.h"
#include "metadata/metadata.h"

extern const MetaKind sandboxes_kind; /* id, labels.* */

/* ALREADY_EXISTS; INVALID_ARGUMENT. */
Types__Sandbox *sandboxes_create(MetaTxn *txn, const char *ns, const Types__Sandbox *sandbox);
Types__Sandbox *sandboxes_get(MetaTxn *txn, const char *ns, const char *id); /* NOT_FOUND */
/* 1, or 0: not there (or failed). */
int sandboxes_exist(MetaTxn *txn, const char *ns, const char *id);
/* paths: labels, labels.KEY, extensions, extensions.KEY, spec, runtime; none replaces all of these,
 * and refuses a runtime of another name. NOT_FOUND; INVALID_ARGUMENT. */
Types__Sandbox *sandboxes_update(MetaTxn *txn, const char *ns, const Types__Sandbox *sandbox,
                                 const char *const *paths, size_t n_paths);
int sandboxes_delete(MetaTxn *txn, const char *ns, const char *id); /* NOT_FOUND */
int sandboxes_list(MetaTxn *txn, const char *ns, const Filter *filter, MetaListFn fn, void *ctx);
