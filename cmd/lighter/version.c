// SPDX-License-Identifier: Apache-2.0
#include "api/containerd/services/introspection/v1/introspection.pb-c.h"
#include "api/containerd/services/version/v1/version.pb-c.h"
#include "api/google/protobuf/empty.pb-c.h"
#include "cmd/lighter/cli.h"
#include "cmd/lighter/commands.h"

int cmd_version(Cli *cli, const Args *args, Err *err)
{
        Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
        Version__VersionResponse *v;
        Introspection__ServerResponse *s;
        int r;

        printf("Client:\n  Version:  %s\n", LIGHTER_VERSION);
        printf("\n");
        r = cli_connect(cli, err);
        if (r < 0)
                return r;
        r = client_call(cli->client, &cli->arena, SVC_VERSION "Version", &empty,
                        version__version_response, &v, err);
        if (r < 0)
                return r;
        r = client_call(cli->client, &cli->arena, SVC_INTROSPECTION "Server", &empty,
                        introspection__server_response, &s, err);
        if (r < 0)
                return r;
        cli_print(cli, "Server:");
        cli_printf(cli, "  Version:  %s", v->version);
        cli_printf(cli, "  Revision: %s", v->revision);
        cli_printf(cli, "  UUID: %s", s->uuid);
        return 0;
}

int cmd_info(Cli *cli, const Args *args, Err *err)
{
        Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
        Introspection__ServerResponse *s;
        json_t *server;
        int r;

        r = cli_connect(cli, err);
        if (r < 0)
                return r;
        r = client_call(cli->client, &cli->arena, SVC_INTROSPECTION "Server", &empty,
                        introspection__server_response, &s, err);
        if (r < 0)
                return r;
        server = json_object();
        json_object_set_new(server, "uuid", json_string(s->uuid));
        if (s->pid)
                json_object_set_new(server, "pid", json_u64(s->pid));
        if (s->pidns)
                json_object_set_new(server, "pidns", json_u64(s->pidns));
        if (s->n_deprecations > 0) {
                json_t *list = json_array();

                for (size_t i = 0; i < s->n_deprecations; i++)
                        json_array_append_new(list,
                                              json_pack("{s:s, s:s}", "id", s->deprecations[i]->id,
                                                        "message", s->deprecations[i]->message));
                json_object_set_new(server, "deprecations", list);
        }
        cli_json(cli, json_pack("{s:o}", "server", server));
        return 0;
}

int cmd_deprecations_list(Cli *cli, const Args *args, Err *err)
{
        Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;
        Table t CLEANUP(table_done) = TABLE(4, 8, 4, ' ');
        Introspection__ServerResponse *s;
        int as_json = str_eq(args_str(args, "format"), "json");
        json_t *list;
        char buf[TIME_TEXT_MAX];
        int r;

        if (!as_json && *args_str(args, "format"))
                return err_set(err, INVALID_ARGUMENT, "unknown format \"%s\"; there is \"json\"",
                               args_str(args, "format"));
        r = cli_connect(cli, err);
        if (r < 0)
                return r;
        r = client_call(cli->client, &cli->arena, SVC_INTROSPECTION "Server", &empty,
                        introspection__server_response, &s, err);
        if (r < 0)
                return r;
        list = json_array();
        t.escape = cli->out_tty;
        TABLE_ROW(&t, "ID", "LAST OCCURRENCE", "MESSAGE", "");
        for (size_t i = 0; i < s->n_deprecations; i++) {
                const Introspection__DeprecationWarning *d = s->deprecations[i];

                time_format(time_of(d->last_occurrence), buf);
                TABLE_ROW(&t, d->id, buf, d->message, "");
                json_array_append_new(list,
                                      json_pack("{s:s, s:s, s:s}", "id", d->id, "lastOccurrence",
                                                buf, "message", d->message));
        }
        if (as_json) {
                cli_json(cli, list);
                return 0;
        }
        json_decref(list);
        cli_table(cli, &t);
        return 0;
}
