// SPDX-License-Identifier: Apache-2.0
#include "cmd/lighter/cli.h"
#include "cmd/lighter/commands.h"
#include "cmd/lighter/help.h"
#include "spec/container_spec.h"

int cmd_gen(Cli *cli, const Args *args, Err *err)
{
        static const struct {
                const char *name;
                void (*fn)(const Command *root, Str *out);
        } kinds[] = {
                {"man", help_man}, {"bash", help_bash}, {"zsh", help_zsh}, {"fish", help_fish}};
        Str s CLEANUP(str_done) = {};

        for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
                if (!str_eq(kinds[i].name, args_arg(args, 0)))
                        continue;
                kinds[i].fn(&lighter_command, &s);
                cli_raw(str_get(&s), s.len);
                return 0;
        }
        return err_set(err, INVALID_ARGUMENT, "usage: lighter gen man|bash|zsh|fish");
}

int cmd_oci_spec(Cli *cli, const Args *args, Err *err)
{
        json_t *spec = container_spec_new(args_str(args, "namespace"), "");

        if (!spec)
                return err_set(err, INTERNAL, "cannot make a spec");
        cli_json(cli, spec);
        return 0;
}
