/* SPDX-License-Identifier: Apache-2.0 */
/* The shim: between a daemon and the containers of one pod. One thread, static, outlives the
 * daemon. */
#pragma once

/* All of main(): start, delete, the shim itself, -v and -info. */
int shim_main(int argc, char **argv);
