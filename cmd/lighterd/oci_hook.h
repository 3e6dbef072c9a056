/* SPDX-License-Identifier: Apache-2.0 */
/* `lighterd oci-hook [--] PROGRAM ARG...`: what specs name as a hook that wants to know more of its
 * container than a hook is told. */
#pragma once

#include "base/err.h"

/* Reads the container's state from stdin and its spec from the bundle, fills {{id}}, {{bundle}},
 * {{rootfs}}, {{pid}}, {{status}} and {{annotation "key"}} into args, and becomes the program.
 * Returns on failure only. */
int oci_hook(char **args, Err *err);
