/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running a shim's binary. `start` answers within seconds and leaves a daemon of its own behind;
 * `delete` cleans up after one that died.
 *
 * What `start` gets on stdin depends on its age: since containerd 2.3 it is BootstrapParams, before
 * that the options alone, and either kind misreads the other's. So we know ours by name,
 * containerd's two oldest by name as containerd does, and ask any other binary once with -v, which
 * prints the version of the shim library it was built on: below 2.3 it gets the options alone.
 * Whoever says nothing that we can read gets BootstrapParams.
 */
#include "runtime/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/path.h"
#include "base/proc.h"
#include "base/str.h"
#include "rpc/message.h"
#include "runtime/runtime_priv.h"

#define OUR_SHIM "containerd-shim-lighter-v2"

enum { OUTPUT_MAX = 64 * 1024, VERSION_MS = 2000, OUTPUT_SHOWN = 600 };

/* "containerd-shim-runc-v2" for "io.containerd.runc.v2"; NULL for what is no runtime's name. */
static char *binary_name(const char *runtime)
{
        const char *last = strrchr(runtime, '.'), *before;

        if (!last || last == runtime || runtime[0] == '.' || strchr(runtime, '/'))
                return NULL;
        for (before = last; before > runtime && before[-1] != '.'; before--)
                ;
        return mem_printf("containerd-shim-%.*s-%s", (int)(last - before), before, last + 1);
}

static int is_program(const char *path)
{
        struct stat st;

        return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static const char *base_name(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

int shim_resolve_in(const char *const *folders, const char *runtime, char **ret, Err *err)
{
        char *name CLEANUP(cleanup_free) = NULL;
        char *found;

        if (runtime[0] == '/') {
                struct stat st;

                if (stat(runtime, &st) < 0)
                        return err_set(
                                err, UNKNOWN, "invalid custom binary path: stat %s: %s", runtime,
                                errno == ENOENT ? "no such file or directory" : strerror(errno));
                *ret = mem_strdup(runtime);
                return 0;
        }
        name = binary_name(runtime);
        if (!name)
                return err_set(
                        err, UNKNOWN,
                        "invalid runtime name %s, correct runtime name should be either format like "
                        "`io.containerd.runc.v2` or a full path to the binary",
                        runtime);

        for (size_t i = 0; folders[i]; i++) {
                /* Beside a lighterd in /usr/bin lies somebody else's containerd-shim-runc-v2: ours
                 * goes first. */
                const char *names[] = {str_eq(name, "containerd-shim-runc-v2") ? OUR_SHIM : name,
                                       name};

                for (size_t k = 0; k < ARRAY_LEN(names); k++) {
                        char *path CLEANUP(cleanup_free) =
                                mem_printf("%s/%s", folders[i], names[k]);

                        if (is_program(path)) {
                                *ret = TAKE(path);
                                return 0;
                        }
                }
        }
        found = proc_find(name);
        if (!found)
                return err_set(err, UNKNOWN,
                               "runtime \"%s\" binary not installed \"%s\": file does not exist",
                               runtime, name);
        *ret = found;
        return 0;
}

int shim_resolve(const char *runtime, char **ret, Err *err)
{
        return shim_resolve_in(path_helper_dirs(), runtime, ret, err);
}

int shim_is_legacy_version(const char *text)
{
        const char *at = strstr(text, "Version:");
        unsigned major, minor;

        if (!at)
                return 0;
        at += strlen("Version:");
        at += strspn(at, " \tv");
        return sscanf(at, "%3u.%3u", &major, &minor) == 2 &&
               (major < 2 || (major == 2 && minor < 3));
}

/* Asks each binary once per content: the key holds what changes when it is replaced. */
static int is_legacy(Runtime *rt, const char *binary)
{
        static char yes[] = "legacy", no[] = "current";
        const char *argv[] = {binary, "-v", NULL};
        ProcSpec spec = {
                .path = binary, .argv = argv, .envp = (const char *const *)rt->env, .new_group = 1};
        char *key CLEANUP(cleanup_free) = NULL, *out CLEANUP(cleanup_free) = NULL;
        struct stat st = {};
        Err ignored = {};
        char *known;
        int status;

        if (strstr(base_name(binary), "shim-runc-v1") ||
            strstr(base_name(binary), "shim-runhcs-v1"))
                return 1;
        if (str_eq(base_name(binary), OUR_SHIM) || stat(binary, &st) < 0)
                return 0;
        key = mem_printf("%s %ju.%ju %jd.%ld", binary, (uintmax_t)st.st_dev, (uintmax_t)st.st_ino,
                         (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);

        lock_take(&rt->probe_lock);
        known = map_find(&rt->probes, key);
        lock_drop(&rt->probe_lock);
        if (known)
                return known == yes;

        known = no;
        if (proc_run(&spec, NULL, 0, 0, OUTPUT_MAX, VERSION_MS, &status, &out, NULL, &ignored) ==
                    0 &&
            shim_is_legacy_version(out))
                known = yes;
        lock_take(&rt->probe_lock);
        map_put(&rt->probes, key, known);
        lock_drop(&rt->probe_lock);
        return known == yes;
}

typedef struct Command {
        const char *argv[16];
        const char **env;
        ProcSpec spec;
} Command;

static void command(Command *c, Arena *a, Runtime *rt, const char *binary, const char *bundle,
                    const char *ns, const char *id, const char *action)
{
        size_t n = 0, n_env = 0;
        const char **env;

        c->argv[n++] = binary;
        c->argv[n++] = "-namespace";
        c->argv[n++] = ns;
        c->argv[n++] = "-address";
        c->argv[n++] = rt->grpc_address;
        c->argv[n++] = "-publish-binary";
        c->argv[n++] = rt->daemon_path;
        c->argv[n++] = "-id";
        c->argv[n++] = id;
        if (str_eq(action, "delete")) {
                c->argv[n++] = "-bundle";
                c->argv[n++] = bundle;
        }
        if (log_enabled(LOG_DEBUG))
                c->argv[n++] = "-debug";
        c->argv[n++] = action;
        assert(n < ARRAY_LEN(c->argv));
        c->argv[n] = NULL;

        while (rt->env[n_env])
                n_env++;
        env = arena_array(a, const char *, n_env + 2);
        memcpy(env, rt->env, n_env * sizeof(*env));
        env[n_env] = arena_printf(a, "NAMESPACE=%s", ns);
        c->spec = (ProcSpec){
                .path = binary,
                .argv = c->argv,
                .envp = env,
                .cwd = bundle,
                .new_group = 1,
        };
}

/* "exit status 1", "signal: killed", as Go says it. */
static const char *status_text(int status, char buf[64])
{
        if (WIFSIGNALED(status))
                snprintf(buf, 64, "signal: %s", strsignal(WTERMSIG(status)));
        else
                snprintf(buf, 64, "exit status %d", WEXITSTATUS(status));
        return buf;
}

int shim_start(Runtime *rt, const char *binary, const char *bundle, const char *ns, const char *id,
               const Google__Protobuf__Any *options, Arena *a, Bootstrap *ret, Err *err)
{
        BootstrapInput in = {
                .id = id,
                .ns = ns,
                .version = rt->version,
                .ttrpc_address = rt->ttrpc_address,
                .grpc_address = rt->grpc_address,
                .daemon_path = rt->daemon_path,
                .socket_dir = rt->socket_dir,
                .options = options,
        };
        char *out CLEANUP(cleanup_free) = NULL;
        int status, r;
        size_t n_input, n_out;
        char text[64];
        void *input;
        Command c;

        command(&c, a, rt, binary, bundle, ns, id, "start");
        input = is_legacy(rt, binary) ? bootstrap_input_pack_legacy(a, &in, &n_input)
                                      : bootstrap_input_pack(a, &in, &n_input);
        r = proc_run(&c.spec, input, n_input, 1, OUTPUT_MAX, LIMIT_SHIM_START_MS, &status, &out,
                     &n_out, err);
        if (r < 0)
                return err_wrap(err, "start failed");
        if (status != 0) {
                while (n_out > 0 && strchr(" \t\r\n", out[n_out - 1]))
                        n_out--;
                return err_set(err, UNKNOWN, "start failed: %.*s: %s",
                               (int)MIN(n_out, (size_t)OUTPUT_SHOWN), out,
                               status_text(status, text));
        }
        r = bootstrap_parse(a, out, n_out, ret, err);
        return r < 0 ? err_wrap(err, "start failed") : 0;
}

int shim_remember(const char *bundle, const char *binary, const Bootstrap *b, Err *err)
{
        char *path CLEANUP(cleanup_free) = mem_printf("%s/shim-binary-path", bundle);
        int r;

        r = file_write(AT_FDCWD, path, binary, strlen(binary), 0600, err);
        return r < 0 ? r : bootstrap_save(bundle, b, err);
}

int shim_recall_binary(const char *bundle, char **ret, Err *err)
{
        char *path CLEANUP(cleanup_free) = mem_printf("%s/shim-binary-path", bundle);

        return file_read(NULL, AT_FDCWD, path, PATH_MAX, ret, NULL, err);
}

int shim_delete(Runtime *rt, const char *binary, const char *bundle, const char *ns, const char *id,
                uint32_t *ret_pid, TaskExit *ret, Err *err)
{
        char *out CLEANUP(cleanup_free) = NULL;
        Arena a CLEANUP(arena_done);
        const Task__DeleteResponse *rsp;
        size_t n_out;
        char text[64];
        int status, r;
        Command c;

        arena_init(&a, LIMIT_PB_ARENA_BASE);
        command(&c, &a, rt, binary, bundle, ns, id, "delete");
        c.spec.keep_stderr = 1; /* its warnings go where ours go */
        r = proc_run(&c.spec, NULL, 0, 0, OUTPUT_MAX, rt->timeouts.cleanup, &status, &out, &n_out,
                     err);
        if (r < 0)
                return r;
        if (status != 0)
                return err_set(err, UNKNOWN, "%s delete: %s", binary, status_text(status, text));
        r = task_unpack(&a, "delete", &task__delete_response__descriptor, out, n_out, &rsp, err);
        if (r < 0)
                return r;
        *ret_pid = rsp->pid;
        ret->status = rsp->exit_status;
        ret->sec = rsp->exited_at ? rsp->exited_at->seconds : TIME_YEAR1.sec;
        ret->nsec = rsp->exited_at ? rsp->exited_at->nanos : 0;
        return 0;
}
