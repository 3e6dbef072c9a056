/* SPDX-License-Identifier: Apache-2.0 */
/* The job "compare two trees": what differs goes into the pipe as a layer. */
#include <errno.h>
#include "base/fd.h"
#include "cmd/unpack/unpack.h"
#include "diff/compare_tar.h"
#include "diff/compare_walk.h"
#include "diff/outlet.h"

typedef struct Asker {
        int sock;
        uint8_t packet[WORKER_MSG_MAX];
} Asker;

/* Overlayfs' own attributes are the initial namespace's: the parent looks. */
static int ask_opaque(void *ctx, int hint_fd, int *ret, Err *err)
{
        WorkerMsg m = {.type = WORKER_MSG_OPAQUE}, reply;
        int fds[WORKER_FDS_MAX], r;
        Asker *a = ctx;

        r = worker_msg_send(a->sock, &m, &hint_fd, 1, err);
        if (r == 0)
                r = worker_msg_recv(a->sock, -1, a->packet, &reply, fds, err);
        if (r < 0)
                return r;
        if (reply.type != WORKER_MSG_REPLY)
                return err_set(err, INTERNAL, "unexpected message from parent");
        *ret = reply.reply.errnum != 0;
        return 0;
}

/* The next of those that came, if this one is among them. */
static int take_tree(const WorkerCompareMsg *job, uint32_t which, const int **trees)
{
        return job->trees & which ? *(*trees)++ : -1;
}

static int walk(const WorkerCompareMsg *job, const int *trees, Asker *asker, Outlet *outlet,
                Err *err)
{
        int lower = take_tree(job, WORKER_TREE_LOWER, &trees);
        int upper = take_tree(job, WORKER_TREE_UPPER, &trees);
        int hint = take_tree(job, WORKER_TREE_HINT, &trees);
        CompareWalk w = {
                .lower_fd = lower,
                .upper_fd = upper,
                .hint_fd = hint,
                .opaque = ask_opaque,
                .opaque_ctx = asker,
                .change = layer_change,
        };
        LayerOptions o = {
                .upper_fd = upper,
                .bounded = (int)job->bounded,
                .bound = {.sec = (int64_t)job->sec, .nsec = (int32_t)job->nsec},
                .sink = outlet_write,
                .sink_ctx = outlet,
        };
        Layer *layer = layer_new(&o);
        int r;

        w.change_ctx = layer;
        r = compare_walk(&w, err);
        if (r == 0)
                r = layer_finish(layer, err);
        layer_free(layer);
        return r;
}

int unpack_compare(int sock, const WorkerCompareMsg *job, int *fds, WorkerMsg *ret, Err *err)
{
        static Asker asker;
        static Digest digest;
        WorkerFormat format = (WorkerFormat)job->format;
        Encoder *encoder = encoder_new(fds[0], format, DECODE_GZIP_BEST);
        Outlet *outlet = NULL;
        int r;

        asker.sock = sock;
        *ret = (WorkerMsg){.type = WORKER_MSG_DONE};
        r = outlet_start(encoder, format != WORKER_FORMAT_RAW, &outlet, err);
        if (r == 0)
                r = walk(job, fds + 1, &asker, outlet, err);
        if (r == 0)
                r = outlet_finish(outlet, &digest, &ret->done.size, err);
        if (r < 0)
                return r;
        ret->done.sent = encoder_written(encoder);
        ret->done.digest = digest.text;
        fd_close(fds[0]); /* its end is what the parent waits for before it looks at the socket */
        return 0;
}
