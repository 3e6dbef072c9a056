/* SPDX-License-Identifier: Apache-2.0 */
/* Leases: what must not be collected yet, and what each of them holds. Everything sticks in the
 * transaction. */
#pragma once

#include "api/containerd/services/leases/v1/leases.pb-c.h"
#include "metadata/metadata.h"

/* ALREADY_EXISTS; INVALID_ARGUMENT for an empty id or a label over the limit. The lease as stored,
 * in the arena; NULL when failed. */
Leases__Lease *leases_create(MetaTxn *txn, const char *ns, const Leases__CreateRequest *req);
int leases_delete(MetaTxn *txn, const char *ns, const char *id); /* NOT_FOUND */
int leases_list(MetaTxn *txn, const char *ns, const Filter *filter, MetaListFn fn, void *ctx);

/* As a client names it: type "content", "ingests", "images" or "snapshots/NAME". NOT_FOUND for the
 * lease; INVALID_ARGUMENT and UNIMPLEMENTED for the type. Removing what it does not hold is fine.
 */
int leases_add_resource(MetaTxn *txn, const char *ns, const char *lease, const char *type,
                        const char *id);
int leases_remove_resource(MetaTxn *txn, const char *ns, const char *lease, const char *type,
                           const char *id);
/* *ret in the arena. */
int leases_list_resources(MetaTxn *txn, const char *ns, const char *lease, Leases__Resource ***ret,
                          size_t *ret_n);

/* Whether any lease holds it. */
int leases_hold(MetaTxn *txn, const char *ns, const char *type, const char *id);
/* The prefix of what a lease holds: a Resource each. */
DbKey *lease_resources_key(DbKey *k, uint32_t ns, const char *lease);

/* For what a call makes or removes: holds it by the call's lease (header containerd-lease). lease
 * NULL or "": does nothing. NOT_FOUND "lease does not exist: not found". */
int lease_add_resource(MetaTxn *txn, const char *ns, const char *lease, const char *type,
                       const char *id);
int lease_remove_resource(MetaTxn *txn, const char *ns, const char *lease, const char *type,
                          const char *id);
