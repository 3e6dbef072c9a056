/* SPDX-License-Identifier: Apache-2.0 */
/* An event of a type we know, with any bytes in it: the first byte chooses the type, all its fields
 * are looked up. */
#include "events/fields.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        static const char *const types[] = {
                "containerd.events.TaskCreate", "containerd.events.ContainerCreate",
                "containerd.events.ContainerUpdate", "containerd.events.NamespaceCreate",
                "containerd.services.images.v1.ImageUpdate"};
        const ProtobufCMessageDescriptor *desc;
        EventView v = {.ns = "default", .topic = "/a"};

        if (n == 0)
                return 0;
        v.type_url = types[data[0] % (sizeof(types) / sizeof(types[0]))];
        v.value = data + 1;
        v.n = n - 1;
        desc = event_type_find(v.type_url);
        for (unsigned i = 0; i < desc->n_fields; i++) {
                const char *path[] = {"event", desc->fields[i].name, "a", "b"};

                for (size_t len = 1; len <= 4; len++)
                        event_view_field(&v, path, len);
        }
        event_view_done(&v);
        return 0;
}
