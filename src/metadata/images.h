/* SPDX-License-Identifier: Apache-2.0 */
/* Images: names for descriptors. Everything sticks in the transaction; results lie in its arena,
 * NULL when failed. */
#pragma once

#include "api/containerd/services/images/v1/images.pb-c.h"
#include "metadata/metadata.h"

extern const MetaKind
        images_kind; /* name, target.digest, target.mediatype, labels.*, annotations.* */

/* ALREADY_EXISTS; INVALID_ARGUMENT. epoch NULL: now. A lease (may be NULL) holds an image that
 * expires. */
Images__Image *images_create(MetaTxn *txn, const char *ns, const Images__Image *image,
                             const Google__Protobuf__Timestamp *epoch, const char *lease);
Images__Image *images_get(MetaTxn *txn, const char *ns, const char *name); /* NOT_FOUND */
/* paths: labels, labels.KEY, target, annotations, annotations.KEY; none replaces all but
 * created_at. */
Images__Image *images_update(MetaTxn *txn, const char *ns, const Images__Image *image,
                             const char *const *paths, size_t n_paths,
                             const Google__Protobuf__Timestamp *epoch, const char *lease);
/* NOT_FOUND; also when target (may be NULL or "") is a digest and the image's is another. */
int images_delete(MetaTxn *txn, const char *ns, const char *name, const char *target,
                  const char *lease);
int images_list(MetaTxn *txn, const char *ns, const Filter *filter, MetaListFn fn, void *ctx);
