/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/message.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/limits.h"
#include "base/test.h"

static const char zero_digest[] =
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
static uint8_t buf[WORKER_MSG_MAX];

static const WorkerMsg samples[] = {
        {.type = WORKER_MSG_HELLO},
        {.type = WORKER_MSG_APPLY, .apply = {1, 1, 1ull << 40, 77, "/snapshots/1/fs"}},
        {.type = WORKER_MSG_IMPORT, .import = {5, 6}},
        {.type = WORKER_MSG_COMPARE, .compare = {1, 7, 1, UINT64_MAX - 5, 999999999}},
        {.type = WORKER_MSG_OPAQUE},
        {.type = WORKER_MSG_XATTR, .xattr = {"trusted.overlay.opaque", (const uint8_t *)"y", 1}},
        {.type = WORKER_MSG_MKNOD, .mknod = {"null", 020666, 1, 3, 0, 5}},
        {.type = WORKER_MSG_PARENT, .parent = {"usr/bin"}},
        {.type = WORKER_MSG_REPLY, .reply = {13}},
        {.type = WORKER_MSG_ENTRY, .entry = {1, 1ull << 33, "a", "b"}},
        {.type = WORKER_MSG_DONE, .done = {9, 2, zero_digest, 7}},
        {.type = WORKER_MSG_FAILED, .failed = {UNKNOWN, "unexpected EOF"}},
};

TEST(message_round_trip)
{
        for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
                uint8_t again[WORKER_MSG_MAX];
                Err err = {};
                WorkerMsg m;
                size_t n, n2;

                CHECK(worker_msg_encode(&samples[i], buf, &n, &err) == 0);
                CHECK(worker_msg_decode(buf, n, &m, &err) == 0);
                CHECK(m.type == samples[i].type);
                CHECK(worker_msg_encode(&m, again, &n2, &err) == 0);
                CHECK(n == n2 && memcmp(buf, again, n) == 0);
        }
}

/* Every truncation and every single-byte change of every message: refused or read, never out of
 * bounds. The copy is exactly as long as the message, so that the sanitizer sees a byte too far. */
TEST(message_decode_survives_damage)
{
        for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
                Err err = {};
                WorkerMsg m;
                size_t n;

                CHECK(worker_msg_encode(&samples[i], buf, &n, &err) == 0);
                for (size_t cut = 0; cut < n; cut++) {
                        uint8_t *copy = malloc(cut ? cut : 1);

                        memcpy(copy, buf, cut);
                        CHECK(worker_msg_decode(copy, cut, &m, &err) == -INTERNAL);
                        free(copy);
                }
                for (size_t at = 0; at < n; at++)
                        for (int bit = 0; bit < 8; bit++) {
                                uint8_t *copy = malloc(n);

                                memcpy(copy, buf, n);
                                copy[at] ^= (uint8_t)(1 << bit);
                                (void)worker_msg_decode(copy, n, &m, &err);
                                free(copy);
                        }
        }
}

TEST(message_decode_refuses_what_a_worker_may_not_say)
{
        Err err = {};
        WorkerMsg m = samples[5];
        size_t n;

        CHECK(worker_msg_encode(&m, buf, &n, &err) == 0);
        buf[12 + 2] = 0; /* a NUL inside the path */
        CHECK(worker_msg_decode(buf, n, &m, &err) == -INTERNAL);
        CHECK_STR(err.msg, "malformed message from worker");

        m = (WorkerMsg){.type = WORKER_MSG_DONE, .done = {1, 1, "sha256:../../etc"}};
        CHECK(worker_msg_encode(&m, buf, &n, &err) == 0);
        CHECK(worker_msg_decode(buf, n, &m, &err) == -INTERNAL);

        m = (WorkerMsg){.type = WORKER_MSG_FAILED, .failed = {99, "x"}};
        CHECK(worker_msg_encode(&m, buf, &n, &err) == -RESOURCE_EXHAUSTED);
}

TEST(message_too_long_is_refused)
{
        Err err = {};
        size_t n;
        char *path = calloc(1, LIMIT_TAR_NAME + 2);
        WorkerMsg m = {.type = WORKER_MSG_PARENT, .parent = {path}};

        memset(path, 'a', LIMIT_TAR_NAME + 1);
        CHECK(worker_msg_encode(&m, buf, &n, &err) == -RESOURCE_EXHAUSTED);
        path[LIMIT_TAR_NAME] = 0;
        CHECK(worker_msg_encode(&m, buf, &n, &err) == 0);
        free(path);
}

TEST(message_carries_descriptors)
{
        int pair[2], fds[WORKER_FDS_MAX], give[2];
        Err err = {};
        WorkerMsg m;

        CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
        give[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        give[1] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
        CHECK(worker_msg_send(pair[0], &samples[1], give, 2, &err) == 0);
        CHECK(worker_msg_recv(pair[1], 1000, buf, &m, fds, &err) == 0);
        CHECK(fds[0] >= 0 && fds[1] >= 0 && m.type == WORKER_MSG_APPLY);
        CHECK(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
        close(fds[0]);
        close(fds[1]);
        close(give[0]);
        close(give[1]);

        CHECK(worker_msg_recv(pair[1], 10, buf, &m, fds, &err) == -DEADLINE_EXCEEDED);
        CHECK(send(pair[0], "junk", 4, 0) == 4);
        CHECK(worker_msg_recv(pair[1], 1000, buf, &m, fds, &err) == -INTERNAL);
        close(pair[0]);
        CHECK(worker_msg_recv(pair[1], 1000, buf, &m, fds, &err) == -UNAVAILABLE);
        CHECK(worker_msg_send(pair[1], &samples[0], NULL, 0, &err) == -UNAVAILABLE);
        close(pair[1]);
}
