// SPDX-License-Identifier: Apache-2.0
#include "api/containerd/services/leases/v1/leases.pb-c.h"
#include "base/hash.h"
#include "cmd/lighter/cli.h"
#include "cmd/lighter/commands.h"
#include "cmd/lighter/lease.h"

int cmd_leases_list(Cli *cli, const Args *args, Err *err)
{
        Leases__ListRequest req = LEASES__LIST_REQUEST__INIT;
        Leases__ListResponse *rsp;
        Table t CLEANUP(table_done) = TABLE(1, 8, 1, ' ');
        char buf[HUMAN_MAX];
        int r;

        req.filters = (const char **)args->v;
        req.n_filters = (size_t)args->n;
        r = cli_connect(cli, err);
        if (r < 0)
                return r;
        r = client_call(cli->client, &cli->arena, SVC_LEASES "List", &req, leases__list_response,
                        &rsp, err);
        if (r < 0)
                return r;
        t.escape = cli->out_tty;
        TABLE_ROW(&t, "ID", "CREATED AT", "LABELS", "");
        for (size_t i = 0; i < rsp->n_leases; i++) {
                const Leases__Lease *l = rsp->leases[i];

                if (args_bool(args, "quiet"))
                        cli_print(cli, l->id);
                else
                        TABLE_ROW(&t, l->id, human_time_local(time_of(l->created_at), buf),
                                  labels_text(&cli->arena, LABELS(l, labels), 1, "-"), "");
        }
        if (!args_bool(args, "quiet"))
                cli_table(cli, &t);
        return 0;
}

int lease_create(Cli *cli, const char *id, int64_t expires_ns, char *const *labels, size_t n_labels,
                 const char **ret, Err *err)
{
        Leases__CreateRequest req = LEASES__CREATE_REQUEST__INIT;
        Leases__CreateResponse *rsp;
        char **all = arena_array(&cli->arena, char *, n_labels + 2);
        char buf[TIME_TEXT_MAX], name[28];
        Time t = time_now();
        int r;

        for (size_t i = 0; i < n_labels; i++)
                all[i] = labels[i];
        if (expires_ns > 0) {
                t.sec += expires_ns / (int64_t)NS_PER_SEC;
                t.nsec = 0;
                all[n_labels++] = arena_printf(&cli->arena, "containerd.io/gc.expire=%s",
                                               time_format(t, buf));
        }
        req.labels = labels_parse(&cli->arena, &leases__create_request__labels_entry__descriptor,
                                  all, n_labels);
        req.n_labels = n_labels;
        if (str_empty(id)) {
                /* as the Go client names them: nanoseconds and something random */
                random_name(name, 4);
                id = arena_printf(&cli->arena, "%lld-%s", (long long)time_now().nsec, name);
        }
        req.id = id;
        r = client_call(cli->client, &cli->arena, SVC_LEASES "Create", &req,
                        leases__create_response, &rsp, err);
        if (r < 0)
                return err_wrap(err, "failed to create lease");
        *ret = rsp->lease ? rsp->lease->id : id;
        return 0;
}

int cmd_leases_create(Cli *cli, const Args *args, Err *err)
{
        const char *id;
        int r;

        r = cli_connect(cli, err);
        if (r < 0)
                return r;
        r = lease_create(cli, args_str(args, "id"), args_duration(args, "expires"), args->v,
                         (size_t)args->n, &id, err);
        if (r < 0)
                return r;
        cli_print(cli, id);
        return 0;
}

static int lease_delete(Cli *cli, const char *id, int sync, Err *err)
{
        Leases__DeleteRequest req = LEASES__DELETE_REQUEST__INIT;

        req.id = id;
        req.sync = sync;
        return client_call_empty(cli->client, SVC_LEASES "Delete", &req, err);
}

int cmd_leases_delete(Cli *cli, const Args *args, Err *err)
{
        int r;

        r = cli_need_args(args, 1, "lease", err);
        if (r < 0)
                return r;
        r = cli_connect(cli, err);
        for (int i = 0; r == 0 && i < args->n; i++) {
                /* only the last one need wait: it waits for all */
                r = lease_delete(cli, args->v[i], args_bool(args, "sync") && i == args->n - 1, err);
                if (r == 0)
                        cli_print(cli, args->v[i]);
        }
        return r;
}

int lease_hold(Cli *cli, Lease *l, Err *err)
{
        int r;

        r = lease_create(cli, NULL, (int64_t)(24 * 3600 * NS_PER_SEC), NULL, 0, &l->id, err);
        if (r < 0)
                return r;
        l->cli = cli;
        client_set_lease(cli->client, l->id);
        return 0;
}

void lease_release(Lease *l)
{
        Err err = {};

        if (!l->cli)
                return;
        client_set_lease(l->cli->client, NULL);
        /* best effort: the lease expires by itself */
        (void)lease_delete(l->cli, l->id, 0, &err);
        l->cli = NULL;
}
