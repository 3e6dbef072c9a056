// SPDX-License-Identifier: Apache-2.0
#include "api/containerd/services/namespaces/v1/namespaces.pb-c.h"
#include "api/google/protobuf/empty.pb-c.h"
#include "cmd/lighter/cli.h"
#include "cmd/lighter/commands.h"

int cmd_namespaces_list(Cli *cli, const Args *args, Err *err)
{
        Namespaces__ListNamespacesRequest req = NAMESPACES__LIST_NAMESPACES_REQUEST__INIT;
        Namespaces__ListNamespacesResponse *rsp;
        Table t CLEANUP(table_done) = TABLE(1, 8, 1, ' ');
        int r;

        r = cli_connect(cli, err);
        if (r < 0)
                return r;
        r = client_call(cli->client, &cli->arena, SVC_NAMESPACES "List", &req,
                        namespaces__list_namespaces_response, &rsp, err);
        if (r < 0)
                return r;
        t.escape = cli->out_tty;
        TABLE_ROW(&t, "NAME", "LABELS", "");
        for (size_t i = 0; i < rsp->n_namespaces; i++) {
                const Namespaces__Namespace *ns = rsp->namespaces[i];

                if (args_bool(args, "quiet"))
                        cli_print(cli, ns->name);
                else
                        TABLE_ROW(&t, ns->name, labels_text(&cli->arena, LABELS(ns, labels), 1, ""),
                                  "");
        }
        if (!args_bool(args, "quiet"))
                cli_table(cli, &t);
        return 0;
}

static void namespace_from_args(Cli *cli, const Args *args, Namespaces__Namespace *ns)
{
        namespaces__namespace__init(ns);
        ns->name = args_arg(args, 0);
        ns->n_labels = (size_t)args->n - 1;
        ns->labels = labels_parse(&cli->arena, &namespaces__namespace__labels_entry__descriptor,
                                  args->v + 1, ns->n_labels);
}

int cmd_namespaces_create(Cli *cli, const Args *args, Err *err)
{
        Namespaces__CreateNamespaceRequest req = NAMESPACES__CREATE_NAMESPACE_REQUEST__INIT;
        Namespaces__CreateNamespaceResponse *rsp;
        Namespaces__Namespace ns;
        int r;

        r = cli_need_args(args, 1, "namespace", err);
        if (r < 0)
                return r;
        namespace_from_args(cli, args, &ns);
        req.namespace_ = &ns;
        r = cli_connect(cli, err);
        if (r < 0)
                return r;
        return client_call(cli->client, &cli->arena, SVC_NAMESPACES "Create", &req,
                           namespaces__create_namespace_response, &rsp, err);
}

int cmd_namespaces_label(Cli *cli, const Args *args, Err *err)
{
        Namespaces__UpdateNamespaceRequest req = NAMESPACES__UPDATE_NAMESPACE_REQUEST__INIT;
        Google__Protobuf__FieldMask mask = GOOGLE__PROTOBUF__FIELD_MASK__INIT;
        Namespaces__UpdateNamespaceResponse *rsp;
        Namespaces__Namespace ns;
        int r;

        r = cli_need_args(args, 2, "namespace and label", err);
        if (r < 0)
                return r;
        namespace_from_args(cli, args, &ns);
        mask.n_paths = ns.n_labels;
        mask.paths = (char **)labels_paths(&cli->arena, args->v + 1, ns.n_labels);
        req.namespace_ = &ns;
        req.update_mask = &mask;
        r = cli_connect(cli, err);
        if (r < 0)
                return r;
        return client_call(cli->client, &cli->arena, SVC_NAMESPACES "Update", &req,
                           namespaces__update_namespace_response, &rsp, err);
}

int cmd_namespaces_delete(Cli *cli, const Args *args, Err *err)
{
        int failed = 0, r;

        r = cli_need_args(args, 1, "namespace", err);
        if (r < 0)
                return r;
        r = cli_connect(cli, err);
        if (r < 0)
                return r;
        for (int i = 0; i < args->n; i++) {
                Namespaces__DeleteNamespaceRequest req = NAMESPACES__DELETE_NAMESPACE_REQUEST__INIT;
                Err one = {};

                req.name = args->v[i];
                r = client_call_empty(cli->client, SVC_NAMESPACES "Delete", &req, &one);
                if (r < 0 && r != -NOT_FOUND) {
                        failed = err_copy(err, &one);
                        err_wrap(err, "unable to delete %s", args->v[i]);
                        if (i + 1 < args->n)
                                cli_warn("%s", err->msg);
                        continue;
                }
                cli_print(cli, args->v[i]); /* as ctr, also what was not there */
        }
        return failed;
}
