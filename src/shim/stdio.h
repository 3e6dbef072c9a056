/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a process' stdio as the client asked for it: fifos, files, a logging program, a terminal,
 * nothing. The op child opens (paths may hang, programs must be started), the shim gets the
 * descriptors and copies.
 */
#pragma once

#include "shim/oci.h"
#include "shim/stream.h"

typedef struct Shim Shim;

/* As in the request; on the heap. */
typedef struct StdioSpec {
        char *in, *out, *err;
        int terminal;
} StdioSpec;

void stdio_spec_init(StdioSpec *s, const char *in, const char *out, const char *err, int terminal);
void stdio_spec_done(StdioSpec *s);

/* Descriptors on their way from child to shim: slots of an OpReply. */
enum StdioSlot {
        SLOT_IN_SRC,  /* the client's fifo */
        SLOT_IN_KEEP, /* a writer on it, so that a client may come and go */
        SLOT_IN_DST,  /* the process' stdin; with a terminal, none */
        SLOT_OUT_SRC,
        SLOT_OUT_DST,
        SLOT_OUT_KEEP, /* a reader on the client's fifo */
        SLOT_ERR_SRC,
        SLOT_ERR_DST,
        SLOT_ERR_KEEP,
        SLOT_CONSOLE,
        STDIO_SLOTS,
};

/* ---- op child; blocks ---- */

typedef struct StdioChild {
        OciIo io;
        int slots[STDIO_SLOTS];
        pid_t logger;
        char *console_dir, *console_path; /* arena; removed by stdio_child_done() */
} StdioChild;

typedef struct StdioWho {
        const char *id, *ns, *bundle;
        uid_t uid; /* owner of the pipes */
        gid_t gid;
} StdioWho;

/* All or nothing. */
int stdio_child_open(const StdioSpec *s, const StdioWho *who, Arena *a, StdioChild *ret, Err *err);
/* Closes the process' ends and takes the terminal's socket away. */
void stdio_child_done(StdioChild *c);

/* ---- shim ---- */

typedef struct ProcIo {
        Stream in, out, err;
        int in_keep, out_keep, err_keep, console; /* -1: none */
        int out_rest, err_rest; /* read ends kept for a logging program that may die */
        pid_t logger;
        int input_over; /* CloseIO may come while the process is still being made */
} ProcIo;

void proc_io_init(ProcIo *io);
/* Takes the descriptors and starts to copy. */
int proc_io_start(ProcIo *io, Loop *loop, int slots[STDIO_SLOTS], pid_t logger, StreamEndFn on_end,
                  void *ctx, Err *err);
/* No more input will come from the client. */
void proc_io_close_stdin(ProcIo *io);
/* Whether output may still come. */
int proc_io_busy(const ProcIo *io);
void proc_io_pump(ProcIo *io);
int proc_io_resize(ProcIo *io, uint32_t width, uint32_t height, Err *err);
void proc_io_done(ProcIo *io);
