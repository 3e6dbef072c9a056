/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Activations on disk, in the daemon's state:
 *
 *         boot      the boot they belong to
 *         t/ID/N    mount point of the N-th mount
 *         t/ID/N-type   its handler, written before it mounts
 *         r/ID      the record, written after the last
 *
 * The record is what makes an activation exist: it appears in one step when everything is mounted,
 * and goes before anything is taken off. A folder without a record is therefore what a killed
 * daemon left, and is ended at the next start.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "runtime/mounts_priv.h"
#include "rpc/message.h"

enum { RECORD_MAX = LIMIT_GRPC_MESSAGE, RECORD_SLACK = 64 * 1024, TYPE_MAX = 256, BOOT_MAX = 64 };

char *point_folder(const MountManager *m, uint64_t id)
{
        return mem_printf("%s/%llu", m->points, (unsigned long long)id);
}

static char *record_path(const MountManager *m, uint64_t id)
{
        return mem_printf("%s/%llu", m->records, (unsigned long long)id);
}

int record_write(const MountManager *m, const Store__Activation *record, Err *err)
{
        char *path CLEANUP(cleanup_free) = record_path(m, record->id);
        char *fresh CLEANUP(cleanup_free) = mem_printf("%s.new", path);
        size_t n;
        void *bytes CLEANUP(cleanup_free) = message_pack(NULL, record, &n);
        int r;

        if (n > LIMIT_GRPC_MESSAGE - RECORD_SLACK) /* no client could read it */
                return err_set(err, RESOURCE_EXHAUSTED,
                               "mount of %zu bytes: at most %d: resource exhausted", n,
                               LIMIT_GRPC_MESSAGE - RECORD_SLACK);
        r = fault_hit() ? err_sys(err, errno, "write %s", fresh)
                        : file_write(AT_FDCWD, fresh, bytes, n, 0600, err);
        if (r == 0 && (fault_hit() || rename(fresh, path) < 0))
                r = err_sys(err, errno, "rename %s", fresh);
        if (r < 0)
                unlink(fresh);
        return r;
}

int record_remove(const MountManager *m, uint64_t id, Err *err)
{
        char *path CLEANUP(cleanup_free) = record_path(m, id);

        if ((fault_hit() || unlink(path) < 0) && errno != ENOENT)
                return err_sys(err, errno, "remove %s", path);
        return 0;
}

int point_note(const MountManager *m, uint64_t id, size_t i, const char *handler, Err *err)
{
        char *path CLEANUP(cleanup_free) =
                mem_printf("%s/%llu/%zu-type", m->points, (unsigned long long)id, i);

        if (fault_hit())
                return err_sys(err, errno, "write %s", path);
        return file_write(AT_FDCWD, path, handler, strlen(handler), 0600, err);
}

static int point_unmount(const MountManager *m, uint64_t id, size_t i, const char *handler,
                         int lazy, Err *err)
{
        char *point CLEANUP(cleanup_free) =
                mem_printf("%s/%llu/%zu", m->points, (unsigned long long)id, i);
        const MountHandler *h = handler_of(m, handler);

        if (h)
                return h->unmount(point, lazy, err);
        return unmount_all(point, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0), err);
}

int points_unmount(const MountManager *m, uint64_t id, const char *const *handlers, size_t n,
                   int lazy, size_t *ret_left, Err *err)
{
        for (*ret_left = n; *ret_left > 0; --*ret_left) {
                size_t i = *ret_left - 1;
                int r = point_unmount(m, id, i, handlers[i], lazy, err);

                if (r < 0)
                        return r;
        }
        return 0;
}

int points_remove(const MountManager *m, uint64_t id, Err *err)
{
        char *folder CLEANUP(cleanup_free) = point_folder(m, id);

        return path_remove_tree(AT_FDCWD, folder, err);
}

/* Who mounted N: its note, or "". */
static char *noted(Arena *a, const char *folder, size_t i)
{
        char *path = arena_printf(a, "%s/%zu-type", folder, i), *text;
        Err ignored;

        if (file_read(a, AT_FDCWD, path, TYPE_MAX, &text, NULL, &ignored) < 0)
                return arena_strdup(a, "");
        return text;
}

int points_end(const MountManager *m, uint64_t id, Err *err)
{
        char *folder CLEANUP(cleanup_free) = point_folder(m, id);
        const char *handlers[MOUNTS_MAX];
        Arena a CLEANUP(arena_done);
        size_t left;
        int r;

        arena_init(&a, SIZE_MAX);
        for (size_t i = 0; i < MOUNTS_MAX; i++)
                handlers[i] = noted(&a, folder, i);
        r = points_unmount(m, id, handlers, MOUNTS_MAX, 1, &left, err);
        return r < 0 ? r : points_remove(m, id, err);
}

/* ---- at start ---- */

void activation_free(Activation *x)
{
        arena_done(&x->arena);
        free(x->key);
        free(x);
}

static int is_sound(const Store__Activation *r, uint64_t id)
{
        const Types__ActivationInfo *info = r->info;

        if (r->id != id || str_empty(r->namespace_) || !info || str_empty(info->name) ||
            info->n_active != r->n_handlers || info->n_active > MOUNTS_MAX)
                return 0;
        for (size_t i = 0; i < info->n_active; i++)
                if (!info->active[i]->mount)
                        return 0;
        return 1;
}

static int load_record(MountManager *m, uint64_t id, Err *err)
{
        char *path CLEANUP(cleanup_free) = record_path(m, id);
        Activation *x = mem_new(Activation);
        ProtobufCMessage *message;
        char *bytes;
        size_t n;
        int r;

        arena_init(&x->arena, SIZE_MAX);
        r = file_read(&x->arena, AT_FDCWD, path, RECORD_MAX, &bytes, &n, err);
        if (r == 0)
                r = message_unpack(&x->arena, &store__activation__descriptor, bytes, n, &message,
                                   err);
        if (r == 0 && !is_sound((Store__Activation *)message, id))
                r = err_set(err, DATA_LOSS, "%s is no record of mount %llu", path,
                            (unsigned long long)id);
        if (r < 0) {
                activation_free(x);
                return r;
        }
        x->id = id;
        x->record = (Store__Activation *)message;
        x->key = mem_printf("%s/%s", x->record->namespace_, x->record->info->name);
        if (map_find(&m->table, x->key)) {
                r = err_set(err, DATA_LOSS, "mount %s has two records", x->key);
                activation_free(x);
                return r;
        }
        map_put(&m->table, x->key, x);
        return 0;
}

typedef int (*EachFn)(MountManager *m, uint64_t id, Err *err);

/* fn for each ID in dir. What fails is logged: one bad record must not keep the daemon from
 * starting.
 */
static int each(MountManager *m, const char *dir, EachFn fn, Err *err)
{
        DIR *d = opendir(dir);
        struct dirent *e;

        if (!d)
                return err_sys(err, errno, "open %s", dir);
        while ((e = readdir(d))) {
                Err why = {};
                uint64_t id;

                if (str_to_u64(e->d_name, &id) < 0 || id == 0)
                        continue;
                m->last_id = MAX(m->last_id, id);
                if (fn(m, id, &why) < 0)
                        log_warn("failed to recover mounts", "error", why.msg, "path", dir);
        }
        closedir(d);
        return 0;
}

static int keep_or_drop_record(MountManager *m, uint64_t id, Err *err)
{
        Err ignored;
        int r = load_record(m, id, err);

        if (r < 0)
                record_remove(m, id, &ignored);
        return r;
}

static int end_without_record(MountManager *m, uint64_t id, Err *err)
{
        MAP_FOREACH (slot, &m->table) {
                if (((Activation *)slot->value)->id == id)
                        return 0;
        }
        return points_end(m, id, err);
}

/* Nothing of an earlier boot is mounted: a state folder that outlived it holds only names, and the
 * devices among them belong to somebody else by now. */
static int forget_earlier_boot(const MountManager *m, Err *err)
{
        char *path CLEANUP(cleanup_free) = mem_printf("%s/boot", m->state);
        char *now CLEANUP(cleanup_free) = NULL, *then CLEANUP(cleanup_free) = NULL;
        Err ignored;
        int r;

        r = file_read(NULL, AT_FDCWD, "/proc/sys/kernel/random/boot_id", BOOT_MAX, &now, NULL, err);
        if (r < 0)
                return r;
        if (file_read(NULL, AT_FDCWD, path, BOOT_MAX, &then, NULL, &ignored) == 0 &&
            str_eq(now, then))
                return 0;
        r = path_remove_tree(AT_FDCWD, m->records, err);
        if (r == 0 && then)
                r = path_remove_tree(AT_FDCWD, m->points, err);
        return r < 0 ? r : file_write(AT_FDCWD, path, now, strlen(now), 0600, err);
}

int records_load(MountManager *m, Err *err)
{
        int r;

        r = path_mkdirs(m->state, 0700, err);
        if (r == 0)
                r = forget_earlier_boot(m, err);
        if (r == 0)
                r = path_mkdirs(m->points, 0700, err);
        if (r == 0)
                r = path_mkdirs(m->records, 0700, err);
        if (r == 0)
                r = each(m, m->records, keep_or_drop_record, err);
        return r < 0 ? r : each(m, m->points, end_without_record, err);
}
