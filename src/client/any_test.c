// SPDX-License-Identifier: Apache-2.0
#include "client/any.h"

#include "api/containerd/events/events.pb-c.h"
#include "api/containerd/services/images/v1/images.pb-c.h"
#include "api/google/protobuf/timestamp.pb-c.h"
#include "api/runtimeoptions/v1/options.pb-c.h"
#include "base/test.h"
#include "rpc/message.h"

static const char *text_of(json_t *j)
{
        static char *text;

        free(text);
        text = json_text(j);
        json_decref(j);
        return text;
}

TEST(any_event_as_containerd_prints_it)
{
        Events__TaskExit e = EVENTS__TASK_EXIT__INIT;
        Google__Protobuf__Timestamp t = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
        ProtobufCBinaryData b;

        t.seconds = 1700000000;
        t.nanos = 5000000;
        e.container_id = e.id = "c1";
        e.pid = 7;
        e.exited_at = &t;
        b.data = message_pack(NULL, &e, &b.len);
        CHECK_STR(
                text_of(any_json("containerd.events.TaskExit", b)),
                "{\"container_id\":\"c1\",\"id\":\"c1\",\"pid\":7,\"exited_at\":\"2023-11-14T22:13:20.005Z\"}");
        free(b.data);
}

TEST(any_maps_are_objects)
{
        Images__ImageCreate e = IMAGES__IMAGE_CREATE__INIT;
        Images__ImageCreate__LabelsEntry l = IMAGES__IMAGE_CREATE__LABELS_ENTRY__INIT, *labels = &l;
        ProtobufCBinaryData b;

        e.name = "img";
        l.key = "k";
        l.value = "v";
        e.n_labels = 1;
        e.labels = &labels;
        b.data = message_pack(NULL, &e, &b.len);
        CHECK_STR(text_of(any_json("type.googleapis.com/containerd.services.images.v1.ImageCreate",
                                   b)),
                  "{\"name\":\"img\",\"labels\":{\"k\":\"v\"}}");
        free(b.data);
}

TEST(any_unknown_and_broken_stay_bytes)
{
        ProtobufCBinaryData b = {.len = 3, .data = (uint8_t *)(uintptr_t) "\xff\xff\xff"};

        CHECK_STR(text_of(any_json("x.Y", b)), "{\"type_url\":\"x.Y\",\"value\":\"////\"}");
        CHECK_STR(text_of(any_json("containerd.events.TaskExit", b)),
                  "{\"type_url\":\"containerd.events.TaskExit\",\"value\":\"////\"}");
}

TEST(base64_all_lengths)
{
        static const char *const want[] = {"", "YQ==", "YWI=", "YWJj", "YWJjZA=="};

        for (size_t n = 0; n < ARRAY_LEN(want); n++) {
                char *got = base64_encode("abcd", n);

                CHECK_STR(got, want[n]);
                free(got);
        }
}
