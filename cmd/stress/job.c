// SPDX-License-Identifier: Apache-2.0
/*
 * The loop. A job whose steps are done asks next() for more; one that gets none goes. A failed step
 * is logged, counted by whoever owns the job, and ends the list, unless the list is about removing
 * what may not be there.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "base/log.h"
#include "cmd/stress/stress.h"

Job *job_new(Stress *s, const char *id, void (*next)(Job *j))
{
        Job *j = mem_new(Job);

        j->stress = s;
        j->next = next;
        snprintf(j->id, sizeof(j->id), "%s", id);
        arena_init(&j->arena, SIZE_MAX);
        list_append(&s->jobs, &j->link);
        return j;
}

static void job_free(Job *j)
{
        list_remove(&j->link);
        grpc_call_free(j->call);
        grpc_call_free(j->wait);
        arena_done(&j->arena);
        free(j);
}

void job_steps(Job *j, const Step *steps)
{
        arena_done(&j->arena);
        arena_init(&j->arena, SIZE_MAX);
        j->keep_going = steps == steps_wreck || steps == steps_exec_wreck;
        j->failed = 0;
        j->at = steps;
}

static void step_failed(Job *j, const Err *err)
{
        Stress *s = j->stress;

        if (err->code == UNAVAILABLE && !s->broken.code) {
                err_copy(&s->broken, err);
                s->stopping = 1;
        }
        if (log_enabled(j->keep_going ? LOG_DEBUG : LOG_ERROR))
                log_at(j->keep_going ? LOG_DEBUG : LOG_ERROR, j->at->what, "error", err->msg, "id",
                       j->id, "exec", *j->exec_id ? j->exec_id : NULL, NULL);
        j->failed = 1;
}

/* The answer of the step is there. */
static void step_done(Job *j)
{
        GrpcCall *call CLEANUP(grpc_call_freep) = TAKE(j->call);
        Err err = {};
        void *rsp;
        int r;

        r = grpc_call_finish(call, &j->arena, &rsp, &err);
        if (r == 0 && j->at->done)
                r = j->at->done(j, rsp, &err);
        if (r < 0)
                step_failed(j, &err);
        j->at++;
}

/* As far as the job gets without waiting. 0 when it has ended. */
static int job_advance(Job *j)
{
        for (;;) {
                if (j->call && !grpc_call_ready(j->call))
                        return 1;
                if (j->call)
                        step_done(j);
                else if (j->at && j->at->what && (!j->failed || j->keep_going)) {
                        j->call = j->at->begin(j);
                        if (!j->call)
                                j->at++;
                } else {
                        j->at = NULL;
                        if (!j->stress->broken.code)
                                j->next(j);
                        if (!j->at)
                                return 0;
                }
        }
}

static int on_signal(Stress *s, Err *err)
{
        struct signalfd_siginfo si;

        if (read(s->signal_fd, &si, sizeof(si)) != sizeof(si))
                return 0;
        if (s->stopping)
                return err_set(err, CANCELLED, "stopped; the next run removes what is left");
        s->stopping = 1;
        return 0;
}

/* Milliseconds until the end of the run, -1 when nothing is to be waited for but answers. */
static int poll_time(Stress *s)
{
        uint64_t now = time_mono_ns();

        if (s->end && now >= s->end)
                s->stopping = 1;
        if (!s->end || s->stopping)
                return -1;
        return (int)MIN((s->end - now) / NS_PER_MS + 1, (uint64_t)1000);
}

int jobs_run(Stress *s, Err *err)
{
        GrpcClient *g = client_grpc(s->cli.client);
        int r = 0;

        while (r == 0 && !list_empty(&s->jobs)) {
                struct pollfd fds[2] = {{.fd = s->signal_fd, .events = POLLIN}};
                int timeout = poll_time(s);

                LIST_FOREACH (j, &s->jobs, Job, link)
                        if (!job_advance(j))
                                job_free(j);
                if (list_empty(&s->jobs))
                        break;
                fds[1] = (struct pollfd){.fd = grpc_client_fd(g), .events = grpc_client_events(g)};
                if (poll(fds, 2, timeout) < 0 && errno != EINTR)
                        r = err_sys(err, errno, "poll");
                grpc_client_step(g);
                if (r == 0 && fds[0].revents)
                        r = on_signal(s, err);
        }
        LIST_FOREACH (j, &s->jobs, Job, link)
                job_free(j);
        if (r == 0 && s->broken.code)
                r = err_copy(err, &s->broken);
        return r;
}
