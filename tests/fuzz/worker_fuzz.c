/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker that was taken over may send to its parent. */
#include <stdlib.h>
#include "base/limits.h"
#include "worker/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        static uint8_t again[WORKER_MSG_MAX];
        WorkerMsg m;
        Err err = {};
        size_t len;

        if (n > WORKER_MSG_MAX || worker_msg_decode(data, n, &m, &err) < 0)
                return 0;
        /* What was understood can be said again, and in the same bytes. */
        if (worker_msg_encode(&m, again, &len, &err) < 0 || len != n || memcmp(again, data, n) != 0)
                abort();
        return 0;
}
