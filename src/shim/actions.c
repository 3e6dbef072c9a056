/* SPDX-License-Identifier: Apache-2.0 */
/*
 * delete runs after every end of a shim, also after an orderly one, and in the state that a kill
 * has left. So it believes nothing, does what can still be done, and reports as exited what it
 * cannot find: pid of the pid file, status 137.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <unistd.h>
#include "api/containerd/task/v3/task.pb-c.h"
#include "api/containerd/types/types.pb-c.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "rpc/message.h"
#include "shim/actions.h"
#include "shim/oci.h"
#include "shim/removal.h"
#include "shim/start.h"
#include "spec/identifier.h"
#include "ttrpc/client.h"

#define TYPE_FEATURES "types.containerd.io/opencontainers/runtime-spec/1/features/Features"

enum { STATUS_KILLED = 137 };

/* What Create has left about the runtime; defaults for what is not there. */
static void read_options(Arena *a, int dir, Runc__Options *ret)
{
        json_t *j CLEANUP(json_decrefp) = NULL;
        const char *binary = NULL, *root = NULL;
        int systemd = 0;
        char *text;
        size_t n;
        Err err;

        if (file_read(a, dir, "runtime", LIMIT_REF, &text, &n, &err) == 0)
                ret->binary_name = text;
        if (file_read(a, dir, "options.json", LIMIT_DOCUMENT, &text, &n, &err) < 0 ||
            json_read(text, n, LIMIT_DOCUMENT, "options.json", &j, &err) < 0 || !json_is_object(j))
                return;
        if (json_get_str(j, "binary_name", &binary, &err) == 0 && binary)
                ret->binary_name = arena_strdup(a, binary);
        if (json_get_str(j, "root", &root, &err) == 0 && root)
                ret->root = arena_strdup(a, root);
        if (json_get_bool(j, "systemd_cgroup", &systemd, &err) == 0)
                ret->systemd_cgroup = systemd;
}

/* The socket of a shim that was killed stays behind; one that answers serves others of its pod. */
static void remove_dead_socket(Arena *a, int dir, const ShimFlags *flags)
{
        char *config, target[SOCKET_DIR_MAX + 2];
        ssize_t len = readlinkat(dir, "s", target, sizeof(target) - 1);
        const char *path;
        size_t n;
        int fd;
        Err err;

        target[MAX(len, 0)] = 0;
        if (file_read(a, dir, "config.json", LIMIT_DOCUMENT, &config, &n, &err) < 0 ||
            shim_socket_path(a, len > 0 ? target : NULL, flags->address, flags->ns,
                             shim_group(a, config, n, flags->id), &path, &err) < 0)
                return;
        if (ttrpc_dial(path, &fd, &err) == 0)
                fd_close(fd);
        else if (access(path, F_OK) == 0)
                unlink(path);
}

static int print(const void *msg)
{
        Arena a;
        void *bytes;
        size_t n;
        int r;

        arena_init(&a, SIZE_MAX);
        bytes = message_pack(&a, msg, &n);
        r = fd_write_all(1, bytes, n);
        arena_done(&a);
        return r;
}

static int find_bundle(Arena *a, const ShimFlags *flags, const char **ret, Err *err)
{
        char *cwd CLEANUP(cleanup_free) = getcwd(NULL, 0);
        int r = identifier_check(NULL, flags->id, err);

        if (r < 0)
                return r;
        if (!str_empty(flags->bundle))
                *ret = flags->bundle;
        else if (cwd)
                *ret = arena_printf(a, "%s/%s", dirname(cwd), flags->id);
        else
                return err_sys(err, errno, "working directory");
        return 0;
}

/* runc and crun keep a container's state in a folder of its name; without it they have nothing to
 * delete, and starting them to be told so is most of what this action costs after an orderly end.
 */
static int runtime_knows(Arena *a, const Oci *o, const char *id)
{
        const char *name = strrchr(o->binary, '/') ? strrchr(o->binary, '/') + 1 : o->binary;

        if (!str_empty(name) && !str_eq(name, "runc") && !str_eq(name, "crun"))
                return 1;
        return access(arena_printf(a, "%s/%s", o->root, id), F_OK) == 0;
}

static int run_delete(Arena *a, const ShimFlags *flags, Err *err)
{
        Task__DeleteResponse rsp = TASK__DELETE_RESPONSE__INIT;
        Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
        Runc__Options options = RUNC__OPTIONS__INIT;
        Time now = time_now();
        const char *bundle = NULL;
        pid_t pid = 0;
        Err ignored;
        Oci oci;
        int dir CLEANUP(cleanup_fd) = -1;
        int r = find_bundle(a, flags, &bundle, err);

        if (r < 0)
                return r;
        dir = open(bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (dir >= 0) {
                read_options(a, dir, &options);
                oci_init(&oci, &options, flags->ns, bundle);
                if (runtime_knows(a, &oci, flags->id) &&
                    oci_run(&oci, a, "delete",
                            (const char *const[]){"delete", "--force", flags->id, NULL}, NULL, NULL,
                            err) < 0)
                        log_warn("the runtime could not delete the container", "id", flags->id,
                                 "error", err->msg);
                if (rootfs_unmount(bundle, a, err) < 0)
                        log_warn("could not unmount the root file system", "id", flags->id, "error",
                                 err->msg);
                oci_read_pid(a, arena_printf(a, "%s/init.pid", bundle), &pid, &ignored);
                remove_dead_socket(a, dir, flags);
                oci_done(&oci);
        }
        at.seconds = now.sec;
        at.nanos = now.nsec;
        rsp.pid = (uint32_t)pid;
        rsp.exit_status = STATUS_KILLED;
        rsp.exited_at = &at;
        return print(&rsp) < 0 ? err_sys(err, errno, "stdout") : 0;
}

int shim_delete(const ShimFlags *flags)
{
        Arena a;
        Err err = {};
        int r;

        arena_init(&a, SIZE_MAX);
        r = run_delete(&a, flags, &err);
        if (r < 0)
                log_fatal_text("containerd-shim-lighter-v2", &err);
        arena_done(&a);
        return r < 0 ? 1 : 0;
}

static int run_info(Arena *a, Err *err)
{
        Types__RuntimeInfo info = TYPES__RUNTIME_INFO__INIT;
        Types__RuntimeVersion version = TYPES__RUNTIME_VERSION__INIT;
        Google__Protobuf__Any features = GOOGLE__PROTOBUF__ANY__INIT;
        ProtobufCMessage *m = NULL;
        Runc__Options *options;
        char *input, *json;
        size_t n;
        Oci oci;
        int r = shim_read_stdin(a, &input, &n, err);

        if (r == 0 && n > 0)
                r = message_unpack(a, &google__protobuf__any__descriptor, input, n, &m, err);
        if (r == 0)
                r = runc_options_read(a, (Google__Protobuf__Any *)m, &options, err);
        if (r < 0)
                return r;
        info.name = "io.containerd.lighter.v2";
        version.version = LIGHTER_VERSION;
        info.version = &version;
        info.options = (Google__Protobuf__Any *)m;
        oci_init(&oci, options, "", "/nonexistent");
        /* A runtime without the verb has no features to tell; the rest is still worth an answer. */
        if (oci_features(&oci, a, &json, err) == 0) {
                features.type_url = (char *)(uintptr_t)TYPE_FEATURES;
                features.value.data = (uint8_t *)json;
                features.value.len = strlen(json);
                info.features = &features;
        }
        oci_done(&oci);
        return print(&info) < 0 ? err_sys(err, errno, "stdout") : 0;
}

int shim_info(void)
{
        Arena a;
        Err err = {};
        int r;

        arena_init(&a, SIZE_MAX);
        r = run_info(&a, &err);
        if (r < 0)
                log_fatal_text("containerd-shim-lighter-v2", &err);
        arena_done(&a);
        return r < 0 ? 1 : 0;
}
