/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lighterd backup TARGET: the database, copied while the daemon works or without one. It takes no
 * lock: LMDB gives a second process a snapshot of its own. Whatever schema the database has, the
 * copy has it too.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include "base/mem.h"
#include "upkeep.h"

DEFINE_CLEANUP(DbEnv *, db_env_close)

/* In a folder the copy is named by the time. */
static const char *target_of(Arena *a, const char *arg)
{
        time_t now = time(NULL);
        char text[32];
        struct stat st;
        struct tm tm;

        if (stat(arg, &st) < 0 || !S_ISDIR(st.st_mode))
                return arg;
        strftime(text, sizeof(text), "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
        return arena_printf(a, "%s/lighter-%s.mdb", arg, text);
}

int backup_command(Config *c, char **args, int *ret_status, Err *err)
{
        const DbOptions options = {.read_only = 1, .any_schema = 1};
        DbEnv *env CLEANUP(db_env_closep) = NULL;
        Arena a CLEANUP(arena_done) = {};
        const char *target;
        struct stat st;
        Places p;
        int r;

        if (!args[0] || args[1])
                return err_set(err, INVALID_ARGUMENT,
                               "backup: one argument is needed, a folder or a new file");
        r = places_find(c, &a, &p, err);
        if (r == 0)
                r = db_env_open(p.db, &options, &env, err);
        if (r < 0)
                return r;
        target = target_of(&a, args[0]);
        r = db_backup(env, target, err);
        if (r < 0)
                return err_wrap(err, "backup");
        if (stat(target, &st) == 0)
                printf("%s: %lld bytes\n", target, (long long)st.st_size);
        *ret_status = 0;
        return 0;
}
