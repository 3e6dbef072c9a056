/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mount manager: mounts that need more than mount(2), done by the daemon and kept under a name.
 * An activation is a list of mounts, of which the manager does the first ones (`active`, each at a
 * mount point of its own) and leaves the rest (`system`), with what they need filled in, to whoever
 * asked: a shim, a client.
 *
 * What the manager does: up to the last mount whose type has a handler, or a prefix "format/",
 * "mkdir/", "mkfs/" (transform.c). A list without either is nobody's business here: UNIMPLEMENTED.
 *
 * Everything blocks and may be called by any thread of the pool; two who mean the same name take
 * turns. No lock is held across a mount.
 */
#pragma once

#include "api/containerd/types/types.pb-c.h"
#include "db/filter.h"
#include "metadata/gc.h"
#include "mount/mount.h"

typedef struct MountManager MountManager;

/* Who mounts a type that the kernel does not. Constant, outlives the manager. */
typedef struct MountHandler {
        const char *type;
        /* Mounts at point: a name in a folder of the manager's, which the handler makes. */
        int (*mount)(const Mount *m, const char *point, Err *err);
        /* Takes it off; success when nothing is there. lazy: even if it is in use. */
        int (*unmount)(const char *point, int lazy, Err *err);
} MountHandler;

typedef struct MountManagerOptions {
        const char *state;        /* a folder of its own, made when absent */
        const char *const *roots; /* where mkdir/ and mkfs/ may work, beside its mount points */
        size_t n_roots;
        const MountHandler *const *handlers;
        size_t n_handlers;
} MountManagerOptions;

/* Finds the activations of an earlier daemon, and ends what it left half done. Copies the options
 * but for the handlers themselves. */
int mount_manager_open(const MountManagerOptions *o, MountManager **ret, Err *err);
MountManager *mount_manager_free(MountManager *m); /* mounts stay; takes NULL, returns NULL */
DEFINE_CLEANUP(MountManager *, mount_manager_free)

typedef struct MountsActivate {
        const char *ns, *name;
        const char *lease; /* NULL or "": none */
        MountList mounts;
        const void *labels; /* entries as messages have them */
        size_t n_labels;
        /* What the caller does itself: types, and prefixes with a star for what is done before
         * mounting. */
        const char *const *allow;
        size_t n_allow;
        int temporary; /* all of them are done, and `system` ends in a bind of the last */
        int held;      /* not collected while this daemon runs */
} MountsActivate;

/* Whether there is something to do for the manager. */
int mounts_wanted(const MountManager *m, const MountsActivate *what);
/* *ret in the arena. UNIMPLEMENTED when there is nothing to do; ALREADY_EXISTS. After a failure
 * nothing is left. */
int mounts_activate(MountManager *m, const MountsActivate *what, Arena *a,
                    Types__ActivationInfo **ret, Err *err);
/* NOT_FOUND. What cannot be taken off stays, under its name, and can be tried again. */
int mounts_deactivate(MountManager *m, const char *ns, const char *name, Err *err);
int mounts_info(MountManager *m, const char *ns, const char *name, Arena *a,
                Types__ActivationInfo **ret, Err *err); /* NOT_FOUND */
/* Labels are all that changes: paths "labels" and "labels.KEY". NOT_FOUND, INVALID_ARGUMENT. */
int mounts_update(MountManager *m, const char *ns, const Types__ActivationInfo *info,
                  const char *const *paths, size_t n_paths, Arena *a, Types__ActivationInfo **ret,
                  Err *err);
/* For the time of a call: what the kernel does not mount of *list is activated under a name of its
 * own, and *list becomes what is left. Nothing is done when nothing is needed. */
typedef struct MountsHold { /* zero-initialise */
        MountManager *m;
        char *ns, *name;
} MountsHold;
int mounts_hold(MountManager *m, const char *ns, Arena *a, MountList *list, MountsHold *ret,
                Err *err);
void mounts_hold_done(MountsHold *h);
/* In order of names; filter fields: name, labels.KEY. *ret in the arena. */
int mounts_list(MountManager *m, const char *ns, const Filter *filter, Arena *a,
                Types__ActivationInfo ***ret, size_t *ret_n, Err *err);

/* For gc_add_collector(), with the manager. */
extern const GcCollector mounts_collector;

/* Loop devices: the mount point is a link to the device. */
extern const MountHandler loop_handler;
/* EROFS images, straight from the file where the kernel can. */
extern const MountHandler erofs_handler;
