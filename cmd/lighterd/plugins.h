/* SPDX-License-Identifier: Apache-2.0 */
/* What the files with parts of the table of plugins share. */
#pragma once

#include "daemon.h"
#include "metadata/content.h"
#include "metadata/metadata.h"
#include "metadata/snapshots.h"
#include "runtime/runtime.h"

/* The instance of io.containerd.metadata.v1.bolt. */
typedef struct Stores {
        Metadata *metadata;
        Blobs *blobs;
        Snapshots *snapshots;
} Stores;

int plugins_stores(PluginContext *pc, Stores **ret, Err *err);
/* Puts a service into the gRPC server. */
int plugins_serve(PluginContext *pc, const RpcService *service, void *ctx);

/* cmd/lighterd/sandboxes_plugin.c */
int sandbox_store_init(PluginContext *pc, void **ret, Err *err);
int sandboxes_init(PluginContext *pc, void **ret, Err *err);
int sandbox_controller_init(PluginContext *pc, void **ret, Err *err);
int sandbox_controllers_init(PluginContext *pc, void **ret, Err *err);
int sandbox_known(void *metadata, const char *ns, const char *id); /* see runtime.h */

/* cmd/lighterd/diff_plugin.c: the instance is a DiffService */
int walking_init(PluginContext *pc, void **ret, Err *err);

/* cmd/lighterd/gc_plugin.c: the instance is a Gc (metadata/gc.h) */
extern const ConfigSchema gc_schema;
int gc_init(PluginContext *pc, void **ret, Err *err);
void gc_close(void *instance);

/* cmd/lighterd/mounts_plugin.c: the instances are a MountHandler and a MountManager
 * (runtime/mounts.h) */
extern const ConfigSchema mount_manager_schema;
int mount_handler_erofs_init(PluginContext *pc, void **ret, Err *err);
int mount_handler_loop_init(PluginContext *pc, void **ret, Err *err);
int mount_manager_init(PluginContext *pc, void **ret, Err *err);
void mount_manager_close(void *instance);
RuntimeMounts mounts_of_tasks(void *manager);
int mounts_init(PluginContext *pc, void **ret, Err *err);
