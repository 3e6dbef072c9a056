/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"

#include <errno.h>
#include <signal.h>

int fault_countdown;
int fault_fired;
int fault_kills;

void fault_arm(int nth)
{
        fault_fired = 0;
        __atomic_store_n(&fault_countdown, nth, __ATOMIC_RELAXED);
}

int fault_fire(void)
{
        if (__atomic_sub_fetch(&fault_countdown, 1, __ATOMIC_RELAXED) != 0)
                return 0;
        fault_fired = 1;
        if (fault_kills)
                raise(SIGKILL);
        errno = EIO;
        return 1;
}
