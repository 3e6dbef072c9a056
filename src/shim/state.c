/* SPDX-License-Identifier: Apache-2.0 */
/* The texts are part of the interface: clients, dockerd among them, look for words in them. */
#include "shim/state.h"

static const char *const init_says[PROC_DELETED + 1][ACT_CHECKPOINT + 1] = {
        [PROC_CREATED] =
                {
                        [ACT_PAUSE] = "cannot pause task in created state",
                        [ACT_RESUME] = "cannot resume task in created state",
                        [ACT_CHECKPOINT] = "cannot checkpoint a task in created state",
                },
        [PROC_RUNNING] =
                {
                        [ACT_START] = "cannot start a running process",
                        [ACT_DELETE] = "cannot delete a running process",
                        [ACT_RESUME] = "cannot resume a running process",
                },
        [PROC_PAUSED] =
                {
                        [ACT_START] = "cannot start a paused process",
                        [ACT_DELETE] = "cannot delete a paused process",
                        [ACT_PAUSE] = "cannot pause a paused container",
                        [ACT_EXEC] = "cannot exec in a paused state",
                },
        [PROC_STOPPED] =
                {
                        [ACT_START] = "cannot start a stopped process",
                        [ACT_PAUSE] = "cannot pause a stopped container",
                        [ACT_RESUME] = "cannot resume a stopped container",
                        [ACT_UPDATE] = "cannot update a stopped container",
                        [ACT_EXEC] = "cannot exec in a stopped state",
                        [ACT_CHECKPOINT] = "cannot checkpoint a stopped container",
                        [ACT_RESIZE] = "cannot resize a stopped container",
                },
        [PROC_DELETED] =
                {
                        [ACT_START] = "cannot start a deleted process",
                        [ACT_DELETE] = "cannot delete a deleted process",
                        [ACT_PAUSE] = "cannot pause a deleted process",
                        [ACT_RESUME] = "cannot resume a deleted process",
                        [ACT_UPDATE] = "cannot update a deleted process",
                        [ACT_EXEC] = "cannot exec in a deleted state",
                        [ACT_CHECKPOINT] = "cannot checkpoint a deleted process",
                        [ACT_KILL] = "cannot kill a deleted process",
                        [ACT_RESIZE] = "cannot resize a deleted container",
                },
};

static const char *const exec_says[PROC_DELETED + 1][ACT_CHECKPOINT + 1] = {
        [PROC_CREATED] =
                {
                        [ACT_KILL] = "process not created",
                },
        [PROC_RUNNING] =
                {
                        [ACT_START] = "cannot start a running process",
                        [ACT_DELETE] = "cannot delete a running process",
                },
        [PROC_STOPPED] =
                {
                        [ACT_START] = "cannot start a stopped process",
                        [ACT_KILL] = "process already finished",
                        [ACT_RESIZE] = "cannot resize a stopped container",
                },
        [PROC_DELETED] =
                {
                        [ACT_START] = "cannot start a deleted process",
                        [ACT_DELETE] = "cannot delete a deleted process",
                        [ACT_KILL] = "process already finished",
                        [ACT_RESIZE] = "cannot resize a deleted container",
                },
};

int state_check(int is_exec, ProcState state, ProcAction action, Err *err)
{
        const char *text = is_exec ? exec_says[state][action] : init_says[state][action];

        if (!text)
                return 0;
        if (action == ACT_KILL && state == PROC_CREATED)
                return err_set(err, FAILED_PRECONDITION, "%s: failed precondition", text);
        if (action == ACT_KILL || (action == ACT_DELETE && state == PROC_DELETED))
                return err_set(err, NOT_FOUND, "%s: not found", text);
        return err_set(err, UNKNOWN, "%s", text);
}
