/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Activations by name. One who works on an activation marks it busy and then works without the
 * lock; who wants the same one waits for him, on a pool thread, as long as mounting takes. What
 * others see is the record, which is replaced in one step:
 *
 *         activate      claim the name, mount, write the record, show it
 *         deactivate    claim, remove the record, unmount backwards, let go of the name
 *
 * The order of record and mounts on disk is in records.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "base/vec.h"
#include "metadata/metadata.h"
#include "mount/mount_pb.h"
#include "runtime/mounts_priv.h"
#include "rpc/message.h"

enum { NAME_MAX_BYTES = 32768, HOLD_RANDOM = 16, OPTIONS_SHOWN = 300 };

/* ---- the manager ---- */

static int add_root(MountManager *m, const char *path, Err *err)
{
        int fd = path_open_dir(AT_FDCWD, path, 0711, err);

        if (fd < 0)
                return fd;
        m->roots = mem_realloc(m->roots, (m->n_roots + 1) * sizeof(*m->roots));
        m->roots[m->n_roots++] = (MountRoot){mem_strdup(path), fd};
        return 0;
}

int mount_manager_open(const MountManagerOptions *o, MountManager **ret, Err *err)
{
        MountManager *m = mem_new(MountManager);
        int r;

        m->state = mem_strdup(o->state);
        m->points = mem_printf("%s/t", o->state);
        m->records = mem_printf("%s/r", o->state);
        m->handlers = mem_alloc((o->n_handlers + 1) * sizeof(*m->handlers));
        memcpy(m->handlers, o->handlers, o->n_handlers * sizeof(*m->handlers));
        m->n_handlers = o->n_handlers;
        lock_init(&m->lock, LOCK_LEAF);
        cond_init(&m->idle);
        list_init(&m->forgotten);
        r = records_load(m, err);
        if (r == 0)
                r = add_root(m, m->points, err);
        for (size_t i = 0; i < o->n_roots && r == 0; i++)
                r = add_root(m, o->roots[i], err);
        if (r < 0) {
                mount_manager_free(m);
                return r;
        }
        *ret = m;
        return 0;
}

MountManager *mount_manager_free(MountManager *m)
{
        if (!m)
                return NULL;
        MAP_FOREACH (slot, &m->table)
                activation_free(slot->value);
        map_done(&m->table);
        LIST_FOREACH (x, &m->forgotten, Activation, node)
                activation_free(x);
        for (size_t i = 0; i < m->n_roots; i++) {
                fd_close(m->roots[i].fd);
                free(m->roots[i].path);
        }
        pthread_cond_destroy(&m->idle);
        lock_done(&m->lock);
        free(m->roots);
        free(m->handlers);
        free(m->state);
        free(m->points);
        free(m->records);
        free(m);
        return NULL;
}

const MountHandler *handler_of(const MountManager *m, const char *type)
{
        for (size_t i = 0; i < m->n_handlers; i++)
                if (str_eq(m->handlers[i]->type, type))
                        return m->handlers[i];
        return NULL;
}

/* ---- claims ---- */

static char *make_key(const char *ns, const char *name)
{
        return mem_printf("%s/%s", ns, name);
}

/* Waits until nobody works on the name. */
static Activation *find_idle_locked(MountManager *m, const char *key)
{
        Activation *x;

        lock_assert_held(&m->lock);
        while ((x = map_find(&m->table, key)) && x->busy)
                lock_wait(&m->lock, &m->idle, 0);
        return x;
}

static int claim_new(MountManager *m, const MountsActivate *what, Activation **ret, Err *err)
{
        char *key CLEANUP(cleanup_free) = make_key(what->ns, what->name);
        Activation *x;

        LOCKED(&m->lock);
        if (find_idle_locked(m, key))
                return err_set(err, ALREADY_EXISTS, "mount \"%s\": already exists", what->name);
        x = mem_new(Activation);
        arena_init(&x->arena, SIZE_MAX);
        x->key = TAKE(key);
        x->id = ++m->last_id;
        x->busy = 1;
        x->held = what->held;
        map_put(&m->table, x->key, x);
        *ret = x;
        return 0;
}

static int not_found(const char *name, Err *err)
{
        return err_set(err, NOT_FOUND, "mount \"%s\" not found", name);
}

static int claim(MountManager *m, const char *ns, const char *name, Activation **ret, Err *err)
{
        char *key CLEANUP(cleanup_free) = make_key(ns, name);
        Activation *x;

        LOCKED(&m->lock);
        x = find_idle_locked(m, key);
        if (!x)
                return not_found(name, err);
        x->busy = 1;
        *ret = x;
        return 0;
}

/* Ends a claim. record: the new one, or NULL to keep what there is. */
static void release(MountManager *m, Activation *x, const Store__Activation *record)
{
        Arena fresh, old = {};
        Store__Activation *copy;

        arena_init(&fresh, SIZE_MAX);
        copy = record ? message_dup(&fresh, record) : NULL;
        lock_take(&m->lock);
        if (record) {
                old = x->arena;
                x->arena = fresh;
                x->record = copy;
        }
        x->busy = 0;
        pthread_cond_broadcast(&m->idle);
        lock_drop(&m->lock);
        arena_done(&old);
}

/* Ends a claim and the activation. Mounts that are left are taken off later. */
static void release_gone(MountManager *m, Activation *x, int left)
{
        lock_take(&m->lock);
        map_remove(&m->table, x->key);
        if (left)
                list_append(&m->forgotten, &x->node);
        pthread_cond_broadcast(&m->idle);
        lock_drop(&m->lock);
        if (!left)
                activation_free(x);
}

/* ---- activate ---- */

static int allows(const MountsActivate *what, const char *type)
{
        for (size_t i = 0; i < what->n_allow; i++)
                if (str_eq(what->allow[i], type))
                        return 1;
        return 0;
}

static int allows_prefix(const MountsActivate *what, const char *prefix)
{
        size_t n = strlen(prefix);

        for (size_t i = 0; i < what->n_allow; i++)
                if (strncmp(what->allow[i], prefix, n) == 0 && str_eq(what->allow[i] + n, "*"))
                        return 1;
        return 0;
}

/* How many mounts of the list are ours; -1: it is nobody's business here. */
static ssize_t plan(const MountManager *m, const MountsActivate *what)
{
        ssize_t ours = -1;

        for (size_t i = 0; i < what->mounts.n; i++) {
                const char *whole = what->mounts.v[i].type ? what->mounts.v[i].type : "";
                const char *type = whole;
                const Transform *t;

                while ((t = transform_of(type, &type)))
                        if (!allows(what, whole) && !allows_prefix(what, transform_prefix(t)))
                                ours = (ssize_t)i;
                if (what->temporary || (handler_of(m, type) && !allows(what, type)))
                        ours = (ssize_t)i + 1;
        }
        return ours;
}

int mounts_wanted(const MountManager *m, const MountsActivate *what)
{
        return plan(m, what) >= 0;
}

static int check(const MountsActivate *what, size_t ours, Err *err)
{
        size_t left = what->mounts.n - ours;

        if (str_empty(what->name))
                return err_set(err, UNKNOWN, "bucket name required");
        if (strlen(what->name) > NAME_MAX_BYTES)
                return err_set(err, UNKNOWN, "key too large");
        if (ours > MOUNTS_MAX)
                return err_set(err, UNKNOWN, "too many active mounts (%zu): maximum %d", ours,
                               MOUNTS_MAX);
        if (left > MOUNTS_MAX)
                return err_set(err, UNKNOWN, "too many system mounts (%zu): maximum %d", left,
                               MOUNTS_MAX);
        return labels_check(what->labels, what->n_labels, "labels", err);
}

/* As containerd's logs show a mount; the error is no class of its own there. */
static int mount_failed(const Mount *m, const char *what, Err *err)
{
        Err why = *err;
        Str options CLEANUP(str_done) = {};

        for (size_t i = 0; i < m->n_options && options.len < OPTIONS_SHOWN; i++)
                str_addf(&options, "%s%s", i ? " " : "", m->options[i]);
        return err_set(err, UNKNOWN, "%s {%s %s %s [%.*s]}: %.500s", what, m->type,
                       m->source ? m->source : "", m->target ? m->target : "", OPTIONS_SHOWN,
                       str_get(&options), why.msg);
}

static int mount_at(const MountManager *m, Arena *a, uint64_t id, size_t i, const Mount *mount,
                    const char *point, const char **ret_handler, Err *err)
{
        const MountHandler *h = handler_of(m, mount->type);
        int r;

        *ret_handler = h ? h->type : "";
        if (h) {
                r = point_note(m, id, i, h->type, err);
                if (r == 0 && h->mount(mount, point, err) < 0)
                        r = mount_failed(mount, "mount handler failed", err);
                return r;
        }
        if (fault_hit() || mkdir(point, 0700) < 0)
                return err_sys(err, errno, "mkdir %s", point);
        return mount_one(mount, point, err) < 0 ? mount_failed(mount, "mount failed", err) : 0;
}

/* Mounts the first `ours`, each at a point of its own, and notes them in the record. */
static int mount_ours(const MountManager *m, Arena *a, Mount *mounts, size_t ours,
                      Store__Activation *record, Err *err)
{
        char *folder CLEANUP(cleanup_free) = point_folder(m, record->id);
        Types__ActivationInfo *info = record->info;

        info->active = arena_array(a, Types__ActiveMount *, ours + 1);
        record->handlers = arena_array(a, const char *, ours + 1);
        if (fault_hit() || mkdir(folder, 0700) < 0)
                return err_sys(err, errno, "mkdir %s", folder);
        for (size_t i = 0; i < ours; i++) {
                const MountList one = {&mounts[i], 1};
                Types__ActiveMount *active;
                const char *point = arena_printf(a, "%s/%zu", folder, i);
                int r;

                r = transform_mount(m, a, &mounts[i],
                                    (const Types__ActiveMount *const *)info->active, i, err);
                if (r == 0)
                        r = mount_at(m, a, record->id, i, &mounts[i], point, &record->handlers[i],
                                     err);
                if (r < 0)
                        return r;
                active = message_make(a, types__active_mount);
                active->mount = mounts_to_pb(a, &one)[0];
                active->mount_point = point;
                active->mounted_at = time_to_pb(a, time_now());
                info->active[i] = active;
                info->n_active = record->n_handlers = i + 1;
        }
        return 0;
}

/* What is left to the caller. */
static int leave_rest(const MountManager *m, Arena *a, const MountsActivate *what, Mount *mounts,
                      size_t ours, Types__ActivationInfo *info, Err *err)
{
        static const char *const rbind[] = {"rbind"};
        MountList rest = {mounts + ours, what->mounts.n - ours};
        int r;

        if (rest.n > 0) {
                r = transform_mount(m, a, rest.v, (const Types__ActiveMount *const *)info->active,
                                    info->n_active, err);
                if (r < 0)
                        return r;
        }
        if (what->temporary)
                rest.v[rest.n++] = (Mount){
                        .type = "bind",
                        .source = info->active[ours - 1]->mount_point,
                        .options = rbind,
                        .n_options = 1,
                };
        info->system = mounts_to_pb(a, &rest);
        info->n_system = rest.n;
        return 0;
}

static Store__Activation *new_record(Arena *a, const MountsActivate *what, uint64_t id)
{
        Store__Activation *record = message_make(a, store__activation);
        Types__ActivationInfo *info = message_make(a, types__activation_info);

        record->id = id;
        record->namespace_ = what->ns;
        record->lease = what->lease ? what->lease : "";
        record->created_at = time_to_pb(a, time_now());
        record->info = info;
        info->name = what->name;
        info->n_labels = what->n_labels;
        info->labels = arena_memdup(a, what->labels, what->n_labels * sizeof(*info->labels));
        labels_normalise(info->labels, &info->n_labels);
        return record;
}

int mounts_activate(MountManager *m, const MountsActivate *what, Arena *a,
                    Types__ActivationInfo **ret, Err *err)
{
        ssize_t ours = plan(m, what);
        Mount *mounts = arena_array(a, Mount, what->mounts.n + 1); /* and perhaps a bind */
        Store__Activation *record;
        Activation *x = NULL;
        Err ignored;
        int r;

        if (ours < 0)
                return err_set(err, UNIMPLEMENTED, "not implemented");
        r = check(what, (size_t)ours, err);
        if (r < 0)
                return r;
        r = claim_new(m, what, &x, err);
        if (r < 0)
                return r;
        record = new_record(a, what, x->id);
        memcpy(mounts, what->mounts.v, what->mounts.n * sizeof(*mounts));
        r = mount_ours(m, a, mounts, (size_t)ours, record, err);
        if (r == 0)
                r = leave_rest(m, a, what, mounts, (size_t)ours, record->info, err);
        if (r == 0) {
                record->updated_at = time_to_pb(a, time_now());
                r = record_write(m, record, err);
        }
        if (r < 0) {
                release_gone(m, x, points_end(m, x->id, &ignored) < 0);
                return r;
        }
        release(m, x, record);
        *ret = record->info;
        return 0;
}

int mounts_hold(MountManager *m, const char *ns, Arena *a, MountList *list, MountsHold *ret,
                Err *err)
{
        char name[2 * HOLD_RANDOM + 1];
        MountsActivate what = {.ns = ns, .name = name, .mounts = *list, .held = 1};
        Types__ActivationInfo *info;
        int r;

        if (!mounts_wanted(m, &what))
                return 0;
        random_name(name, sizeof(name) - 1);
        r = mounts_activate(m, &what, a, &info, err);
        if (r < 0)
                return r;
        *list = mounts_from_pb(a, info->system, info->n_system);
        *ret = (MountsHold){m, mem_strdup(ns), mem_strdup(name)};
        return 0;
}

void mounts_hold_done(MountsHold *h)
{
        char *key CLEANUP(cleanup_free) = NULL;
        Activation *x;
        Err ignored;

        if (!h->m)
                return;
        key = make_key(h->ns, h->name);
        lock_take(&h->m->lock);
        x = map_find(&h->m->table, key);
        if (x)
                x->held = 0; /* what cannot be taken off now is collected */
        lock_drop(&h->m->lock);
        mounts_deactivate(h->m, h->ns, h->name, &ignored);
        free(h->ns);
        free(h->name);
}

/* ---- the rest ---- */

int mounts_deactivate(MountManager *m, const char *ns, const char *name, Err *err)
{
        Store__Activation record;
        Types__ActivationInfo info;
        Activation *x;
        size_t left;
        Err ignored;
        int r;

        r = claim(m, ns, name, &x, err);
        if (r < 0)
                return r;
        r = record_remove(m, x->id, err);
        if (r < 0) {
                release(m, x, NULL);
                return r;
        }
        r = points_unmount(m, x->id, x->record->handlers, x->record->info->n_active, 0, &left, err);
        if (r == 0) {
                release_gone(m, x, points_remove(m, x->id, &ignored) < 0);
                return 0;
        }
        record = *x->record;
        info = *record.info;
        info.n_active = record.n_handlers = left;
        record.info = &info;
        record_write(m, &record, &ignored); /* if not, the next start ends what is left */
        release(m, x, &record);
        return err_wrap(err, "mount \"%s\"", name);
}

int mounts_info(MountManager *m, const char *ns, const char *name, Arena *a,
                Types__ActivationInfo **ret, Err *err)
{
        char *key CLEANUP(cleanup_free) = make_key(ns, name);
        const Activation *x;

        LOCKED(&m->lock);
        x = map_find(&m->table, key);
        if (!x || !x->record)
                return not_found(name, err);
        *ret = message_dup(a, x->record->info);
        return 0;
}

int mounts_update(MountManager *m, const char *ns, const Types__ActivationInfo *info,
                  const char *const *paths, size_t n_paths, Arena *a, Types__ActivationInfo **ret,
                  Err *err)
{
        Store__Activation *record;
        const char *bad;
        Activation *x;
        int r;

        r = labels_check(info->labels, info->n_labels, "labels", err);
        if (r == 0)
                r = claim(m, ns, info->name, &x, err);
        if (r < 0)
                return r;
        record = message_dup(a, x->record);
        bad = labels_mask(a, &record->info->labels, &record->info->n_labels, info->labels,
                          info->n_labels, &types__activation_info__labels_entry__descriptor, paths,
                          n_paths);
        if (bad) {
                r = err_set(err, INVALID_ARGUMENT,
                            "cannot update \"%s\" field on mount \"%s\": invalid argument", bad,
                            info->name);
        } else {
                labels_normalise(record->info->labels, &record->info->n_labels);
                record->updated_at = time_to_pb(a, time_now());
                r = record_write(m, record, err);
        }
        release(m, x, r < 0 ? NULL : record);
        if (r == 0)
                *ret = record->info;
        return r;
}

static const char *field(void *ctx, const char *const *path, size_t n)
{
        const Types__ActivationInfo *info = ctx;

        if (n == 1 && str_eq(path[0], "name"))
                return info->name;
        if (n > 1 && str_eq(path[0], "labels"))
                return labels_field(info->labels, info->n_labels, path, n, 1);
        return NULL;
}

static int by_name(const void *a, const void *b)
{
        const Types__ActivationInfo *const *x = a, *const *y = b;

        return strcmp((*x)->name, (*y)->name);
}

int mounts_list(MountManager *m, const char *ns, const Filter *filter, Arena *a,
                Types__ActivationInfo ***ret, size_t *ret_n, Err *err)
{
        VEC(Types__ActivationInfo *) found = {};
        size_t n = 0;

        lock_take(&m->lock);
        MAP_FOREACH (slot, &m->table) {
                const Activation *x = slot->value;

                if (x->record && str_eq(x->record->namespace_, ns))
                        VEC_PUSH(&found, message_dup(a, x->record->info));
        }
        lock_drop(&m->lock);
        for (size_t i = 0; i < found.n; i++)
                if (filter_match(filter, field, found.v[i]))
                        found.v[n++] = found.v[i];
        if (n > 0)
                qsort(found.v, n, sizeof(*found.v), by_name);
        *ret = arena_memdup(a, found.v, n * sizeof(*found.v));
        *ret_n = n;
        VEC_DONE(&found);
        return 0;
}

/* ---- collection ---- */

static int collect_list(void *ctx, void (*fn)(void *arg, const GcResource *r), void *arg, Err *err)
{
        VEC(Store__Activation *) records = {};
        MountManager *m = ctx;
        Arena a CLEANUP(arena_done);

        arena_init(&a, SIZE_MAX);
        lock_take(&m->lock);
        MAP_FOREACH (slot, &m->table) {
                const Activation *x = slot->value;

                if (x->record)
                        VEC_PUSH(&records, message_dup(&a, x->record));
        }
        lock_drop(&m->lock);
        VEC_FOREACH (record, &records) {
                const GcResource r = {
                        .ns = (*record)->namespace_,
                        .name = (*record)->info->name,
                        .lease = (*record)->lease,
                        .labels = (*record)->info->labels,
                        .n_labels = (*record)->info->n_labels,
                        .id = (*record)->id,
                };

                fn(arg, &r);
        }
        VEC_DONE(&records);
        return 0;
}

static int collect_forget(void *ctx, const char *ns, const char *name, uint64_t id)
{
        char *key CLEANUP(cleanup_free) = make_key(ns, name);
        MountManager *m = ctx;
        Activation *x;

        LOCKED(&m->lock);
        x = map_find(&m->table, key);
        if (!x || x->busy || x->held || x->id != id)
                return 0;
        map_remove(&m->table, key);
        list_append(&m->forgotten, &x->node);
        return 1;
}

/* Whoever still uses one keeps it: it is only out of sight. */
static void collect_clean(void *ctx)
{
        MountManager *m = ctx;
        List todo, again;

        list_init(&todo);
        list_init(&again);
        lock_take(&m->lock);
        LIST_FOREACH (x, &m->forgotten, Activation, node) {
                list_remove(&x->node);
                list_append(&todo, &x->node);
        }
        lock_drop(&m->lock);
        LIST_FOREACH (x, &todo, Activation, node) {
                Err ignored;
                int r = record_remove(m, x->id, &ignored);

                list_remove(&x->node);
                if (r == 0)
                        r = points_end(m, x->id, &ignored);
                if (r == 0)
                        activation_free(x);
                else
                        list_append(&again, &x->node);
        }
        lock_take(&m->lock);
        LIST_FOREACH (x, &again, Activation, node) {
                list_remove(&x->node);
                list_append(&m->forgotten, &x->node);
        }
        lock_drop(&m->lock);
}

const GcCollector mounts_collector = {
        .label = "mount",
        .list = collect_list,
        .forget = collect_forget,
        .clean = collect_clean,
};
