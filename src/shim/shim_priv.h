/* SPDX-License-Identifier: Apache-2.0 */
/* The objects of a shim. All belong to its one thread; nothing is locked. */
#pragma once

#include <sys/types.h>
#include "api/containerd/task/v3/task.pb-c.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/loop.h"
#include "rpc/service.h"
#include "shim/event.h"
#include "shim/oci.h"
#include "shim/oom.h"
#include "shim/state.h"
#include "shim/stdio.h"
#include "shim/stream.h"
#include "ttrpc/server.h"

typedef struct Shim Shim;
typedef struct Container Container;
typedef struct Process Process;
typedef struct Op Op;

/* An exit that was reaped before anybody knew whose it was. */
typedef struct EarlyExit {
        pid_t pid;
        int status;
        Time at;
} EarlyExit;

enum { EARLY_EXITS = 512 };

struct Shim {
        Loop *loop;
        const char *ns, *id, *grpc_address, *ttrpc_address;
        const char *socket_path; /* removed at the end; NULL: not ours */
        Publisher *publisher;
        RpcRegistry *registry;
        TtrpcServer *server;
        LoopSource *sigchld, *sigterm, *sigint, *sigusr1, *quit_timer, *trim_timer;
        List containers;
        int quitting;
        uint64_t quit_at_ns;
        int expecting; /* op children that make processes: unknown exits are remembered meanwhile */
        unsigned n_early;
        EarlyExit early[EARLY_EXITS]; /* a ring */
};

struct Process {
        List link; /* in Container.execs */
        Container *container;
        char *exec_id; /* "" for init */
        ProcState state;
        pid_t pid;  /* 0: none yet */
        int reaped; /* the pid is no longer ours */
        int held;   /* an op is at work on it: an exit waits for the op's end */
        int has_exit;
        int exit_status;
        Time exited_at;
        StdioSpec stdio;
        ProcIo io;
        char *spec; /* exec: process.json */
        List waiters;
        Event *exit_event; /* reserved before the process exists */
        List deletions;    /* that wait for the output to end */
};

struct Container {
        List link;
        Shim *shim;
        int refs;
        char *id, *bundle;
        char *checkpoint; /* what Start restores it from; NULL: it has its process */
        char *parent_checkpoint;
        char *criu_work; /* "": the bundle's */
        uid_t io_uid;
        gid_t io_gid;
        Oci oci;
        Process init;
        List execs;
        size_t n_execs;
        int creating, gone; /* not there yet for others; no longer */
        int private_pid_ns, pausing, killed_all, killing_all;
        char *cgroup; /* text of /proc/PID/cgroup */
        OomWatch oom;
        Event *delete_event;
        List ops; /* waiting for their turn */
        int scheduling;
        int exclusive; /* 1 while an op runs that tolerates no other */
        int shared;    /* ops running side by side */
};

/* shim/container.c */
Container *container_new(Shim *s, const char *id, const char *bundle);
Container *container_ref(Container *c);
Container *container_unref(Container *c);
/* NULL when there is none; one that is being created counts. */
Container *container_lookup(Shim *s, const char *id);
/* NOT_FOUND "container not created". */
int container_find(Shim *s, const char *id, Container **ret, Err *err);
/* The container's process; exec_id "" is init. NOT_FOUND. */
int process_find(Shim *s, const char *id, const char *exec_id, Process **ret, Err *err);
/* Where init's state changes, so that nothing forgets look_note(). */
void process_set_state(Process *p, ProcState state);
void container_set_pausing(Container *c, int pausing);
Process *exec_new(Container *c, const char *exec_id);
Process *exec_find(Container *c, const char *exec_id);
void exec_free(Process *p);
int process_is_init(const Process *p);
/* Takes it out of the shim; ops that still wait for their turn fail. */
void container_gone(Container *c);

/* shim/exit.c */
void exits_reap(Shim *s);
/* From the start of an op child that makes processes to its end. */
void exits_expect(Shim *s);
void exits_unexpect(Shim *s);
/* The process has this pid now; an exit that came before is taken up. */
void exits_register(Process *p, pid_t pid);
/* Its io has a logging program, which may have ended and been reaped before anybody knew it: then
 * its pid may be somebody else's, and is forgotten. */
void exits_logger(Process *p);
/* The op on it has ended: an exit that came meanwhile takes effect. */
void exits_release(Process *p);
/* Ends everybody's wait. */
void process_wake(Process *p);
/* RPC_PENDING, or the answer at once. */
int process_wait(Process *p, Call *call, void *rsp);

/* shim/removal.c */
int process_delete(Process *p, Call *call);
/* Output has ended, or a logging program has. */
void deletions_go_on(Process *p);
/* Somebody else has deleted it. */
void deletions_cancel(Process *p);

/* shim/task.c */
/* What State answers; borrows from p. exited_at is the caller's, and part of it. */
void process_describe(const Process *p, Google__Protobuf__Timestamp *exited_at,
                      Task__StateResponse *ret);
extern const RpcService task_service_v2, task_service_v3;

/* shim/serve.c */
int shim_serve(const char *ns, const char *id, const char *grpc_address, int debug);
void shim_quit(Shim *s);
/* Freed pages go back to the kernel soon. */
void shim_trim_later(Shim *s);
