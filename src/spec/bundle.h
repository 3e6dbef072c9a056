/* SPDX-License-Identifier: Apache-2.0 */
/* What our shim leaves in a bundle for our daemon; src/shim/look.h says when. */
#pragma once

#define BUNDLE_STATE  "state.pb" /* containerd.task.v3.StateResponse of init */
#define BUNDLE_CGROUP "cgroup"   /* text of /proc/PID/cgroup */

/* The key in the metadata of a bootstrap answer, and its value, that promise both. */
#define BOOTSTRAP_LOOK    "lighter.look"
#define BOOTSTRAP_LOOK_V1 "1"
