/* SPDX-License-Identifier: Apache-2.0 */
/* Container records. Everything sticks in the transaction; results lie in its arena, NULL when
 * failed. */
#pragma once

#include "api/containerd/services/containers/v1/containers.pb-c.h"
#include "base/limits.h"
#include "metadata/metadata.h"

extern const MetaKind containers_kind; /* id, image, runtime.name, labels.* */

/* ALREADY_EXISTS; INVALID_ARGUMENT. */
Containers__Container *containers_create(MetaTxn *txn, const char *ns,
                                         const Containers__Container *container);
Containers__Container *containers_get(MetaTxn *txn, const char *ns, const char *id); /* NOT_FOUND */
/* paths: labels, labels.KEY, spec, extensions, extensions.KEY, image, snapshotkey; none replaces
 * all of these, and refuses another snapshotter or runtime. */
Containers__Container *containers_update(MetaTxn *txn, const char *ns,
                                         const Containers__Container *container,
                                         const char *const *paths, size_t n_paths);
int containers_delete(MetaTxn *txn, const char *ns, const char *id); /* NOT_FOUND */
int containers_list(MetaTxn *txn, const char *ns, const Filter *filter, MetaListFn fn, void *ctx);
/* A list in steps, a transaction each: the first that matches and whose id sorts after last ("" at
 * the start), which becomes last. 1 and *ret as stored, 0 at the end, -code. */
typedef struct ContainerMark {
        char last[LIMIT_IDENTIFIER + 1];
} ContainerMark;
int containers_next(MetaTxn *txn, const char *ns, const Filter *filter, ContainerMark *mark,
                    DbVal *ret);
