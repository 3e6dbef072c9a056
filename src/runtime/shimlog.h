/* SPDX-License-Identifier: Apache-2.0 */
/* The fifo `log` of a bundle, copied to our stderr while a shim is connected. Loop's thread. */
#pragma once

#include "base/loop.h"

typedef struct ShimLog ShimLog;

/* Opens the fifo, which the shim may write from then on. Any thread. NULL when the bundle has none.
 */
ShimLog *shim_log_new(const char *bundle);
void shim_log_watch(ShimLog *l, Loop *loop); /* takes NULL; once */
ShimLog *shim_log_close(ShimLog *l); /* copies what is still there; takes NULL; returns NULL */
