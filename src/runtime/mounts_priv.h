/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the mount manager: the table, records on disk, what is done to a mount before it is
 * mounted. */
#pragma once

#include "api/lighter/store/v1/mounts.pb-c.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/map.h"
#include "runtime/mounts.h"

enum { MOUNTS_MAX = 255 };

/* An activation. The record is constant: a change makes another one. */
typedef struct Activation {
        char *key; /* "ns/name" */
        uint64_t id;
        int busy; /* somebody works on it; without a record it is not there yet */
        int held; /* not for collection */
        Arena arena;
        Store__Activation *record;
        List node; /* in MountManager.forgotten */
} Activation;

typedef struct MountRoot {
        char *path;
        int fd;
} MountRoot;

struct MountManager {
        char *state;
        char *points;  /* "<state>/t": ID/0, ID/1, ... */
        char *records; /* "<state>/r": ID, a Store__Activation */
        MountRoot *roots;
        size_t n_roots;
        const MountHandler **handlers;
        size_t n_handlers;

        Lock lock; /* LOCK_LEAF: down to the end */
        pthread_cond_t idle;
        Map table; /* key -> Activation */
        List forgotten;
        uint64_t last_id;
};

const MountHandler *handler_of(const MountManager *m, const char *type); /* NULL: the kernel */

/* ---- records.c: everything on disk has an id ---- */

char *point_folder(const MountManager *m, uint64_t id); /* heap */
/* Not fsynced: records live as long as the mounts, not longer than the machine runs. */
int record_write(const MountManager *m, const Store__Activation *record, Err *err);
int record_remove(const MountManager *m, uint64_t id, Err *err); /* an absent one is fine */
/* Notes who will mount ID/i, before he does; for who finds it without a record. */
int point_note(const MountManager *m, uint64_t id, size_t i, const char *handler, Err *err);
/* Takes off the mounts of ID/n-1 ... ID/0. handlers: one name for each. *ret_left: how many are
 * still there. */
int points_unmount(const MountManager *m, uint64_t id, const char *const *handlers, size_t n,
                   int lazy, size_t *ret_left, Err *err);
/* Removes ID, when nothing is mounted there any more. */
int points_remove(const MountManager *m, uint64_t id, Err *err);
/* The same for who has no record: takes off what is there, however it got there. */
int points_end(const MountManager *m, uint64_t id, Err *err);
/* Fills the table from disk and ends what has no record. */
int records_load(MountManager *m, Err *err);
void activation_free(Activation *x);

/* ---- transform.c ---- */

/* The first prefix of a type that is one of ours, or NULL; *ret_rest is what follows it. */
typedef struct Transform Transform;
const Transform *transform_of(const char *type, const char **ret_rest);
const char *transform_prefix(const Transform *t); /* "format/" */
/* Does what the prefixes of m->type say, in order, and takes them off. active: the mounts before
 * it. Strings of m are replaced, in the arena. */
int transform_mount(const MountManager *mm, Arena *a, Mount *m,
                    const Types__ActiveMount *const *active, size_t n_active, Err *err);

/* ---- template.c ---- */

/* Fills in "{{ mount 0 }}" and so on. UNKNOWN, as containerd has it, for what cannot be read;
 * RESOURCE_EXHAUSTED past *left, from which the result is taken. */
int template_fill(Arena *a, const char *text, const Types__ActiveMount *const *active,
                  size_t n_active, size_t *left, const char **ret, Err *err);
