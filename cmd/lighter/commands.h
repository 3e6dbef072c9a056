/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of commands: names, flags and texts in commands.c, what they do in a file per command.
 * Each function returns 0, a positive exit code, or -code with err filled.
 */
#pragma once

#include "client/args.h"

extern const Command lighter_command; /* the root of the tree */

#define COMMANDS(X)          \
        X(version)           \
        X(info)              \
        X(images_import)     \
        X(images_list)       \
        X(images_delete)     \
        X(images_tag)        \
        X(images_label)      \
        X(run)               \
        X(ps)                \
        X(containers_create) \
        X(containers_list)   \
        X(containers_info)   \
        X(containers_delete) \
        X(containers_label)  \
        X(tasks_list)        \
        X(tasks_ps)          \
        X(tasks_start)       \
        X(tasks_attach)      \
        X(tasks_exec)        \
        X(tasks_kill)        \
        X(tasks_pause)       \
        X(tasks_resume)      \
        X(tasks_delete)      \
        X(tasks_metrics)     \
        X(content_list)      \
        X(content_get)       \
        X(content_ingest)    \
        X(content_delete)    \
        X(content_label)     \
        X(content_active)    \
        X(snapshots_list)    \
        X(snapshots_info)    \
        X(snapshots_delete)  \
        X(snapshots_diff)    \
        X(snapshots_usage)   \
        X(snapshots_mounts)  \
        X(snapshots_prepare) \
        X(snapshots_view)    \
        X(snapshots_commit)  \
        X(snapshots_tree)    \
        X(snapshots_label)   \
        X(snapshots_unpack)  \
        X(namespaces_list)   \
        X(namespaces_create) \
        X(namespaces_delete) \
        X(namespaces_label)  \
        X(leases_list)       \
        X(leases_create)     \
        X(leases_delete)     \
        X(events)            \
        X(plugins_list)      \
        X(deprecations_list) \
        X(oci_spec)          \
        X(gen)

#define DECLARE_COMMAND(name) int cmd_##name(Cli *cli, const Args *args, Err *err);
COMMANDS(DECLARE_COMMAND)
#undef DECLARE_COMMAND
