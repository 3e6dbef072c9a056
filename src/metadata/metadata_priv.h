/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "api/containerd/services/namespaces/v1/namespaces.pb-c.h"
#include "metadata/metadata.h"

enum { NS_NUMBER_BYTES = 4 }; /* before the message in a namespace's record */

uint32_t ns_record_number(DbVal stored);
void ns_record_put(MetaTxn *txn, uint32_t number, const Namespaces__Namespace *ns);
uint32_t ns_new_number(MetaTxn *txn); /* 0 when failed */
/* What is wrong with what is no digest, in go-digest's words, which clients know. */
const char *digest_trouble(const char *text);
/* The namespace that txn remembers is gone. */
void ns_forget(MetaTxn *txn);

/*
 * The log of what is written while a collection runs: keys of records, each as a uint16_t length
 * and its bytes. Every write that is not durable when start returns is logged before the next
 * write transaction begins.
 */
int metadata_touched_start(Metadata *m, Err *err);
void metadata_touched_stop(Metadata *m);
/* As if it had been written. Any thread. */
void metadata_touch(Metadata *m, const DbKey *key);
/* What was logged since the last take, on the heap. In a write transaction it is complete. */
size_t metadata_touched_take(Metadata *m, uint8_t **ret);
