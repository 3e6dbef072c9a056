/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runtime reports through a JSON log, in the bundle, that grows with every command. Only what
 * this command has added counts, or an old error would be told for a new failure.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/proc.h"
#include "base/str.h"
#include "base/vec.h"
#include "shim/oci.h"

#define BUNDLES      "/io.containerd.runtime.v2.task/"
#define DEFAULT_ROOT "/run/containerd/runc"

enum { MAX_OUTPUT = 256 * 1024, MAX_LOG = 1024 * 1024, MAX_ERROR_TEXT = 4096 };

/* Beside the bundles, so that two daemons do not share their containers; for containerd's own state
 * folder that is containerd's own default. */
static char *runtime_root(const char *wanted, const char *bundle)
{
        const char *bundles = strstr(bundle, BUNDLES);

        if (!str_empty(wanted))
                return mem_strdup(wanted);
        return bundles ? mem_printf("%.*s/runc", (int)(bundles - bundle), bundle)
                       : mem_strdup(DEFAULT_ROOT);
}

void oci_init(Oci *o, const Runc__Options *options, const char *ns, const char *bundle)
{
        char *root CLEANUP(cleanup_free) = runtime_root(options->root, bundle);

        *o = (Oci){
                .binary = mem_strdup(options->binary_name),
                .root = mem_printf("%s/%s", root, ns),
                .bundle = mem_strdup(bundle),
                .systemd_cgroup = options->systemd_cgroup,
                .no_pivot = options->no_pivot_root,
                .no_new_keyring = options->no_new_keyring,
        };
}

void oci_done(Oci *o)
{
        free(o->binary);
        free(o->root);
        free(o->bundle);
        *o = (Oci){};
}

static const char *binary_name(const Oci *o)
{
        return str_empty(o->binary) ? "runc" : o->binary;
}

char *oci_log_last_error(Arena *a, const char *text, size_t n)
{
        char *last = NULL;

        for (const char *line = text, *end = text + n; line < end;) {
                const char *nl = memchr(line, '\n', (size_t)(end - line));
                size_t len = nl ? (size_t)(nl - line) : (size_t)(end - line);
                const char *level = NULL, *msg = NULL;
                json_t *j CLEANUP(json_decrefp) = NULL;
                Err err;

                if (json_read(line, len, MAX_LOG, "log", &j, &err) == 0 && json_is_object(j) &&
                    json_get_str(j, "level", &level, &err) == 0 &&
                    json_get_str(j, "msg", &msg, &err) == 0 && msg && str_eq(level, "error"))
                        last = arena_strdup(a, msg);
                line += len + 1;
        }
        return last;
}

typedef struct RunLog {
        char *path;
        off_t before;
} RunLog;

static off_t log_size(const char *path)
{
        struct stat st;

        return stat(path, &st) == 0 ? st.st_size : 0;
}

/* What the runtime has said since `before`; NULL when nothing, or when there is no log. */
static char *log_error(Arena *a, const RunLog *log)
{
        int fd CLEANUP(cleanup_fd) = open(log->path, O_RDONLY | O_CLOEXEC);
        off_t from = log->before, size = log_size(log->path);
        char *text;
        ssize_t n;

        if (fd < 0 || size <= from)
                return NULL;
        from = MAX(from, size - MAX_LOG);
        text = arena_alloc(a, (size_t)(size - from) + 1);
        n = fd_pread_all(fd, text, (size_t)(size - from), from);
        return n > 0 ? oci_log_last_error(a, text, (size_t)n) : NULL;
}

static int run_failed(const Oci *o, Arena *a, const char *what, const RunLog *log, int status,
                      const char *output, Err *err)
{
        char *msg = log_error(a, log);
        Str how CLEANUP(str_done) = {};

        if (msg)
                return err_set(err, UNKNOWN, "%s: %s", what, msg);
        if (WIFSIGNALED(status))
                str_addf(&how, "signal: %s", strsignal(WTERMSIG(status)));
        else
                str_addf(&how, "exit status %d", WEXITSTATUS(status));
        if (!str_empty(output))
                str_addf(&how, ": %.*s", MAX_ERROR_TEXT, output);
        if (access(log->path, F_OK) < 0)
                return err_set(err, UNKNOWN,
                               "%s: unable to retrieve OCI runtime error (open %s: no such file or "
                               "directory): %s did not terminate successfully: %s",
                               what, log->path, binary_name(o), str_get(&how));
        return err_set(err, UNKNOWN, "%s: %s did not terminate successfully: %s", what,
                       binary_name(o), str_get(&how));
}

static int find_binary(const Oci *o, Arena *a, const char *what, const char **ret, Err *err)
{
        char *path CLEANUP(cleanup_free) = proc_find(binary_name(o));

        if (!path)
                return err_set(err, UNKNOWN, "%s: exec: \"%s\": executable file not found in $PATH",
                               what, binary_name(o));
        *ret = arena_strdup(a, path);
        return 0;
}

enum { MAX_ARGS = 32 };

static int prepare(const Oci *o, Arena *a, const char *what, const char *const *args,
                   const char **argv, ProcSpec *spec, RunLog *log, Err *err)
{
        size_t n = 0;
        int r = find_binary(o, a, what, &spec->path, err);

        if (r < 0)
                return r;
        log->path = arena_printf(a, "%s/log.json", o->bundle);
        log->before = log_size(log->path);
        argv[n++] = binary_name(o);
        argv[n++] = "--root";
        argv[n++] = o->root;
        argv[n++] = "--log";
        argv[n++] = log->path;
        argv[n++] = "--log-format";
        argv[n++] = "json";
        if (o->systemd_cgroup)
                argv[n++] = "--systemd-cgroup";
        for (; *args; args++) {
                assert(n < MAX_ARGS - 1);
                argv[n++] = *args;
        }
        argv[n] = NULL;
        spec->argv = argv;
        spec->cwd = o->bundle;
        spec->pdeathsig = SIGKILL;
        return 0;
}

int oci_run(const Oci *o, Arena *a, const char *what, const char *const *args, const char *input,
            char **ret_out, Err *err)
{
        const char *argv[MAX_ARGS];
        char *out CLEANUP(cleanup_free) = NULL;
        ProcSpec spec = {};
        RunLog log;
        int r, status;

        r = prepare(o, a, what, args, argv, &spec, &log, err);
        if (r < 0)
                return r;
        r = proc_run(&spec, input, input ? strlen(input) : 0, 1, MAX_OUTPUT, -1, &status, &out,
                     NULL, err);
        if (r < 0)
                return err_wrap(err, "%s", what);
        if (status != 0)
                return run_failed(o, a, what, &log, status, out, err);
        if (ret_out)
                *ret_out = arena_strdup(a, out);
        return 0;
}

/* Until the runtime has ended; meanwhile it may connect once and hand over the terminal. */
static int wait_for_console(Proc *p, const OciIo *io, Err *err)
{
        uint64_t deadline = time_mono_ns() + LIMIT_IO_SETUP_MS * NS_PER_MS;

        while (*io->ret_console < 0) {
                struct pollfd pfd[2] = {{.fd = io->console, .events = POLLIN},
                                        {.fd = p->pidfd, .events = POLLIN}};
                int64_t left = (int64_t)(deadline - time_mono_ns()) / (int64_t)NS_PER_MS;
                char name[4096];
                int conn CLEANUP(cleanup_fd) = -1;
                int n = left > 0 ? poll(pfd, 2, (int)left) : 0;

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0) {
                        int status;

                        proc_wait(p, 0, &status, err);
                        return err_set(err, DEADLINE_EXCEEDED,
                                       "no terminal from the runtime within %d ms",
                                       LIMIT_IO_SETUP_MS);
                }
                if (!pfd[0].revents)
                        return 0; /* it has ended without */
                conn = accept4(io->console, NULL, NULL, SOCK_CLOEXEC);
                if (conn < 0 || fd_recv(conn, name, sizeof(name), io->ret_console) < 0)
                        return err_sys(err, errno, "receiving the terminal");
        }
        return 0;
}

int oci_run_io(const Oci *o, Arena *a, const char *what, const char *const *args, const OciIo *io,
               Err *err)
{
        const char *argv[MAX_ARGS];
        ProcFd fds[3];
        ProcSpec spec = {.fds = fds};
        RunLog log;
        Proc p;
        int r, status = 0;

        r = prepare(o, a, what, args, argv, &spec, &log, err);
        if (r < 0)
                return r;
        for (int i = 0; i < 3; i++)
                if (io->fds[i] >= 0)
                        fds[spec.n_fds++] = (ProcFd){io->fds[i], i};
        r = proc_spawn(&spec, &p, err);
        if (r < 0)
                return err_wrap(err, "%s", what);
        if (io->console >= 0) {
                r = wait_for_console(&p, io, err);
                if (r < 0)
                        return err_wrap(err, "%s", what);
        }
        r = proc_wait(&p, -1, &status, err);
        if (r < 0)
                return err_wrap(err, "%s", what);
        if (status != 0)
                return run_failed(o, a, what, &log, status, NULL, err);
        if (io->console >= 0 && *io->ret_console < 0)
                return err_set(err, UNKNOWN, "%s: the runtime has handed over no terminal", what);
        return 0;
}

int oci_features(const Oci *o, Arena *a, char **ret, Err *err)
{
        const char *argv[] = {binary_name(o), "features", NULL};
        char *out CLEANUP(cleanup_free) = NULL;
        ProcSpec spec = {.argv = argv};
        int status, r = find_binary(o, a, "features", &spec.path, err);

        if (r == 0)
                r = proc_run(&spec, NULL, 0, 0, MAX_OUTPUT, LIMIT_SHIM_STATS_MS, &status, &out,
                             NULL, err);
        if (r == 0 && status != 0)
                r = err_set(err, UNIMPLEMENTED, "%s has no features", binary_name(o));
        if (r == 0)
                *ret = arena_strdup(a, out);
        return r;
}

int oci_read_pid(Arena *a, const char *path, pid_t *ret, Err *err)
{
        char *text;
        uint64_t pid;
        int r = file_read(a, AT_FDCWD, path, 64, &text, NULL, err);

        if (r < 0)
                return err_wrap(err, "failed to retrieve OCI runtime container pid");
        text[strcspn(text, "\n")] = 0;
        if (str_to_u64(text, &pid) < 0 || pid == 0 || pid > INT32_MAX)
                return err_set(err, UNKNOWN, "failed to retrieve OCI runtime container pid: \"%s\"",
                               text);
        *ret = (pid_t)pid;
        return 0;
}
