/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-load ADDRESS WORKLOAD...: one client for every daemon that speaks containerd's API, light
 * enough not to be what is measured. Prints one figure.
 *
 *   create CLIENTS TOTAL PREFIX   containers created per second by so many clients, one call
 * outstanding each fill COUNT NAMESPACE          makes so many containers with a spec of a usual
 * size; seconds list ROUNDS                   List of the namespace "list"; median milliseconds
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "api/containerd/services/containers/v1/containers.pb-c.h"
#include "api/google/protobuf/empty.pb-c.h"
#include "base/clock.h"
#include "grpc/client.h"

#define SERVICE "/containerd.services.containers.v1.Containers/"

enum { SPEC_BYTES = 2900 }; /* ctr's default spec has about this size */

static const char *address;

static NORETURN void die(const Err *err)
{
        fprintf(stderr, "bench-load: %s\n", err->msg);
        exit(1);
}

static GrpcClient *connect_to(const char *ns)
{
        GrpcClient *c;
        Err err;

        if (grpc_client_open(address, &c, &err) < 0)
                die(&err);
        grpc_client_set_namespace(c, ns);
        return c;
}

static void create(GrpcClient *c, const char *id)
{
        static uint8_t spec_bytes[SPEC_BYTES];
        Google__Protobuf__Any spec = GOOGLE__PROTOBUF__ANY__INIT;
        Containers__Container__Runtime runtime = CONTAINERS__CONTAINER__RUNTIME__INIT;
        Containers__Container container = CONTAINERS__CONTAINER__INIT;
        Containers__CreateContainerRequest req = CONTAINERS__CREATE_CONTAINER_REQUEST__INIT;
        Arena arena = {};
        void *rsp;
        Err err;

        memset(spec_bytes, ' ', sizeof(spec_bytes));
        spec_bytes[0] = '{';
        spec_bytes[sizeof(spec_bytes) - 1] = '}';
        spec.type_url =
                (char *)(uintptr_t) "types.containerd.io/opencontainers/runtime-spec/1/Spec";
        spec.value = (ProtobufCBinaryData){sizeof(spec_bytes), spec_bytes};
        runtime.name = "io.containerd.runc.v2";
        container.id = id;
        container.image = "docker.io/library/busybox:latest";
        container.runtime = &runtime;
        container.spec = &spec;
        req.container = &container;
        if (grpc_unary(c, SERVICE "Create", &req,
                       &containers__create_container_response__descriptor, &arena, &rsp, &err) < 0)
                die(&err);
        arena_done(&arena);
}

static void creator(const char *prefix, int client, int count)
{
        GrpcClient *c = connect_to("bench");

        for (int i = 0; i < count; i++) {
                char id[77];

                snprintf(id, sizeof(id), "%s%d-%d", prefix, client, i);
                create(c, id);
        }
        grpc_client_free(c);
}

static double bench_create(int clients, int total, const char *prefix)
{
        uint64_t start = time_mono_ns();
        int status;

        for (int i = 0; i < clients; i++) {
                if (fork() == 0) {
                        creator(prefix, i, total / clients);
                        _exit(0);
                }
        }
        for (int i = 0; i < clients; i++)
                if (wait(&status) < 0 || status != 0)
                        exit(1);
        return total / ((double)(time_mono_ns() - start) / NS_PER_SEC);
}

static double bench_fill(int count, const char *ns)
{
        uint64_t start = time_mono_ns();
        GrpcClient *c = connect_to(ns);

        for (int i = 0; i < count; i++) {
                char id[32];

                snprintf(id, sizeof(id), "filled-%d", i);
                create(c, id);
        }
        grpc_client_free(c);
        return (double)(time_mono_ns() - start) / NS_PER_SEC;
}

static int by_value(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

static double bench_list(int rounds)
{
        Containers__ListContainersRequest req = CONTAINERS__LIST_CONTAINERS_REQUEST__INIT;
        double *ms = calloc((size_t)rounds, sizeof(*ms)), median;
        GrpcClient *c = connect_to("list");

        for (int i = 0; i < rounds; i++) {
                uint64_t start = time_mono_ns();
                Arena arena = {};
                void *rsp;
                Err err;

                /* Received whole; decoded as an Empty, which has no fields: the cost of decoding
                 * stays out. */
                if (grpc_unary(c, SERVICE "List", &req, &google__protobuf__empty__descriptor,
                               &arena, &rsp, &err) < 0)
                        die(&err);
                ms[i] = (double)(time_mono_ns() - start) / NS_PER_MS;
                arena_done(&arena);
        }
        grpc_client_free(c);
        qsort(ms, (size_t)rounds, sizeof(*ms), by_value);
        median = ms[rounds / 2];
        free(ms);
        return median;
}

int main(int argc, char **argv)
{
        if (argc < 4) {
                fprintf(stderr,
                        "usage: bench-load ADDRESS create CLIENTS TOTAL PREFIX | fill COUNT NAMESPACE | list ROUNDS\n");
                return 2;
        }
        address = argv[1];
        if (str_eq(argv[2], "create") && argc == 6)
                printf("%.1f\n", bench_create(atoi(argv[3]), atoi(argv[4]), argv[5]));
        else if (str_eq(argv[2], "fill") && argc == 5)
                printf("%.3f\n", bench_fill(atoi(argv[3]), argv[4]));
        else if (str_eq(argv[2], "list"))
                printf("%.3f\n", bench_list(atoi(argv[3])));
        else
                return 2;
        return 0;
}
