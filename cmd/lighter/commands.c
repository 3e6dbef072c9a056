// SPDX-License-Identifier: Apache-2.0
/*
 * One table says what the command line understands. Names, aliases and flags are ctr's where ctr
 * has them, so that scripts carry over; `ps` at the top is ours. Sets of flags that several
 * commands share stand first.
 */
#include "cmd/lighter/commands.h"

#define DEFAULT_ADDRESS "/run/lighter/lighter.sock"

static const Flag global_flags[] = {
        {FLAG_BOOL, "debug", NULL, "say what goes on, on stderr"},
        {FLAG_STRING, "address", "a", "socket of the daemon", DEFAULT_ADDRESS,
         "LIGHTER_ADDRESS,CONTAINERD_ADDRESS", "file"},
        {FLAG_DURATION, "timeout", NULL, "deadline for the whole command, such as 30s; 0s for none",
         "0s"},
        {FLAG_DURATION, "connect-timeout", NULL, "deadline for connecting; 0s for none", "0s"},
        {FLAG_STRING, "namespace", "n", "containerd namespace to work in", "default",
         "CONTAINERD_NAMESPACE", "namespace"},
        {FLAG_BOOL, "version", "v", "print the version of this program"},
        {},
};

static const Flag quiet[] = {{FLAG_BOOL, "quiet", "q", "print names only"}, {}};

static const Flag snapshotter[] = {
        {FLAG_STRING, "snapshotter", NULL, "snapshotter; empty for the daemon's default", NULL,
         "CONTAINERD_SNAPSHOTTER", "snapshotter"},
        {},
};

static const Flag labels[] = {{FLAG_LIST, "label", NULL, "label KEY=VALUE, repeatable"}, {}};

static const Flag sync_fs[] = {
        {FLAG_BOOL, "sync-fs", NULL, "sync the file system after a layer is unpacked"},
        {},
};

static const Flag process_io[] = {
        {FLAG_STRING, "fifo-dir", NULL, "folder for the fifos of standard input and output",
         "/run/lighter/fifo", NULL, "dir"},
        {FLAG_STRING, "log-uri", NULL,
         "where output goes instead of here: file:///path, binary:///program?key=value"},
        {FLAG_BOOL, "detach", "d", "return as soon as the process has started"},
        {},
};

static const Flag task_io[] = {
        {FLAG_BOOL, "null-io", NULL, "no standard input, output is thrown away"},
        {FLAG_BOOL, "no-pivot", NULL, "do not use pivot_root (for a root on a RAM disk)"},
        {FLAG_STRING, "pid-file", NULL, "write the process id of the task to this file", NULL, NULL,
         "file"},
        {},
};

/* run only */
static const Flag run_flags[] = {
        {FLAG_BOOL, "rm", NULL, "remove container and snapshot when the process has ended"},
        {},
};

static const Flag container_flags[] = {
        {FLAG_STRING, "platform", NULL, "choose this platform of the image: os/arch[/variant]"},
        {FLAG_STRING, "runtime", NULL, "runtime name, or absolute path of a shim",
         "io.containerd.runc.v2"},
        {FLAG_STRING, "runc-binary", NULL, "OCI runtime that the shim runs, such as runc or crun",
         NULL, NULL, "file"},
        {FLAG_STRING, "runc-root", NULL, "folder for the OCI runtime's state", NULL, NULL, "dir"},
        {FLAG_BOOL, "runc-systemd-cgroup", NULL,
         "make the cgroup through systemd (needs --cgroup)"},
        {FLAG_LIST, "snapshotter-label", NULL, "label KEY=VALUE of the new snapshot, repeatable"},
        {FLAG_STRING, "config", "c", "take this config.json instead of making one", NULL, NULL,
         "file"},
        {FLAG_STRING, "dump-config", NULL, "write the runtime spec to this file", NULL, NULL,
         "file"},
        {FLAG_BOOL, "rootfs", NULL, "the first argument is a folder, not an image"},
        {},
};

static const Flag spec_flags[] = {
        {FLAG_STRING, "cwd", NULL, "working directory"},
        {FLAG_LIST, "env", NULL, "environment variable KEY=VALUE, repeatable"},
        {FLAG_STRING, "env-file", NULL, "file with a variable in each line", NULL, NULL, "file"},
        {FLAG_LIST, "annotation", NULL, "OCI annotation KEY=VALUE, repeatable"},
        {FLAG_LIST, "mount", NULL, "mount type=bind,src=/a,dst=/b,options=rbind:ro, repeatable"},
        {FLAG_BOOL, "net-host", NULL, "use the network of the host"},
        {FLAG_BOOL, "privileged", NULL, "all capabilities, no masked paths, devices of the host"},
        {FLAG_BOOL, "privileged-without-host-devices", NULL,
         "with --privileged: without devices of the host"},
        {FLAG_BOOL, "read-only", NULL, "read-only root file system"},
        {FLAG_BOOL, "tty", "t", "give the process a terminal"},
        {FLAG_LIST, "with-ns", NULL, "join a namespace, TYPE:PATH, repeatable"},
        {FLAG_BOOL, "allow-new-privs", NULL, "let set-uid programs gain privileges"},
        {FLAG_STRING, "cgroup", NULL, "cgroup path; \"\" for none"},
        {FLAG_UINT, "memory-limit", NULL, "memory limit in bytes"},
        {FLAG_FLOAT, "cpus", NULL, "number of CPUs, such as 1.5", "0"},
        {FLAG_UINT, "cpu-shares", NULL, "weight of CPU time", "1024"},
        {FLAG_INT, "cpu-quota", NULL, "CPU time in a period, in microseconds; -1 for no limit",
         "-1"},
        {FLAG_UINT, "cpu-period", NULL, "length of that period"},
        {FLAG_STRING, "cpuset-cpus", NULL, "CPUs to run on, such as 0-3,7"},
        {FLAG_STRING, "cpuset-mems", NULL, "memory nodes to use"},
        {FLAG_LIST, "cap-add", NULL, "add a capability, CAP_NAME, repeatable"},
        {FLAG_LIST, "cap-drop", NULL, "drop a capability, CAP_NAME, repeatable"},
        {FLAG_BOOL, "seccomp", NULL, "use the default seccomp profile"},
        {FLAG_STRING, "seccomp-profile", NULL, "with --seccomp: profile to use instead", NULL, NULL,
         "file"},
        {FLAG_STRING, "apparmor-profile", NULL, "AppArmor profile, already loaded"},
        {FLAG_STRING, "hostname", NULL, "host name"},
        {FLAG_STRING, "user", "u", "USER[:GROUP], names or numbers"},
        {FLAG_STRING, "rootfs-propagation", NULL, "mount propagation of the root"},
        {FLAG_STRING, "rlimit-nofile", NULL, "limit of open files, SOFT[:HARD]"},
        {FLAG_LIST, "device", NULL, "device of the host by path, repeatable"},
        {},
};

static const Flag import_flags[] = {
        {FLAG_STRING, "base-name", NULL,
         "prefix of names for images that the archive names by tag only"},
        {FLAG_BOOL, "digests", NULL, "also record each image under its digest"},
        {FLAG_BOOL, "skip-digest-for-named", NULL,
         "with --digests: not for images that have a name"},
        {FLAG_STRING, "index-name", NULL, "record the archive's index under this name too"},
        {FLAG_BOOL, "all-platforms", NULL, "import all platforms, not only this machine's"},
        {FLAG_STRING, "platform", NULL, "import this platform: os/arch[/variant]"},
        {FLAG_BOOL, "no-unpack", NULL, "do not unpack layers into a snapshotter"},
        {FLAG_BOOL, "local", NULL, "drive the import from this program; so it always is, for now"},
        {},
};

static const Flag delete_sync[] = {
        {FLAG_BOOL, "sync", NULL, "wait until everything it held is gone"}, {}};

static const Flag tag_flags[] = {
        {FLAG_BOOL, "force", NULL, "replace a target that exists"},
        {FLAG_BOOL, "local", NULL, "fail when the target exists, unless --force"},
        {FLAG_BOOL, "skip-reference-check", NULL, "take the target's name as it is"},
        {},
};

static const Flag image_label_flags[] = {
        {FLAG_BOOL, "replace-all", "r", "drop all labels that are not named"},
        {},
};

static const Command images[] = {
        {.name = "import",
         .args = "[flags] <file>",
         .help = "import images from a tar archive, \"-\" for standard input",
         .more = "Reads OCI layouts and archives of docker save, plain or compressed with gzip or zstd. The archive is "
                 "foreign bytes: a sandboxed worker reads it.",
         .what = "file",
         .flags = {import_flags, snapshotter, labels, sync_fs},
         .run = cmd_images_import},
        {.name = "list",
         .aliases = "ls",
         .args = "[flags] [<filter>...]",
         .help = "list images",
         .flags = {quiet},
         .run = cmd_images_list},
        {.name = "delete",
         .aliases = "del,remove,rm",
         .args = "[flags] <ref>...",
         .help = "remove images by name",
         .what = "image",
         .flags = {delete_sync},
         .run = cmd_images_delete},
        {.name = "tag",
         .args = "[flags] <source> <target>...",
         .help = "give an image more names",
         .what = "image",
         .flags = {tag_flags},
         .run = cmd_images_tag},
        {.name = "label",
         .args = "[flags] <name> [<key>=<value>...]",
         .help = "set labels of an image; an empty value removes one",
         .what = "image",
         .flags = {image_label_flags},
         .run = cmd_images_label},
        {},
};

static const Flag keep_snapshot[] = {{FLAG_BOOL, "keep-snapshot", NULL, "leave the snapshot"}, {}};
static const Flag info_flags[] = {{FLAG_BOOL, "spec", NULL, "only the runtime spec"}, {}};

static const Command containers[] = {
        {.name = "create",
         .args = "[flags] Image|RootFS CONTAINER [COMMAND] [ARG...]",
         .help = "make a container without starting it",
         .what = "image",
         .flags = {container_flags, spec_flags, labels, snapshotter, sync_fs},
         .run = cmd_containers_create},
        {.name = "delete",
         .aliases = "del,remove,rm",
         .args = "[flags] CONTAINER...",
         .help = "remove containers whose task has stopped",
         .what = "container",
         .flags = {keep_snapshot},
         .run = cmd_containers_delete},
        {.name = "info",
         .args = "[flags] CONTAINER",
         .help = "show a container and its runtime spec as JSON",
         .what = "container",
         .flags = {info_flags},
         .run = cmd_containers_info},
        {.name = "list",
         .aliases = "ls",
         .args = "[flags] [<filter>...]",
         .help = "list containers",
         .flags = {quiet},
         .run = cmd_containers_list},
        {.name = "label",
         .args = "CONTAINER [<key>=<value>...]",
         .help = "set labels of a container; an empty value removes one",
         .what = "container",
         .run = cmd_containers_label},
        {},
};

static const Flag exec_flags[] = {
        {FLAG_STRING, "exec-id", NULL, "name of the new process; made up when it is not given"},
        {FLAG_STRING, "cwd", NULL, "working directory"},
        {FLAG_BOOL, "tty", "t", "give the process a terminal"},
        {FLAG_STRING, "user", NULL, "USER[:GROUP], names or numbers"},
        {},
};
static const Flag kill_flags[] = {
        {FLAG_STRING, "signal", "s",
         "signal, by name or number; the container's stop signal by default"},
        {FLAG_STRING, "exec-id", NULL, "process to signal, instead of the first"},
        {FLAG_BOOL, "all", "a", "signal all processes of the container"},
        {},
};
static const Flag task_delete_flags[] = {
        {FLAG_BOOL, "force", "f", "kill what runs"},
        {FLAG_STRING, "exec-id", NULL, "process to delete, instead of the task"},
        {},
};
static const Flag metrics_flags[] = {
        {FLAG_STRING, "format", NULL, "\"table\" or \"json\"", "table"}, {}};

static const Command tasks[] = {
        {.name = "attach",
         .args = "CONTAINER",
         .help = "connect to standard input and output of a running task",
         .what = "container",
         .run = cmd_tasks_attach},
        {.name = "delete",
         .aliases = "del,remove,rm",
         .args = "[flags] CONTAINER...",
         .help = "delete tasks that have stopped",
         .what = "container",
         .flags = {task_delete_flags},
         .run = cmd_tasks_delete},
        {.name = "exec",
         .args = "[flags] CONTAINER CMD [ARG...]",
         .help = "run another process in a container",
         .what = "container",
         .flags = {exec_flags, process_io},
         .run = cmd_tasks_exec},
        {.name = "list",
         .aliases = "ls",
         .help = "list tasks",
         .flags = {quiet},
         .run = cmd_tasks_list},
        {.name = "kill",
         .args = "[flags] CONTAINER",
         .help = "send a signal",
         .what = "container",
         .flags = {kill_flags},
         .run = cmd_tasks_kill},
        {.name = "metrics",
         .aliases = "metric",
         .args = "[flags] CONTAINER",
         .help = "show what a container uses",
         .what = "container",
         .flags = {metrics_flags},
         .run = cmd_tasks_metrics},
        {.name = "pause",
         .args = "CONTAINER",
         .help = "freeze a container",
         .what = "container",
         .run = cmd_tasks_pause},
        {.name = "ps",
         .args = "CONTAINER",
         .help = "list the processes of a container",
         .what = "container",
         .run = cmd_tasks_ps},
        {.name = "resume",
         .args = "CONTAINER",
         .help = "thaw a container",
         .what = "container",
         .run = cmd_tasks_resume},
        {.name = "start",
         .args = "[flags] CONTAINER",
         .help = "start a container that exists",
         .what = "container",
         .flags = {task_io, process_io},
         .run = cmd_tasks_start},
        {},
};

static const Flag ingest_flags[] = {
        {FLAG_INT, "expected-size", NULL, "fail unless it has this many bytes", "0"},
        {FLAG_STRING, "expected-digest", NULL, "fail unless it has this digest"},
        {},
};

static const Command content[] = {
        {.name = "active",
         .args = "[<regexp>]",
         .help = "list what is being written",
         .run = cmd_content_active},
        {.name = "delete",
         .aliases = "del,remove,rm",
         .args = "<digest>...",
         .help = "remove blobs",
         .what = "content",
         .run = cmd_content_delete},
        {.name = "get",
         .args = "<digest>",
         .help = "write a blob to standard output",
         .what = "content",
         .run = cmd_content_get},
        {.name = "ingest",
         .args = "[flags] <key>",
         .help = "store standard input as a blob",
         .flags = {ingest_flags},
         .run = cmd_content_ingest},
        {.name = "label",
         .args = "<digest> [<key>=<value>...]",
         .help = "set labels of a blob; an empty value removes one",
         .what = "content",
         .run = cmd_content_label},
        {.name = "list",
         .aliases = "ls",
         .args = "[flags] [<filter>...]",
         .help = "list blobs",
         .flags = {quiet},
         .run = cmd_content_list},
        {},
};

static const Flag prepare_flags[] = {
        {FLAG_STRING, "target", "t", "print commands that mount the snapshot there", NULL, NULL,
         "dir"},
        {FLAG_BOOL, "mounts", NULL, "print the mounts as JSON"},
        {},
};
static const Flag diff_flags[] = {
        {FLAG_STRING, "media-type", NULL, "media type of the layer",
         "application/vnd.oci.image.layer.v1.tar+gzip"},
        {FLAG_STRING, "ref", NULL, "ingest reference to write it under"},
        {FLAG_BOOL, "keep", NULL, "keep the layer in the content store"},
        {},
};
static const Flag usage_flags[] = {{FLAG_BOOL, "b", NULL, "sizes in bytes"}, {}};

static const Command snapshots[] = {
        {.name = "commit",
         .args = "<key> <active>",
         .help = "commit an active snapshot under a name",
         .what = "snapshot",
         .run = cmd_snapshots_commit},
        {.name = "delete",
         .aliases = "del,remove,rm",
         .args = "<key>...",
         .help = "remove snapshots",
         .what = "snapshot",
         .run = cmd_snapshots_delete},
        {.name = "diff",
         .args = "[flags] <key> [<key>]",
         .help = "print the layer that makes a snapshot out of its parent, or a second one",
         .what = "snapshot",
         .flags = {diff_flags, labels},
         .run = cmd_snapshots_diff},
        {.name = "info",
         .args = "<key>",
         .help = "show a snapshot as JSON",
         .what = "snapshot",
         .run = cmd_snapshots_info},
        {.name = "label",
         .args = "<key> [<key>=<value>...]",
         .help = "set labels of a snapshot; an empty value removes one",
         .what = "snapshot",
         .run = cmd_snapshots_label},
        {.name = "list",
         .aliases = "ls",
         .args = "[<filter>...]",
         .help = "list snapshots",
         .run = cmd_snapshots_list},
        {.name = "mounts",
         .aliases = "m,mount",
         .args = "<target> <key>",
         .help = "print the commands that mount a snapshot",
         .run = cmd_snapshots_mounts},
        {.name = "prepare",
         .args = "[flags] <key> [<parent>]",
         .help = "make a writable snapshot",
         .what = "snapshot",
         .flags = {prepare_flags},
         .run = cmd_snapshots_prepare},
        {.name = "tree", .help = "show snapshots by parent", .run = cmd_snapshots_tree},
        {.name = "unpack",
         .args = "[flags] <digest>",
         .help = "unpack the layers of the image with this manifest",
         .what = "content",
         .flags = {sync_fs},
         .run = cmd_snapshots_unpack},
        {.name = "usage",
         .args = "[flags] [<key>...]",
         .help = "show what snapshots hold on disk",
         .what = "snapshot",
         .flags = {usage_flags},
         .run = cmd_snapshots_usage},
        {.name = "view",
         .args = "[flags] <key> [<parent>]",
         .help = "make a read-only snapshot",
         .what = "snapshot",
         .flags = {prepare_flags},
         .run = cmd_snapshots_view},
        {},
};

static const Command namespaces[] = {
        {.name = "create",
         .aliases = "c",
         .args = "<name> [<key>=<value>...]",
         .help = "make a namespace",
         .run = cmd_namespaces_create},
        {.name = "list",
         .aliases = "ls",
         .help = "list namespaces",
         .flags = {quiet},
         .run = cmd_namespaces_list},
        {.name = "remove",
         .aliases = "rm",
         .args = "<name>...",
         .help = "remove empty namespaces",
         .what = "namespace",
         .run = cmd_namespaces_delete},
        {.name = "label",
         .args = "<name> [<key>=<value>...]",
         .help = "set labels of a namespace; an empty value removes one",
         .what = "namespace",
         .run = cmd_namespaces_label},
        {},
};

static const Flag lease_create_flags[] = {
        {FLAG_STRING, "id", NULL, "name of the lease; made up when it is not given"},
        {FLAG_DURATION, "expires", "x", "how long it lives; 0s for ever", "24h0m0s"},
        {},
};

static const Command leases[] = {
        {.name = "list",
         .aliases = "ls",
         .args = "[flags] [<filter>...]",
         .help = "list leases",
         .flags = {quiet},
         .run = cmd_leases_list},
        {.name = "create",
         .args = "[flags] [<key>=<value>...]",
         .help = "make a lease with labels",
         .flags = {lease_create_flags},
         .run = cmd_leases_create},
        {.name = "delete",
         .aliases = "del,remove,rm",
         .args = "[flags] <lease>...",
         .help = "delete leases",
         .what = "lease",
         .flags = {delete_sync},
         .run = cmd_leases_delete},
        {},
};

static const Flag plugin_flags[] = {{FLAG_BOOL, "detailed", "d", "everything about each plugin"},
                                    {}};
static const Command plugins[] = {
        {.name = "list",
         .aliases = "ls",
         .args = "[flags] [<filter>...]",
         .help = "list the daemon's plugins",
         .flags = {quiet, plugin_flags},
         .run = cmd_plugins_list},
        {},
};

static const Flag deprecation_flags[] = {{FLAG_STRING, "format", NULL, "\"json\" for JSON"}, {}};
static const Command deprecations[] = {
        {.name = "list",
         .aliases = "ls",
         .help = "list the deprecated things in use",
         .flags = {deprecation_flags},
         .run = cmd_deprecations_list},
        {},
};

static const Command oci[] = {
        {.name = "spec", .help = "print the default runtime spec", .run = cmd_oci_spec},
        {},
};

static const Flag ps_flags[] = {
        {FLAG_BOOL, "quiet", "q", "print names only"},
        {FLAG_BOOL, "all", "a", "also containers that do not run"},
        {},
};

static const Command top[] = {
        {.name = "run",
         .args = "[flags] Image|RootFS ID [COMMAND] [ARG...]",
         .help = "run a container",
         .more = "Makes a container from a local image (or with --rootfs from a folder), starts it and passes standard "
                 "input, output, signals and the exit code through. With --config the spec comes from a file: then only "
                 "the ID is given, or with --rootfs the folder and the ID.",
         .what = "image",
         .flags = {run_flags, task_io, process_io, container_flags, spec_flags, labels, snapshotter,
                   sync_fs},
         .run = cmd_run},
        {.name = "ps",
         .args = "[flags]",
         .help = "list containers and what became of them",
         .flags = {ps_flags},
         .run = cmd_ps},
        {.name = "images", .aliases = "image,i", .help = "images", .subs = images},
        {.name = "containers", .aliases = "c,container", .help = "containers", .subs = containers},
        {.name = "tasks",
         .aliases = "t,task",
         .help = "running containers and their processes",
         .subs = tasks},
        {.name = "content", .help = "blobs", .subs = content},
        {.name = "snapshots",
         .aliases = "snapshot",
         .help = "snapshots",
         .flags = {snapshotter},
         .subs = snapshots},
        {.name = "namespaces", .aliases = "namespace,ns", .help = "namespaces", .subs = namespaces},
        {.name = "leases",
         .aliases = "lease",
         .help = "leases, which keep things from being collected",
         .subs = leases},
        {.name = "events",
         .aliases = "event",
         .args = "[<filter>...]",
         .help = "show events as they happen",
         .run = cmd_events},
        {.name = "plugins", .aliases = "plugin", .help = "plugins of the daemon", .subs = plugins},
        {.name = "oci", .help = "runtime specs", .subs = oci},
        {.name = "deprecations", .help = "deprecated things in use", .subs = deprecations},
        {.name = "info", .help = "show the daemon as JSON", .run = cmd_info},
        {.name = "version", .help = "show the versions of client and daemon", .run = cmd_version},
        {.name = "gen",
         .args = "man|bash|zsh|fish",
         .help = "print the man page or a completion script",
         .run = cmd_gen,
         .hidden = 1},
        {},
};

const Command lighter_command = {
        .name = "lighter",
        .args = "[global flags] command [flags] [arguments]",
        .help = "run and manage containers",
        .more = "lighter is the command line of lighterd, and of any daemon that speaks containerd's API. It understands "
                "ctr's commands and flags: flags stand before arguments.",
        .flags = {global_flags},
        .subs = top,
};
