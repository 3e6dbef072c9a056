/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Delete: first the output goes to its end, for ten seconds at most, then a logging program is
 * asked to stop, then the runtime forgets the container. An exec has nothing behind it but its
 * stdio.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "api/containerd/events/events.pb-c.h"
#include "api/containerd/task/v3/task.pb-c.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"
#include "mount/mount.h"
#include "shim/op.h"
#include "shim/removal.h"

enum { LOGGER_TERM_MS = 12000, LOGGER_LOOK_MS = 20 };

typedef struct Deletion {
        List link;
        Process *process;
        Call *call;
        LoopSource *timer;
        uint64_t drain_until, term_until; /* term_until 0: not asked yet */
} Deletion;

static void fill(const Process *p, Task__DeleteResponse *rsp, Arena *a)
{
        rsp->pid = (uint32_t)p->pid;
        rsp->exit_status = (uint32_t)p->exit_status;
        rsp->exited_at = arena_new(a, Google__Protobuf__Timestamp);
        google__protobuf__timestamp__init(rsp->exited_at);
        rsp->exited_at->seconds = p->exited_at.sec;
        rsp->exited_at->nanos = p->exited_at.nsec;
}

/* ---- init: the runtime's part ---- */

static int remove_begin(Op *op, Err *err)
{
        int r = state_check(0, op->process->state, ACT_DELETE, err);

        if (r == 0)
                op->process->held = op->holds = 1;
        return r;
}

/*
 * The last reference to an overlay flushes a whole file system, the host's other writes included. A
 * grandchild keeps one until we have ended, so that nobody waits for that.
 */
static void leave_to_grandchild(int handle)
{
        int fds[2];
        char c;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return;
        if (fork() == 0) {
                int keep = fcntl(handle, F_DUPFD, 10), until = fcntl(fds[0], F_DUPFD, 10);

                dup2(keep, 3);
                dup2(until, 4);
                syscall(SYS_close_range, 5, ~0u, 0);
                syscall(SYS_close_range, 0, 2, 0);
                (void)!read(4, &c, 1); /* our end of file: the other side is never written */
                _exit(0);
        }
        fd_close(fds[0]);
        /* fds[1] stays open until this process ends */
}

int rootfs_unmount(const char *bundle, Arena *a, Err *err)
{
        char *rootfs = arena_printf(a, "%s/rootfs", bundle);
        int handle CLEANUP(cleanup_fd) = -1;
        int r = unmount_detach(rootfs, &handle, err);

        if (r == 0 && handle >= 0)
                leave_to_grandchild(handle);
        return r < 0 ? r : unmount_recursive(rootfs, MNT_DETACH | UMOUNT_NOFOLLOW, err);
}

static int remove_run(Op *op, OpReply *reply, Err *err)
{
        Container *c = op->container;
        const char *plain[] = {"delete", c->id, NULL},
                   *force[] = {"delete", "--force", c->id, NULL};
        Arena a;
        int r;

        arena_init(&a, SIZE_MAX);
        r = oci_run(&c->oci, &a, "failed to delete task",
                    c->init.state == PROC_CREATED ? force : plain, NULL, NULL, err);
        if (r < 0 && strstr(err->msg, "does not exist"))
                r = 0;
        return r < 0 ? r : rootfs_unmount(c->bundle, &a, err);
}

static void publish_delete(Container *c)
{
        Process *p = &c->init;
        Events__TaskDelete ev = EVENTS__TASK_DELETE__INIT;
        Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;

        at.seconds = p->exited_at.sec;
        at.nanos = p->exited_at.nsec;
        ev.container_id = c->id;
        ev.pid = (uint32_t)p->pid;
        ev.exit_status = (uint32_t)p->exit_status;
        ev.exited_at = &at;
        event_publish_reserved(c->shim->publisher, TAKE(c->delete_event), "/tasks/delete",
                               &ev.base);
}

/* A container that never ran: the runtime has killed it just now, and nobody will see it end. */
static void publish_killed(Container *c)
{
        Events__TaskExit ev = EVENTS__TASK_EXIT__INIT;
        Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;

        at.seconds = TIME_YEAR1.sec;
        ev.container_id = ev.id = c->id;
        ev.pid = (uint32_t)c->init.pid;
        ev.exit_status = 128 + SIGKILL;
        ev.exited_at = &at;
        event_publish_reserved(c->shim->publisher, TAKE(c->init.exit_event), "/tasks/exit",
                               &ev.base);
}

static int remove_done(Op *op, int r, OpReply *reply, Err *err)
{
        Container *c = op->container;
        Process *p = op->process;
        void *rsp = op_response(op);
        int never_ran;

        if (!p)
                return r;
        never_ran = p->state == PROC_CREATED;
        if (r < 0) {
                if (op->holds)
                        exits_release(p);
                return r;
        }
        if (never_ran) {
                p->exit_status = 0;
                p->exited_at = TIME_YEAR1;
        }
        if (rsp)
                fill(p, rsp, op->call->arena);
        publish_delete(c);
        if (never_ran && p->exit_event)
                publish_killed(c);
        p->state = PROC_DELETED;
        container_gone(c);
        return 0;
}

static const OpKind remove_op = {.name = "delete",
                                 .alone = 1,
                                 .begin = remove_begin,
                                 .run = remove_run,
                                 .done = remove_done};

/* ---- waiting for output ---- */

static void deletion_free(Deletion *d)
{
        list_remove(&d->link);
        loop_remove(d->timer);
        call_unref(d->call);
        free(d);
}

static void exec_deleted(Process *p, Call *call)
{
        int claimed = call_claim(call);
        int r = state_check(1, p->held ? PROC_RUNNING : p->state, ACT_DELETE, call->err);

        if (claimed && r == 0)
                fill(p, call_response(call), call->arena);
        if (r == 0)
                exec_free(p);
        if (claimed)
                call_complete(call, r);
}

static int pending_bytes(int fd)
{
        int n = 0;

        return fd >= 0 && ioctl(fd, FIONREAD, &n) == 0 && n > 0;
}

/* 1 when there is nothing left to wait for. */
static int drained(Deletion *d)
{
        ProcIo *io = &d->process->io;
        uint64_t now = time_mono_ns();

        if (proc_io_busy(io) && now < d->drain_until) {
                loop_timer_set(d->timer, d->drain_until);
                return 0;
        }
        if (io->logger <= 0)
                return 1;
        if (d->term_until && now >= d->term_until) {
                kill(io->logger, SIGKILL);
                return 1;
        }
        if (!d->term_until && (now >= d->drain_until ||
                               !(pending_bytes(io->out_rest) || pending_bytes(io->err_rest)))) {
                kill(io->logger, SIGTERM);
                d->term_until = now + LOGGER_TERM_MS * NS_PER_MS;
        }
        loop_timer_set(d->timer, now + LOGGER_LOOK_MS * NS_PER_MS);
        return 0;
}

static void go_on(Deletion *d)
{
        Process *p = d->process;
        Call *call;

        if (!drained(d))
                return;
        call = call_ref(d->call);
        deletion_free(d);
        if (process_is_init(p))
                op_submit(&remove_op, p->container, p, call, NULL);
        else
                exec_deleted(p, call);
        call_unref(call);
}

static void on_timer(void *ctx)
{
        go_on(ctx);
}

void deletions_go_on(Process *p)
{
        Deletion *d = LIST_FIRST(&p->deletions, Deletion, link);

        /* One is enough: the others follow by their timers, or fail when this one has deleted the
         * process. */
        if (d)
                loop_timer_set(d->timer, 1);
}

void deletions_cancel(Process *p)
{
        LIST_FOREACH (d, &p->deletions, Deletion, link) {
                if (call_claim(d->call)) {
                        err_set(d->call->err, NOT_FOUND,
                                "cannot delete a deleted process: not found");
                        call_complete(d->call, -NOT_FOUND);
                }
                deletion_free(d);
        }
}

int process_delete(Process *p, Call *call)
{
        int is_exec = !process_is_init(p);
        int r = state_check(is_exec, is_exec && p->held ? PROC_RUNNING : p->state, ACT_DELETE,
                            call->err);
        Deletion *d;

        if (r < 0)
                return r;
        d = mem_new(Deletion);
        d->process = p;
        d->call = call_ref(call);
        d->drain_until = time_mono_ns() + LIMIT_IO_DRAIN_MS * NS_PER_MS;
        /* The answer comes from the loop, never from inside the handler. */
        d->timer = loop_add_timer(p->container->shim->loop, 1, on_timer, d);
        list_append(&p->deletions, &d->link);
        return RPC_PENDING;
}
