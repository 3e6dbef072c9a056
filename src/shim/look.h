/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a daemon may read by itself instead of asking: two files of the bundle. "state.pb" is the
 * answer that State would give for init, "cgroup" the text of its /proc/PID/cgroup. The metadata of
 * the answer to `start` promises them (BOOTSTRAP_LOOK). Both are replaced by rename(2), so that a
 * reader finds a whole one; both are absent when there is nothing to tell.
 */
#pragma once

#include "shim/shim_priv.h"

/* The state of init has changed; before anybody is told. */
void look_note(const Container *c);
/* It was deleted. */
void look_forget(const Container *c);
/* In the op child that has created it. Failing, the daemon asks. */
void look_note_cgroup(const char *bundle, const char *text);
