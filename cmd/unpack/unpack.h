/* SPDX-License-Identifier: Apache-2.0 */
/* The jobs of lighter-unpack; each runs inside the sandbox, once, with the descriptors that came
 * with it. */
#pragma once

#include "worker/message.h"

/* Each fills *ret with what DONE says. */
int unpack_apply(int sock, const WorkerApplyMsg *job, int blob_fd, int target_fd, WorkerMsg *ret,
                 Err *err);
int unpack_import(int sock, const WorkerImportMsg *job, int archive_fd, int data_fd, WorkerMsg *ret,
                  Err *err);
/* fds as they came: the data pipe, which is closed at the end, and the trees. */
int unpack_compare(int sock, const WorkerCompareMsg *job, int *fds, WorkerMsg *ret, Err *err);
