/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The truth about exits. The shim is the subreaper of everything its containers leave behind and
 * the only one that waits, so a pid stays ours until the moment it is reaped here: nothing is ever
 * signalled that is somebody else's.
 *
 * A process may be dead before the op that made it has told its pid. While such an op runs, exits
 * of unknown pids are kept in a ring, and looked up when the pid is registered. An exit during an
 * op on its own process waits for the op's end, so that start comes before exit. Init's exit waits
 * for the execs' exits.
 *
 * Nothing here allocates: the event was reserved before the process was made.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "api/containerd/events/events.pb-c.h"
#include "api/containerd/task/v3/task.pb-c.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/proc.h"
#include "cgroup/cgroup.h"
#include "shim/op.h"

enum { STATUS_UNKNOWN = 255 };

typedef struct Waiter {
        List link;
        Call *call;
} Waiter;

/* ---- who waits ---- */

static void fill_wait(const Process *p, Task__WaitResponse *rsp, Arena *a)
{
        rsp->exited_at = arena_new(a, Google__Protobuf__Timestamp);
        google__protobuf__timestamp__init(rsp->exited_at);
        rsp->exited_at->seconds = p->exited_at.sec;
        rsp->exited_at->nanos = p->exited_at.nsec;
        rsp->exit_status = (uint32_t)p->exit_status;
}

static void waiter_free(Waiter *w)
{
        list_remove(&w->link);
        call_unref(w->call);
        free(w);
}

static void on_cancel(Call *call)
{
        waiter_free(call->state);
}

int process_wait(Process *p, Call *call, void *rsp)
{
        Waiter *w;

        if (p->state == PROC_STOPPED) {
                fill_wait(p, rsp, call->arena);
                return 0;
        }
        w = mem_new(Waiter);
        w->call = call_ref(call);
        call->state = w;
        call_on_cancel(call, on_cancel);
        list_append(&p->waiters, &w->link);
        return RPC_PENDING;
}

void process_wake(Process *p)
{
        while (!list_empty(&p->waiters)) {
                Waiter *w = LIST_FIRST(&p->waiters, Waiter, link);

                list_remove(&w->link);
                if (!call_claim(w->call))
                        continue; /* on_cancel will free it */
                fill_wait(p, call_response(w->call), w->call->arena);
                call_complete(w->call, 0);
                waiter_free(w);
        }
}

/* ---- an exit takes effect ---- */

static void publish_exit(Process *p)
{
        Container *c = p->container;
        Events__TaskExit ev = EVENTS__TASK_EXIT__INIT;
        Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;

        if (!p->exit_event)
                return;
        at.seconds = p->exited_at.sec;
        at.nanos = p->exited_at.nsec;
        ev.container_id = c->id;
        ev.id = process_is_init(p) ? c->id : p->exec_id;
        ev.pid = (uint32_t)p->pid;
        ev.exit_status = (uint32_t)p->exit_status;
        ev.exited_at = &at;
        event_publish_reserved(c->shim->publisher, TAKE(p->exit_event), "/tasks/exit", &ev.base);
}

enum { KILL_ALL_MS = 1000 };

static void process_exited(Process *p);

static int execs_alive(const Container *c)
{
        LIST_FOREACH (p, &c->execs, Process, link)
                if (p->state == PROC_RUNNING && p->pid > 0)
                        return 1;
        return 0;
}

/* The runtime has sent the signals; a process that has got one is not gone yet. */
static void wait_until_empty(Arena *a, const Container *c)
{
        const char *dir = NULL;
        Err ignored = {};
        CgroupSet set;

        if (str_empty(c->cgroup) || cgroup_find(a, c->cgroup, &set, &ignored) < 0)
                return;
        dir = cgroup_dir(&set, cgroup_is_v2(&set) ? "" : "memory");
        for (int ms = 0; dir && ms < KILL_ALL_MS; ms++) {
                char *pids CLEANUP(cleanup_free) = NULL;
                size_t n;

                if (file_read(NULL, AT_FDCWD, arena_printf(a, "%s/cgroup.procs", dir),
                              CGROUP_TEXT_MAX, &pids, &n, &ignored) < 0 ||
                    n == 0)
                        return;
                usleep(1000);
        }
}

static int kill_all_run(Op *op, OpReply *reply, Err *err)
{
        Arena a;
        int r;

        arena_init(&a, SIZE_MAX);
        r = oci_run(&op->container->oci, &a, "OCI runtime killall failed",
                    (const char *const[]){"kill", "--all", op->container->id, "9", NULL}, NULL,
                    NULL, err);
        wait_until_empty(&a, op->container);
        return r;
}

/* Whatever came of it: init's end is told now. */
static int kill_all_done(Op *op, int r, OpReply *reply, Err *err)
{
        op->container->killing_all = 0;
        process_exited(&op->container->init);
        return r;
}

static const OpKind kill_all_op = {
        .name = "killall", .now = 1, .run = kill_all_run, .done = kill_all_done};

static int thaw_run(Op *op, OpReply *reply, Err *err)
{
        Arena a;

        arena_init(&a, SIZE_MAX);
        return oci_run(&op->container->oci, &a, "OCI runtime resume failed",
                       (const char *const[]){"resume", op->container->id, NULL}, NULL, NULL, err);
}

static const OpKind thaw_op = {.name = "thaw", .now = 1, .run = thaw_run};

static void init_exited(Container *c)
{
        Process *p = &c->init;

        /* Without a pid namespace of its own, the kernel does not end the rest with init. Who hears
         * of the end may count on the rest being gone. */
        if (!c->private_pid_ns && !c->killed_all) {
                c->killed_all = c->killing_all = 1;
                op_submit(&kill_all_op, c, NULL, NULL, NULL);
        }
        if (p->state == PROC_PAUSED) {
                process_set_state(p, PROC_RUNNING);
                op_submit(&thaw_op, c, NULL, NULL, NULL);
        }
        if (c->killing_all || p->state == PROC_STOPPED || execs_alive(c))
                return;
        oom_check(&c->oom);
        oom_stop(&c->oom);
        process_set_state(p, PROC_STOPPED);
        proc_io_pump(&p->io);
        publish_exit(p);
        process_wake(p);
}

static void process_exited(Process *p)
{
        Container *c = p->container;

        if (p->held || c->gone)
                return;
        if (process_is_init(p)) {
                init_exited(c);
                return;
        }
        process_set_state(p, PROC_STOPPED);
        proc_io_pump(&p->io);
        publish_exit(p);
        process_wake(p);
        if (c->init.has_exit && c->init.state != PROC_STOPPED && !c->init.held)
                init_exited(c);
}

static void set_exit(Process *p, int status, Time at)
{
        p->reaped = 1;
        p->has_exit = 1;
        p->exit_status = status;
        p->exited_at = at;
}

/* ---- reaping ---- */

static Process *find_pid(Shim *s, pid_t pid)
{
        LIST_FOREACH (c, &s->containers, Container, link) {
                if (c->init.pid == pid && !c->init.reaped)
                        return &c->init;
                LIST_FOREACH (p, &c->execs, Process, link)
                        if (p->pid == pid && !p->reaped)
                                return p;
        }
        return NULL;
}

static Process *find_logger(Shim *s, pid_t pid)
{
        LIST_FOREACH (c, &s->containers, Container, link) {
                if (c->init.io.logger == pid)
                        return &c->init;
                LIST_FOREACH (p, &c->execs, Process, link)
                        if (p->io.logger == pid)
                                return p;
        }
        return NULL;
}

void exits_reap(Shim *s)
{
        pid_t pid;
        int status;

        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
                Process *p = find_pid(s, pid);

                if (p) {
                        set_exit(p, proc_exit_code(status), time_now());
                        process_exited(p);
                        continue;
                }
                p = find_logger(s, pid);
                if (p) {
                        p->io.logger = 0;
                        deletions_go_on(p);
                } else if (s->expecting) {
                        s->early[s->n_early++ % EARLY_EXITS] = (EarlyExit){pid, status, time_now()};
                }
        }
}

void exits_expect(Shim *s)
{
        if (s->expecting++ == 0)
                s->n_early = 0;
}

void exits_unexpect(Shim *s)
{
        assert(s->expecting > 0);
        s->expecting--;
}

/* Whether pid is a child that we have not reaped yet, alive or not. */
static int is_our_child(pid_t pid)
{
        siginfo_t info;

        return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static EarlyExit *find_early(Shim *s, pid_t pid)
{
        for (unsigned i = 0; i < MIN(s->n_early, (unsigned)EARLY_EXITS); i++) {
                EarlyExit *e = &s->early[(s->n_early - 1 - i) % EARLY_EXITS];

                if (e->pid == pid)
                        return e;
        }
        return NULL;
}

void exits_register(Process *p, pid_t pid)
{
        EarlyExit *e;

        p->pid = pid;
        if (is_our_child(pid))
                return;
        e = find_early(p->container->shim, pid);
        if (e) {
                e->pid = 0;
                set_exit(p, proc_exit_code(e->status), e->at);
                return;
        }
        /* So many others ended meanwhile that the ring has forgotten it. */
        set_exit(p, STATUS_UNKNOWN, time_now());
}

void exits_logger(Process *p)
{
        EarlyExit *e = p->io.logger > 0 ? find_early(p->container->shim, p->io.logger) : NULL;

        /* Not in the ring, it may still be the child of the op's child, which has not ended yet. */
        if (!e)
                return;
        e->pid = 0;
        p->io.logger = 0;
}

void exits_release(Process *p)
{
        p->held = 0;
        if (p->has_exit && p->state != PROC_STOPPED)
                process_exited(p);
}
