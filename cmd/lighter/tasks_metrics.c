// SPDX-License-Identifier: Apache-2.0
/* tasks metrics: one sample of a container's cgroup, version 1 or 2, as rows or as JSON. */
#include <inttypes.h>
#include "api/containerd/services/tasks/v1/tasks.pb-c.h"
#include "api/containerd/types/types.pb-c.h"
#include "api/io/containerd/cgroups/v1/metrics.pb-c.h"
#include "api/io/containerd/cgroups/v2/metrics.pb-c.h"
#include "client/any.h"
#include "cmd/lighter/cli.h"
#include "cmd/lighter/commands.h"
#include "rpc/message.h"

static void row(Table *t, const char *name, uint64_t value)
{
        table_row(t);
        table_cell(t, name);
        table_cellf(t, "%" PRIu64, value);
        table_cell(t, "");
}

static void rows_v1(Table *t, const Cgroups1__Metrics *m)
{
        if (m->memory && m->memory->usage) {
                row(t, "memory.usage_in_bytes", m->memory->usage->usage);
                row(t, "memory.limit_in_bytes", m->memory->usage->limit);
        }
        if (m->memory)
                row(t, "memory.stat.cache", m->memory->total_cache);
        if (m->cpu && m->cpu->usage) {
                Str s CLEANUP(str_done) = {};

                row(t, "cpuacct.usage", m->cpu->usage->total);
                for (size_t i = 0; i < m->cpu->usage->n_per_cpu; i++)
                        str_addf(&s, "%s%" PRIu64, i ? " " : "", m->cpu->usage->per_cpu[i]);
                table_row(t);
                table_cell(t, "cpuacct.usage_percpu");
                table_cellf(t, "[%s]", str_get(&s));
                table_cell(t, "");
        }
        if (m->pids) {
                row(t, "pids.current", m->pids->current);
                row(t, "pids.limit", m->pids->limit);
        }
}

static void rows_v2(Table *t, const Cgroups2__Metrics *m)
{
        if (m->pids) {
                row(t, "pids.current", m->pids->current);
                row(t, "pids.limit", m->pids->limit);
        }
        if (m->cpu) {
                row(t, "cpu.usage_usec", m->cpu->usage_usec);
                row(t, "cpu.user_usec", m->cpu->user_usec);
                row(t, "cpu.system_usec", m->cpu->system_usec);
                row(t, "cpu.nr_periods", m->cpu->nr_periods);
                row(t, "cpu.nr_throttled", m->cpu->nr_throttled);
                row(t, "cpu.throttled_usec", m->cpu->throttled_usec);
        }
        if (m->memory) {
                row(t, "memory.usage", m->memory->usage);
                row(t, "memory.usage_limit", m->memory->usage_limit);
                row(t, "memory.swap_usage", m->memory->swap_usage);
                row(t, "memory.swap_limit", m->memory->swap_limit);
        }
}

static int print_table(Cli *cli, const Types__Metric *metric, Err *err)
{
        Table head CLEANUP(table_done) = TABLE(1, 8, 4, ' ');
        const ProtobufCMessageDescriptor *d = any_descriptor(metric->data->type_url);
        char when[HUMAN_MAX];
        ProtobufCMessage *m;
        int r;

        if (d != &cgroups1__metrics__descriptor && d != &cgroups2__metrics__descriptor)
                return err_set(err, UNIMPLEMENTED,
                               "metrics of type %s have no table; try --format json",
                               metric->data->type_url);
        r = message_unpack(&cli->arena, d, metric->data->value.data, metric->data->value.len, &m,
                           err);
        if (r < 0)
                return r;
        head.escape = cli->out_tty;
        TABLE_ROW(&head, "ID", "TIMESTAMP", "");
        TABLE_ROW(&head, metric->id, human_time(time_of(metric->timestamp), when), "");
        TABLE_ROW(&head, "");
        TABLE_ROW(&head, "METRIC", "VALUE", "");
        if (d == &cgroups1__metrics__descriptor)
                rows_v1(&head, (const Cgroups1__Metrics *)m);
        else
                rows_v2(&head, (const Cgroups2__Metrics *)m);
        cli_table(cli, &head);
        return 0;
}

int cmd_tasks_metrics(Cli *cli, const Args *args, Err *err)
{
        Tasks__MetricsRequest req = TASKS__METRICS_REQUEST__INIT;
        const char *format = args_str(args, "format");
        Tasks__MetricsResponse *rsp;
        char *filter;
        int r;

        r = cli_need_args(args, 1, "container id", err);
        if (r < 0)
                return r;
        if (!str_eq(format, "table") && !str_eq(format, "json"))
                return err_set(err, INVALID_ARGUMENT, "format must be table or json");
        r = cli_connect(cli, err);
        if (r < 0)
                return r;
        filter = arena_printf(&cli->arena, "id==%s", args_arg(args, 0));
        req.filters = (const char **)&filter;
        req.n_filters = 1;
        r = client_call(cli->client, &cli->arena, SVC_TASKS "Metrics", &req,
                        tasks__metrics_response, &rsp, err);
        if (r < 0)
                return r;
        if (rsp->n_metrics == 0 || !rsp->metrics[0]->data)
                return err_set(err, NOT_FOUND, "no metrics of \"%s\": no running task found",
                               args_arg(args, 0));
        if (str_eq(format, "table"))
                return print_table(cli, rsp->metrics[0], err);
        cli_json(cli, any_json(rsp->metrics[0]->data->type_url, rsp->metrics[0]->data->value));
        return 0;
}
