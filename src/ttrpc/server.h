/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ttrpc server over the loop and a registry of services. Peers must have our effective uid and
 * gid (SO_PEERCRED); others are hung up on without a word, as containerd does. All functions on the
 * loop's thread.
 */
#pragma once

#include "base/err.h"
#include "base/loop.h"
#include "rpc/service.h"

typedef struct TtrpcServer TtrpcServer;

TtrpcServer *ttrpc_server_new(Loop *loop, RpcRegistry *registry);
/* Takes the listening fd. */
int ttrpc_server_listen(TtrpcServer *s, int fd, Err *err);
/* Number of open connections. */
size_t ttrpc_server_connections(const TtrpcServer *s);
/* Whether everything answered so far has left for the peer. */
int ttrpc_server_flushed(const TtrpcServer *s);
/* Closes the sockets, cancels calls in progress. Their last references may live on in other
 * threads. */
TtrpcServer *ttrpc_server_free(TtrpcServer *s);
