// SPDX-License-Identifier: Apache-2.0
#include "cmd/lighter/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

int cli_connect(Cli *cli, Err *err)
{
        const Args *a = cli->args;
        ClientOptions o = {
                .address = args_str(a, "address"),
                .ns = args_str(a, "namespace"),
                .connect_timeout_ns = args_duration(a, "connect-timeout"),
        };

        if (cli->client)
                return 0;
        o.timeout_ns = args_duration(a, "timeout");
        return client_open(&o, &cli->client, err);
}

const char *cli_snapshotter(const Args *args)
{
        return args_str(args, "snapshotter");
}

void cli_print(const Cli *cli, const char *text)
{
        Str s CLEANUP(str_done) = {};

        if (cli->out_tty) {
                text_escape(&s, text);
                text = str_get(&s);
        }
        fputs(text, stdout);
        putchar('\n');
}

void cli_printf(const Cli *cli, const char *fmt, ...)
{
        Str s CLEANUP(str_done) = {};
        va_list ap;

        va_start(ap, fmt);
        str_vaddf(&s, fmt, ap);
        va_end(ap);
        cli_print(cli, str_get(&s));
}

void cli_part(const Cli *cli, const char *fmt, ...)
{
        Str s CLEANUP(str_done) = {}, safe CLEANUP(str_done) = {};
        va_list ap;

        va_start(ap, fmt);
        str_vaddf(&s, fmt, ap);
        va_end(ap);
        text_escape(&safe, str_get(&s));
        fputs(cli->out_tty ? str_get(&safe) : str_get(&s), stdout);
        fflush(stdout);
}

void cli_warn(const char *fmt, ...)
{
        Str s CLEANUP(str_done) = {}, safe CLEANUP(str_done) = {};
        va_list ap;

        va_start(ap, fmt);
        str_vaddf(&s, fmt, ap);
        va_end(ap);
        text_escape(&safe, str_get(&s));
        fflush(stdout);
        fprintf(stderr, "lighter: warning: %s\n", str_get(&safe));
}

void cli_table(const Cli *cli, Table *t)
{
        Str s CLEANUP(str_done) = {};

        table_format(t, &s);
        cli_raw(str_get(&s), s.len);
}

void cli_json(const Cli *cli, json_t *j)
{
        /* what is no printable ASCII comes out as \uNNNN on a terminal */
        char *text = json_dumps(j, JSON_INDENT(4) | JSON_ENCODE_ANY |
                                           (cli->out_tty ? JSON_ENSURE_ASCII : 0));

        if (text)
                puts(text);
        free(text);
        json_decref(j);
}

void cli_raw(const void *p, size_t n)
{
        fwrite(p, 1, n, stdout);
}

int cli_flush(Err *err)
{
        if (fflush(stdout) == 0 && !ferror(stdout))
                return 0;
        return err_sys(err, errno, "cannot write to standard output");
}

int cli_need_args(const Args *args, int n, const char *what, Err *err)
{
        if (args->n >= n)
                return 0;
        return err_set(err, INVALID_ARGUMENT, "%s must be provided: usage: %s %s", what,
                       args_command(args)->name, args_command(args)->args);
}

static int by_key(const void *a, const void *b)
{
        return strcmp((*(LabelEntry *const *)a)->key, (*(LabelEntry *const *)b)->key);
}

const char *labels_text(Arena *a, LabelEntry *const *labels, size_t n, int sorted, const char *none)
{
        LabelEntry **v = arena_array(a, LabelEntry *, n + 1);
        Str s CLEANUP(str_done) = {};

        if (n == 0)
                return none;
        memcpy(v, labels, n * sizeof(*v));
        if (sorted)
                qsort(v, n, sizeof(*v), by_key);
        for (size_t i = 0; i < n; i++)
                str_addf(&s, "%s%s=%s", i ? "," : "", v[i]->key, v[i]->value);
        return arena_strdup(a, str_get(&s));
}

json_t *labels_json(LabelEntry *const *labels, size_t n)
{
        json_t *obj = json_object();

        for (size_t i = 0; i < n; i++)
                json_object_set_new(obj, labels[i]->key, json_string(labels[i]->value));
        return obj;
}

void *labels_parse(Arena *a, const ProtobufCMessageDescriptor *entry, char *const *texts, size_t n)
{
        LabelEntry **v = arena_array(a, LabelEntry *, n + 1);

        assert(entry->sizeof_message == sizeof(LabelEntry));
        for (size_t i = 0; i < n; i++) {
                const char *eq = strchr(texts[i], '=');

                v[i] = arena_new(a, LabelEntry);
                protobuf_c_message_init(entry, &v[i]->base);
                v[i]->key = eq ? arena_strndup(a, texts[i], (size_t)(eq - texts[i])) : texts[i];
                v[i]->value = eq ? eq + 1 : "";
        }
        return v;
}

const char **labels_paths(Arena *a, char *const *texts, size_t n)
{
        const char **v = arena_array(a, const char *, n + 1);

        for (size_t i = 0; i < n; i++)
                v[i] = arena_printf(a, "labels.%.*s", (int)strcspn(texts[i], "="), texts[i]);
        return v;
}

const char **flag_list(Arena *a, const Args *args, const char *name, size_t *ret_n)
{
        const char **v = arena_array(a, const char *, args->values.n + 1);
        const char *s;
        size_t at = 0, n = 0;

        while ((s = args_next(args, name, &at)))
                v[n++] = s;
        if (ret_n)
                *ret_n = n;
        return v;
}
