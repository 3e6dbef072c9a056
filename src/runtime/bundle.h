/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bundles: <state>/<ns>/<id>, where a shim works and an OCI runtime reads config.json, and
 * <root>/<ns>/<id>, its folder on disk. Callers hold the container's operation. All functions
 * block.
 */
#pragma once

#include "base/err.h"

/* Makes both folders, config.json if there is a spec, rootfs and work. *ret_path is on the heap.
 * ALREADY_EXISTS; after a failure nothing is left. */
int bundle_create(const char *root, const char *state, const char *ns, const char *id,
                  const void *spec, size_t n_spec, char **ret_path, Err *err);
/* The fifo for the log of a shim that works in this bundle. */
int bundle_make_log(const char *path, Err *err);
/* Takes off what is mounted on rootfs and removes both folders. An absent bundle is success. A
 * rootfs that cannot be taken off or is not empty stays and is an error: its files may be
 * somebody's. */
int bundle_remove(const char *root, const char *state, const char *ns, const char *id, Err *err);
