/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container is one init and its execs. It is refcounted only because ops in flight outlive it;
 * everybody else finds it by id, each time.
 */
#include <stdlib.h>
#include "base/mem.h"
#include "shim/look.h"
#include "shim/op.h"

static void process_init(Process *p, Container *c, const char *exec_id)
{
        p->container = c;
        p->exec_id = mem_strdup(exec_id);
        p->exited_at = TIME_YEAR1;
        proc_io_init(&p->io);
        list_init(&p->waiters);
        list_init(&p->deletions);
}

static void process_done(Process *p)
{
        deletions_cancel(p);
        proc_io_done(&p->io);
        stdio_spec_done(&p->stdio);
        event_free(TAKE(p->exit_event));
        free(TAKE(p->exec_id));
        free(TAKE(p->spec));
}

Container *container_new(Shim *s, const char *id, const char *bundle)
{
        Container *c = mem_new(Container);

        c->shim = s;
        c->refs = 1;
        c->id = mem_strdup(id);
        c->bundle = mem_strdup(bundle);
        list_init(&c->execs);
        list_init(&c->ops);
        oom_init(&c->oom);
        process_init(&c->init, c, "");
        list_append(&s->containers, &c->link);
        return c;
}

Container *container_ref(Container *c)
{
        c->refs++;
        return c;
}

Container *container_unref(Container *c)
{
        if (!c || --c->refs > 0)
                return NULL;
        assert(c->gone && list_empty(&c->ops));
        oci_done(&c->oci);
        free(c->checkpoint);
        free(c->parent_checkpoint);
        free(c->criu_work);
        free(c->id);
        free(c->bundle);
        free(c->cgroup);
        free(c);
        return NULL;
}

void container_gone(Container *c)
{
        c->gone = 1;
        look_forget(c);
        list_remove(&c->link);
        while (!list_empty(&c->execs))
                exec_free(LIST_FIRST(&c->execs, Process, link));
        process_wake(&c->init);
        oom_stop(&c->oom);
        process_done(&c->init);
        event_free(TAKE(c->delete_event));
        ops_cancel(c, NULL);
        container_unref(c);
}

Container *container_lookup(Shim *s, const char *id)
{
        LIST_FOREACH (c, &s->containers, Container, link)
                if (str_eq(c->id, id))
                        return c;
        return NULL;
}

int container_find(Shim *s, const char *id, Container **ret, Err *err)
{
        Container *c = container_lookup(s, id);

        if (!c || c->creating)
                return err_set(err, NOT_FOUND, "container not created: not found");
        *ret = c;
        return 0;
}

int process_is_init(const Process *p)
{
        return p == &p->container->init;
}

Process *exec_find(Container *c, const char *exec_id)
{
        LIST_FOREACH (p, &c->execs, Process, link)
                if (str_eq(p->exec_id, exec_id))
                        return p;
        return NULL;
}

int process_find(Shim *s, const char *id, const char *exec_id, Process **ret, Err *err)
{
        Container *c;
        int r = container_find(s, id, &c, err);

        if (r < 0)
                return r;
        *ret = str_empty(exec_id) ? &c->init : exec_find(c, exec_id);
        return *ret ? 0 : err_set(err, NOT_FOUND, "process does not exist %s: not found", exec_id);
}

void process_set_state(Process *p, ProcState state)
{
        p->state = state;
        if (process_is_init(p))
                look_note(p->container);
}

void container_set_pausing(Container *c, int pausing)
{
        c->pausing = pausing;
        look_note(c);
}

Process *exec_new(Container *c, const char *exec_id)
{
        Process *p = mem_new(Process);

        process_init(p, c, exec_id);
        list_append(&c->execs, &p->link);
        c->n_execs++;
        return p;
}

void exec_free(Process *p)
{
        Container *c = p->container;

        list_remove(&p->link);
        c->n_execs--;
        p->state = PROC_DELETED;
        process_wake(p);
        ops_cancel(c, p);
        process_done(p);
        free(p);
}
