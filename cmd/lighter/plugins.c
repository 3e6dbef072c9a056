// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
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

/* ctr writes a blank before each value; scripts that cut columns by width see the same. */
static const char *blank(Arena *a, const char *s)
{
        return arena_printf(a, " %s", s);
}

/* gRPC's own spelling of a code: "FailedPrecondition". */
static const char *code_text(Arena *a, int code)
{
        char *out = arena_strdup(a, err_code_name(code)), *to = out;
        int upper = 1;

        for (const char *s = out; *s; s++) {
                if (*s == '_') {
                        upper = 1;
                        continue;
                }
                *to++ = (char)(upper ? *s : tolower((unsigned char)*s));
                upper = 0;
        }
        *to = '\0';
        return out;
}

static void plugin_details(Cli *cli, Table *t, const Introspection__Plugin *p)
{
        Arena *a = &cli->arena;

        if (t->rows.n > 0)
                TABLE_ROW(t, "", "", "", "");
        TABLE_ROW(t, "Type:", blank(a, p->type));
        TABLE_ROW(t, "ID:", blank(a, p->id));
        if (p->n_requires > 0)
                TABLE_ROW(t, "Requires:", "");
        for (size_t i = 0; i < p->n_requires; i++)
                TABLE_ROW(t, "", blank(a, p->requires[i]));
        if (p->n_platforms > 0)
                TABLE_ROW(t, "Platforms:", blank(a, platforms_text(a, p)));
        if (p->n_exports > 0)
                TABLE_ROW(t, "Exports:", "");
        for (size_t i = 0; i < p->n_exports; i++)
                TABLE_ROW(t, "", arena_printf(a, " %s ", p->exports[i]->key),
                          blank(a, p->exports[i]->value));
        if (p->n_capabilities > 0) {
                Str s CLEANUP(str_done) = {};

                for (size_t i = 0; i < p->n_capabilities; i++)
                        str_addf(&s, "%s%s", i ? "," : "", p->capabilities[i]);
                TABLE_ROW(t, "Capabilities:", blank(a, str_get(&s)));
        }
        if (p->init_err && p->init_err->code != OK) {
                TABLE_ROW(t, "Error:", "");
                TABLE_ROW(t, "", " Code:", blank(a, code_text(a, p->init_err->code)));
                TABLE_ROW(t, "", " Message:", blank(a, p->init_err->message));
        }
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
        if (!args_bool(args, "detailed"))
                TABLE_ROW(&t, "TYPE", "ID", "PLATFORMS", "STATUS", "");
        for (size_t i = 0; i < rsp->n_plugins; i++) {
                const Introspection__Plugin *p = rsp->plugins[i];

                if (args_bool(args, "quiet"))
                        cli_print(cli, p->id);
                else if (args_bool(args, "detailed"))
                        plugin_details(cli, &t, p);
                else
                        TABLE_ROW(&t, p->type, p->id, platforms_text(&cli->arena, p),
                                  plugin_status(p), "");
        }
        if (!args_bool(args, "quiet"))
                cli_table(cli, &t);
        return 0;
}
