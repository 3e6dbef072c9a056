/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fault injection for all-or-nothing tests. A store's fallible step asks fault_hit() first; a test
 * arms the nth step and checks that failing it leaves nothing behind. Costs one load when not
 * armed; compiled out of nothing.
 *
 *         if (fault_hit() || fsync(fd) < 0)
 *                 return err_sys(err, errno, "fsync %s", path);
 */
#pragma once

#include "base/macros.h"

extern int fault_countdown; /* 0: not armed */
extern int fault_fired;
extern int fault_kills; /* the step does not fail, the process ends there, as by kill -9 */

int fault_fire(void); /* counts down; at zero sets errno to EIO and answers 1 */

static inline int fault_hit(void)
{
        return __builtin_expect(__atomic_load_n(&fault_countdown, __ATOMIC_RELAXED) != 0, 0) &&
               fault_fire();
}

/* The nth step from now fails (1 is the next); 0 disarms. Resets fault_fired. */
void fault_arm(int nth);
