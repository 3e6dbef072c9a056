/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-load ADDRESS WORKLOAD...: one client for every daemon that speaks containerd's API, light
 * enough not to be what is measured. Prints its figures on one line. The workloads are the table at
 * the end.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "api/containerd/services/containers/v1/containers.pb-c.h"
#include "api/containerd/services/content/v1/content.pb-c.h"
#include "api/containerd/services/events/v1/events.pb-c.h"
#include "base/clock.h"
#include "base/mem.h"
#include "bench/wire.h"
#include "spec/digest.h"

#define CONTAINERS "/containerd.services.containers.v1.Containers/"
#define CONTENT    "/containerd.services.content.v1.Content/"
#define EVENTS     "/containerd.services.events.v1.Events/"
#define VERSION    "/containerd.services.version.v1.Version/Version"

enum {
        SPEC_BYTES = 2900, /* ctr's default spec has about this size */
        OUTSTANDING_MAX = 256,
        SUBSCRIBERS_MAX = 32,
        PIECE = 1024 * 1024,
};

static const char *address, *lease;

static double seconds_since(uint64_t start)
{
        return (double)(time_mono_ns() - start) / NS_PER_SEC;
}

static int by_value(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

static void *pack(const void *message, size_t *ret_n)
{
        uint8_t *bytes;

        *ret_n = protobuf_c_message_get_packed_size(message);
        bytes = mem_alloc(*ret_n + 1);
        protobuf_c_message_pack(message, bytes);
        return bytes;
}

/* ---- so many calls, so many at a time, on one connection ---- */

typedef struct Run {
        Wire *wire;
        WireCall calls[OUTSTANDING_MAX];
        int begun, total;
        void (*begin)(struct Run *run, WireCall *call, int i);
        void *ctx;
} Run;

static void run_next(WireCall *call)
{
        Run *run = call->ctx;

        if (run->begun < run->total)
                run->begin(run, call, run->begun++);
}

/* Per second. */
static double run_all(Run *run, const char *ns, int outstanding, int total)
{
        uint64_t start;
        double seconds;

        if (outstanding < 1 || outstanding > OUTSTANDING_MAX)
                wire_die("1 to %d calls at a time", OUTSTANDING_MAX);
        run->wire = wire_open(address, ns);
        wire_set_lease(run->wire, lease);
        run->total = total;
        start = time_mono_ns();
        for (int i = 0; i < outstanding; i++) {
                run->calls[i].ctx = run;
                run->calls[i].on_end = run_next;
                run_next(&run->calls[i]);
        }
        while (wire_busy(run->wire) > 0)
                wires_turn(&run->wire, 1);
        seconds = seconds_since(start);
        wire_close(run->wire);
        return total / seconds;
}

/* ---- containers ---- */

static void create(Run *run, WireCall *call, int i)
{
        static uint8_t spec_bytes[SPEC_BYTES];
        static uint8_t message[SPEC_BYTES + 1024];
        Google__Protobuf__Any spec = GOOGLE__PROTOBUF__ANY__INIT;
        Containers__Container__Runtime runtime = CONTAINERS__CONTAINER__RUNTIME__INIT;
        Containers__Container container = CONTAINERS__CONTAINER__INIT;
        Containers__CreateContainerRequest req = CONTAINERS__CREATE_CONTAINER_REQUEST__INIT;
        char id[77];

        memset(spec_bytes, ' ', sizeof(spec_bytes));
        spec_bytes[0] = '{';
        spec_bytes[sizeof(spec_bytes) - 1] = '}';
        spec.type_url =
                (char *)(uintptr_t) "types.containerd.io/opencontainers/runtime-spec/1/Spec";
        spec.value = (ProtobufCBinaryData){sizeof(spec_bytes), spec_bytes};
        runtime.name = "io.containerd.runc.v2";
        snprintf(id, sizeof(id), "%s%d", (const char *)run->ctx, i);
        container.id = id;
        container.image = "docker.io/library/busybox:latest";
        container.runtime = &runtime;
        container.spec = &spec;
        req.container = &container;
        wire_start(run->wire, call, CONTAINERS "Create");
        wire_add(call, message, protobuf_c_message_pack(&req.base, message));
        wire_end(call);
}

static void bench_create(char **argv)
{
        static Run run = {.begin = create};

        run.ctx = argv[2];
        printf("%.1f\n", run_all(&run, argv[3], atoi(argv[0]), atoi(argv[1])));
}

static void get(Run *run, WireCall *call, int i)
{
        Containers__GetContainerRequest req = CONTAINERS__GET_CONTAINER_REQUEST__INIT;
        uint8_t message[256];

        req.id = run->ctx;
        wire_start(run->wire, call, CONTAINERS "Get");
        wire_add(call, message, protobuf_c_message_pack(&req.base, message));
        wire_end(call);
}

static void bench_get(char **argv)
{
        static Run run = {.begin = get};

        run.ctx = argv[2];
        printf("%.1f\n", run_all(&run, argv[3], atoi(argv[0]), atoi(argv[1])));
}

/* ---- one call again and again ---- */

static void repeat(const char *ns, const char *method, const void *message, size_t n, int rounds)
{
        double *ms = mem_alloc((size_t)rounds * sizeof(*ms));
        Wire *w = wire_open(address, ns);
        WireCall call = {};

        for (int i = 0; i < rounds; i++) {
                wire_unary(w, &call, method, message, n);
                ms[i] = (double)(call.ended_ns - call.began_ns) / NS_PER_MS;
        }
        qsort(ms, (size_t)rounds, sizeof(*ms), by_value);
        printf("%.3f %zu\n", ms[rounds / 2], call.bytes);
        wire_close(w);
}

static void bench_list(char **argv)
{
        Containers__ListContainersRequest req = CONTAINERS__LIST_CONTAINERS_REQUEST__INIT;
        void *message;
        size_t n;

        if (*argv[2]) {
                req.filters = (void *)&argv[2];
                req.n_filters = 1;
        }
        message = pack(&req, &n);
        repeat(argv[1], CONTAINERS "List", message, n, atoi(argv[0]));
        free(message);
}

/* The message in hexadecimal digits. */
static void bench_call(char **argv)
{
        size_t n = strlen(argv[3]) / 2;
        uint8_t *message = mem_alloc(n + 1);

        for (size_t i = 0; i < n; i++) {
                char digits[3] = {argv[3][2 * i], argv[3][2 * i + 1], 0};

                message[i] = (uint8_t)strtoul(digits, NULL, 16);
        }
        repeat(argv[1], argv[2], message, n, atoi(argv[0]));
}

/* Another client's view: one small call at a time for so many seconds. */
static void bench_probe(char **argv)
{
        uint64_t end = time_mono_ns() + (uint64_t)(atof(argv[0]) * (double)NS_PER_SEC);
        size_t n = 0, cap = 1 << 16;
        double *ms = mem_alloc(cap * sizeof(*ms));
        Wire *w = wire_open(address, NULL);
        WireCall call = {};

        while (time_mono_ns() < end) {
                if (n == cap)
                        ms = mem_realloc(ms, (cap *= 2) * sizeof(*ms));
                wire_unary(w, &call, VERSION, "", 0);
                ms[n++] = (double)(call.ended_ns - call.began_ns) / NS_PER_MS;
                usleep(500);
        }
        qsort(ms, n, sizeof(*ms), by_value);
        printf("%.3f %.3f %.3f %zu\n", ms[n / 2], ms[n * 99 / 100], ms[n - 1], n);
        wire_close(w);
}

/* ---- content ---- */

typedef struct Blob {
        uint8_t *data;
        size_t size;
        Digest digest;
        char ref[128];
        int step;
} Blob;

typedef struct Blobs {
        const char *prefix;
        size_t size;
        Blob blobs[OUTSTANDING_MAX];
} Blobs;

static void write_message(WireCall *call, Content__WriteAction action, const Blob *b,
                          const void *data, size_t n, uint64_t offset)
{
        Content__WriteContentRequest req = CONTENT__WRITE_CONTENT_REQUEST__INIT;
        uint8_t *message;
        size_t len;

        req.action = action;
        req.ref = b->ref;
        req.total = (int64_t)b->size;
        req.offset = (int64_t)offset;
        if (action == CONTENT__WRITE_ACTION__COMMIT)
                req.expected = b->digest.text;
        req.data = (ProtobufCBinaryData){n, (uint8_t *)(uintptr_t)data};
        message = pack(&req, &len);
        wire_add(call, message, len);
        free(message);
}

/* As Go's client does it: status, data, commit, each when the one before has been answered. */
static void blob_answered(WireCall *call)
{
        Run *run = call->ctx;
        Blobs *all = run->ctx;
        Blob *b = &all->blobs[call - run->calls];

        switch (b->step++) {
        case 0:
                write_message(call, CONTENT__WRITE_ACTION__WRITE, b, b->data, b->size, 0);
                break;
        case 1:
                write_message(call, CONTENT__WRITE_ACTION__COMMIT, b, NULL, 0, b->size);
                wire_end(call);
                break;
        }
}

static void write_blob(Run *run, WireCall *call, int i)
{
        Blobs *all = run->ctx;
        Blob *b = &all->blobs[call - run->calls];
        Hasher h;

        b->size = all->size;
        if (!b->data)
                b->data = mem_alloc(b->size + 64);
        snprintf(b->ref, sizeof(b->ref), "%s%d", all->prefix, i);
        memcpy(b->data, b->ref, MIN(strlen(b->ref), b->size));
        hasher_init(&h, DIGEST_SHA256);
        hasher_update(&h, b->data, b->size);
        hasher_digest(&h, &b->digest);
        b->step = 0;
        call->on_message = blob_answered;
        wire_start(run->wire, call, CONTENT "Write");
        write_message(call, CONTENT__WRITE_ACTION__STAT, b, NULL, 0, 0);
}

static void bench_blobs(char **argv)
{
        static Blobs blobs;
        static Run run = {.begin = write_blob, .ctx = &blobs};

        blobs.size = (size_t)atol(argv[2]);
        blobs.prefix = argv[3];
        lease = *argv[5] ? argv[5] : NULL;
        printf("%.1f\n", run_all(&run, argv[4], atoi(argv[0]), atoi(argv[1])));
}

/* One large blob in pieces of a megabyte, a few of them on their way; the client does not hash: it
 * knows the digest, as a registry's client does. */
static void bench_blob(char **argv)
{
        size_t pieces = (size_t)atol(argv[0]), sent = 0;
        Blob b = {.size = pieces * PIECE, .data = mem_alloc(PIECE)};
        Wire *w = wire_open(address, argv[2]);
        WireCall call = {};
        uint64_t start;
        Hasher h;

        snprintf(b.ref, sizeof(b.ref), "%s", argv[1]);
        for (size_t i = 0; i < PIECE; i++)
                b.data[i] =
                        (uint8_t)(i * 2654435761u >> 24 ^ (uint8_t)argv[1][i % strlen(argv[1])]);
        hasher_init(&h, DIGEST_SHA256);
        for (size_t i = 0; i < pieces; i++)
                hasher_update(&h, b.data, PIECE);
        hasher_digest(&h, &b.digest);

        start = time_mono_ns();
        wire_start(w, &call, CONTENT "Write");
        while (!call.ended) {
                while (sent < pieces && sent < call.messages + 4) {
                        write_message(&call, CONTENT__WRITE_ACTION__WRITE, &b, b.data, PIECE,
                                      sent * PIECE);
                        sent++;
                }
                if (sent == pieces && !call.eof) {
                        write_message(&call, CONTENT__WRITE_ACTION__COMMIT, &b, NULL, 0, b.size);
                        wire_end(&call);
                }
                wires_turn(&w, 1);
        }
        printf("%.3f\n", seconds_since(start));
        wire_close(w);
}

/* ---- events ---- */

static void publish(Run *run, WireCall *call, int i)
{
        EventsService__PublishRequest req = EVENTS_SERVICE__PUBLISH_REQUEST__INIT;
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        uint8_t value[64] = {0x0a, 60}, message[256];

        memset(value + 2, 'x', 60);
        any.type_url = (char *)(uintptr_t) "containerd.events.ContainerDelete";
        any.value = (ProtobufCBinaryData){62, value};
        req.topic = "/bench/event";
        req.event = &any;
        wire_start(run->wire, call, EVENTS "Publish");
        wire_add(call, message, protobuf_c_message_pack(&req.base, message));
        wire_end(call);
}

/* Published per second until the last subscriber has the last event, then how many were delivered
 * of those that should have been. */
static void bench_events(char **argv)
{
        static Run run = {.begin = publish};
        EventsService__SubscribeRequest req = EVENTS_SERVICE__SUBSCRIBE_REQUEST__INIT;
        WireCall subs[SUBSCRIBERS_MAX] = {}, call = {};
        Wire *wires[SUBSCRIBERS_MAX + 1];
        size_t n = (size_t)atol(argv[0]), delivered, len;
        char *filter = (char *)(uintptr_t) "topic==\"/bench/event\"";
        void *message;
        uint64_t start;

        if (n > SUBSCRIBERS_MAX)
                wire_die("at most %d subscribers", SUBSCRIBERS_MAX);
        req.filters = (void *)&filter;
        req.n_filters = 1;
        message = pack(&req, &len);
        for (size_t i = 0; i < n; i++) {
                wires[i] = wire_open(address, "bench");
                wire_start(wires[i], &subs[i], EVENTS "Subscribe");
                wire_add(&subs[i], message, len);
                wire_end(&subs[i]);
                wire_unary(wires[i], &call, VERSION, "", 0);
        }
        usleep(100000); /* what has arrived is being served by now */
        run.wire = wires[n] = wire_open(address, "bench");
        run.total = atoi(argv[1]);
        start = time_mono_ns();
        for (int i = 0; i < 16; i++) {
                run.calls[i].ctx = &run;
                run.calls[i].on_end = run_next;
                run_next(&run.calls[i]);
        }
        do {
                wires_turn(wires, n + 1);
                delivered = 0;
                for (size_t i = 0; i < n; i++)
                        delivered += subs[i].messages;
        } while (wire_busy(run.wire) > 0 || delivered < n * (size_t)run.total);
        printf("%.1f %zu\n", run.total / seconds_since(start), delivered);
}

/* ---- cold start ---- */

/* Starts the program, which listens on ADDRESS, and ends it again. */
static void bench_start(char **argv)
{
        uint64_t start = time_mono_ns();
        WireCall call = {};
        Wire *w;
        pid_t pid;

        pid = vfork();
        if (pid == 0) {
                execv(argv[0], argv);
                _exit(127);
        }
        while (!(w = wire_try(address, NULL))) {
                if (waitpid(pid, NULL, WNOHANG) != 0)
                        wire_die("%s has ended", argv[0]);
                usleep(100);
        }
        wire_unary(w, &call, VERSION, "", 0);
        printf("%.3f\n", (double)(time_mono_ns() - start) / NS_PER_MS);
        wire_close(w);
        kill(pid, SIGTERM);
        waitpid(pid, NULL, 0);
}

static const struct {
        const char *name, *args;
        int n_args;
        void (*fn)(char **argv);
} workloads[] = {
        {"create", "OUTSTANDING TOTAL PREFIX NS: containers created per second", 4, bench_create},
        {"get", "OUTSTANDING TOTAL ID NS: Gets of one container per second", 4, bench_get},
        {"list", "ROUNDS NS FILTER: List of containers, median ms; bytes", 3, bench_list},
        {"call", "ROUNDS NS METHOD HEX: any call, median ms; bytes", 4, bench_call},
        {"probe", "SECONDS: ms of a small call, median, 99th percentile, longest; calls", 1,
         bench_probe},
        {"blobs", "OUTSTANDING TOTAL SIZE PREFIX NS LEASE: blobs written per second", 6,
         bench_blobs},
        {"blob", "MEBIBYTES REF NS: seconds to write one", 3, bench_blob},
        {"start", "PROGRAM ARGUMENT...: ms until it answers for the first time", -1, bench_start},
        {"events", "SUBSCRIBERS COUNT: published per second; delivered in all", 2, bench_events},
};

int main(int argc, char **argv)
{
        for (size_t i = 0; argc > 2 && i < ARRAY_LEN(workloads); i++) {
                if (strcmp(workloads[i].name, argv[2]) != 0 ||
                    (workloads[i].n_args >= 0 && workloads[i].n_args != argc - 3))
                        continue;
                address = argv[1];
                workloads[i].fn(argv + 3);
                return 0;
        }
        for (size_t i = 0; i < ARRAY_LEN(workloads); i++)
                fprintf(stderr, "bench-load ADDRESS %s %s\n", workloads[i].name, workloads[i].args);
        return 2;
}
