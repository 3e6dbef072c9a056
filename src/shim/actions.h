/* SPDX-License-Identifier: Apache-2.0 */
/* The actions of a shim's binary that end by themselves. Exit codes. */
#pragma once

#include "shim/bootstrap.h"

/* Ends what is left of a container, whatever has happened to its shim, and prints a DeleteResponse.
 * May be repeated. */
int shim_delete(const ShimFlags *flags);
/* -info: reads an Any of runtime options, prints a containerd.types.RuntimeInfo. */
int shim_info(void);
