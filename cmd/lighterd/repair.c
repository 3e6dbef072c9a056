/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lighterd repair [--anew] [--dry-run] [--namespace NS]: a new database from what is left, in the
 * old one's place. The daemon must be stopped. Nothing is deleted: the old database stays beside
 * the new one, and files that do not fit any more are moved aside, each to a name with the time.
 *
 * Whether the old one can be read is tried out in a child process, because LMDB trusts its file and
 * a broken one may kill whoever reads it. The new one is made in a folder of its own and takes the
 * old one's place in one step, last of all: a repair that is cut off can be run again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/fault.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/path.h"
#include "metadata/rebuild.h"
#include "setup.h"
#include "spec/identifier.h"
#include "upkeep.h"

typedef struct Repair {
        Arena arena;
        Places places;
        RebuildOptions o;
        const char *stamp; /* "20261121T060000Z" */
        int anew, dry_run;
} Repair;

static void say(void *ctx, const char *text)
{
        fprintf(stderr, "lighterd: repair: %s\n", text);
}

/* ---- what is the matter ---- */

/* Values that nothing else gives a process for its status. */
typedef enum Verdict { WHOLE = 40, READABLE, LOST, REFUSED } Verdict;

static CheckOptions check_options(const Places *p)
{
        return (CheckOptions){.db_dir = p->db,
                              .content_root = p->content,
                              .snapshotters = p->snapshotters,
                              .n_snapshotters = p->n_snapshotters};
}

static Verdict look(Repair *rp)
{
        CheckOptions o = check_options(&rp->places);
        CheckResult res;
        Err err = {};
        int r;

        r = check_run(&o, &rp->arena, &res, &err);
        if (r < 0)
                say(NULL, err.msg);
        if (r == -FAILED_PRECONDITION)
                return REFUSED;
        if (r < 0)
                return LOST;
        for (size_t i = 0; i < res.n_findings; i++)
                if (!res.findings[i].harmless)
                        say(NULL, res.findings[i].text);
        return res.n_errors ? READABLE : WHOLE;
}

static int look_in_child(void *ctx)
{
        return (int)look(ctx);
}

static int look_safely(Repair *rp, Verdict *ret, Err *err)
{
        int status, r;

        r = upkeep_in_child(look_in_child, rp, &status, err);
        if (r < 0)
                return r;
        *ret = status >= WHOLE && status <= REFUSED ? (Verdict)status : LOST;
        if (*ret == LOST && status != LOST)
                say(NULL, UPKEEP_KILLED);
        return 0;
}

/* ---- moving ---- */

/* Makes the folder for it. What is not there need not be moved: an earlier repair has done it. */
static int move_aside(const char *from, const char *to_dir, const char *name, Err *err)
{
        char *to CLEANUP(cleanup_free) = mem_printf("%s/%s", to_dir, name);
        int r = path_mkdirs(to_dir, 0700, err);

        if (r < 0)
                return r;
        if (fault_hit() ||
            (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) < 0 && errno != ENOENT))
                return err_sys(err, errno, "move %s to %s", from, to);
        return 0;
}

static int move_blobs(Repair *rp, const RebuildResult *res, Err *err)
{
        Arena *a = &rp->arena;
        int r = 0;

        for (size_t i = 0; r == 0 && i < res->n_bad; i++) {
                const char *slash = strchr(res->bad[i], '/');
                const char *dir = arena_printf(a, "%s/broken-%s/%.*s", rp->places.content,
                                               rp->stamp, (int)(slash - res->bad[i]), res->bad[i]);

                r = move_aside(arena_printf(a, "%s/blobs/%s", rp->places.content, res->bad[i]), dir,
                               slash + 1, err);
        }
        return r;
}

/* ".../snapshots/7" becomes ".../lost-<time>/7". */
static int move_folders(Repair *rp, const RebuildResult *res, Err *err)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < res->n_folders; i++) {
                const char *path = res->folders[i], *name = strrchr(path, '/');
                const char *root = arena_strndup(&rp->arena, path,
                                                 (size_t)(name - path) - strlen("/snapshots"));

                r = move_aside(path, arena_printf(&rp->arena, "%s/lost-%s", root, rp->stamp),
                               name + 1, err);
        }
        return r;
}

/* One step: the new database has the place, the old one has the name of the new; from then on, that
 * is *ret_done, nothing of that name may be removed. */
static int exchange(const char *fresh, const char *db, int *ret_done, Err *err)
{
        int flags = access(db, F_OK) == 0 ? RENAME_EXCHANGE : RENAME_NOREPLACE;
        char *parent CLEANUP(cleanup_free) = mem_strndup(db, (size_t)(strrchr(db, '/') - db));

        if (fault_hit() || renameat2(AT_FDCWD, fresh, AT_FDCWD, db, flags) < 0)
                return err_sys(err, errno, "put %s into the place of %s", fresh, db);
        *ret_done = 1;
        return path_sync_dir(AT_FDCWD, parent, err);
}

/* ---- the command ---- */

static int read_args(Repair *rp, char **args, Err *err)
{
        const char *value;

        rp->o.ns = "default";
        for (; *args; args++) {
                if (upkeep_flag(&args, "anew", NULL))
                        rp->anew = 1;
                else if (upkeep_flag(&args, "dry-run", NULL))
                        rp->dry_run = 1;
                else if (upkeep_flag(&args, "namespace", &value) || upkeep_flag(&args, "n", &value))
                        rp->o.ns = value;
                else
                        return upkeep_bad_arg("repair", *args, err);
        }
        return identifier_check("namespace", rp->o.ns, err);
}

static void print_summary(const Repair *rp, const RebuildResult *res, const char *aside)
{
        printf("%s%zu records kept, %zu dropped\n", rp->dry_run ? "would be: " : "", res->kept,
               res->dropped);
        printf("%zu whole blobs; %zu without a record, now of namespace %s: %zu indexes, %zu "
               "manifests, %zu configurations\n",
               res->blobs, res->adopted, rp->o.ns, res->indexes, res->manifests, res->configs);
        printf("%zu images, %zu of them without a name: recovered@DIGEST\n", res->images,
               res->unnamed);
        if (res->ingests)
                printf("%zu ingests kept\n", res->ingests);
        if (res->adopted || res->ingests)
                printf("lease %s holds all of it: delete it when you have named what you need\n",
                       rp->o.lease);
        if (res->n_bad)
                printf("%zu broken blobs: %s/broken-%s\n", res->n_bad, rp->places.content,
                       rp->stamp);
        if (res->n_folders)
                printf("%zu folders of snapshots that nobody knows: lost-%s beside snapshots, %s\n",
                       res->n_folders, rp->stamp, res->folders[0]);
        if (aside)
                printf("the old database: %s\n", aside);
}

static int rebuild(Repair *rp, Verdict verdict, Err *err)
{
        const char *fresh = arena_printf(&rp->arena, "%s.%s", rp->places.db, rp->stamp);
        int had = access(rp->places.db, F_OK) == 0, exchanged = 0;
        RebuildResult res;
        int r;

        rp->o.old_db = verdict == LOST || rp->anew ? NULL : rp->places.db;
        rp->o.new_db = rp->dry_run ? NULL : fresh;
        rp->o.content_root = rp->places.content;
        rp->o.snapshotters = rp->places.snapshotters;
        rp->o.n_snapshotters = rp->places.n_snapshotters;
        rp->o.lease = arena_printf(&rp->arena, "repair-%s", rp->stamp);
        rp->o.progress = say;
        if (!rp->dry_run && access(fresh, F_OK) == 0)
                return err_set(err, ALREADY_EXISTS, "%s: already exists; try again", fresh);
        r = rebuild_run(&rp->o, &rp->arena, &res, err);
        if (r == 0 && !rp->dry_run) {
                r = move_blobs(rp, &res, err);
                if (r == 0)
                        r = move_folders(rp, &res, err);
                if (r == 0)
                        r = exchange(fresh, rp->places.db, &exchanged, err);
        }
        if (r < 0) {
                Err ignored;

                if (!rp->dry_run && !exchanged)
                        path_remove_tree(AT_FDCWD, fresh, &ignored);
                return r;
        }
        print_summary(rp, &res, had && !rp->dry_run ? fresh : NULL);
        return 0;
}

static void repair_done(Repair *rp)
{
        arena_done(&rp->arena);
}

int repair_command(Config *c, char **args, int *ret_status, Err *err)
{
        Repair rp CLEANUP(repair_done) = {};
        int lock CLEANUP(cleanup_fd) = -1;
        time_t now = time(NULL);
        Verdict verdict = LOST;
        char stamp[32];
        struct tm tm;
        int r;

        strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
        rp.stamp = stamp;
        r = read_args(&rp, args, err);
        if (r == 0)
                r = places_find(c, &rp.arena, &rp.places, err);
        if (r < 0)
                return r;
        lock = setup_folder(rp.places.root, 0700, 0, err);
        if (lock < 0)
                return lock;
        r = look_safely(&rp, &verdict, err);
        if (r < 0)
                return r;
        *ret_status = 0;
        if (verdict == REFUSED && !rp.anew)
                return err_set(err, FAILED_PRECONDITION,
                               "repair: nothing was done; --anew would put the database aside "
                               "unread");
        if (verdict == WHOLE && !rp.anew) {
                printf("nothing to repair\n");
                return 0;
        }
        return rebuild(&rp, verdict, err);
}
