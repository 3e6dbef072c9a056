/* SPDX-License-Identifier: Apache-2.0 */
#include "upkeep.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/mem.h"
#include "daemon.h"

/* As plugins get them that have no configuration. */
static void places_below(const ConfigDaemon *d, Arena *a, Places *ret)
{
        Places p = {.root = d->root, .state = d->state};

        p.db = arena_printf(a, "%s/" PLUGIN_INTERNAL ".db", d->root);
        p.content = arena_printf(a, "%s/" PLUGIN_CONTENT ".content", d->root);
        p.snapshotters = arena_array(a, CheckSnapshotter, n_plugin_table);
        for (size_t i = 0; i < n_plugin_table; i++)
                if (str_eq(plugin_table[i].type, PLUGIN_SNAPSHOTTER))
                        p.snapshotters[p.n_snapshotters++] = (CheckSnapshotter){
                                .name = plugin_table[i].id,
                                .root = arena_printf(a, "%s/" PLUGIN_SNAPSHOTTER ".%s", d->root,
                                                     plugin_table[i].id),
                        };
        *ret = p;
}

/* The key root_path moves a snapshotter. */
static int move_snapshotter(Config *c, Arena *a, const PluginRegistration *p, Places *places,
                            Err *err)
{
        const char *uri = arena_printf(a, "%s.%s", p->type, p->id), *set;
        const void *settings;
        int r;

        for (size_t i = 0; p->schema && i < p->schema->n_keys; i++) {
                if (!str_eq(p->schema->keys[i].name, "root_path"))
                        continue;
                r = config_plugin(c, uri, p->schema, &settings, err);
                if (r < 0)
                        return r;
                set = *(const char *const *)((const char *)settings + p->schema->keys[i].offset);
                for (size_t j = 0; *set && j < places->n_snapshotters; j++)
                        if (str_eq(places->snapshotters[j].name, p->id))
                                places->snapshotters[j].root = set;
        }
        return 0;
}

int places_find(Config *c, Arena *a, Places *ret, Err *err)
{
        const ConfigDaemon *d = config_daemon(c);
        int r = 0;

        if (str_empty(d->root) || access(d->root, F_OK) < 0)
                return err_sys(err, ENOENT, "root %s", d->root);
        places_below(d, a, ret);
        for (size_t i = 0; r == 0 && i < n_plugin_table; i++)
                if (str_eq(plugin_table[i].type, PLUGIN_SNAPSHOTTER))
                        r = move_snapshotter(c, a, &plugin_table[i], ret, err);
        return r;
}

int upkeep_flag(char ***args, const char *name, const char **ret_value)
{
        const char *arg = **args;
        size_t n = strlen(name);

        if (arg[0] != '-')
                return 0;
        arg += arg[1] == '-' ? 2 : 1;
        if (strncmp(arg, name, n) != 0 || (arg[n] && (arg[n] != '=' || !ret_value)))
                return 0;
        if (!ret_value)
                return 1;
        if (arg[n] == '=')
                *ret_value = arg + n + 1;
        else if ((*args)[1])
                *ret_value = *++*args;
        else
                return 0;
        return 1;
}

int upkeep_bad_arg(const char *command, const char *arg, Err *err)
{
        return err_set(err, INVALID_ARGUMENT, "%s: unexpected argument \"%s\"", command, arg);
}

int upkeep_in_child(int (*fn)(void *ctx), void *ctx, int *ret_status, Err *err)
{
        pid_t pid;
        int status;

        fflush(NULL);
        pid = fork(); /* there are no threads: no daemon is running here */
        if (pid < 0)
                return err_sys(err, errno, "fork");
        if (pid == 0) {
                signal(SIGSEGV, SIG_DFL);
                signal(SIGBUS, SIG_DFL);
                signal(SIGABRT, SIG_DFL);
                status = fn(ctx);
                fflush(NULL);
                _exit(status);
        }
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return err_sys(err, errno, "wait");
        *ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        return 0;
}

static int has_entries(const char *path)
{
        DIR *dir = opendir(path);
        const struct dirent *e;
        int found = 0;

        while (dir && !found && (e = readdir(dir)))
                found = e->d_name[0] != '.';
        if (dir)
                closedir(dir);
        return found;
}

int upkeep_refuse_lost(Config *c, Err *err)
{
        Arena a CLEANUP(arena_done) = {};
        const char *file, *what;
        struct stat st;
        Places p;

        places_below(config_daemon(c), &a, &p);
        file = arena_printf(&a, "%s/data.mdb", p.db);
        if (stat(file, &st) == 0 ? st.st_size > 0 : errno != ENOENT)
                return 0;
        what = arena_printf(&a, "%s/blobs/sha256", p.content);
        for (size_t i = 0; i < p.n_snapshotters && !has_entries(what); i++)
                what = arena_printf(&a, "%s/snapshots", p.snapshotters[i].root);
        if (!has_entries(what))
                return 0;
        return err_set(
                err, FAILED_PRECONDITION,
                "%s is not there or empty, but %s is not empty: without the database nobody knows "
                "what that belongs to. Put a backup into its place, or run `lighterd repair`, "
                "or choose another root",
                file, what);
}
