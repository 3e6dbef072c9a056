/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Standard input and output of a process in a container: fifos in a folder of their own, whose
 * other ends the shim opens. stdio_step() moves bytes between them and our own descriptors without
 * ever blocking on either, so that one poll(2) loop serves them, signals and the connection.
 *
 * Order: stdio_make() before the process is created, stdio_connect() when it is. Files stay when
 * stdio_close() is called, for others to attach; stdio_remove() takes them away.
 */
#pragma once

#include <poll.h>
#include "base/err.h"

typedef struct Stdio Stdio;

/* Makes <dir>/<random>/<name>-stdin, -stdout and (unless there is a terminal) -stderr, the folder
 * 0700, and opens the output ends. */
int stdio_make(const char *dir, const char *name, int terminal, Stdio **ret, Err *err);
/* Opens fifos that exist; "" for a stream that there is not. FAILED_PRECONDITION for what is no
 * fifo. */
int stdio_attach(const char *in, const char *out, const char *err_path, Stdio **ret, Err *err);
Stdio *stdio_close(Stdio *s); /* takes NULL, returns NULL */
/* Removes the fifos of a process, and their folder when it is empty then. Paths may be "" or no
 * fifos. */
void stdio_remove(const char *in, const char *out, const char *err_path);

const char *stdio_in(const Stdio *s); /* paths, "" for none */
const char *stdio_out(const Stdio *s);
const char *stdio_err(const Stdio *s);

/* The shim has opened its ends, or will soon: input may flow. */
void stdio_connect(Stdio *s);

enum { STDIO_POLLFDS = 6 };
/* What to poll for; fills at most STDIO_POLLFDS and returns how many. *timeout_ms is lowered when
 * something is to be tried again. */
size_t stdio_poll(Stdio *s, struct pollfd *fds, int *timeout_ms);
void stdio_step(Stdio *s, const struct pollfd *fds, size_t n);

/* 1 once, when our input has come to its end and all of it is in the fifo: CloseIO is due. */
int stdio_input_ended(Stdio *s);
/* Every output has come to its end and is written. */
int stdio_output_ended(const Stdio *s);
/* 1 once, when nobody reads our standard output or error any more; what comes is thrown away from
 * now on. */
int stdio_output_broken(Stdio *s);
/* The process is gone and the shim has passed on everything: what the fifos hold now is all there
 * will be. */
void stdio_drain(Stdio *s);
