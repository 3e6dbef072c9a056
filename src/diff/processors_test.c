/* SPDX-License-Identifier: Apache-2.0 */
#include "diff/processors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/test.h"
#include "spec/descriptor.h"

#define STRINGS(...)                                                           \
        {                                                                      \
                (const char *[]){__VA_ARGS__, NULL},                           \
                        sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *) \
        }

static const ConfigProcessor all[] = {
        {.id = "upper",
         .accepts = STRINGS("t/lower"),
         .returns = "t/upper",
         .path = "tr",
         .args = STRINGS("a-z", "A-Z")},
        {.id = "double",
         .accepts = STRINGS("t/upper", "t/other"),
         .returns = MEDIA_OCI_LAYER,
         .path = "sed",
         .args = STRINGS("p")},
        {.id = "circle", .accepts = STRINGS("t/circle"), .returns = "t/circle", .path = "cat"},
        {.id = "absent", .accepts = STRINGS("t/absent"), .returns = "x", .path = "no-such-program"},
        {.id = "nameless", .accepts = STRINGS("t/nameless"), .returns = "x", .path = ""},
        {.id = "fails",
         .accepts = STRINGS("t/fails"),
         .returns = "x",
         .path = "sh",
         .args = STRINGS("-c", "cat; echo ' a  reason ' >&2; exit 4")},
        {.id = "killed",
         .accepts = STRINGS("t/killed"),
         .returns = "x",
         .path = "sh",
         .args = STRINGS("-c", "kill -9 $$")},
        {.id = "env",
         .accepts = STRINGS("t/env"),
         .returns = "x",
         .path = "sh",
         .args = STRINGS("-c", "echo $STREAM_PROCESSOR_MEDIATYPE $A; cat <&3"),
         .env = STRINGS("A=b")},
        {.id = "layer",
         .accepts = STRINGS(MEDIA_OCI_LAYER),
         .returns = MEDIA_OCI_LAYER,
         .path = "cat"},
};

/* Through the chain for a type: what comes out and what finishing says. */
static int run(const char *type, char *out, size_t n, Err *err)
{
        Processors p CLEANUP(processors_done) = {.out = -1};
        const DiffPayload payload = {"env", "key", 3};
        int pipes[2], in CLEANUP(cleanup_fd) = -1, r;
        const char *last;
        ssize_t got = 0;

        *out = 0;
        if (pipe2(pipes, O_CLOEXEC) < 0 || write(pipes[1], "data\n", 5) != 5)
                return err_sys(err, errno, "pipe");
        close(pipes[1]);
        in = pipes[0];
        r = processors_choose(&p, all, ARRAY_LEN(all), type, &last, err);
        if (r == 0)
                r = processors_start(&p, in, &payload, 1, err);
        if (r < 0)
                return r;
        got = fd_read_all(p.out, out, n - 1);
        out[MAX(got, 0)] = 0;
        return processors_finish(&p, 0, err);
}

TEST(processors_are_chosen_by_type)
{
        Processors p = {.out = -1};
        const char *type;
        Err err = {};

        CHECK_INT(processors_choose(&p, all, ARRAY_LEN(all), "t/unknown", &type, &err), 0);
        CHECK(p.n == 0);
        CHECK_STR(type, "t/unknown");
        CHECK_INT(processors_choose(&p, all, ARRAY_LEN(all), "t/lower", &type, &err), 0);
        CHECK(p.n == 2 && p.v[0] == &all[0] && p.v[1] == &all[1]);
        CHECK_STR(p.accepts[1], "t/upper");
        CHECK_STR(type, MEDIA_OCI_LAYER);
        p.n = 0;
        CHECK_INT(processors_choose(&p, all, ARRAY_LEN(all), MEDIA_OCI_LAYER, &type, &err), 0);
        CHECK_INT(p.n, 1); /* once: the type is what we want then */
        p.n = 0;
        CHECK(processors_choose(&p, all, ARRAY_LEN(all), "t/circle", &type, &err) == -UNKNOWN);
        CHECK_STR(err.msg, "failed to get stream processor for t/circle: more than 8 in a row");
}

TEST(processors_run_in_a_row)
{
        char out[200];
        Err err = {};

        CHECK_INT(run("t/lower", out, sizeof(out), &err), 0);
        CHECK_STR(out, "DATA\nDATA\n");
        CHECK_INT(run("t/env", out, sizeof(out), &err), 0);
        CHECK_STR(out, "t/env b\nkey");
}

TEST(processors_that_fail)
{
        char out[200];
        Err err = {};

        CHECK(run("t/absent", out, sizeof(out), &err) == -UNKNOWN);
        CHECK_STR(err.msg,
                  "failed to get stream processor for t/absent: exec: \"no-such-program\": "
                  "executable file not found in $PATH");
        CHECK(run("t/nameless", out, sizeof(out), &err) == -UNKNOWN);
        CHECK(run("t/fails", out, sizeof(out), &err) == -UNKNOWN);
        CHECK_STR(out, "data\n");
        CHECK_STR(err.msg, " a  reason");
        CHECK(run("t/killed", out, sizeof(out), &err) == -UNKNOWN);
        CHECK_STR(err.msg, "stream processor killed: signal: Killed");
}

/* A reader that has failed by itself keeps its error. */
TEST(processors_do_not_hide_other_failures)
{
        Processors p CLEANUP(processors_done) = {.out = -1};
        const char *type;
        int pipes[2], in CLEANUP(cleanup_fd) = -1, keep CLEANUP(cleanup_fd) = -1;
        Err err = {};

        CHECK(pipe2(pipes, O_CLOEXEC) == 0);
        in = pipes[0];
        keep = pipes[1]; /* so that the program goes on reading */
        CHECK_INT(processors_choose(&p, all, ARRAY_LEN(all), "t/fails", &type, &err), 0);
        CHECK_INT(processors_start(&p, in, NULL, 0, &err), 0);
        err_set(&err, UNKNOWN, "of its own");
        CHECK(processors_finish(&p, -UNKNOWN, &err) == -UNKNOWN);
        CHECK_STR(err.msg, "of its own");
        CHECK(processors_finish(&p, -CANCELLED, &err) == -CANCELLED);
}
