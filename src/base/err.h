/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors. A function that can fail returns 0 or -code, where code is a gRPC status number, and
 * describes the failure in the caller's Err. The struct owns nothing: it lives on a stack or inside
 * a call, and a message that is too long is cut, at the end of a character.
 *
 * err_set() where the fact is known, err_sys() for errno, err_wrap() to say what we were doing. The
 * text is sent to clients as it stands: what containerd ends in its class (": not found"), the
 * caller writes so.
 *
 * A caller branches only on codes that the callee's header names. An Err pointer is never NULL.
 */
#pragma once

#include "base/macros.h"

/* https://grpc.io/docs/guides/status-codes/; the values go over the wire. */
enum ErrCode {
        OK = 0,
        CANCELLED = 1,
        UNKNOWN = 2,
        INVALID_ARGUMENT = 3,
        DEADLINE_EXCEEDED = 4,
        NOT_FOUND = 5,
        ALREADY_EXISTS = 6,
        PERMISSION_DENIED = 7,
        RESOURCE_EXHAUSTED = 8,
        FAILED_PRECONDITION = 9,
        ABORTED = 10,
        OUT_OF_RANGE = 11,
        UNIMPLEMENTED = 12,
        INTERNAL = 13,
        UNAVAILABLE = 14,
        DATA_LOSS = 15,
        UNAUTHENTICATED = 16,
        ERR_CODE_LAST = UNAUTHENTICATED,
};

enum { ERR_MSG_MAX = 1000 };

typedef struct Err {
        int code;
        int line;
        const char *file; /* where the failure was first described */
        char msg[ERR_MSG_MAX];
} Err;

/* All three return -code, so that `return err_set(...)` reads well; the compiler is told that it is
 * negative. */
#define err_set(err, code, ...) err_negative(err_set_at(err, code, __FILE__, __LINE__, __VA_ARGS__))
/* Maps an errno value to a code and appends ": " and its text. */
#define err_sys(err, errnum, ...) \
        err_negative(err_sys_at(err, errnum, __FILE__, __LINE__, __VA_ARGS__))
/* Puts "what: " before the message; code and origin stay. */
#define err_wrap(err, ...) err_negative(err_wrap_as(err, __VA_ARGS__))

int err_set_at(Err *err, int code, const char *file, int line, const char *fmt, ...)
        PRINTF_LIKE(5, 6);
int err_sys_at(Err *err, int errnum, const char *file, int line, const char *fmt, ...)
        PRINTF_LIKE(5, 6);
int err_wrap_as(Err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

static inline int err_negative(int r)
{
        if (r >= 0)
                __builtin_unreachable();
        return r;
}

/* Copies src over dst and returns -code. */
int err_copy(Err *dst, const Err *src);
void err_clear(Err *err);

/* The code that an errno value maps to; UNKNOWN for what has no class. */
int err_code_of_errno(int errnum);
/* "NOT_FOUND"; "CODE(n)" never: out of range gives "UNKNOWN". */
const char *err_code_name(int code);
/* containerd's class text, "not found"; NULL for OK. */
const char *err_class_text(int code);
