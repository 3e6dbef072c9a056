/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shim itself, from an inherited listening socket to its end. It answers from the one loop;
 * handlers run straight away. At the end it waits for its answers and events to have left, five
 * seconds at most.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "shim/shim_priv.h"
#include "shim/start.h"

enum { QUIT_MS = 5000, QUIT_LOOK_MS = 10, TRIM_MS = 200 };

static Shim shim; /* the ring of exits lies in untouched pages */

static void run_now(void *ctx, void (*fn)(void *), void *arg)
{
        fn(arg);
}

static void on_quit_timer(void *ctx)
{
        Shim *s = ctx;

        if (time_mono_ns() >= s->quit_at_ns ||
            (ttrpc_server_flushed(s->server) && publisher_idle(s->publisher)))
                loop_quit(s->loop, 0);
        else
                loop_timer_set(s->quit_timer, time_mono_ns() + QUIT_LOOK_MS * NS_PER_MS);
}

/* The name goes first: a `start` for the same id that came while we are leaving would take us for a
 * shim to join, and later on the name may be another's. */
static void remove_socket(Shim *s)
{
        if (s->socket_path)
                unlink(s->socket_path);
        s->socket_path = NULL;
}

void shim_quit(Shim *s)
{
        if (s->quitting)
                return;
        s->quitting = 1;
        remove_socket(s);
        s->quit_at_ns = time_mono_ns() + QUIT_MS * NS_PER_MS;
        loop_timer_set(s->quit_timer, time_mono_ns() + QUIT_LOOK_MS * NS_PER_MS);
}

static void on_trim(void *ctx)
{
        malloc_trim(0);
}

void shim_trim_later(Shim *s)
{
        loop_timer_set(s->trim_timer, time_mono_ns() + TRIM_MS * NS_PER_MS);
}

static void on_signal(void *ctx, int signo)
{
        Shim *s = ctx;

        if (signo == SIGCHLD)
                exits_reap(s);
        else if (signo == SIGTERM || signo == SIGINT)
                shim_quit(s);
}

static const char *state_name(ProcState state)
{
        static const char *const names[] = {"created", "running", "paused", "stopped", "deleted"};

        return names[state];
}

/* SIGUSR1: what the shim holds, for somebody who wonders. */
static void on_dump(void *ctx, int signo)
{
        Shim *s = ctx;

        LIST_FOREACH (c, &s->containers, Container, link) {
                log_warn("container", "id", c->id, "state", state_name(c->init.state), "pid",
                         log_num(c->init.pid), "ops", c->exclusive ? "alone" : log_num(c->shared),
                         "output", proc_io_busy(&c->init.io) ? "open" : "ended");
                LIST_FOREACH (p, &c->execs, Process, link)
                        log_warn("exec", "id", c->id, "exec", p->exec_id, "state",
                                 state_name(p->state), "pid", log_num(p->pid), "output",
                                 proc_io_busy(&p->io) ? "open" : "ended");
        }
}

/* The path that the inherited socket is bound to. */
static const char *socket_path(int fd)
{
        struct sockaddr_un sun = {};
        socklen_t len = sizeof(sun);

        if (getsockname(fd, (struct sockaddr *)&sun, &len) < 0 || sun.sun_path[0] != '/')
                return NULL;
        return mem_strdup(sun.sun_path);
}

/* stdin and stdout are nothing; the log is the daemon's fifo, if it is there. A full or abandoned
 * fifo loses lines. */
static void set_up_stdio(void)
{
        int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        int log = open("log", O_WRONLY | O_NONBLOCK | O_CLOEXEC);

        if (null_fd >= 0) {
                dup2(null_fd, 0);
                dup2(null_fd, 1);
                dup2(log >= 0 ? log : null_fd, 2);
        }
        if (null_fd > 2)
                fd_close(null_fd);
        if (log > 2)
                fd_close(log);
}

static int set_up(Shim *s, Err *err)
{
        int r = loop_new(&s->loop, err);

        if (r < 0)
                return r;
        list_init(&s->containers);
        s->quit_timer = loop_add_timer(s->loop, 0, on_quit_timer, s);
        s->trim_timer = loop_add_timer(s->loop, 0, on_trim, s);
        s->publisher = publisher_new(s->loop, s->ns, s->ttrpc_address);
        s->registry = rpc_registry_new(run_now, NULL);
        rpc_registry_add(s->registry, &task_service_v2, s);
        rpc_registry_add(s->registry, &task_service_v3, s);
        s->server = ttrpc_server_new(s->loop, s->registry);
        r = loop_add_signal(s->loop, SIGCHLD, on_signal, s, &s->sigchld, err);
        if (r == 0)
                r = loop_add_signal(s->loop, SIGTERM, on_signal, s, &s->sigterm, err);
        if (r == 0)
                r = loop_add_signal(s->loop, SIGINT, on_signal, s, &s->sigint, err);
        if (r == 0)
                r = loop_add_signal(s->loop, SIGUSR1, on_dump, s, &s->sigusr1, err);
        if (r == 0)
                r = ttrpc_server_listen(s->server, SHIM_LISTEN_FD, err);
        return r;
}

int shim_serve(const char *ns, const char *id, const char *grpc_address, int debug)
{
        Shim *s = &shim;
        const char *ttrpc = getenv("TTRPC_ADDRESS");
        Err err = {};
        int r;

        /* Small blocks come from the heap's end and go back there; nothing of ours needs a mapping
         * of its own. */
        mallopt(M_TOP_PAD, 4096);
        mallopt(M_TRIM_THRESHOLD, 16 * 1024);
        mallopt(M_MMAP_THRESHOLD, 64 * 1024);
        s->ns = ns;
        s->id = id;
        s->grpc_address = grpc_address;
        s->ttrpc_address = ttrpc ? mem_strdup(ttrpc) : "";
        fd_set_cloexec(SHIM_LISTEN_FD, 1);
        set_up_stdio();
        log_init(debug ? LOG_DEBUG : LOG_INFO, LOG_FORMAT_TEXT);
        signal(SIGPIPE, SIG_IGN);
        unsetenv("NOTIFY_SOCKET");
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        s->socket_path = socket_path(SHIM_LISTEN_FD);
        r = set_up(s, &err);
        if (r == 0) {
                malloc_trim(0);
                r = loop_run(s->loop, &err);
        }
        if (r < 0)
                log_error("shim", "error", err.msg);
        remove_socket(s);
        return r < 0 ? 1 : r;
}
