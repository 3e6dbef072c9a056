/* SPDX-License-Identifier: Apache-2.0 */
/* `lighterd publish`: what shims run as their -publish-binary to send one event. */
#pragma once

#include "base/err.h"

/* Reads an encoded google.protobuf.Any from stdin and publishes it at the daemon on address. args:
 * --namespace NS
 * --topic T, NULL-terminated. */
int publish(const char *address, char **args, Err *err);
