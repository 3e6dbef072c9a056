// SPDX-License-Identifier: Apache-2.0
/*
 * container_create(): what `ctr run` does before there is a task, in its order: image, unpacked
 * layers, snapshot, spec, record. The spec itself is spec/container_spec.h's.
 *
 * Users and groups are looked up in the container's own files: its snapshot is mounted for reading,
 * opened, and detached at once; the handle keeps it as long as it is needed.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include "api/containerd/runc/v1/options.pb-c.h"
#include "api/containerd/services/snapshots/v1/snapshots.pb-c.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/path.h"
#include "cmd/lighter/commands.h"
#include "cmd/lighter/container.h"
#include "cmd/lighter/lease.h"
#include "cmd/lighter/unpack.h"
#include "mount/mount.h"
#include "rpc/message.h"
#include "spec/container_spec.h"
#include "spec/identifier.h"
#include "spec/runtime_spec.h"

typedef struct Create {
        Cli *cli;
        const Args *args;
        const char *image, *rootfs, *config, *id; /* positional arguments, sorted out */
        char *const *cmd;                         /* NULL-terminated rest */
        const char *snapshotter;
        Images__Image *record;
        ImageView view;
        Digest chain;
        NewContainer *ret;
        int snapshot_made;
} Create;

/* OCI runtimes refuse a root that is a symlink. What is not there stays as it is, for their error.
 */
static const char *resolved(Create *c, const char *path)
{
        char *real CLEANUP(cleanup_free) = realpath(path, NULL);

        return real ? arena_strdup(&c->cli->arena, real) : path;
}

static int sort_arguments(Create *c, Err *err)
{
        const Args *a = c->args;
        int at = 0;

        c->config = args_given(a, "config") ? args_str(a, "config") : NULL;
        if (!c->config || args_bool(a, "rootfs")) {
                if (a->n == 0)
                        return err_set(err, INVALID_ARGUMENT, "image ref must be provided");
                if (args_bool(a, "rootfs"))
                        c->rootfs = resolved(c, path_absolute(&c->cli->arena, args_arg(a, at++)));
                else
                        c->image = args_arg(a, at++);
        }
        if (a->n <= at)
                return err_set(err, INVALID_ARGUMENT, "container id must be provided");
        c->id = args_arg(a, at++);
        if (c->config && a->n > at)
                return err_set(err, INVALID_ARGUMENT,
                               "with spec config file, only container id should be provided");
        c->cmd = a->v + at; /* argv ends in NULL */
        return identifier_check("container.ID", c->id, err);
}

/* Image, its layers as snapshots, and a snapshot of one's own on top. */
static int make_snapshot(Create *c, Err *err)
{
        Snapshots__PrepareSnapshotRequest req = SNAPSHOTS__PREPARE_SNAPSHOT_REQUEST__INIT;
        Snapshots__PrepareSnapshotResponse *rsp;
        Cli *cli = c->cli;
        const char **labels;
        Platform platform;
        int r;

        r = platform_flag(cli, c->args, &platform, err);
        if (r == 0)
                r = image_get(cli, c->image, &c->record, err);
        if (r == -NOT_FOUND) {
                snprintf(
                        err->msg + strlen(err->msg), sizeof(err->msg) - strlen(err->msg),
                        "; `lighter images import FILE` brings images in, `lighter images ls` lists them");
                return r;
        }
        if (r == 0)
                r = image_view(cli, c->record->target, &platform, &c->view, err);
        if (r < 0)
                return r;
        r = image_unpack_all(cli, &c->view, c->snapshotter, args_bool(c->args, "sync-fs"),
                             &c->chain, err);
        if (r < 0)
                return r;
        req.snapshotter = c->snapshotter;
        req.key = c->id;
        req.parent = c->chain.text;
        labels = flag_list(&cli->arena, c->args, "snapshotter-label", &req.n_labels);
        req.labels = labels_parse(&cli->arena,
                                  &snapshots__prepare_snapshot_request__labels_entry__descriptor,
                                  (char *const *)(uintptr_t)labels, req.n_labels);
        r = client_call(cli->client, &cli->arena, SVC_SNAPSHOTS "Prepare", &req,
                        snapshots__prepare_snapshot_response, &rsp, err);
        if (r == -ALREADY_EXISTS)
                return err_wrap(err, "container \"%s\" or its snapshot is there already", c->id);
        if (r < 0)
                return r;
        c->snapshot_made = 1;
        c->ret->mounts = rsp->mounts;
        c->ret->n_mounts = rsp->n_mounts;
        return 0;
}

static Mount *mounts_from_pb(Arena *a, Types__Mount *const *pb, size_t n)
{
        Mount *v = arena_array(a, Mount, n + 1);

        for (size_t i = 0; i < n; i++)
                v[i] = (Mount){.type = pb[i]->type,
                               .source = pb[i]->source,
                               .target = pb[i]->target,
                               .options = (const char *const *)pb[i]->options,
                               .n_options = pb[i]->n_options};
        return v;
}

/* A handle on the container's files; -1 when they cannot be mounted, as by somebody who is not
 * root: then users must be numbers. */
static int open_root(Create *c)
{
        char dir[] = "/tmp/lighter-root-XXXXXX";
        MountList ro;
        Err err = {};
        int fd = -1;

        if (c->rootfs)
                return open(c->rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (c->ret->n_mounts == 0 || !mkdtemp(dir))
                return -1;
        ro = mount_readonly(&c->cli->arena,
                            mounts_from_pb(&c->cli->arena, c->ret->mounts, c->ret->n_mounts),
                            c->ret->n_mounts);
        if (mount_all(ro.v, ro.n, dir, &err) == 0) {
                fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
                unmount_all(dir, MNT_DETACH, &err);
        }
        rmdir(dir);
        return fd;
}

static int read_mounts(Create *c, ContainerSpecOptions *o, Err *err)
{
        SpecMount *v = arena_array(&c->cli->arena, SpecMount, c->args->values.n + 1);
        const char *text;
        size_t at = 0;
        int r;

        while ((text = args_next(c->args, "mount", &at))) {
                r = spec_mount_parse(&c->cli->arena, text, &v[o->n_mounts++], err);
                if (r < 0)
                        return r;
        }
        o->mounts = v;
        return 0;
}

static int read_text(Cli *cli, const char *path, char **ret, size_t *ret_n, Err *err)
{
        return file_read(&cli->arena, AT_FDCWD, path, LIMIT_DOCUMENT, ret, ret_n, err);
}

/* Lines of --env-file; blank ones and those that begin with # are left out. */
static int read_env_file(Create *c, ContainerSpecOptions *o, Err *err)
{
        const char **v;
        char *text, *line;
        size_t n = 0, len;
        int r;

        if (!args_given(c->args, "env-file"))
                return 0;
        r = read_text(c->cli, args_str(c->args, "env-file"), &text, &len, err);
        if (r < 0)
                return err_wrap(err, "--env-file");
        v = arena_array(&c->cli->arena, const char *, len / 2 + 2);
        while ((line = strsep(&text, "\n"))) {
                line += strspn(line, " \t");
                line[strcspn(line, "\r")] = '\0';
                if (*line && *line != '#')
                        v[n++] = line;
        }
        o->env_files = v;
        return 0;
}

/* A flag's text, NULL when it was not given. */
static const char *given(const Args *a, const char *name)
{
        return args_given(a, name) ? args_str(a, name) : NULL;
}

static int read_flags(Create *c, ContainerSpecOptions *o, Err *err)
{
        const Args *a = c->args;
        Arena *arena = &c->cli->arena;
        char *profile;
        size_t n;
        int r;

        o->env = flag_list(arena, a, "env", NULL);
        o->annotations = flag_list(arena, a, "annotation", NULL);
        o->cap_add = flag_list(arena, a, "cap-add", NULL);
        o->cap_drop = flag_list(arena, a, "cap-drop", NULL);
        o->namespaces = flag_list(arena, a, "with-ns", NULL);
        o->devices = flag_list(arena, a, "device", NULL);
        o->cwd = given(a, "cwd");
        o->user = given(a, "user");
        o->hostname = given(a, "hostname");
        o->apparmor = given(a, "apparmor-profile");
        o->cpuset_cpus = given(a, "cpuset-cpus");
        o->cpuset_mems = given(a, "cpuset-mems");
        o->cgroup = given(a, "cgroup");
        o->rootfs_propagation = given(a, "rootfs-propagation");
        o->rlimit_nofile = given(a, "rlimit-nofile");
        o->tty = args_bool(a, "tty");
        o->read_only = args_bool(a, "read-only");
        o->privileged = args_bool(a, "privileged");
        o->privileged_without_devices = args_bool(a, "privileged-without-host-devices");
        o->net_host = args_bool(a, "net-host");
        o->allow_new_privs = args_bool(a, "allow-new-privs");
        o->seccomp_default = args_bool(a, "seccomp");
        o->cpus = args_float(a, "cpus");
        o->cpu_shares = args_uint(a, "cpu-shares");
        o->cpu_quota = args_int(a, "cpu-quota");
        o->cpu_period = args_uint(a, "cpu-period");
        o->memory_limit = args_uint(a, "memory-limit");
        if (args_given(a, "seccomp-profile")) {
                if (!o->seccomp_default)
                        return err_set(err, INVALID_ARGUMENT, "--seccomp-profile needs --seccomp");
                r = read_text(c->cli, args_str(a, "seccomp-profile"), &profile, &n, err);
                if (r < 0)
                        return err_wrap(err, "--seccomp-profile");
                o->seccomp_json = profile;
        }
        r = read_mounts(c, o, err);
        return r < 0 ? r : read_env_file(c, o, err);
}

static int build_spec(Create *c, json_t **ret, Err *err)
{
        int root_fd CLEANUP(cleanup_fd) = -1;
        ContainerSpecOptions o = {
                .ns = client_namespace(c->cli->client),
                .id = c->id,
                .image = c->image ? &c->view.config : NULL,
                .rootfs = c->rootfs,
                .args = *c->cmd ? (const char *const *)c->cmd : NULL,
        };
        int r;

        r = read_flags(c, &o, err);
        if (r < 0)
                return r;
        root_fd = o.root_fd = open_root(c);
        r = container_spec_build(&o, ret, err);
        return r < 0 ? err_wrap(err, "cannot make the spec of container \"%s\"", c->id) : 0;
}

/* --config: the file as it is, but for the root: --rootfs replaces it, and a relative one is meant
 * from the file's folder, as in a bundle. */
static int load_spec(Create *c, json_t **ret, Err *err)
{
        json_t *spec CLEANUP(json_decrefp) = NULL;
        const char *path = NULL, *slash;
        char *text, *dir;
        json_t *root;
        size_t n;
        int r;

        r = read_text(c->cli, c->config, &text, &n, err);
        if (r == 0)
                r = json_read(text, n, LIMIT_DOCUMENT, c->config, &spec, err);
        if (r < 0)
                return r;
        root = json_object_get(spec, "root");
        if (root)
                r = json_get_str(root, "path", &path, err);
        if (r < 0)
                return err_wrap(err, "%s", c->config);
        if (!root) {
                root = json_object();
                json_object_set_new(spec, "root", root);
        }
        if (c->rootfs) {
                path = c->rootfs;
        } else if (path && *path != '/') {
                dir = path_absolute(&c->cli->arena, c->config);
                slash = strrchr(dir, '/');
                path = resolved(
                        c, arena_printf(&c->cli->arena, "%.*s/%s", (int)(slash - dir), dir, path));
        }
        if (str_empty(path))
                return err_set(err, INVALID_ARGUMENT,
                               "%s names no root.path; give the folder with --rootfs DIR ID",
                               c->config);
        json_object_set_new(root, "path", json_string(path));
        *ret = TAKE(spec);
        return 0;
}

static int spec_text(Create *c, char **ret, Err *err)
{
        json_t *spec CLEANUP(json_decrefp) = NULL;
        char *text CLEANUP(cleanup_free) = NULL;
        RuntimeSpec typed;
        int r;

        r = c->config ? load_spec(c, &spec, err) : build_spec(c, &spec, err);
        if (r < 0)
                return r;
        text = json_text(spec);
        *ret = arena_strdup(&c->cli->arena, text);
        r = runtime_spec_parse(&c->cli->arena, *ret, strlen(*ret), &typed, err);
        if (r < 0)
                return err_wrap(err, "%s", c->config ? c->config : "spec");
        c->ret->terminal = typed.terminal;
        if (args_given(c->args, "dump-config"))
                r = file_write(AT_FDCWD, args_str(c->args, "dump-config"), *ret, strlen(*ret), 0644,
                               err);
        return r;
}

/* Labels of the image's config that are the image's to set, of its record, and those of --label,
 * later ones win. */
static void add_label(Create *c, char **labels, size_t *n, const char *key, const char *value)
{
        Err ignored = {};

        if (label_check(key, value, &ignored) < 0)
                return;
        for (size_t i = 0; i < *n; i++) {
                size_t len = strlen(key);

                if (strncmp(labels[i], key, len) == 0 && labels[i][len] == '=') {
                        labels[i] = arena_printf(&c->cli->arena, "%s=%s", key, value);
                        return;
                }
        }
        labels[(*n)++] = arena_printf(&c->cli->arena, "%s=%s", key, value);
}

static void set_labels(Create *c, Containers__Container *record)
{
        const ImageConfig *config = &c->view.config;
        size_t n_flags, n = 0;
        const char **flags = flag_list(&c->cli->arena, c->args, "label", &n_flags);
        size_t most = n_flags + 1 + (c->record ? c->record->n_labels + config->n_labels : 0);
        char **labels = arena_array(&c->cli->arena, char *, most);

        for (size_t i = 0; c->record && i < config->n_labels; i++)
                if (!str_starts(config->labels[i].key, "containerd.io/") &&
                    !str_starts(config->labels[i].key, "io.cri-containerd"))
                        add_label(c, labels, &n, config->labels[i].key, config->labels[i].value);
        for (size_t i = 0; c->record && i < c->record->n_labels; i++)
                add_label(c, labels, &n, c->record->labels[i]->key, c->record->labels[i]->value);
        for (size_t i = 0; i < n_flags; i++) {
                const char *eq = strchrnul(flags[i], '=');

                add_label(c, labels, &n,
                          arena_strndup(&c->cli->arena, flags[i], (size_t)(eq - flags[i])),
                          *eq ? eq + 1 : "");
        }
        if (c->record)
                add_label(c, labels, &n, "io.containerd.image.config.stop-signal",
                          *config->stop_signal ? config->stop_signal : "SIGTERM");
        record->n_labels = n;
        record->labels = labels_parse(&c->cli->arena,
                                      &containers__container__labels_entry__descriptor, labels, n);
}

static int set_runtime(Create *c, Containers__Container *record, Err *err)
{
        const Args *a = c->args;
        Containers__Container__Runtime *runtime =
                message_make(&c->cli->arena, containers__container__runtime);
        Google__Protobuf__Any *any = message_make(&c->cli->arena, google__protobuf__any);
        Runc__Options options = RUNC__OPTIONS__INIT;
        int r;

        r = runtime_name(c->cli, a, &runtime->name, err);
        if (r < 0)
                return r;
        options.binary_name = args_str(a, "runc-binary");
        options.root = args_str(a, "runc-root");
        options.systemd_cgroup = args_bool(a, "runc-systemd-cgroup");
        if (options.systemd_cgroup && str_empty(args_str(a, "cgroup")))
                return err_set(
                        err, INVALID_ARGUMENT,
                        "option --runc-systemd-cgroup requires --cgroup SLICE:PREFIX:NAME to be set");
        any->type_url = (char *)(uintptr_t) "containerd.runc.v1.Options";
        any->value.data = message_pack(&c->cli->arena, &options, &any->value.len);
        runtime->options = any;
        record->runtime = runtime;
        return 0;
}

static int make_record(Create *c, Err *err)
{
        Containers__CreateContainerRequest req = CONTAINERS__CREATE_CONTAINER_REQUEST__INIT;
        Containers__Container record = CONTAINERS__CONTAINER__INIT;
        Google__Protobuf__Any spec = GOOGLE__PROTOBUF__ANY__INIT;
        Containers__CreateContainerResponse *rsp;
        char *text = NULL;
        int r;

        r = spec_text(c, &text, err);
        if (r == 0)
                r = set_runtime(c, &record, err);
        if (r < 0)
                return r;
        spec.type_url = (char *)(uintptr_t)RUNTIME_SPEC_TYPE_URL;
        spec.value.data = (uint8_t *)text;
        spec.value.len = strlen(text);
        record.id = c->id;
        record.spec = &spec;
        if (c->image) {
                record.image = c->image;
                record.snapshotter = c->snapshotter;
                record.snapshot_key = c->id;
        }
        set_labels(c, &record);
        req.container = &record;
        r = client_call(c->cli->client, &c->cli->arena, SVC_CONTAINERS "Create", &req,
                        containers__create_container_response, &rsp, err);
        if (r == 0 && !rsp->container)
                r = err_set(err, INTERNAL, "the daemon sent no container");
        if (r == 0)
                c->ret->record = rsp->container;
        return r;
}

int container_create(Cli *cli, const Args *args, NewContainer *ret, Err *err)
{
        Create c = {.cli = cli, .args = args, .ret = ret};
        Lease lease CLEANUP(lease_release) = {}; /* of the snapshot, until the record names it */
        int r;

        *ret = (NewContainer){};
        r = sort_arguments(&c, err);
        if (r == 0 && c.image)
                r = snapshotter_name(cli, args, &c.snapshotter, err);
        if (r == 0 && c.image)
                r = lease_hold(cli, &lease, err);
        if (r == 0 && c.image)
                r = make_snapshot(&c, err);
        if (r == 0)
                r = make_record(&c, err);
        if (r < 0 && c.snapshot_made) {
                Snapshots__RemoveSnapshotRequest req = SNAPSHOTS__REMOVE_SNAPSHOT_REQUEST__INIT;
                Err ignored = {};

                req.snapshotter = c.snapshotter;
                req.key = c.id;
                (void)client_call_empty(cli->client, SVC_SNAPSHOTS "Remove", &req, &ignored);
        }
        return r;
}

int container_mounts(Cli *cli, const Containers__Container *c, Types__Mount ***ret, size_t *ret_n,
                     Err *err)
{
        Snapshots__MountsRequest req = SNAPSHOTS__MOUNTS_REQUEST__INIT;
        Snapshots__MountsResponse *rsp;
        int r;

        *ret_n = 0;
        if (!*c->snapshot_key)
                return 0;
        req.snapshotter = c->snapshotter;
        req.key = c->snapshot_key;
        r = client_call(cli->client, &cli->arena, SVC_SNAPSHOTS "Mounts", &req,
                        snapshots__mounts_response, &rsp, err);
        if (r < 0)
                return r;
        *ret = rsp->mounts;
        *ret_n = rsp->n_mounts;
        return 0;
}

int container_spec(const Containers__Container *c, json_t **ret, Err *err)
{
        if (!c->spec)
                return err_set(err, FAILED_PRECONDITION, "container \"%s\" has no spec", c->id);
        return json_read((const char *)c->spec->value.data, c->spec->value.len, LIMIT_DOCUMENT,
                         "spec", ret, err);
}
