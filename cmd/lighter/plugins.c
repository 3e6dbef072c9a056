// SPDX-License-Identifier: Apache-2.0
#include "api/containerd/services/introspection/v1/introspection.pb-c.h"
#include "cmd/lighter/cli.h"
#include "cmd/lighter/commands.h"

static const char *plugin_status(const Introspection__Plugin *p)
{
        if (!p->init_err || p->init_err->code == OK)
                return "ok";
        /* containerd reports a plugin that chose not to run as one that failed with this text */
        return p->init_err->code == UNIMPLEMENTED || strstr(p->init_err->message, "skip plugin")
                       ? "skip"
                       : "error";
}

static const char *platforms_text(Arena *a, const Introspection__Plugin *p)
{
        Str s CLEANUP(str_done) = {};

        for (size_t i = 0; i < p->n_platforms; i++) {
                const Types__Platform *f = p->platforms[i];

                str_addf(&s, "%s%s/%s", i ? "," : "", f->os, f->architecture);
                if (*f->variant)
                        str_addf(&s, "/%s", f->variant);
        }
        return s.len ? arena_strdup(a, str_get(&s)) : "-";
}

static void detail_row(Table *t, const char *key, const char *value)
{
        TABLE_ROW(t, key, value);
}

static void plugin_details(Cli *cli, const Introspection__Plugin *p)
{
        Table t CLEANUP(table_done) = TABLE(4, 8, 4, ' ');

        t.escape = cli->out_tty;
        detail_row(&t, "Type:", p->type);
        detail_row(&t, "ID:", p->id);
        if (p->n_requires > 0) {
                TABLE_ROW(&t, "Requires:");
                for (size_t i = 0; i < p->n_requires; i++)
                        TABLE_ROW(&t, "", p->requires[i]);
        }
        if (p->n_platforms > 0)
                detail_row(&t, "Platforms:", platforms_text(&cli->arena, p));
        if (p->n_exports > 0) {
                TABLE_ROW(&t, "Exports:");
                for (size_t i = 0; i < p->n_exports; i++)
                        TABLE_ROW(&t, "", p->exports[i]->key, p->exports[i]->value);
        }
        if (p->n_capabilities > 0) {
                Str s CLEANUP(str_done) = {};

                for (size_t i = 0; i < p->n_capabilities; i++)
                        str_addf(&s, "%s%s", i ? "," : "", p->capabilities[i]);
                detail_row(&t, "Capabilities:", str_get(&s));
        }
        if (p->init_err && p->init_err->code != OK) {
                TABLE_ROW(&t, "Error:");
                TABLE_ROW(&t, "", "Code:", err_code_name(p->init_err->code));
                TABLE_ROW(&t, "", "Message:", p->init_err->message);
        }
        cli_table(cli, &t);
        printf("\n");
}

int cmd_plugins_list(Cli *cli, const Args *args, Err *err)
{
        Introspection__PluginsRequest req = INTROSPECTION__PLUGINS_REQUEST__INIT;
        Introspection__PluginsResponse *rsp;
        Table t CLEANUP(table_done) = TABLE(4, 8, 4, ' ');
        int r;

        req.filters = (const char **)args->v;
        req.n_filters = (size_t)args->n;
        r = cli_connect(cli, err);
        if (r < 0)
                return r;
        r = client_call(cli->client, &cli->arena, SVC_INTROSPECTION "Plugins", &req,
                        introspection__plugins_response, &rsp, err);
        if (r < 0)
                return r;
        t.escape = cli->out_tty;
        TABLE_ROW(&t, "TYPE", "ID", "PLATFORMS", "STATUS", "");
        for (size_t i = 0; i < rsp->n_plugins; i++) {
                const Introspection__Plugin *p = rsp->plugins[i];

                if (args_bool(args, "quiet"))
                        cli_print(cli, p->id);
                else if (args_bool(args, "detailed"))
                        plugin_details(cli, p);
                else
                        TABLE_ROW(&t, p->type, p->id, platforms_text(&cli->arena, p),
                                  plugin_status(p), "");
        }
        if (!args_bool(args, "quiet") && !args_bool(args, "detailed"))
                cli_table(cli, &t);
        return 0;
}
