/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Payload and complaints travel in memory files, so that nobody has to stand by and copy. A program
 * whose reader has failed fails too; only one that was gone before that has something to say.
 */
#include "diff/processors.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/vec.h"
#include "spec/descriptor.h"

extern char **environ;

enum { EXIT_MS = 5000, EXIT_EARLY_MS = 200, COMPLAINT_MAX = 800 };

static const ConfigProcessor *find(const ConfigProcessor *all, size_t n, const char *media_type)
{
        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < all[i].accepts.n; k++)
                        if (str_eq(all[i].accepts.v[k], media_type))
                                return &all[i];
        return NULL;
}

int processors_choose(Processors *p, const ConfigProcessor *all, size_t n, const char *media_type,
                      const char **ret_type, Err *err)
{
        const char *type = media_type;
        const ConfigProcessor *next;

        while ((p->n == 0 || !str_eq(type, MEDIA_OCI_LAYER)) && (next = find(all, n, type))) {
                if (p->n == PROCESSORS_MAX)
                        return err_set(err, UNKNOWN,
                                       "failed to get stream processor for %s: more than %d in a "
                                       "row",
                                       media_type, PROCESSORS_MAX);
                p->accepts[p->n] = type;
                p->v[p->n++] = next;
                type = next->returns;
        }
        *ret_type = type;
        return 0;
}

static int payload_fd(const ConfigProcessor *c, const DiffPayload *payloads, size_t n, int *ret,
                      Err *err)
{
        for (size_t i = 0; i < n; i++) {
                int fd CLEANUP(cleanup_fd) = -1;

                if (!str_eq(payloads[i].id, c->id))
                        continue;
                fd = memfd_create("payload", MFD_CLOEXEC);
                if (fd < 0 || fd_write_all(fd, payloads[i].bytes, payloads[i].n) < 0 ||
                    lseek(fd, 0, SEEK_SET) < 0)
                        return err_sys(err, errno, "payload of %s", c->id);
                *ret = TAKE_FD(fd);
                return 0;
        }
        return 0;
}

typedef VEC(const char *) Words;

static void words_done(Words *w)
{
        VEC_DONE(w);
}

static int spawn(Processors *p, size_t i, int in, int out, int payload, Err *err)
{
        const ConfigProcessor *c = p->v[i];
        char *path CLEANUP(cleanup_free) = str_empty(c->path) ? NULL : proc_find(c->path);
        char *type CLEANUP(cleanup_free) =
                mem_printf("STREAM_PROCESSOR_MEDIATYPE=%s", p->accepts[i]);
        Words argv CLEANUP(words_done) = {}, envp CLEANUP(words_done) = {};
        ProcFd fds[] = {{in, 0}, {out, 1}, {p->stderr_fds[i], 2}, {payload, 3}};
        ProcSpec spec = {.path = path, .fds = fds, .n_fds = payload < 0 ? 3 : 4, .cwd = "/"};

        if (!path)
                return err_set(err, UNKNOWN,
                               "failed to get stream processor for %s: exec: \"%s\": executable "
                               "file not found in $PATH",
                               p->accepts[0], c->path);
        VEC_PUSH(&argv, c->path);
        for (size_t k = 0; k < c->args.n; k++)
                VEC_PUSH(&argv, c->args.v[k]);
        VEC_PUSH(&argv, NULL);
        /* Of two that set the same variable the first counts. */
        VEC_PUSH(&envp, type);
        for (size_t k = 0; k < c->env.n; k++)
                VEC_PUSH(&envp, c->env.v[k]);
        for (char **e = environ; *e; e++)
                VEC_PUSH(&envp, *e);
        VEC_PUSH(&envp, NULL);
        spec.argv = argv.v;
        spec.envp = envp.v;
        return proc_spawn(&spec, &p->procs[i], err);
}

static int start_one(Processors *p, int in, const DiffPayload *payloads, size_t n_payloads,
                     Err *err)
{
        size_t i = p->running;
        int payload CLEANUP(cleanup_fd) = -1, out CLEANUP(cleanup_fd) = -1;
        int pipes[2], r = payload_fd(p->v[i], payloads, n_payloads, &payload, err);

        if (r < 0)
                return r;
        p->stderr_fds[i] = memfd_create("complaints", MFD_CLOEXEC);
        if (p->stderr_fds[i] < 0)
                return err_sys(err, errno, "start stream processor %s", p->v[i]->id);
        if (pipe2(pipes, O_CLOEXEC) < 0) {
                r = err_sys(err, errno, "pipe");
        } else {
                out = pipes[1];
                r = spawn(p, i, in, out, payload, err);
                if (r < 0)
                        fd_close(pipes[0]);
        }
        if (r < 0) {
                fd_close(p->stderr_fds[i]);
                return r;
        }
        p->running++;
        fd_close(p->out);
        p->out = pipes[0];
        return 0;
}

int processors_start(Processors *p, int fd, const DiffPayload *payloads, size_t n_payloads,
                     Err *err)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < p->n; i++)
                r = start_one(p, i ? p->out : fd, payloads, n_payloads, err);
        return r;
}

/* What it has said, on one line. */
static int complain(const Processors *p, size_t i, int status, Err *err)
{
        char text[COMPLAINT_MAX + 1];
        ssize_t n = fd_pread_all(p->stderr_fds[i], text, COMPLAINT_MAX, 0);

        while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
                n--;
        for (ssize_t k = 0; k < n; k++)
                if ((unsigned char)text[k] < ' ')
                        text[k] = ' ';
        if (n > 0)
                return err_set(err, UNKNOWN, "%.*s", (int)n, text);
        if (WIFSIGNALED(status))
                return err_set(err, UNKNOWN, "stream processor %s: signal: %s", p->v[i]->id,
                               strsignal(WTERMSIG(status)));
        return err_set(err, UNKNOWN, "stream processor %s: exit status %d", p->v[i]->id,
                       WEXITSTATUS(status));
}

int processors_finish(Processors *p, int r, Err *err)
{
        int failed = 0;

        if (r < 0 && r != -UNKNOWN)
                return r; /* of our own making: nobody else is to blame */
        for (size_t i = 0; i < p->running; i++) {
                Proc *proc = &p->procs[i];
                struct pollfd gone = {.fd = proc->pidfd, .events = POLLIN};
                int status = 0;
                Err ignored;

                if (poll(&gone, 1, r < 0 ? EXIT_EARLY_MS : EXIT_MS) <= 0) {
                        /* A reader that has failed keeps the program waiting: no witness. */
                        if (r == 0 && !failed)
                                failed = err_set(err, UNKNOWN,
                                                 "stream processor %s has closed its output and "
                                                 "does not end",
                                                 p->v[i]->id);
                        continue;
                }
                if (proc_wait(proc, EXIT_MS, &status, &ignored) == 0 && status != 0 && !failed)
                        failed = complain(p, i, status, err);
                proc->pid = 0;
        }
        return failed ? failed : r;
}

void processors_done(Processors *p)
{
        fd_close(p->out);
        for (size_t i = 0; i < p->running; i++) {
                Err ignored;
                int status;

                fd_close(p->stderr_fds[i]);
                if (p->procs[i].pid <= 0)
                        continue;
                kill(p->procs[i].pid, SIGKILL);
                proc_wait(&p->procs[i], EXIT_MS, &status, &ignored);
        }
        *p = (Processors){.out = -1};
}
