/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process of a container with its standard input and output here: what run, start, attach and
 * exec have in common.
 *
 *         Session s CLEANUP(session_done) = {.cli = cli, .id = id};
 *         session_io(&s, args, terminal, err)    fifos, or what --null-io and --log-uri ask for
 *         ... Tasks.Create or Exec with s.in, s.out, s.err ...
 *         session_start(&s, err)                 Wait, Start
 *         session_run(&s, &code, err)            until it ends; deletes it
 */
#pragma once

#include <signal.h>
#include "api/containerd/v1/types/task.pb-c.h"
#include "client/stdio.h"
#include "cmd/lighter/cli.h"
#include "cmd/lighter/container.h"

typedef struct Session {
        Cli *cli;
        const char *id;      /* of the container */
        const char *exec_id; /* "" for the first process */
        int terminal, detach;
        const char *in, *out, *err; /* what the shim is told */
        Stdio *stdio;               /* NULL when nothing is connected */
        GrpcCall *wait, *del, *close_io, *resize;
        int signal_fd; /* -1 until session_start() */
        int killed_by; /* a signal that ended us, not it */
        int forward;   /* signals go to the process */
        uint32_t pid;
        int attached; /* it is not ours: when we go, it stays */
        int created;  /* by us, and not started: taken away when we fail */
        int started;  /* the fifos belong to the process */
} Session;

#define SESSION_INIT                                                           \
        {                                                                      \
                .exec_id = "", .in = "", .out = "", .err = "", .signal_fd = -1 \
        }

int session_io(Session *s, const Args *args, Err *err);
int session_start(Session *s, Err *err);
/* ret_code: what we are to exit with. */
int session_run(Session *s, int *ret_code, Err *err);
/* Connects to a process that runs. */
int session_attach(Session *s, const TaskTypes__Process *p, Err *err);
void session_done(Session *s);

/* Task of a container, or one of its processes when exec_id is not NULL. NOT_FOUND. */
int task_get(Cli *cli, const char *id, const char *exec_id, TaskTypes__Process **ret, Err *err);
/* "RUNNING" */
const char *task_status_text(int status);
/* Deletes a stopped process and its fifos; exec_id NULL for the task. */
int task_delete(Cli *cli, const TaskTypes__Process *p, const char *exec_id, uint32_t *ret_code,
                Err *err);
int task_kill(Cli *cli, const char *id, const char *exec_id, int signo, int all, Err *err);
/* SIGKILL, and until it is dead. exec_id NULL for all of the container. */
int task_kill_and_wait(Cli *cli, const char *id, const char *exec_id, Err *err);
/* Creates the task of a container, and its pid file. */
int task_create(Session *s, const Args *args, const NewContainer *c, Err *err);
