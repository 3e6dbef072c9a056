/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "api/containerd/services/namespaces/v1/namespaces.pb-c.h"
#include "metadata/metadata.h"

enum { NS_NUMBER_BYTES = 4 }; /* before the message in a namespace's record */

uint32_t ns_record_number(DbVal stored);
void ns_record_put(MetaTxn *txn, uint32_t number, const Namespaces__Namespace *ns);
uint32_t ns_new_number(MetaTxn *txn); /* 0 when failed */
/* The namespace that txn remembers is gone. */
void ns_forget(MetaTxn *txn);
