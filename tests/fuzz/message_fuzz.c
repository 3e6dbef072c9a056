/* SPDX-License-Identifier: Apache-2.0 */
/* Protobuf bytes of a peer; what unpacks must pack, and unpack again to the same bytes. */
#include <stdlib.h>

#include "api/containerd/services/containers/v1/containers.pb-c.h"
#include "api/containerd/services/tasks/v1/tasks.pb-c.h"
#include "base/cleanup.h"
#include "rpc/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void try_type(const ProtobufCMessageDescriptor *desc, const uint8_t *data, size_t n)
{
        Arena a CLEANUP(arena_done);
        ProtobufCMessage *msg, *again;
        void *bytes, *bytes2;
        size_t len, len2;
        Err err;

        arena_init(&a, SIZE_MAX);
        if (message_unpack(&a, desc, data, n, &msg, &err) < 0)
                return;
        bytes = message_pack(&a, msg, &len);
        if (message_unpack(&a, desc, bytes, len, &again, &err) < 0)
                abort();
        bytes2 = message_pack(&a, again, &len2);
        if (len != len2 || memcmp(bytes, bytes2, len) != 0)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        try_type(&containers__update_container_request__descriptor, data, n);
        try_type(&tasks__create_task_request__descriptor, data, n);
        return 0;
}
