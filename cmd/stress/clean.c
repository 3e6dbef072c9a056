// SPDX-License-Identifier: Apache-2.0
/* What an earlier run has left in the namespace goes before a run begins. */
#include "api/containerd/services/containers/v1/containers.pb-c.h"
#include "cmd/stress/stress.h"

static void gone(Job *j)
{
}

int clean_up(Stress *s, Err *err)
{
        Containers__ListContainersRequest req = CONTAINERS__LIST_CONTAINERS_REQUEST__INIT;
        Containers__ListContainersResponse *rsp;
        int r;

        r = client_call(s->cli.client, &s->cli.arena, SVC_CONTAINERS "List", &req,
                        containers__list_containers_response, &rsp, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < rsp->n_containers; i++)
                job_steps(job_new(s, rsp->containers[i]->id, gone), steps_wreck);
        return jobs_run(s, err);
}
