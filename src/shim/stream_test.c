/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/test.h"
#include "shim/stream.h"

typedef struct Fixture {
        Loop *loop;
        Stream s;
        int in, out; /* our ends */
        int ended;
} Fixture;

static void fixture_done(Fixture *f)
{
        stream_stop(&f->s);
        fd_close(f->in);
        fd_close(f->out);
        loop_free(f->loop);
}

static void on_end(void *ctx)
{
        ((Fixture *)ctx)->ended++;
}

static int open_pipes(Fixture *f, int spliced)
{
        int a[2], b[2];
        Err err;

        if (pipe2(a, O_CLOEXEC) < 0 || pipe2(b, O_CLOEXEC) < 0 || loop_new(&f->loop, &err) < 0)
                return -1;
        f->in = a[1];
        f->out = b[0];
        fd_set_nonblock(f->in, 1);
        fd_set_nonblock(f->out, 1);
        return stream_start(&f->s, f->loop, a[0], b[1], spliced, on_end, f, &err);
}

/* More than both pipes hold, so that every kind of waiting happens. */
static void copy_much(int spliced)
{
        Fixture f CLEANUP(fixture_done) = {.in = -1, .out = -1};
        enum { TOTAL = 1 << 20 };
        size_t sent = 0, got = 0;
        unsigned char buf[7001];

        CHECK_INT(open_pipes(&f, spliced), 0);
        for (int i = 0; i < 100000 && got < TOTAL; i++) {
                ssize_t n;

                for (size_t at = 0; at < sizeof(buf); at++)
                        buf[at] = (unsigned char)((sent + at) * 31 >> 3);
                n = sent < TOTAL ? write(f.in, buf, MIN(sizeof(buf), TOTAL - sent)) : 0;
                if (n > 0)
                        sent += (size_t)n;
                loop_once(f.loop, 0);
                if (i % 3)
                        continue;
                n = read(f.out, buf, sizeof(buf));
                for (ssize_t at = 0; at < n; at++, got++)
                        CHECK_INT(buf[at], (unsigned char)(got * 31 >> 3));
        }
        CHECK_INT(got, TOTAL);
        CHECK_INT(f.ended, 0);
        fd_close(TAKE_FD(f.in));
        for (int i = 0; i < 100 && !f.ended; i++)
                loop_once(f.loop, 10);
        CHECK_INT(f.ended, 1);
        CHECK_INT(read(f.out, buf, sizeof(buf)), 0);
}

TEST(spliced_copies_are_whole)
{
        copy_much(1);
}

TEST(buffered_copies_are_whole)
{
        copy_much(0);
}

TEST(a_sink_that_does_not_read_stops_the_source)
{
        Fixture f CLEANUP(fixture_done) = {.in = -1, .out = -1};
        char buf[4096] = {};
        size_t sent = 0;

        CHECK_INT(open_pipes(&f, 1), 0);
        for (int i = 0; i < 200; i++) {
                ssize_t n = write(f.in, buf, sizeof(buf));

                sent += n > 0 ? (size_t)n : 0;
                loop_once(f.loop, 0);
        }
        CHECK(sent > 64 * 1024 && sent < 200 * 1024);
        CHECK_INT(f.ended, 0);
}

TEST(a_broken_sink_ends_the_stream)
{
        Fixture f CLEANUP(fixture_done) = {.in = -1, .out = -1};

        signal(SIGPIPE, SIG_IGN);
        CHECK_INT(open_pipes(&f, 1), 0);
        fd_close(TAKE_FD(f.out));
        CHECK_INT(write(f.in, "x", 1), 1);
        for (int i = 0; i < 100 && !f.ended; i++)
                loop_once(f.loop, 10);
        CHECK_INT(f.ended, 1);
}

TEST(files_are_appended_to)
{
        Fixture f CLEANUP(fixture_done) = {.in = -1, .out = -1};
        char path[300], *text CLEANUP(cleanup_free) = NULL;
        int a[2], file;
        Err err;

        snprintf(path, sizeof(path), "%s/log", test_tmpdir());
        CHECK_INT(file_write(AT_FDCWD, path, "old\n", 4, 0600, &err), 0);
        CHECK(pipe2(a, O_CLOEXEC) == 0 && loop_new(&f.loop, &err) == 0);
        f.in = a[1];
        file = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
        CHECK_INT(stream_start(&f.s, f.loop, a[0], file, 0, on_end, &f, &err), 0);
        CHECK_INT(write(f.in, "new\n", 4), 4);
        fd_close(TAKE_FD(f.in));
        for (int i = 0; i < 100 && !f.ended; i++)
                loop_once(f.loop, 10);
        CHECK_INT(file_read(NULL, AT_FDCWD, path, 100, &text, NULL, &err), 0);
        CHECK_STR(text, "old\nnew\n");
}

TEST(a_terminal_ends_when_its_last_user_goes)
{
        Fixture f CLEANUP(fixture_done) = {.in = -1, .out = -1};
        int master, slave, b[2];
        char buf[64] = {};
        Err err;

        if (openpty(&master, &slave, NULL, NULL, NULL) < 0) {
                test_skip("no terminals here");
                return;
        }
        CHECK(pipe2(b, O_CLOEXEC | O_NONBLOCK) == 0 && loop_new(&f.loop, &err) == 0);
        f.out = b[0];
        CHECK_INT(stream_start(&f.s, f.loop, master, b[1], 0, on_end, &f, &err), 0);
        CHECK_INT(write(slave, "hi\n", 3), 3);
        close(slave);
        for (int i = 0; i < 100 && !f.ended; i++)
                loop_once(f.loop, 10);
        CHECK_INT(f.ended, 1);
        CHECK(read(f.out, buf, sizeof(buf)) > 0);
        CHECK_STR(buf, "hi\r\n");
}
