/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lighterd from top to bottom: read the configuration, take the folders, start the plugins, listen,
 * run the loop, stop. What the daemon is made of stands in plugins.c.
 */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "daemon.h"
#include "db/db.h"
#include "flags.h"
#include "grpc/server.h"
#include "services/version.h"
#include "oci_hook.h"
#include "publish.h"
#include "setup.h"
#include "ttrpc/server.h"
#include "upkeep.h"

enum { STOP_SECONDS = 10 };

static int load_config(const Flags *flags, Config **ret, Err *err)
{
        Config *c;
        int r;

        r = config_load(flags->config ? flags->config : CONFIG_DEFAULT_PATH, flags->config != NULL,
                        &c, err);
        if (r < 0)
                return r;
        if (flags->root)
                config_set_root(c, flags->root);
        if (flags->state)
                config_set_state(c, flags->state);
        if (flags->address)
                config_set_address(c, flags->address);
        if (flags->log_level)
                config_set_log_level(c, flags->log_level);
        *ret = c;
        return 0;
}

static int start_logging(const ConfigDaemon *s, Err *err)
{
        int level = log_level_parse(s->log_level);

        if (level < 0)
                return err_set(err, INVALID_ARGUMENT, "not a valid log level: \"%s\"",
                               s->log_level);
        if (!str_empty(s->log_format) && !str_eq(s->log_format, "text") &&
            !str_eq(s->log_format, "json"))
                return err_set(err, INVALID_ARGUMENT, "unsupported log format \"%s\": text or json",
                               s->log_format);
        log_init((LogLevel)level,
                 str_eq(s->log_format, "json") ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT);
        return 0;
}

static void log_warnings(const Config *c)
{
        size_t n;
        const ConfigWarning *w = config_warnings(c, &n);

        for (size_t i = 0; i < n; i++)
                log_warn(w[i].msg, "column", log_num(w[i].column), "file", w[i].file, "key",
                         w[i].key, "plugin", w[i].plugin, "row", log_num(w[i].row));
}

/* A few threads share two arenas: with one for each, an idle daemon would keep megabytes that
 * nobody uses. */
static void tune_memory(void)
{
        mallopt(M_ARENA_MAX, 2);
        mallopt(M_TRIM_THRESHOLD, 256 * 1024);
        mallopt(M_MMAP_THRESHOLD, 128 * 1024);
}

static int take_folders(const ConfigDaemon *s, int *ret_root_lock, int *ret_state_lock, Err *err)
{
        if (str_empty(s->root) || str_empty(s->state) || str_eq(s->root, s->state))
                return err_set(err, INVALID_ARGUMENT, "root and state must be different paths");
        *ret_root_lock = setup_folder(s->root, 0700, 1, err);
        if (*ret_root_lock < 0)
                return err_wrap(err, "root");
        *ret_state_lock = setup_folder(s->state, 0711, 0, err);
        if (*ret_state_lock < 0)
                return err_wrap(err, "state");
        if (setup_temp(s->temp, err) < 0)
                return err_wrap(err, "temp");
        if (s->oom_score && setup_oom_score(s->oom_score, err) < 0)
                return err_wrap(err, "oom_score");
        return str_empty(s->cgroup.path) ? 0 : setup_cgroup(s->cgroup.path, err);
}

static void run_on_pool(void *pool, void (*fn)(void *), void *arg)
{
        pool_submit(pool, fn, arg);
}

static int start_plugins(Daemon *d, Err *err)
{
        const PluginSetOptions options = {
                .config = d->config,
                .root = d->settings->root,
                .state = d->settings->state,
                .host = d,
        };
        int r;

        r = plugin_set_new(plugin_table, n_plugin_table, &options, &d->plugins, err);
        if (r < 0)
                return r;
        d->introspection.plugins = d->plugins;
        r = plugin_set_start(d->plugins, err);
        config_check_plugins(d->config);
        log_warnings(d->config);
        return r;
}

typedef struct Servers {
        const Daemon *daemon;
        Loop *loop;
        int stopping;
        GrpcServer *grpc;
        TtrpcServer *ttrpc;
        const char *grpc_path, *ttrpc_path; /* of the sockets that are ours to remove */
} Servers;

static int start_ttrpc(Daemon *d, Servers *servers, Err *err)
{
        const ConfigServer *s = &d->settings->ttrpc;
        int fd;

        servers->ttrpc = ttrpc_server_new(d->loop, d->ttrpc);
        if (str_empty(s->address))
                return 0;
        fd = setup_socket(s->address, s->uid, s->gid, err);
        if (fd < 0)
                return err_wrap(err, "ttrpc");
        servers->ttrpc_path = s->address;
        log_info("serving...", "address", s->address);
        return ttrpc_server_listen(servers->ttrpc, fd, err);
}

static void relax_db(void *db)
{
        db_env_relax(db);
}

static void on_quiet(void *ctx)
{
        const Daemon *d = ctx;

        if (d->db)
                pool_submit(d->pool, relax_db, d->db);
}

static int start_grpc(Daemon *d, Servers *servers, Err *err)
{
        const ConfigServer *s = &d->settings->grpc;
        const GrpcServerOptions options = {.max_recv = (size_t)s->max_recv,
                                           .max_send = (size_t)s->max_send,
                                           .quiet = on_quiet,
                                           .quiet_ctx = d};
        int fd;

        if (str_empty(s->address))
                return err_set(err, INVALID_ARGUMENT, "grpc address cannot be empty");
        servers->grpc = grpc_server_new(d->loop, d->grpc, &options);
        fd = setup_socket(s->address, s->uid, s->gid, err);
        if (fd < 0)
                return err_wrap(err, "grpc");
        servers->grpc_path = s->address;
        log_info("serving...", "address", s->address);
        return grpc_server_listen_fd(servers->grpc, fd, err);
}

static void on_drained(void *ctx)
{
        loop_quit(ctx, 0);
}

/* Calls under way may end; those that wait for something are cut off after LIMIT_GOAWAY_MS, or by a
 * second signal. */
static void on_stop_signal(void *ctx, int signo)
{
        Servers *servers = ctx;

        log_info("stopping", "signal", signo == SIGTERM ? "terminated" : "interrupt");
        if (servers->stopping || !servers->grpc)
                loop_quit(servers->loop, 0);
        else
                grpc_server_drain(servers->grpc, on_drained, servers->loop);
        servers->stopping = 1;
}

static void on_report_signal(void *ctx, int signo)
{
        const Servers *servers = ctx;
        struct mallinfo2 mem = mallinfo2();
        DbEnv *db = plugins_db(servers->daemon);
        DbStats stats;

        log_info("report", "grpc_connections", log_num(grpc_server_connections(servers->grpc)),
                 "ttrpc_connections", log_num((int64_t)ttrpc_server_connections(servers->ttrpc)),
                 "grpc_calls", log_num(grpc_server_calls(servers->grpc)), "tasks",
                 log_num((int64_t)plugins_tasks(servers->daemon)), "heap_bytes",
                 log_num((int64_t)mem.uordblks));
        if (!db)
                return;
        db_env_stats(db, &stats);
        log_info("report of the database", "commits", log_num((int64_t)stats.commits), "flushes",
                 log_num((int64_t)stats.flushes), "failed", log_num((int64_t)stats.failed),
                 "reopens", log_num((int64_t)stats.reopens), "used_bytes",
                 log_num((int64_t)stats.used), "map_bytes", log_num((int64_t)stats.map_size));
}

typedef struct Signals {
        LoopSource *term, *interrupt, *report;
} Signals;

static int watch_signals(Daemon *d, Servers *servers, Signals *ret, Err *err)
{
        int r;

        signal(SIGPIPE, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
        r = loop_add_signal(d->loop, SIGTERM, on_stop_signal, servers, &ret->term, err);
        if (r == 0)
                r = loop_add_signal(d->loop, SIGINT, on_stop_signal, servers, &ret->interrupt, err);
        if (r == 0)
                r = loop_add_signal(d->loop, SIGUSR1, on_report_signal, servers, &ret->report, err);
        return r;
}

static void on_stop_alarm(int signo)
{
        _exit(0);
}

/*
 * Everything acknowledged is durable already, so stopping is only a matter of order: no new calls,
 * no new work, then the parts in reverse. A handler that is stuck does not keep the daemon: after a
 * while it just ends.
 */
static void stop(Daemon *d, Servers *servers, Signals *signals)
{
        setup_notify("STOPPING=1");
        signal(SIGALRM, on_stop_alarm);
        alarm(STOP_SECONDS);
        if (servers->grpc_path)
                unlink(servers->grpc_path);
        if (servers->ttrpc_path)
                unlink(servers->ttrpc_path);
        grpc_server_free(servers->grpc);
        ttrpc_server_free(servers->ttrpc);
        plugins_stop(d);
        d->pool = pool_free(d->pool);
        d->plugins = plugin_set_free(d->plugins);
        loop_remove(signals->term);
        loop_remove(signals->interrupt);
        loop_remove(signals->report);
}

static int serve(Daemon *d, Err *err)
{
        uint64_t started = time_mono_ns();
        Servers servers = {.daemon = d, .loop = d->loop};
        Signals signals = {};
        int r;

        r = watch_signals(d, &servers, &signals, err);
        if (r == 0)
                r = start_plugins(d, err);
        if (r == 0)
                r = start_ttrpc(d, &servers, err);
        if (r == 0)
                r = start_grpc(d, &servers, err);
        if (r == 0) {
                char text[80];

                setup_notify("READY=1");
                snprintf(text, sizeof(text), "lighterd successfully booted in %.6fs",
                         (double)(time_mono_ns() - started) / NS_PER_SEC);
                log_info(text);
                malloc_trim(0);
                r = loop_run(d->loop, err);
        }
        stop(d, &servers, &signals);
        return r;
}

static int run(const Flags *flags, Err *err)
{
        int root_lock CLEANUP(cleanup_fd) = -1, state_lock CLEANUP(cleanup_fd) = -1;
        Daemon d = {};
        int r;

        r = load_config(flags, &d.config, err);
        if (r < 0)
                return r;
        d.settings = config_daemon(d.config);
        r = start_logging(d.settings, err);
        if (r == 0)
                r = take_folders(d.settings, &root_lock, &state_lock, err);
        if (r == 0)
                r = upkeep_refuse_lost(d.config, err);
        if (r == 0)
                r = loop_new(&d.loop, err);
        if (r == 0) {
                log_info("starting lighterd", "revision", "", "version", VERSION_TEXT);
                d.pool = pool_new(LIMIT_POOL_THREADS);
                d.grpc = rpc_registry_new(run_on_pool, d.pool);
                d.ttrpc = rpc_registry_new(run_on_pool, d.pool);
                r = serve(&d, err);
                rpc_registry_free(d.grpc);
                rpc_registry_free(d.ttrpc);
                loop_free(d.loop);
        }
        config_free(d.config);
        return r;
}

/* `config default` and `config dump`: what a file may hold, with the values it has. */
static int print_config(const Flags *flags, Err *err)
{
        ConfigPluginSchema *schemas CLEANUP(cleanup_free) =
                mem_alloc(n_plugin_table * sizeof(*schemas));
        char *text CLEANUP(cleanup_free) = NULL;
        Arena names = {};
        Config *c;
        size_t n = 0;
        int r;

        if (flags->command == COMMAND_CONFIG_DEFAULT)
                r = config_load("", 0, &c, err);
        else
                r = load_config(flags, &c, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n_plugin_table; i++) {
                const PluginRegistration *p = &plugin_table[i];

                if (p->schema)
                        schemas[n++] = (ConfigPluginSchema){
                                arena_printf(&names, "%s.%s", p->type, p->id), p->schema};
        }
        text = config_dump(c, schemas, n);
        fputs(text, stdout);
        arena_done(&names);
        config_free(c);
        return 0;
}

static int run_upkeep(const Flags *flags, int *ret_status, Err *err)
{
        Config *c;
        int r;

        r = load_config(flags, &c, err);
        if (r < 0)
                return r;
        if (flags->command == COMMAND_BACKUP)
                r = backup_command(c, flags->args, ret_status, err);
        else if (flags->command == COMMAND_CHECK)
                r = check_command(c, flags->args, ret_status, err);
        else
                r = repair_command(c, flags->args, ret_status, err);
        config_free(c);
        return r;
}

int main(int argc, char **argv)
{
        Flags flags;
        int status = 0;
        Err err = {};
        int r;

        tune_memory();
        r = flags_parse(argc, argv, &flags, &err);
        if (r < 0) {
                fprintf(stderr, "lighterd: %s; see `lighterd --help`\n", err.msg);
                return r == -NOT_FOUND ? 3 : 1;
        }
        switch (flags.command) {
        case COMMAND_HELP:
                flags_help();
                return 0;
        case COMMAND_VERSION:
                printf("lighterd %s containerd-api %s\n", LIGHTER_VERSION, API_VERSION);
                return 0;
        case COMMAND_CONFIG_DEFAULT:
        case COMMAND_CONFIG_DUMP:
                r = print_config(&flags, &err);
                break;
        case COMMAND_PUBLISH:
                r = publish(flags.address ? flags.address : CONFIG_DEFAULT_ADDRESS, flags.args,
                            &err);
                break;
        case COMMAND_OCI_HOOK:
                r = oci_hook(flags.args, &err);
                break;
        case COMMAND_BACKUP:
        case COMMAND_CHECK:
        case COMMAND_REPAIR:
                r = run_upkeep(&flags, &status, &err);
                break;
        case COMMAND_RUN:
                r = run(&flags, &err);
                break;
        }
        if (r < 0)
                log_fatal_text("lighterd", &err);
        return r < 0 ? 1 : status;
}
