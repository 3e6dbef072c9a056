/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/message.h"

#include "api/containerd/services/containers/v1/containers.pb-c.h"
#include "api/google/protobuf/any.pb-c.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/test.h"

#define DESC (&containers__create_container_request__descriptor)

typedef struct Fixture {
        Arena arena;
        Err err;
} Fixture;

static void fixture_done(Fixture *f)
{
        arena_done(&f->arena);
}

static int unpack(Fixture *f, const void *bytes, size_t n)
{
        ProtobufCMessage *msg;

        return message_unpack(&f->arena, DESC, bytes, n, &msg, &f->err);
}

/* A field of Container inside a CreateContainerRequest. */
static int unpack_inner(Fixture *f, const void *bytes, size_t n)
{
        Str s CLEANUP(str_done) = {};

        str_add_char(&s, 0x0a);
        for (size_t left = n;; left >>= 7) {
                str_add_char(&s, (char)(left > 0x7f ? (left & 0x7f) | 0x80 : left));
                if (left <= 0x7f)
                        break;
        }
        str_add_n(&s, bytes, n);
        return unpack(f, s.data, s.len);
}

TEST(message_round_trip)
{
        Fixture f CLEANUP(fixture_done) = {};
        Containers__Container ct = CONTAINERS__CONTAINER__INIT;
        Containers__CreateContainerRequest req = CONTAINERS__CREATE_CONTAINER_REQUEST__INIT, *got;
        uint8_t *bytes CLEANUP(cleanup_free) = NULL;
        ProtobufCMessage *msg;
        size_t n;

        ct.id = "c1";
        ct.image = "docker.io/library/b\xc3\xbcsybox:latest";
        req.container = &ct;
        bytes = message_pack(NULL, &req, &n);
        CHECK_INT(message_unpack(&f.arena, DESC, bytes, n, &msg, &f.err), 0);
        got = (void *)msg;
        CHECK_STR(got->container->id, "c1");
        CHECK_STR(got->container->image, ct.image);

        got = message_dup(&f.arena, got);
        CHECK_STR(got->container->image, ct.image);
}

TEST(message_empty_has_defaults)
{
        Fixture f CLEANUP(fixture_done) = {};
        Containers__Container *ct = message_make(&f.arena, containers__container);

        CHECK_STR(ct->id, "");
        CHECK_INT(unpack(&f, NULL, 0), 0);
}

TEST(message_malformed_is_internal)
{
        static const struct {
                const char *bytes;
                size_t n;
        } cases[] = {
                {"\x0a", 1}, /* no length */
                {"\x0a\x05"
                 "abc",
                 5},                                                  /* cut short */
                {"\x0a\xff\xff\xff\xff\x07", 6},                      /* 2 GiB */
                {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11}, /* 2^64 - 1 */
                {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 11}, /* more than 64 bits */
                {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12},
                {"\x00\x01", 2},                     /* field 0 */
                {"\x0b", 1},                         /* group */
                {"\x0c", 1},                         /* end of group */
                {"\x0e", 1},                         /* wire type 6 */
                {"\x09\x01\x02", 3},                 /* fixed64 cut short */
                {"\x08\x01", 2},                     /* varint for a message */
                {"\xff\xff\xff\xff\xff\xff\x01", 7}, /* tag of 43 bits */
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                Fixture f CLEANUP(fixture_done) = {};

                CHECK_INT(unpack(&f, cases[i].bytes, cases[i].n), -INTERNAL);
                CHECK(str_starts(f.err.msg, "proto: "));
        }
}

TEST(message_text_is_checked)
{
        Fixture f CLEANUP(fixture_done) = {};

        CHECK_INT(unpack_inner(&f,
                               "\x0a\x03"
                               "a\0b",
                               5),
                  -INTERNAL);
        CHECK_STR(
                f.err.msg,
                "proto: field containerd.services.containers.v1.Container.id contains a NUL byte");
        CHECK_INT(unpack_inner(&f, "\x0a\x02\xc3\x28", 4), -INTERNAL);
        CHECK_STR(
                f.err.msg,
                "proto: field containerd.services.containers.v1.Container.id contains invalid UTF-8");
        CHECK_INT(unpack_inner(&f,
                               "\x0a\x02"
                               "ok",
                               4),
                  0);
}

TEST(message_unknown_fields_are_kept_out_of_harm)
{
        Fixture f CLEANUP(fixture_done) = {};

        CHECK_INT(unpack(&f,
                         "\xfa\x3f\x03"
                         "abc\xf8\x3f\x01\xfd\x3f"
                         "1234",
                         15),
                  0);
}

/* Empty map entries cost two bytes each on the wire and 56 in memory. */
TEST(message_amplification_is_bounded)
{
        Fixture f CLEANUP(fixture_done) = {};
        Str s CLEANUP(str_done) = {};

        for (int i = 0; i < 200000; i++)
                str_add_n(&s, "\x12\x00", 2);
        CHECK_INT(unpack_inner(&f, s.data, s.len), -RESOURCE_EXHAUSTED);
        CHECK(f.arena.used < s.len * LIMIT_PB_ARENA_FACTOR + 2 * LIMIT_PB_ARENA_BASE);
}

TEST(message_field_count_is_bounded)
{
        Fixture f CLEANUP(fixture_done) = {};
        Str s CLEANUP(str_done) = {};

        for (int i = 0; i <= LIMIT_PB_FIELDS; i++)
                str_add_n(&s, "\xf8\x3f\x00", 3);
        CHECK_INT(unpack(&f, s.data, s.len), -RESOURCE_EXHAUSTED);
}

/* A singular message given again and again is merged each time. */
TEST(message_merges_are_bounded)
{
        Fixture f CLEANUP(fixture_done) = {};
        Str s CLEANUP(str_done) = {};

        for (int i = 0; i < 100000; i++)
                str_add_n(&s, "\x0a\x04\x12\x02\x0a\x00", 6);
        CHECK_INT(unpack(&f, s.data, s.len), -RESOURCE_EXHAUSTED);
}

TEST(message_survives_any_damage)
{
        Containers__Container ct = CONTAINERS__CONTAINER__INIT;
        Containers__CreateContainerRequest req = CONTAINERS__CREATE_CONTAINER_REQUEST__INIT;
        Google__Protobuf__Any spec = GOOGLE__PROTOBUF__ANY__INIT;
        uint8_t *bytes CLEANUP(cleanup_free) = NULL;
        unsigned seed = 1;
        size_t n;

        ct.id = "container";
        ct.spec = &spec;
        spec.type_url =
                (char *)(uintptr_t) "types.containerd.io/opencontainers/runtime-spec/1/Spec";
        spec.value = (ProtobufCBinaryData){20, (void *)(uintptr_t) "{\"ociVersion\":\"1.0\"}"};
        req.container = &ct;
        bytes = message_pack(NULL, &req, &n);

        for (size_t cut = 0; cut < n; cut++) {
                Fixture f CLEANUP(fixture_done) = {};
                int r = unpack(&f, bytes, cut);

                CHECK(r == 0 || r == -f.err.code);
        }
        for (int i = 0; i < 20000; i++) {
                Fixture f CLEANUP(fixture_done) = {};
                uint8_t *hurt CLEANUP(cleanup_free) = mem_alloc(n);
                int r;

                memcpy(hurt, bytes, n);
                for (int j = 0; j < 3; j++) {
                        seed = seed * 1103515245 + 12345;
                        hurt[(seed >> 16) % n] = (uint8_t)(seed >> 8);
                }
                r = unpack(&f, hurt, n);
                CHECK(r == 0 || r == -f.err.code);
        }
}
