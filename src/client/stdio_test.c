// SPDX-License-Identifier: Apache-2.0
/* The test plays the shim: it opens the other ends of the fifos. Our own descriptors 0, 1 and 2 are
 * pipes meanwhile. */
#include "client/stdio.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/test.h"

typedef struct Fixture {
        int saved[3], feed, out, err; /* feed: what we write there arrives at descriptor 0 */
        Stdio *s;
        int in_fifo, out_fifo, err_fifo;
} Fixture;

static void replace(int target, int from, int *saved)
{
        *saved = fcntl(target, F_DUPFD_CLOEXEC, 10);
        dup2(from, target);
        close(from);
}

static void fixture_open(Fixture *f)
{
        int in[2], out[2], err_pipe[2];
        Err err = {};

        fflush(NULL);
        signal(SIGPIPE, SIG_IGN);
        if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err_pipe, O_CLOEXEC))
                abort();
        f->feed = in[1];
        f->out = out[0];
        f->err = err_pipe[0];
        replace(0, in[0], &f->saved[0]);
        replace(1, out[1], &f->saved[1]);
        replace(2, err_pipe[1], &f->saved[2]);
        f->in_fifo = f->out_fifo = f->err_fifo = -1;
        if (stdio_make(test_tmpdir(), "c1", 0, &f->s, &err) < 0)
                f->s = NULL;
}

static void fixture_restore(Fixture *f)
{
        for (int i = 0; i < 3; i++) {
                if (f->saved[i] < 0)
                        continue;
                dup2(f->saved[i], i);
                close(f->saved[i]);
                f->saved[i] = -1;
        }
}

static void fixture_done(Fixture *f)
{
        fixture_restore(f);
        if (f->s)
                stdio_remove(stdio_in(f->s), stdio_out(f->s), stdio_err(f->s));
        stdio_close(f->s);
        fd_close(f->feed);
        fd_close(f->out);
        fd_close(f->err);
        fd_close(f->in_fifo);
        fd_close(f->out_fifo);
        fd_close(f->err_fifo);
}

static void shim_open(Fixture *f)
{
        f->in_fifo = open(stdio_in(f->s), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        f->out_fifo = open(stdio_out(f->s), O_WRONLY | O_CLOEXEC);
        f->err_fifo = open(stdio_err(f->s), O_WRONLY | O_CLOEXEC);
}

/* Runs the loop for a number of turns; a turn in which nothing happens takes 20 ms. */
static void turns(Fixture *f, int n)
{
        while (n-- > 0) {
                struct pollfd fds[STDIO_POLLFDS];
                int timeout = 20;
                size_t k = stdio_poll(f->s, fds, &timeout);

                poll(fds, k, timeout);
                stdio_step(f->s, fds, k);
        }
}

static ssize_t read_some(int fd, char *buf, size_t n)
{
        fd_set_nonblock(fd, 1);
        return read(fd, buf, n);
}

TEST(stdio_bytes_go_both_ways)
{
        Fixture f CLEANUP(fixture_done) = {};
        char out[64] = "", err_text[64] = "", in[64] = "";
        int ended;

        fixture_open(&f);
        shim_open(&f);
        stdio_connect(f.s);
        fd_write_all(f.out_fifo, "to out", 6);
        fd_write_all(f.err_fifo, "to err", 6);
        fd_write_all(f.feed, "typed", 5);
        turns(&f, 10);
        read_some(f.out, out, sizeof(out) - 1);
        read_some(f.err, err_text, sizeof(err_text) - 1);
        read_some(f.in_fifo, in, sizeof(in) - 1);
        ended = stdio_output_ended(f.s);
        fixture_restore(&f);
        CHECK_STR(out, "to out");
        CHECK_STR(err_text, "to err");
        CHECK_STR(in, "typed");
        CHECK(!ended && !stdio_input_ended(f.s));
}

TEST(stdio_input_waits_for_the_shim_and_ends_once)
{
        Fixture f CLEANUP(fixture_done) = {};
        int before, after, again;
        char in[64] = "";

        fixture_open(&f);
        fd_write_all(f.feed, "early", 5);
        fd_close(f.feed);
        f.feed = -1;
        turns(&f, 3);
        stdio_connect(f.s);
        turns(&f, 3); /* nobody has opened the fifo */
        before = stdio_input_ended(f.s);
        shim_open(&f);
        turns(&f, 10);
        after = stdio_input_ended(f.s);
        again = stdio_input_ended(f.s);
        read_some(f.in_fifo, in, sizeof(in) - 1);
        fixture_restore(&f);
        CHECK(!before && after && !again);
        CHECK_STR(in, "early");
}

TEST(stdio_output_ends_when_the_last_writer_goes)
{
        Fixture f CLEANUP(fixture_done) = {};
        int early, late;
        char out[64] = "";

        fixture_open(&f);
        turns(&f, 2);
        early = stdio_output_ended(f.s); /* nobody has come yet: not an end */
        shim_open(&f);
        fd_write_all(f.out_fifo, "last", 4);
        fd_close(f.out_fifo);
        fd_close(f.err_fifo);
        f.out_fifo = f.err_fifo = -1;
        turns(&f, 10);
        late = stdio_output_ended(f.s);
        read_some(f.out, out, sizeof(out) - 1);
        fixture_restore(&f);
        CHECK(!early && late);
        CHECK_STR(out, "last");
}

TEST(stdio_drain_takes_what_is_there_and_stops)
{
        Fixture f CLEANUP(fixture_done) = {};
        int ended;
        char out[64] = "";

        fixture_open(&f);
        shim_open(&f);
        fd_write_all(f.out_fifo, "tail", 4);
        stdio_drain(f.s); /* the writer stays open: a grandchild holds it */
        turns(&f, 10);
        ended = stdio_output_ended(f.s);
        read_some(f.out, out, sizeof(out) - 1);
        fixture_restore(&f);
        CHECK(ended);
        CHECK_STR(out, "tail");
}

TEST(stdio_broken_output_is_told_once_and_thrown_away)
{
        Fixture f CLEANUP(fixture_done) = {};
        int broken, again, ended;
        char *big CLEANUP(cleanup_free) = mem_alloc(60000);

        fixture_open(&f);
        shim_open(&f);
        fd_close(f.out);
        f.out = -1;
        for (int i = 0; i < 4; i++) {
                fd_write_all(f.out_fifo, big, 60000);
                turns(&f, 8);
        }
        broken = stdio_output_broken(f.s);
        again = stdio_output_broken(f.s);
        fd_close(f.out_fifo);
        fd_close(f.err_fifo);
        f.out_fifo = f.err_fifo = -1;
        turns(&f, 6);
        ended = stdio_output_ended(f.s);
        fixture_restore(&f);
        CHECK(broken && !again && ended);
}

TEST(stdio_folder_is_private_and_goes)
{
        Fixture f CLEANUP(fixture_done) = {};
        char dir[4096];
        struct stat st = {};
        int r, gone;

        fixture_open(&f);
        snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(stdio_in(f.s), '/') - stdio_in(f.s)),
                 stdio_in(f.s));
        r = stat(dir, &st);
        stdio_remove(stdio_in(f.s), stdio_out(f.s), stdio_err(f.s));
        gone = access(dir, F_OK) < 0;
        fixture_restore(&f);
        CHECK(r == 0 && (st.st_mode & 0777) == 0700 && gone);
}
