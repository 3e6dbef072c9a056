/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container has a queue of ops. One that is `alone` runs by itself; others run side by side, but
 * not past an op that has come before them, so nobody starves. Kill does not queue at all: a
 * hanging op must not protect a process.
 *
 * The result travels over a SOCK_SEQPACKET pair as one message with the descriptors attached. End
 * of file without a message means that the child died; it dies with the shim (PR_SET_PDEATHSIG),
 * and so does the runtime it runs, so that the daemon's clean-up meets no half-made container that
 * is still being made.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "shim/op.h"

typedef struct OpWire {
        int r;
        pid_t pid, logger;
        unsigned flags, fd_mask;
        Err err;
        size_t n_data;
} OpWire;

/* ---- the child ---- */

static void send_reply(int sock, int r, OpReply *reply, const Err *err)
{
        OpWire wire = {.r = r, .pid = reply->pid, .logger = reply->logger, .flags = reply->flags};
        union {
                char buf[CMSG_SPACE(sizeof(int) * OP_FDS)];
                struct cmsghdr align;
        } control = {};
        struct iovec iov[2] = {{&wire, sizeof(wire)}, {reply->data, reply->n_data}};
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
        int fds[OP_FDS], n = 0;

        if (r < 0)
                wire.err = *err;
        for (int i = 0; i < OP_FDS; i++) {
                if (reply->fds[i] < 0)
                        continue;
                wire.fd_mask |= 1u << i;
                fds[n++] = reply->fds[i];
        }
        if (n > 0) {
                struct cmsghdr *c;

                msg.msg_control = control.buf;
                msg.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)n);
                c = CMSG_FIRSTHDR(&msg);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)n);
                memcpy(CMSG_DATA(c), fds, sizeof(int) * (size_t)n);
        }
        wire.n_data = reply->n_data;
        while (sendmsg(sock, &msg, MSG_NOSIGNAL) < 0 && errno == EINTR)
                ;
}

NORETURN static void child_main(Op *op, int sock, pid_t shim)
{
        OpReply reply = {};
        sigset_t none;
        Err err = {};
        int r;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != shim) /* it died before that counted */
                _exit(1);
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        /* Only the log and the way back: a child that hangs must not hold a client's fifo open. */
        dup2(sock, 3);
        syscall(SYS_close_range, 4, ~0u, 0);
        fd_set_cloexec(3, 1);
        for (int i = 0; i < OP_FDS; i++)
                reply.fds[i] = -1;

        r = op->kind->run(op, &reply, &err);
        if (r == 0 && reply.n_data > OP_DATA_MAX)
                r = err_set(&err, RESOURCE_EXHAUSTED, "%s: answer of %zu bytes is too long",
                            op->kind->name, reply.n_data);
        if (r < 0)
                reply.n_data = 0;
        send_reply(3, r, &reply, &err);
        _exit(0);
}

/* ---- the shim ---- */

int op_take_fd(OpReply *r, int slot)
{
        return TAKE_FD(r->fds[slot]);
}

void *op_response(Op *op)
{
        return op->claimed ? call_response(op->call) : NULL;
}

static void op_free(Op *op)
{
        loop_remove(op->source);
        fd_close(op->sock);
        list_remove(&op->link);
        call_unref(op->call);
        container_unref(op->container);
        free(op);
}

/* The end of an op, whichever way it went. */
static void op_end(Op *op, int r, OpReply *reply, Err *err)
{
        Container *c = container_ref(op->container);

        if (op->kind->done)
                r = op->kind->done(op, r, reply, err);
        for (int i = 0; i < OP_FDS; i++)
                fd_close(reply->fds[i]);
        if (op->claimed) {
                if (r < 0)
                        err_copy(op->call->err, err);
                call_complete(op->call, r);
        }
        op_free(op);
        ops_schedule(c);
        shim_trim_later(c->shim);
        container_unref(c);
}

static void op_stopped(Op *op, int r, OpReply *reply, Err *err)
{
        Container *c = op->container;

        if (op->kind->alone)
                c->exclusive = 0;
        else if (!op->kind->now)
                c->shared--;
        op_end(op, r, reply, err);
}

static void reply_init(OpReply *reply)
{
        *reply = (OpReply){};
        for (int i = 0; i < OP_FDS; i++)
                reply->fds[i] = -1;
}

static void take_fds(struct msghdr *msg, unsigned mask, OpReply *reply)
{
        for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
                size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int), at = 0;
                int fds[OP_FDS];

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || n > OP_FDS)
                        continue;
                memcpy(fds, CMSG_DATA(c), n * sizeof(int));
                for (int i = 0; i < OP_FDS && at < n; i++)
                        if (mask & 1u << i)
                                reply->fds[i] = fds[at++];
        }
}

/* One message of the child. The buffer is on the heap, since the answer may be a large one. */
static int receive(Op *op, OpReply *reply, void **ret_buf, Err *err)
{
        union {
                char buf[CMSG_SPACE(sizeof(int) * OP_FDS)];
                struct cmsghdr align;
        } control;
        OpWire *wire;
        struct iovec iov;
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
        ssize_t n = recv(op->sock, NULL, 0, MSG_PEEK | MSG_TRUNC);

        if (n < (ssize_t)sizeof(*wire))
                return err_set(err, INTERNAL, "%s: the process doing it has died", op->kind->name);
        iov.iov_len = (size_t)n;
        iov.iov_base = *ret_buf = wire = malloc((size_t)n);
        if (!wire || recvmsg(op->sock, &msg, MSG_CMSG_CLOEXEC) != n)
                return err_set(err, RESOURCE_EXHAUSTED, "%s: no memory for the result",
                               op->kind->name);
        take_fds(&msg, wire->fd_mask, reply);
        reply->pid = wire->pid;
        reply->logger = wire->logger;
        reply->flags = wire->flags;
        reply->data = wire + 1;
        reply->n_data = wire->n_data;
        if (wire->r < 0)
                err_copy(err, &wire->err);
        return wire->r;
}

static void on_reply(void *ctx, int fd, uint32_t events)
{
        Op *op = ctx;
        Shim *s = op->container->shim;
        const OpKind *kind = op->kind;
        OpReply reply;
        void *buf = NULL;
        Err err = {};
        int r;

        reply_init(&reply);
        r = receive(op, &reply, &buf, &err);
        op_stopped(op, r, &reply, &err);
        free(buf);
        if (kind->makes)
                exits_unexpect(s);
}

static int op_fork(Op *op, Err *err)
{
        pid_t shim = getpid(), pid;
        int pair[2], r;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return err_sys(err, errno, "socketpair");
        op->sock = pair[0];
        r = loop_add_fd(op->container->shim->loop, op->sock, EPOLLIN, on_reply, op, &op->source,
                        err);
        if (r < 0) {
                fd_close(pair[1]);
                return r;
        }
        pid = fork();
        if (pid == 0)
                child_main(op, pair[1], shim);
        r = pid < 0 ? err_sys(err, errno, "fork") : 0;
        fd_close(pair[1]);
        return r;
}

static void op_start(Op *op)
{
        Container *c = op->container;
        OpReply none;
        Err err = {};
        int r;

        if (op->kind->alone)
                c->exclusive = 1;
        else if (!op->kind->now)
                c->shared++;
        reply_init(&none);
        r = op->kind->begin ? op->kind->begin(op, &err) : 0;
        if (r == 0 && op->kind->makes)
                exits_expect(c->shim);
        if (r == 0) {
                r = op_fork(op, &err);
                if (r < 0 && op->kind->makes)
                        exits_unexpect(c->shim);
        }
        if (r < 0)
                op_stopped(op, r, &none, &err);
}

void ops_schedule(Container *c)
{
        if (c->scheduling) /* an op that failed at once has ended; the loop below goes on */
                return;
        container_ref(c); /* which may be all that is left of it */
        c->scheduling = 1;
        for (;;) {
                Op *op = LIST_FIRST(&c->ops, Op, link);

                if (!op || c->exclusive || (op->kind->alone && c->shared > 0))
                        break;
                list_remove(&op->link);
                op_start(op);
        }
        c->scheduling = 0;
        container_unref(c);
}

static Op *find_waiting(Container *c, const Process *p)
{
        LIST_FOREACH (op, &c->ops, Op, link)
                if (!p || op->process == p)
                        return op;
        return NULL;
}

void ops_cancel(Container *c, const Process *p)
{
        Op *op;

        while ((op = find_waiting(c, p))) {
                OpReply none;
                Err err;

                list_remove(&op->link);
                op->process = NULL;
                reply_init(&none);
                op_end(op, err_set(&err, NOT_FOUND, "container not created: not found"), &none,
                       &err);
        }
}

int op_submit(const OpKind *kind, Container *c, Process *p, Call *call, const void *req)
{
        Op *op = mem_new(Op);

        op->kind = kind;
        op->container = container_ref(c);
        op->process = p;
        op->call = call ? call_ref(call) : NULL;
        /* From now on the call, and with it the request, lives until the op ends. */
        op->claimed = call && call_claim(call);
        assert(op->claimed || !req);
        op->req = req;
        op->sock = -1;
        if (kind->now) {
                op_start(op);
        } else {
                list_append(&c->ops, &op->link);
                ops_schedule(c);
        }
        return RPC_PENDING;
}
