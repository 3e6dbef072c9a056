/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What gRPC puts into HTTP/2 headers, for server and client alike.
 *
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */
#pragma once

#include "base/str.h"

/* "1999963u"; at most 8 digits and one of n u m S M H. Values beyond 292 years are cut there. 0 or
 * -1. */
int grpc_timeout_parse(const char *s, uint64_t *ret_ns);
enum { GRPC_TIMEOUT_MAX = 16 };
/* Rounded up, so that the server does not give up before the client. */
const char *grpc_timeout_format(uint64_t ns, char buf[GRPC_TIMEOUT_MAX]);

/* grpc-message: everything but printable ASCII, and the percent sign, as %XX. */
void grpc_message_encode(Str *out, const char *text);
/* In place; a percent sign without two digits stays as it is. */
void grpc_message_decode(char *text);

/* Whether it is application/grpc, "+" or ";" and anything. */
int grpc_content_type_ok(const char *s);
/* Whether a value of a header ending in -bin is base64, padded or not. */
int grpc_is_base64(const char *s, size_t n);
