/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of methods; see service.h. */
#include "rpc/dispatch_priv.h"

typedef struct Entry {
        const RpcService *service;
        void *ctx;
} Entry;

RpcRegistry *rpc_registry_new(RpcRunFn run, void *run_ctx)
{
        RpcRegistry *r = mem_new(RpcRegistry);

        r->run = run;
        r->run_ctx = run_ctx;
        return r;
}

RpcRegistry *rpc_registry_free(RpcRegistry *r)
{
        if (!r)
                return NULL;
        MAP_FOREACH (slot, &r->services)
                free(slot->value);
        map_done(&r->services);
        batcher_free(r->batcher);
        free(r);
        return NULL;
}

void rpc_registry_add(RpcRegistry *r, const RpcService *service, void *ctx)
{
        Entry *e = mem_new(Entry);

        for (size_t i = 0; i < service->n_methods; i++) {
                const RpcMethod *m = &service->methods[i];

                assert(m->kind == RPC_STREAM ? m->stream && m->streams : m->handler && !m->streams);
        }
        *e = (Entry){service, ctx};
        e = map_put(&r->services, service->name, e);
        assert(!e); /* a service is registered once */
}

int registry_find(const RpcRegistry *r, const char *service, const char *method,
                  const RpcService **ret_service, const RpcMethod **ret, void **ret_ctx, Err *err)
{
        const Entry *e = map_find(&r->services, service);

        if (!e)
                return err_set(err, UNIMPLEMENTED, "unknown service %s", service);
        for (size_t i = 0; i < e->service->n_methods; i++) {
                if (!str_eq(e->service->methods[i].name, method))
                        continue;
                *ret_service = e->service;
                *ret = &e->service->methods[i];
                *ret_ctx = e->ctx;
                return 0;
        }
        return err_set(err, UNIMPLEMENTED, "unknown method %s for service %s", method, service);
}
