/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup v2 counts kills in memory.events and tells about changes by inotify. cgroup v1 signals an
 * eventfd when the group runs out of memory, and also when the group is removed, which is told by
 * its files being gone then.
 */
#include <unistd.h>
#include "base/cleanup.h"
#include "base/fd.h"
#include "cgroup/cgroup.h"
#include "shim/oom.h"

enum { STATE_MAX = 1024 };

void oom_init(OomWatch *w)
{
        *w = (OomWatch){.event_fd = -1, .state_fd = -1};
}

void oom_stop(OomWatch *w)
{
        w->source = loop_remove(w->source);
        fd_close(TAKE_FD(w->event_fd));
        fd_close(TAKE_FD(w->state_fd));
}

static ssize_t read_state(OomWatch *w, char buf[STATE_MAX])
{
        ssize_t n = pread(w->state_fd, buf, STATE_MAX - 1, 0);

        buf[n > 0 ? n : 0] = 0;
        return n;
}

void oom_check(OomWatch *w)
{
        char buf[STATE_MAX];
        uint64_t kills;

        if (w->state_fd < 0 || !w->v2 || read_state(w, buf) <= 0)
                return;
        kills = cgroup_oom_kills(buf);
        if (kills > w->kills) {
                w->kills = kills;
                w->fn(w->ctx);
        }
}

static void on_event(void *ctx, int fd, uint32_t events)
{
        OomWatch *w = ctx;
        char buf[STATE_MAX];

        while (read(fd, buf, sizeof(buf)) > 0)
                ;
        if (read_state(w, buf) <= 0) {
                oom_stop(w); /* the cgroup is gone */
                return;
        }
        if (w->v2)
                oom_check(w);
        else
                w->fn(w->ctx);
}

int oom_start(OomWatch *w, Loop *loop, int v2, int event_fd, int state_fd, OomFn fn, void *ctx,
              Err *err)
{
        int r;

        if (event_fd < 0 || state_fd < 0) {
                fd_close(event_fd);
                fd_close(state_fd);
                return 0;
        }
        *w = (OomWatch){.v2 = v2, .event_fd = event_fd, .state_fd = state_fd, .fn = fn, .ctx = ctx};
        fd_set_nonblock(event_fd, 1);
        r = loop_add_fd(loop, event_fd, EPOLLIN, on_event, w, &w->source, err);
        if (r < 0)
                oom_stop(w);
        return r;
}
