/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clone(2) with CLONE_VM|CLONE_VFORK: the child borrows our memory until exec, on a stack of its
 * own, so that the cost does not grow with the daemon. It calls nothing but async-signal-safe
 * functions and reports a failed step through the shared frame. Signals are blocked across the
 * clone, and the child resets every handler, or a handler of ours would run in it on our memory.
 */
#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/close_range.h>
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/vec.h"

enum { STACK_BYTES = 64 * 1024, FD_STAGE = 512 };

/* A child that execs never leaves its frames, so what AddressSanitizer has marked in them would be
 * met by whoever has that memory next. */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

/* ThreadSanitizer takes the child for a fork and stops looking at the thread that made it, in our
 * memory: its builds give the child a copy, and share only the mapping with its stack and its
 * report. */
#if defined(__SANITIZE_THREAD__)
enum { BORROW = 0, STACK_MAP = MAP_SHARED };
#else
enum { BORROW = CLONE_VM, STACK_MAP = MAP_PRIVATE };
#endif

extern char **environ;

/* AddressSanitizer marks the frames of a child that never returned from exec, and the next stack
 * may lie there. */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
static void forget_poison(char *stack)
{
        __asan_unpoison_memory_region(stack, STACK_BYTES);
}
#else
static void forget_poison(char *stack)
{
}
#endif

typedef struct Start {
        const ProcSpec *spec;
        int null_fd;
        int max_to; /* highest number handed over */
        const char *failed;
        int failed_errno;
} Start;

static int fail(Start *s, const char *what)
{
        s->failed = what;
        s->failed_errno = errno;
        return 127;
}

/* By system calls: glibc's functions leave alone the signals that it keeps for itself, which a
 * parent may have blocked or ignored. */
static void reset_signals(void)
{
        const struct {
                void *handler;
                unsigned long flags;
                void *restorer;
                uint64_t mask;
        } dfl = {};
        const uint64_t none = 0;

        for (int i = 1; i < NSIG; i++)
                syscall(SYS_rt_sigaction, i, &dfl, NULL, sizeof(dfl.mask));
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none));
}

/*
 * Puts every descriptor at its number. Sources may lie where targets go, so all are first copied
 * above both; the copies are O_CLOEXEC and vanish with exec, the final ones are not.
 */
static int place_fds(Start *s)
{
        const ProcSpec *spec = s->spec;
        int staged[FD_STAGE];

        for (size_t i = 0; i < spec->n_fds; i++) {
                staged[i] = fcntl(spec->fds[i].from, F_DUPFD_CLOEXEC, MAX(s->max_to + 1, 3));
                if (staged[i] < 0)
                        return -1;
        }
        for (int fd = 0; fd <= 2; fd++)
                if (!(fd == 2 && spec->keep_stderr) && dup2(s->null_fd, fd) < 0)
                        return -1;
        for (size_t i = 0; i < spec->n_fds; i++)
                if (dup2(staged[i], spec->fds[i].to) < 0)
                        return -1;
        return 0;
}

/* All above 2 that nobody named are closed at exec; so is what a library opened without O_CLOEXEC.
 */
static int close_rest(Start *s)
{
        const ProcSpec *spec = s->spec;

        if (syscall(SYS_close_range, 3, UINT_MAX, CLOSE_RANGE_CLOEXEC) < 0)
                return -1;
        for (size_t i = 0; i < spec->n_fds; i++)
                if (spec->fds[i].to > 2 && fcntl(spec->fds[i].to, F_SETFD, 0) < 0)
                        return -1;
        return 0;
}

static int child_main(void *arg)
{
        Start *s = arg;
        const ProcSpec *spec = s->spec;

        reset_signals();
        if (spec->pdeathsig && prctl(PR_SET_PDEATHSIG, spec->pdeathsig) < 0)
                return fail(s, "prctl");
        if (spec->new_session && setsid() < 0)
                return fail(s, "setsid");
        if (spec->new_group && setpgid(0, 0) < 0)
                return fail(s, "setpgid");
        if (spec->cwd && chdir(spec->cwd) < 0)
                return fail(s, "chdir");
        if (place_fds(s) < 0)
                return fail(s, "dup");
        if (close_rest(s) < 0)
                return fail(s, "close_range");
        execve(spec->path, (char *const *)(uintptr_t)spec->argv,
               spec->envp ? (char *const *)(uintptr_t)spec->envp : environ);
        return fail(s, "exec");
}

static int reap_failed(const Start *s, pid_t pid, int pidfd, Err *err)
{
        waitpid(pid, NULL, 0);
        fd_close(pidfd);
        return err_sys(err, s->failed_errno, "%s %s", s->failed,
                       strcmp(s->failed, "chdir") == 0 ? s->spec->cwd : s->spec->path);
}

int proc_spawn(const ProcSpec *spec, Proc *ret, Err *err)
{
        Start s = {.spec = spec, .max_to = 2}, *shared;
        int null_fd CLEANUP(cleanup_fd) = open("/dev/null", O_RDWR | O_CLOEXEC);
        sigset_t all, old;
        char *stack;
        int pid, pidfd = -1, saved;

        assert(spec->n_fds <= FD_STAGE);
        if (null_fd < 0)
                return err_sys(err, errno, "open /dev/null");
        s.null_fd = null_fd;
        for (size_t i = 0; i < spec->n_fds; i++)
                s.max_to = MAX(s.max_to, spec->fds[i].to);
        stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, STACK_MAP | MAP_ANONYMOUS, -1, 0);
        if (stack == MAP_FAILED)
                return err_sys(err, errno, "mmap");

        shared = (Start *)(void *)stack;
        *shared = s;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        pid = clone(child_main, stack + STACK_BYTES, BORROW | CLONE_VFORK | CLONE_PIDFD | SIGCHLD,
                    shared, &pidfd);
        saved = errno;
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        s = *shared;
        forget_poison(stack);
        ASAN_UNPOISON_MEMORY_REGION(stack, STACK_BYTES);
        munmap(stack, STACK_BYTES);

        if (pid < 0)
                return err_sys(err, saved, "fork for %s", spec->path);
        if (s.failed)
                return reap_failed(&s, pid, pidfd, err);
        *ret = (Proc){.pid = pid, .pidfd = pidfd};
        return 0;
}

static int ms_left(uint64_t deadline_ns)
{
        uint64_t now = time_mono_ns();

        return deadline_ns <= now ? 0
                                  : (int)MIN((deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS,
                                             (uint64_t)INT_MAX);
}

int proc_wait(Proc *p, int timeout_ms, int *ret_status, Err *err)
{
        uint64_t deadline = time_mono_ns() + (uint64_t)MAX(timeout_ms, 0) * NS_PER_MS;
        struct pollfd pfd = {.fd = p->pidfd, .events = POLLIN};
        int r, late, status = 0;

        do
                r = poll(&pfd, 1, timeout_ms < 0 ? -1 : ms_left(deadline));
        while (r < 0 && errno == EINTR);
        late = r == 0;
        if (late)
                syscall(SYS_pidfd_send_signal, p->pidfd, SIGKILL, NULL, 0);
        while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
                ;
        fd_close(p->pidfd);
        p->pidfd = -1;
        if (late)
                return err_set(err, DEADLINE_EXCEEDED, "process %d did not end within %d ms",
                               p->pid, timeout_ms);
        *ret_status = status;
        return 0;
}

typedef struct Feed {
        int in, out; /* our ends; -1 when closed */
        const char *input;
        size_t n_input;
        Str output;
        size_t max_out;
} Feed;

static void feed_done(Feed *f)
{
        fd_close(f->in);
        fd_close(f->out);
        str_done(&f->output);
}

static void feed_input(Feed *f)
{
        ssize_t n = write(f->in, f->input, f->n_input);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n >= 0) {
                f->input += n;
                f->n_input -= (size_t)n;
        }
        if (n < 0 || f->n_input == 0) {
                fd_close(f->in);
                f->in = -1;
        }
}

static void take_output(Feed *f)
{
        char buf[4096];
        ssize_t n = read(f->out, buf, sizeof(buf));

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0) {
                fd_close(f->out);
                f->out = -1;
                return;
        }
        if (f->output.len < f->max_out)
                str_add_n(&f->output, buf, MIN((size_t)n, f->max_out - f->output.len));
}

/* Until the output has ended; a process that keeps running with its output closed is proc_wait's
 * affair. */
static void pump(Feed *f, uint64_t deadline, int timeout_ms)
{
        while (f->out >= 0) {
                struct pollfd pfd[2] = {{.fd = f->out, .events = POLLIN},
                                        {.fd = f->in, .events = POLLOUT}};
                int r = poll(pfd, 2, timeout_ms < 0 ? -1 : ms_left(deadline));

                if (r < 0 && errno == EINTR)
                        continue;
                if (r <= 0)
                        return;
                if (pfd[1].revents)
                        feed_input(f);
                if (pfd[0].revents)
                        take_output(f);
        }
}

int proc_run(const ProcSpec *spec, const void *input, size_t n_input, int merge_stderr,
             size_t max_out, int timeout_ms, int *ret_status, char **ret_out, size_t *ret_len,
             Err *err)
{
        uint64_t deadline = time_mono_ns() + (uint64_t)MAX(timeout_ms, 0) * NS_PER_MS;
        Feed f CLEANUP(feed_done) = {
                .in = -1, .out = -1, .input = input, .n_input = n_input, .max_out = max_out};
        int child_in CLEANUP(cleanup_fd) = -1, child_out CLEANUP(cleanup_fd) = -1;
        VEC(ProcFd) fds = {};
        ProcSpec with = *spec;
        int pipes[2], r;
        Proc p;

        if (pipe2(pipes, O_CLOEXEC) < 0)
                return err_sys(err, errno, "pipe");
        child_in = pipes[0];
        f.in = pipes[1];
        if (pipe2(pipes, O_CLOEXEC) < 0)
                return err_sys(err, errno, "pipe");
        f.out = pipes[0];
        child_out = pipes[1];
        fd_set_nonblock(f.in, 1);
        fd_set_nonblock(f.out, 1);

        VEC_PUSH(&fds, (ProcFd){child_in, 0});
        VEC_PUSH(&fds, (ProcFd){child_out, 1});
        if (merge_stderr)
                VEC_PUSH(&fds, (ProcFd){child_out, 2});
        for (size_t i = 0; i < spec->n_fds; i++)
                VEC_PUSH(&fds, spec->fds[i]);
        with.fds = fds.v;
        with.n_fds = fds.n;
        r = proc_spawn(&with, &p, err);
        VEC_DONE(&fds);
        if (r < 0)
                return r;

        fd_close(TAKE_FD(child_in));
        fd_close(TAKE_FD(child_out));
        if (n_input == 0)
                fd_close(TAKE_FD(f.in));
        pump(&f, deadline, timeout_ms);
        r = proc_wait(&p, timeout_ms < 0 ? -1 : ms_left(deadline), ret_status, err);
        if (r < 0)
                return err_wrap(err, "%s", spec->path);
        if (ret_len)
                *ret_len = f.output.len;
        *ret_out = str_steal(&f.output);
        return 0;
}

char *proc_find(const char *name)
{
        const char *path = getenv("PATH");

        if (strchr(name, '/'))
                return access(name, X_OK) == 0 ? mem_strdup(name) : NULL;
        for (const char *at = path ? path
                                   : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
             *at;) {
                size_t n = strcspn(at, ":");
                char *full CLEANUP(cleanup_free) = mem_printf("%.*s/%s", (int)n, at, name);
                struct stat st;

                if (*at == '/' && stat(full, &st) == 0 && S_ISREG(st.st_mode) &&
                    access(full, X_OK) == 0)
                        return TAKE(full);
                at += n + (at[n] == ':');
        }
        return NULL;
}

int proc_exit_code(int status)
{
        return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
